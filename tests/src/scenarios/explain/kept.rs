//! What keeps pods where they are: their controllers, their templates and rollouts that do not go on.

use super::{explained, found, until_reason};
use crate::bed::{Bed, Power, require};
use crate::cluster::{
    FAILS, NEW, OLD, create, deployment, edit, is_ready, namespace, pod_template, pods, set_label,
    stateful_set, until_injecting, with_pod_label,
};
use crate::session::{Session, until};
use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::ResourceExt;
use serde_json::{Value, json};

/// Each reason that a controller, a template or a rollout gives.
pub(crate) async fn what_keeps_a_pod_where_it_is_is_told(bed: &dyn Bed) -> Result<()> {
    require(bed, Power::FailingPods)?;
    let client = bed.client();
    namespace(&client, "kept", &[("istio.io/rev", OLD)]).await?;
    let mut partition = stateful_set("kept", "partition", 2);
    partition["spec"]["updateStrategy"] =
        json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 2 } });
    create::<StatefulSet>(&client, partition).await?;
    let keeper = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "owner", "namespace": "kept" },
    });
    let keeper: ConfigMap = create(&client, keeper).await?;
    let mut owned = deployment("kept", "owned", 1);
    owned["metadata"]["ownerReferences"] =
        controller("v1", "ConfigMap", "owner", &keeper.uid().unwrap_or_default());
    create::<Deployment>(&client, owned).await?;
    let mut baked = deployment("kept", "baked", 1);
    let status = json!({ "containers": ["istio-proxy"], "revision": OLD }).to_string();
    baked["spec"]["template"]["metadata"]["annotations"] =
        json!({ "sidecar.istio.io/status": status });
    create::<Deployment>(&client, baked).await?;
    let mut node = deployment("kept", "node", 1);
    node["spec"]["template"]["spec"]["hostNetwork"] = json!(true);
    create::<Deployment>(&client, node).await?;
    let mut slow = deployment("kept", "slow", 2);
    slow["spec"]["minReadySeconds"] = json!(3600);
    slow["spec"]["progressDeadlineSeconds"] = json!(7200);
    create::<Deployment>(&client, slow).await?;
    create::<Deployment>(&client, deployment("kept", "stuck", 2)).await?;
    jobs(bed).await?;
    // Those of the jobs never are.
    until(bed, "nine pods are ready", async || {
        let ready = pods(&client, "kept").await?.iter().filter(|pod| is_ready(pod)).count();
        ensure!(ready == 9, "{ready} are");
        Ok(())
    })
    .await?;

    let session = Session::start(bed).await?;
    until(bed, "the check finds what is baked in", async || {
        let found = session.run(&["check", "--from", OLD, "--to", NEW, "-n", "kept"]).await?;
        ensure!(found.stdout.contains("RS1106 Deployment/kept/baked"), "{}", found.stdout);
        Ok(())
    })
    .await?;
    set_label(&client, "kept", "istio.io/rev", Some(NEW)).await?;
    until_injecting(bed, "kept", NEW).await?;
    let restart = json!({ "spec": { "template": { "metadata": { "labels": { "turn": "2" } } } } });
    edit::<Deployment>(&client, "kept", "slow", restart).await?;
    let fails =
        json!({ "spec": { "template": { "metadata": { "labels": { FAILS: "image-pull" } } } } });
    edit::<Deployment>(&client, "kept", "stuck", fails).await?;

    for (list, name, reason) in [
        ("workloads", "partition", "REASON_PARTITION"),
        ("workloads", "owned", "REASON_OWNED"),
        ("workloads", "baked", "REASON_BAKED_IN"),
        ("workloads", "node", "REASON_HOST_NETWORK"),
        ("workloads", "slow", "REASON_ROLLING"),
        ("workloads", "once", "REASON_JOB"),
        ("workloads", "nightly", "REASON_CRON_JOB"),
    ] {
        until_reason(&session, "kept", list, name, reason).await?;
    }
    until(bed, "what stops a rollout is told", async || {
        let stuck =
            until_reason(&session, "kept", "workloads", "stuck", "REASON_ROLLOUT_STUCK").await?;
        ensure!(stuck["why"]["code"] == "RS3003", "{stuck}");
        ensure!(stuck["why"]["remedy"].as_str().is_some_and(|text| !text.is_empty()), "{stuck}");
        Ok(())
    })
    .await?;
    until(bed, "it is all shown", async || {
        let answer = explained(&session, "kept", &[]).await?;
        ensure!(found(&answer, "workloads", "node")?["podsAstray"].is_null(), "{answer}");
        let shown = session.done(&["explain", "kept"]).await?;
        for words in ["PARTITION", "ConfigMap/owner", "ROLLOUT_STUCK", "RS3003", "HOST_NETWORK"] {
            ensure!(shown.contains(words), "it does not say `{words}`:\n{shown}");
        }
        Ok(())
    })
    .await?;

    // A pod's own label asks where its namespace's labels do not.
    namespace(&client, "pinned", &[]).await?;
    let own = with_pod_label(deployment("pinned", "own", 1), "istio.io/rev", OLD);
    create::<Deployment>(&client, own).await?;
    let own = until_reason(&session, "pinned", "workloads", "own", "REASON_PINNED").await?;
    ensure!(own["wantedPlane"] == OLD, "{own}");
    session.end_with(&["kept", "pinned"]).await
}

/// A Job, and a run of a CronJob as `kubectl create job --from` makes it.
async fn jobs(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    let mut template = pod_template("once");
    // One that is ready ends.
    template["metadata"]["labels"][FAILS] = json!("never-ready");
    template["spec"]["restartPolicy"] = json!("Never");
    let job = |name: &str| {
        json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": { "name": name, "namespace": "kept" },
            "spec": { "template": template },
        })
    };
    create::<Job>(&client, job("once")).await?;
    let nightly = json!({
        "apiVersion": "batch/v1", "kind": "CronJob",
        "metadata": { "name": "nightly", "namespace": "kept" },
        "spec": {
            "schedule": "0 3 1 1 *", "suspend": true,
            "jobTemplate": { "spec": { "template": template } },
        },
    });
    let nightly: CronJob = create(&client, nightly).await?;
    let mut run = job("nightly-now");
    run["metadata"]["ownerReferences"] =
        controller("batch/v1", "CronJob", "nightly", &nightly.uid().unwrap_or_default());
    create::<Job>(&client, run).await?;
    Ok(())
}

fn controller(version: &str, kind: &str, name: &str, uid: &str) -> Value {
    json!([{
        "apiVersion": version, "kind": kind, "name": name, "uid": uid, "controller": true,
    }])
}
