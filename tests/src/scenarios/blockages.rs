//! Clusters that admit no new pods: quota, injector, plane.

use crate::api::MoveState;
use crate::bed::{Bed, Power, require};
use crate::cluster::{
    FAILS, FAILS_ON, NEW, OLD, application, create, deployment, expect_injected, expect_label,
    held_application, namespace, ready, until_injected, with_pod_label,
};
use crate::mesh;
use crate::operator::PaperPlane;
use crate::session::{Session, until};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

/// A quota that has no room for the surge of a rollout.
pub(crate) async fn a_quota_without_room_fails_the_move(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    namespace(&client, "tight", &[("istio.io/rev", OLD)]).await?;
    let mut web = deployment("tight", "web", 2);
    web["spec"]["strategy"] = json!({
        "type": "RollingUpdate",
        "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 },
    });
    create::<Deployment>(&client, web).await?;
    ready(bed, "tight", 2).await?;
    let quota = json!({
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": { "name": "pods", "namespace": "tight" },
        "spec": { "hard": { "pods": "2" } },
    });
    create::<ResourceQuota>(&client, quota).await?;
    let quotas = Api::<ResourceQuota>::namespaced(client.clone(), "tight");
    until(bed, "the quota is counted", async || {
        let used = quotas.get("pods").await?.status.and_then(|status| status.used);
        let pods = used.and_then(|used| used.get("pods").cloned()).context("not yet")?;
        ensure!(pods.0 == "2", "{pods:?}");
        Ok(())
    })
    .await?;
    let session = Session::start(bed).await?;
    let words = ["RS3006", "Deployment/tight/web", "exceeded quota", "raise the quota"];
    let id = session.migrate_in_vain(&["tight"], &words).await?;
    session.until_problem(&id, "tight", MoveState::Failed, "RS3006").await?;
    expect_injected(&client, "tight", &[(OLD, 2)]).await?;

    let raised = json!({ "spec": { "hard": { "pods": "3" } } });
    quotas.patch("pods", &PatchParams::default(), &Patch::Merge(&raised)).await?;
    // The cluster goes on at its own pace; the retry finds what is there, and restarts nothing.
    until_injected(bed, "tight", NEW, 2).await?;
    session.done(&["retry", &id, "-n", "tight", "--yes"]).await?;
    session.until_state(&id, "SUCCEEDED").await?;
    let restarts = session.a_move(&id, "tight").await?.restarts;
    ensure!(restarts.iter().all(|restart| restart.attempt == 1), "{restarts:?}");
    session.end_with(&["tight"]).await
}

/// The new plane's webhook does not answer, so that its pods cannot be created.
pub(crate) async fn a_webhook_that_is_down_fails_the_move(bed: &dyn Bed) -> Result<()> {
    require(bed, Power::Outages)?;
    let client = bed.client();
    application(bed, "unhooked").await?;
    let session = Session::start(bed).await?;
    bed.set_injector_down(NEW, true).await?;
    let words = ["RS3008", "Deployment/unhooked/web", "failed calling webhook"];
    let failed = session.migrate_in_vain(&["unhooked"], &words).await;
    let old = expect_some(bed, "unhooked", OLD).await;
    bed.set_injector_down(NEW, false).await?;
    let id = failed?;
    old?;
    until_injected(bed, "unhooked", NEW, 2).await?;
    session.done(&["retry", &id, "-n", "unhooked", "--yes"]).await?;
    session.until_state(&id, "SUCCEEDED").await?;
    expect_label(&client, "unhooked", NEW).await?;
    session.end_with(&["unhooked"]).await
}

/// A target that is not Available takes no new migration, nor a waiting one, nor a rollback.
pub(crate) async fn a_plane_that_is_not_available_takes_nothing(bed: &dyn Bed) -> Result<()> {
    require(bed, Power::PlaneStatus)?;
    let client = bed.client();
    held_application(bed, "ill-a").await?;
    application(bed, "ill-b").await?;
    let session = Session::start(bed).await?;
    let first = session.detach(&["ill-a"], &[]).await?;
    // Once its label is written, the second plan is not overtaken by it.
    session.until_move(&first, "ill-a", MoveState::Restarting).await?;
    let second = session.detach(&["ill-b", "ill-a"], &[]).await?;
    session.done(&["pause", &second]).await?;
    session.release(&first, "ill-a").await?;
    session.until_state(&first, "SUCCEEDED").await?;
    mesh::set_calisti_status(&client, "cp-v115x", "ReconcileFailed", "no such image").await?;
    let told = refused_while_ill(&session, &second).await;
    mesh::set_calisti_status(&client, "cp-v115x", "Available", "").await?;
    told?;
    expect_label(&client, "ill-b", OLD).await?;
    until_available(&session, "cp-v115x").await?;
    session.done(&["retry", &second, "-n", "ill-b", "--yes"]).await?;
    session.until_state(&second, "SUCCEEDED").await?;

    mesh::set_calisti_status(&client, "cp-v113x", "Reconciling", "").await?;
    let told = until(bed, "a rollback to a plane that is not Available is refused", async || {
        let words = ["cp-v113x.istio-system", "is not Available but Reconciling"];
        let back = ["rollback", &first, "--reason", "to see it refused", "--yes", "--detach"];
        session.refused(&back, 1, &words).await
    })
    .await;
    mesh::set_calisti_status(&client, "cp-v113x", "Available", "").await?;
    told?;
    until_available(&session, "cp-v113x").await?;
    expect_label(&client, "ill-a", NEW).await?;
    session.end_with(&["ill-a", "ill-b"]).await
}

/// A plane that is deleted under a migration stops it, as its webhooks go, too: what has begun waits, and goes
/// on where the rest is given up; what has not is not begun.
pub(crate) async fn a_plane_that_is_deleted_under_a_migration_is_missed(
    bed: &dyn Bed,
) -> Result<()> {
    require(bed, Power::FailingPods)?;
    let client = bed.client();
    namespace(&client, "missed-home", &[]).await?;
    let plane = PaperPlane::create(&client, "cp-v109x", "missed-home").await?;
    for name in ["missed-a", "missed-b"] {
        namespace(&client, name, &[("istio.io/rev", &plane.revision)]).await?;
        let mut web = with_pod_label(deployment(name, "web", 2), FAILS_ON, NEW);
        if name == "missed-a" {
            web = with_pod_label(web, FAILS, "never-ready");
        }
        create::<Deployment>(&client, web).await?;
        ready(bed, name, 2).await?;
    }
    let session = Session::start(bed).await?;
    until(bed, "the plane is known", async || {
        ensure!(session.done(&["planes"]).await?.contains("cp-v109x"));
        Ok(())
    })
    .await?;
    let args = ["migrate", "--from", "cp-v109x", "--to", NEW, "-n", "missed-a", "-n", "missed-b"];
    let patience = ["--failure-budget", "2", "--rollout-timeout", "20s", "--yes", "--detach"];
    let id = session.done(&[&args[..], &patience].concat()).await?.trim().to_owned();
    session.until_move(&id, "missed-a", MoveState::Restarting).await?;
    plane.remove().await?;
    until(bed, "the plane is forgotten", async || {
        ensure!(!session.done(&["planes"]).await?.contains("cp-v109x"));
        Ok(())
    })
    .await?;
    let shown = session.until_state(&id, "PAUSED").await?;
    for words in ["DRIFT", "RS1502", "cp-v109x"] {
        ensure!(shown.contains(words), "it does not say `{words}`:\n{shown}");
    }
    session.done(&["cancel", &id, "--yes"]).await?;
    session.until_problem(&id, "missed-a", MoveState::Failed, "RS3005").await?;
    expect_label(&client, "missed-b", &plane.revision).await?;
    session.end_with(&["missed-home", "missed-a", "missed-b"]).await
}

/// What must hold while the new plane is not Available.
async fn refused_while_ill(session: &Session<'_>, waiting: &str) -> Result<()> {
    until(session.bed, "a migration is refused", async || {
        let plan = ["migrate", "--from", OLD, "--to", NEW, "-n", "ill-b", "--dry-run"];
        let words = ["is not Available but ReconcileFailed", "no such image", "revshift planes"];
        session.refused(&plan, 1, &words).await
    })
    .await?;
    session.done(&["resume", waiting]).await?;
    let problem = session.until_problem(waiting, "ill-b", MoveState::Failed, "RS2001").await?;
    ensure!(problem.object == format!("ControlPlane/{NEW}"), "{problem:?}");
    session.until_state(waiting, "PAUSED").await.map(|_| ())
}

async fn until_available(session: &Session<'_>, name: &str) -> Result<()> {
    until(session.bed, format!("{name} is Available"), async || {
        let planes = session.done(&["planes"]).await?;
        let row = planes.lines().find(|line| line.starts_with(name)).context("no row")?;
        ensure!(row.contains("Available"), "{row}");
        Ok(())
    })
    .await
}

/// Requires that some pod of a plane is still there: a rollout that cannot go on takes only as many
/// away as its strategy allows.
async fn expect_some(bed: &dyn Bed, namespace: &str, revision: &str) -> Result<()> {
    let injected = crate::cluster::injected(&bed.client(), namespace).await?;
    ensure!(injected.get(revision).is_some_and(|pods| *pods > 0), "{injected:?}");
    Ok(())
}
