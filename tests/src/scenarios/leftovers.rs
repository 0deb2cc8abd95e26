//! What a move leaves as it is, and says so.

use crate::api::{self, MoveState};
use crate::bed::{Bed, Power, require};
use crate::cluster::{
    FAILS, NEW, OLD, application, create, daemon_set, deployment, expect_label, pod_template,
    with_pod_label,
};
use crate::history::History;
use crate::session::{Session, until};
use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use kube::{Client, ResourceExt};
use revshift_proto::v1::leftover::Reason;
use serde_json::{Value, json};

/// Jobs, bare pods and what has no replicas stay; what asked for no sidecar is not even mentioned.
pub(crate) async fn leftovers_are_told_and_left(bed: &dyn Bed) -> Result<()> {
    // Its Jobs must not end meanwhile.
    require(bed, Power::FailingPods)?;
    let client = bed.client();
    application(bed, "left").await?;
    create::<Deployment>(&client, deployment("left", "asleep", 0)).await?;
    let opted = with_pod_label(deployment("left", "opted", 1), "sidecar.istio.io/inject", "false");
    create::<Deployment>(&client, opted).await?;
    let mut spared = deployment("left", "spared", 1);
    spared["metadata"]["annotations"] = json!({ "revshift.dev/skip": "true" });
    create::<Deployment>(&client, spared).await?;
    let mut host = daemon_set("left", "host");
    host["spec"]["template"]["spec"]["hostNetwork"] = json!(true);
    create::<DaemonSet>(&client, host).await?;
    create::<Job>(&client, job("once")).await?;
    create::<Job>(&client, job_of_a_cron_job(&client).await?).await?;
    create::<Pod>(&client, bare_pod()).await?;
    let session = Session::start(bed).await?;
    let expected = [
        ("Job", "once", Reason::Job, 1, "RS1201"),
        ("CronJob", "nightly", Reason::CronJob, 1, "RS1202"),
        ("Pod", "bare", Reason::BarePod, 1, "RS1203"),
        ("Deployment", "asleep", Reason::ScaledToZero, 0, "RS1204"),
        ("Deployment", "spared", Reason::Skipped, 1, "RS1205"),
    ];
    let mut grpc = session.migrations().await?;
    // The pods are there only when their controllers have made them.
    let plan = until(bed, "the plan shows all leftovers", async || {
        let plan = api::plan(&mut grpc, api::spec(&["left"])).await?;
        let found = &plan.entries[0].leftovers;
        ensure!(found.len() == expected.len(), "{found:?}");
        let replicas: u32 = plan.entries[0].workloads.iter().map(|it| it.replicas).sum();
        ensure!(replicas >= 5, "the workloads are not counted yet");
        Ok(plan)
    })
    .await?;
    for (kind, name, reason, pods, code) in expected {
        let left =
            plan.entries[0].leftovers.iter().find(|it| (&*it.kind, &*it.name) == (kind, name));
        ensure!(left.is_some_and(|it| it.reason() == reason && it.pods == pods), "{left:?}");
        let object = format!("{kind}/left/{name}");
        let finding = plan.findings.iter().find(|it| it.object == object);
        ensure!(finding.is_some_and(|it| it.code == code), "{finding:?}");
    }
    for (name, moves) in
        [("web", true), ("asleep", false), ("opted", false), ("spared", false), ("host", false)]
    {
        let planned = plan.entries[0].workloads.iter().find(|it| it.name == name);
        ensure!(planned.is_some_and(|it| it.reason.is_empty() == moves), "{planned:?}");
    }
    let text =
        session.done(&["migrate", "--from", OLD, "--to", NEW, "-n", "left", "--dry-run"]).await?;
    ensure!(text.contains("leaves Job/once (1 pod): runs to its end"), "{text}");
    expect_label(&client, "left", OLD).await?;

    let history = History::of(bed, "left").await?;
    let id = session.detach(&["left"], &[]).await?;
    session.until_state(&id, "SUCCEEDED").await?;
    let moved = session.until_move(&id, "left", MoveState::Moved).await?;
    ensure!(moved.restarts.len() == 1 && moved.restarts[0].name == "web", "{moved:?}");
    ensure!(moved.leftovers.len() == expected.len(), "{moved:?}");
    let shown = session.done(&["status", &id]).await?;
    for (kind, name, ..) in expected {
        ensure!(shown.contains(&format!("left {kind}/{name}")), "{shown}");
    }
    ensure!(history.created(bed).await? == 2, "more than the pods of web were replaced");
    // A second look finds nothing that could be moved.
    let again = session.detach(&["left"], &[]).await?;
    session.until_state(&again, "SUCCEEDED").await?;
    session.until_move(&again, "left", MoveState::Skipped).await?;
    session.end_with(&["left"]).await
}

/// A Job that does not end while the scenario runs.
fn job(name: &str) -> Value {
    let mut template = pod_template(name);
    template["metadata"]["labels"][FAILS] = json!("never-ready");
    template["spec"]["restartPolicy"] = json!("Never");
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": { "name": name, "namespace": "left" },
        "spec": { "template": template },
    })
}

async fn job_of_a_cron_job(client: &Client) -> Result<Value> {
    let spec = job("nightly")["spec"].clone();
    let nightly = create::<CronJob>(
        client,
        json!({
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": { "name": "nightly", "namespace": "left" },
            "spec": {
                "schedule": "0 3 * * *",
                "suspend": true,
                "jobTemplate": { "spec": spec },
            },
        }),
    )
    .await?;
    let mut job = job("nightly-1");
    job["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "name": "nightly",
        "uid": nightly.uid(),
        "controller": true,
    }]);
    Ok(job)
}

fn bare_pod() -> Value {
    let mut pod = pod_template("bare");
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["name"] = json!("bare");
    pod["metadata"]["namespace"] = json!("left");
    pod
}
