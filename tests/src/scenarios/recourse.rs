//! Failures that a migration answers by itself, with a rollback.

use crate::api::MoveState;
use crate::bed::{Bed, Power, require};
use crate::cluster::{
    FAILS, NEW, OLD, application, application_with, expect_injected, expect_label,
    failing_application, label, until_injected,
};
use crate::session::{Session, until};
use anyhow::{Context, Result, ensure};
use std::io::Write;

const REQUESTER: &str = "revshift, for ";

/// Each failed namespace goes back, and counts against the budget nevertheless.
pub(crate) async fn a_failed_namespace_goes_back_by_itself(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    let names = ["alone-x", "alone-y", "alone-z"];
    failing_application(bed, "alone-x", "image-pull").await?;
    failing_application(bed, "alone-y", "never-ready").await?;
    application(bed, "alone-z").await?;
    let session = Session::start(bed).await?;
    let before = session.count_migrations().await?;
    let extra = ["--on-failure", "rollback-namespace", "--failure-budget", "1"];
    let id = session.detach(&names, &[&extra[..], &["--rollout-timeout", "10s"]].concat()).await?;
    let m = session.until_move(&id, "alone-x", MoveState::Superseded).await?;
    let problem = m.problem.context("its problem is forgotten")?;
    ensure!(problem.code == "RS3003" && !m.rollback.is_empty(), "{problem:?} {}", m.rollback);
    let rollback = session.migration(&m.rollback).await?;
    ensure!(rollback.rollback_of == id, "{rollback:?}");
    ensure!(rollback.requester.starts_with(REQUESTER), "{rollback:?}");
    ensure!(rollback.reason.contains("`alone-x` failed: RS3003 Pod/alone-x/web-"), "{rollback:?}");
    session.until_state(&rollback.id, "SUCCEEDED").await?;
    expect_label(&client, "alone-x", OLD).await?;
    until_injected(bed, "alone-x", OLD, 2).await?;

    // The second one is one too many.
    session.until_move(&id, "alone-y", MoveState::Superseded).await?;
    let shown = session.until_state(&id, "PAUSED").await?;
    for word in ["On failure:", "RS3003", "RS3005", "rolled back by `m-", "resume to go on"] {
        ensure!(shown.contains(word), "no {word:?} in {shown}");
    }
    until_injected(bed, "alone-y", OLD, 2).await?;
    expect_label(&client, "alone-z", OLD).await?;
    let retry = ["retry", &id, "-n", "alone-x", "--yes"];
    session.refused(&retry, 1, &["SUPERSEDED"]).await?;
    session.done(&["resume", &id]).await?;
    session.until_state(&id, "COMPLETED_WITH_EXCEPTIONS").await?;
    expect_injected(&client, "alone-z", &[(NEW, 2)]).await?;
    // It was done once for each.
    ensure!(session.count_migrations().await? == before + 3, "there are other migrations");
    session.end_with(&names).await
}

/// What the wave has moved goes back with what failed in it; the wave before stays.
pub(crate) async fn a_failed_wave_goes_back_by_itself(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    let names = ["waved-a", "waved-b", "waved-c", "waved-d"];
    for name in ["waved-a", "waved-b", "waved-d"] {
        application(bed, name).await?;
    }
    failing_application(bed, "waved-c", "crash-loop").await?;
    let session = Session::start(bed).await?;
    let text = "source: cp-v113x\ntarget: cp-v115x\nrolloutTimeout: 10s\n\
        onFailure: ON_FAILURE_ROLLBACK_WAVE\nwaves:\n- namespaces: [waved-a]\n\
        - namespaces: [waved-b, waved-c]\n- namespaces: [waved-d]\n";
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(text.as_bytes())?;
    let path = file.path().to_string_lossy().into_owned();
    let plan = session.done(&["migrate", "-f", &path, "--dry-run"]).await?;
    ensure!(plan.contains("on failure: its wave is rolled back"), "{plan}");
    let id = session.done(&["migrate", "-f", &path, "--yes", "--detach"]).await?;
    let id = id.trim();
    let failed = session.until_move(id, "waved-c", MoveState::Superseded).await?;
    session.until_move(id, "waved-b", MoveState::Superseded).await?;
    let back = session.until_state(&failed.rollback, "SUCCEEDED").await?;
    ensure!(back.contains("waved-b") && back.contains("waved-c"), "{back}");
    session.until_state(id, "PAUSED").await?;
    for (name, revision) in names.into_iter().zip([NEW, OLD, OLD, OLD]) {
        expect_label(&client, name, revision).await?;
        until_injected(bed, name, revision, 2).await?;
    }
    session.done(&["resume", id]).await?;
    session.until_state(id, "COMPLETED_WITH_EXCEPTIONS").await?;
    expect_injected(&client, "waved-d", &[(NEW, 2)]).await?;
    session.end_with(&names).await
}

/// A rollback that fails waits for people, like any other migration, and is not rolled back.
pub(crate) async fn a_rollback_by_itself_that_fails_pauses(bed: &dyn Bed) -> Result<()> {
    require(bed, Power::FailingPods)?;
    // Its pods are ready before anybody fails them.
    application_with(bed, "stuck-both", &[]).await?;
    let client = bed.client();
    let fails = serde_json::json!({ "spec": { "paused": true, "template": { "metadata": {
        "labels": { FAILS: "never-ready" } } } } });
    crate::cluster::edit::<k8s_openapi::api::apps::v1::Deployment>(
        &client,
        "stuck-both",
        "web",
        fails,
    )
    .await?;
    let unpaused = serde_json::json!({ "spec": { "paused": null } });
    let session = Session::start(bed).await?;
    let before = session.count_migrations().await?;
    let extra = ["--on-failure", "rollback-namespace", "--rollout-timeout", "10s"];
    let id = session.detach(&["stuck-both"], &extra).await?;
    until(bed, "its label is written", async || {
        let found = label(&client, "stuck-both", "istio.io/rev").await?;
        ensure!(found.as_deref() == Some(NEW), "{found:?}");
        Ok(())
    })
    .await?;
    crate::cluster::edit::<k8s_openapi::api::apps::v1::Deployment>(
        &client,
        "stuck-both",
        "web",
        unpaused,
    )
    .await?;
    let m = session.until_move(&id, "stuck-both", MoveState::Superseded).await?;
    session.until_move(&m.rollback, "stuck-both", MoveState::Failed).await?;
    session.until_state(&m.rollback, "PAUSED").await?;
    ensure!(session.count_migrations().await? == before + 2, "it was rolled back again");
    session.done(&["cancel", &m.rollback, "--yes"]).await?;
    session.end_with(&["stuck-both"]).await
}
