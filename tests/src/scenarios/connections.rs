//! Live connections: what istiods themselves say of the pods that were moved.

use crate::api::MoveState;
use crate::bed::{Bed, Power, require};
use crate::cluster::{
    NEW, OLD, application, application_with, edit, expect_injected, until_injected,
};
use crate::session::{Session, until};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};

/// How a pod's proxy fares: it never connects, it rejects its configuration, or it never acknowledges it.
const PROXY: &str = "bed.revshift.dev/proxy";
/// The plane that a pod's proxy connects to, whatever has injected the pod.
const PROXY_AT: &str = "bed.revshift.dev/proxy-at";

/// A check by which the target's istiods decide after each wave.
const CHECK: &str = "
checks:
- name: istiod
  istiod: {rejects: 0, retries: 3, interval: 2s}
";

/// Moves a namespace, which has to be connected.
const MOVE: [&str; 8] =
    ["migrate", "--from", "cp-v113x", "--to", "cp-v115x", "--verify", "connected", "--yes"];

async fn plane(session: &Session<'_>, revision: &str) -> Result<Value> {
    let planes: Value = serde_json::from_str(&session.done(&["planes", "-o", "json"]).await?)?;
    let mut found = planes["items"].as_array().into_iter().flatten();
    found.find(|it| it["revision"] == revision).cloned().context("the plane is missing")
}

/// Lets the pods of `web` be connected like any others.
async fn mend(bed: &dyn Bed, namespace: &str) -> Result<()> {
    let labels = json!({ PROXY: null });
    let patch = json!({ "spec": { "template": { "metadata": { "labels": labels } } } });
    edit::<Deployment>(&bed.client(), namespace, "web", patch).await?;
    Ok(())
}

/// Moved is what is connected; `planes` counts it.
pub(crate) async fn a_namespace_counts_as_moved_once_it_is_connected(bed: &dyn Bed) -> Result<()> {
    require(bed, Power::Istiods)?;
    for name in ["linked-a", "linked-b"] {
        application(bed, name).await?;
    }
    let session = Session::start(bed).await?;
    until(bed, "each proxy keeps its plane from being retired", async || {
        let told = session.run(&["retire", "cp-v113x", "--dry-run"]).await?;
        ensure!(told.status == 1 && told.stdout.contains("RS6014"), "{}", told.stdout);
        Ok(())
    })
    .await?;
    let namespaces = ["-n", "linked-a", "-n", "linked-b"];
    let plan = session.done(&[&MOVE[..], &namespaces, &["--dry-run"]].concat()).await?;
    ensure!(plan.contains("verification: every pod is connected to the target"), "{plan}");
    session.done(&[&MOVE[..], &namespaces].concat()).await?;
    for name in ["linked-a", "linked-b"] {
        expect_injected(&bed.client(), name, &[(NEW, 2)]).await?;
    }
    let id = session.done(&["migrations", "-o", "name"]).await?;
    let id = id.lines().next().and_then(|line| line.rsplit('/').next()).context("no migration")?;
    let report = session.done(&["report", id]).await?;
    ensure!(report.contains("every pod is connected to the target"), "{report}");
    until(bed, "every pod of the planes is counted as connected", async || {
        for revision in [OLD, NEW] {
            let plane = plane(&session, revision).await?;
            let [connected, pods] = ["connectedProxies", "pods"].map(|it| plane[it].as_u64());
            ensure!(connected.unwrap_or(u64::MAX) == pods.unwrap_or(0), "{plane}");
        }
        Ok(())
    })
    .await?;
    session.end_with(&["linked-a", "linked-b"]).await
}

/// What does not connect fails, with its name, until it does.
pub(crate) async fn a_pod_that_is_not_connected_fails_the_move(bed: &dyn Bed) -> Result<()> {
    require(bed, Power::Istiods)?;
    application_with(bed, "unlinked", &[(PROXY, "absent")]).await?;
    let session = Session::start(bed).await?;
    let args = [&MOVE[..], &["-n", "unlinked", "--rollout-timeout", "10s"]].concat();
    let words = ["RS3101", "Pod/unlinked/web-", "2 of 2 pods", "are not connected to"];
    session.refused(&args, 1, &words).await?;
    let id = session.done(&["migrations", "-o", "name"]).await?;
    let id = id.lines().next().and_then(|line| line.rsplit('/').next()).context("no migration")?;
    mend(bed, "unlinked").await?;
    until_injected(bed, "unlinked", NEW, 2).await?;
    session.done(&["retry", id, "-n", "unlinked", "--yes"]).await?;
    session.until_state(id, "SUCCEEDED").await?;
    session.end_with(&["unlinked"]).await
}

/// What rejects its configuration fails, with what it says of it.
pub(crate) async fn a_pod_that_rejects_its_configuration_fails_the_move(
    bed: &dyn Bed,
) -> Result<()> {
    require(bed, Power::Istiods)?;
    application_with(bed, "rejecting", &[(PROXY, "rejects")]).await?;
    let session = Session::start(bed).await?;
    let args = [&MOVE[..], &["-n", "rejecting", "--rollout-timeout", "10s"]].concat();
    let words = ["RS3103", "Pod/rejecting/web-", "listeners", "unknown filter"];
    session.refused(&args, 1, &words).await?;
    session.end_with(&["rejecting"]).await
}

/// Proxies that were led to the former plane by hand, and such as hear and never answer.
pub(crate) async fn a_pod_that_is_connected_elsewhere_or_never_answers_fails_the_move(
    bed: &dyn Bed,
) -> Result<()> {
    require(bed, Power::Istiods)?;
    application_with(bed, "led-astray", &[(PROXY_AT, OLD)]).await?;
    application_with(bed, "unanswering", &[(PROXY, "silent")]).await?;
    let session = Session::start(bed).await?;
    for (namespace, words) in [
        ("led-astray", ["RS3102", "Pod/led-astray/web-", OLD]),
        ("unanswering", ["RS3104", "Pod/unanswering/web-", "listeners"]),
    ] {
        let args = [&MOVE[..], &["-n", namespace, "--rollout-timeout", "10s"]].concat();
        session.refused(&args, 1, &words).await?;
    }
    until(bed, "it is explained where they are connected", async || {
        let told = session.done(&["explain", "led-astray", "-o", "json"]).await?;
        let told: Value = serde_json::from_str(&told)?;
        let pods = told["pods"].as_array().context("no pods")?;
        let astray =
            pods.iter().filter(|it| it["injectedPlane"] == NEW && it["connectedPlane"] == OLD);
        ensure!(astray.count() > 0, "{told}");
        Ok(())
    })
    .await?;
    session.end_with(&["led-astray", "unanswering"]).await
}

/// Nothing is assumed of an istiod that cannot be asked.
pub(crate) async fn an_istiod_that_cannot_be_asked_blocks_the_move(bed: &dyn Bed) -> Result<()> {
    require(bed, Power::Istiods)?;
    application(bed, "unasked").await?;
    let config = format!("istiods: {{{NEW}: ['http://127.0.0.1:1']}}");
    let session = Session::start_with(bed, &config).await?;
    let args = [&MOVE[..], &["-n", "unasked", "--rollout-timeout", "10s"]].concat();
    let plan = session.done(&[&args[..], &["--dry-run"]].concat()).await?;
    ensure!(plan.contains("WARNING RS3105 ControlPlane/cp-v115x.istio-system"), "{plan}");
    let words = ["RS3105", "ControlPlane/cp-v115x.istio-system", "http://127.0.0.1:1/debug/syncz"];
    session.refused(&args, 1, &words).await?;
    let id = session.done(&["migrations", "-o", "name"]).await?;
    let id = id.lines().next().and_then(|line| line.rsplit('/').next()).context("no migration")?;
    session.until_problem(id, "unasked", MoveState::Blocked, "RS3105").await?;
    let shown = session.run(&["planes"]).await?;
    let said = format!("who is connected to {NEW} is unknown: http://127.0.0.1:1/debug/syncz");
    ensure!(shown.stderr.contains(&said), "{}{}", shown.stdout, shown.stderr);
    session.end_with(&["unasked"]).await
}

/// A wave goes on only while its pods are connected and reject nothing.
pub(crate) async fn istiods_decide_whether_the_next_wave_begins(bed: &dyn Bed) -> Result<()> {
    require(bed, Power::Istiods)?;
    application(bed, "judged-well").await?;
    application_with(bed, "judged-absent", &[(PROXY, "absent")]).await?;
    application_with(bed, "judged-rejects", &[(PROXY, "rejects")]).await?;
    let session = Session::start_with(bed, CHECK).await?;
    let check = ["--check", "istiod"];
    let id = session.detach(&["judged-well"], &check).await?;
    session.until_state(&id, "SUCCEEDED").await?;
    let shown = session.done(&["status", &id]).await?;
    for word in ["istiod", "PASS", "all 2 pods are connected to", "0 rejects"] {
        ensure!(shown.contains(word), "no `{word}` in\n{shown}");
    }
    for (namespace, word) in
        [("judged-absent", "are not connected to"), ("judged-rejects", "unknown filter")]
    {
        let id = session.detach(&[namespace], &check).await?;
        let words = ["PAUSED (GATE)", "the check `istiod` has failed after wave 0"];
        session.refused(&["watch", &id], 1, &words).await?;
        let shown = session.done(&["status", &id]).await?;
        ensure!(shown.contains("FAIL") && shown.contains(word), "no `{word}` in\n{shown}");
        session.done(&["cancel", &id, "--yes"]).await?;
    }
    session.end_with(&["judged-well", "judged-absent", "judged-rejects"]).await
}
