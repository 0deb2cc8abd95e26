//! Detaching, watching, pausing, resuming and cancelling.

use crate::api::MoveState;
use crate::bed::Bed;
use crate::cluster::{NEW, OLD, application, expect_injected, expect_label, held_application};
use crate::history::History;
use crate::session::{Session, until};
use anyhow::{Result, ensure};
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::GroupVersionKind;
use serde_json::Value;

/// A migration that is left alone is found again, and followed to its end.
pub(crate) async fn a_detached_migration_is_watched_later(bed: &dyn Bed) -> Result<()> {
    held_application(bed, "detached").await?;
    let session = Session::start(bed).await?;
    let id = session.detach(&["detached"], &[]).await?;
    until(bed, "it is listed first", async || {
        let listed = session.done(&["migrations", "-o", "name"]).await?;
        ensure!(listed.lines().next() == Some(id.as_str()), "{listed}");
        Ok(())
    })
    .await?;
    session.until_move(&id, "detached", MoveState::Restarting).await?;
    let shown = session.done(&["status", &id]).await?;
    for word in [id.as_str(), OLD, NEW, "RUNNING", "detached"] {
        ensure!(shown.contains(word), "no {word} in {shown}");
    }
    // Who watches a paused one sees how it stands, and is not kept.
    session.done(&["pause", &id]).await?;
    session.refused(&["watch", &id], 1, &["restarting", "PAUSED"]).await?;
    session.done(&["resume", &id]).await?;
    let args = ["watch", id.as_str()];
    let (watched, released) = futures::join!(session.run(&args), session.release(&id, "detached"));
    let watched = watched?;
    released?;
    ensure!(watched.status == 0, "{watched:?}");
    ensure!(watched.stderr.contains("done: 1 of 1 moved"), "{}", watched.stderr);
    // What has ended can be watched again, message by message.
    let messages = session.done(&["watch", &id, "-o", "json"]).await?;
    let last: Value = serde_json::from_str(messages.lines().last().unwrap_or_default())?;
    ensure!(last["synced"] == true, "{messages}");
    ensure!(messages.contains("STATE_SUCCEEDED") && messages.contains("STATE_MOVED"));
    let listed = session.done(&["migrations"]).await?;
    let row = listed.lines().find(|line| line.starts_with(&id)).unwrap_or_default();
    ensure!(row.contains("SUCCEEDED"), "{listed}");
    // The cluster's own tools see it too.
    let kind = GroupVersionKind::gvk("revshift.dev", "v1alpha1", "Migration");
    let resource = ApiResource::from_gvk_with_plural(&kind, "migrations");
    let object = Api::<DynamicObject>::all_with(bed.client(), &resource).get(&id).await?;
    let (status, spec) = (&object.data["status"], &object.data["spec"]);
    ensure!(status["state"] == "SUCCEEDED" && status["moved"] == 1, "{status}");
    ensure!(status["conditions"][0]["type"] == "Succeeded", "{status}");
    ensure!(status["conditions"][0]["status"] == "True", "{status}");
    let others = [(1, "Progressing", "Succeeded"), (2, "Paused", "NotPaused")];
    for (place, kind, reason) in others {
        let condition = &status["conditions"][place];
        ensure!(condition["type"] == kind && condition["status"] == "False", "{status}");
        ensure!(condition["reason"] == reason, "{status}");
    }
    ensure!(spec["source"] == OLD && spec["target"] == NEW && spec["moves"] == 1, "{spec}");
    session.end_with(&["detached"]).await
}

/// A pause in the middle says what is half moved; nothing more starts until it is taken back.
pub(crate) async fn a_paused_migration_starts_nothing(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    held_application(bed, "pause-a").await?;
    application(bed, "pause-b").await?;
    let second = History::of(bed, "pause-b").await?;
    let session = Session::start(bed).await?;
    let id = session.detach(&["pause-a", "pause-b"], &[]).await?;
    session.until_move(&id, "pause-a", MoveState::Restarting).await?;
    let paused = session.run(&["pause", &id]).await?;
    ensure!(paused.status == 0, "{paused:?}");
    for word in ["PAUSED (USER)", "relabelled, not wholly moved: pause-a", "resume"] {
        ensure!(paused.stderr.contains(word), "no {word} in {}", paused.stderr);
    }
    session.done(&["pause", &id]).await?;
    // Rollouts cannot be stopped, so the first one ends; the second does not begin.
    session.release(&id, "pause-a").await?;
    session.refused(&["watch", &id], 1, &["PAUSED", "resume"]).await?;
    ensure!(session.a_move(&id, "pause-b").await?.state() == MoveState::Pending);
    expect_label(&client, "pause-b", OLD).await?;
    second.untouched(bed).await?;
    session.done(&["resume", &id]).await?;
    session.until_state(&id, "SUCCEEDED").await?;
    second.replaced_once(bed).await?;
    // Who has told it what outlives it; the second pause changed nothing.
    let told = session.migration(&id).await?.commands;
    let verbs: Vec<&str> = told.iter().map(|it| it.verb().as_str_name()).collect();
    ensure!(verbs == ["VERB_PAUSE", "VERB_RESUME"], "{told:?}");
    ensure!(told.iter().all(|it| !it.requester.is_empty() && it.time.is_some()), "{told:?}");
    let shown = session.done(&["status", &id]).await?;
    ensure!(shown.contains("pause: ") && shown.contains("resume: "), "{shown}");
    session.end_with(&["pause-a", "pause-b"]).await
}

/// A pause before the start holds everything back, until it is taken back.
pub(crate) async fn a_migration_is_paused_before_it_starts(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    held_application(bed, "early-a").await?;
    application(bed, "early-b").await?;
    let session = Session::start(bed).await?;
    let first = session.detach(&["early-a"], &[]).await?;
    // Once its label is written, the second plan is not overtaken by it.
    session.until_move(&first, "early-a", MoveState::Restarting).await?;
    let second = session.detach(&["early-b", "early-a"], &[]).await?;
    session.done(&["pause", &second]).await?;
    session.release(&first, "early-a").await?;
    session.until_state(&first, "SUCCEEDED").await?;
    session.until_state(&second, "PAUSED").await?;
    expect_label(&client, "early-b", OLD).await?;
    session.done(&["resume", &second]).await?;
    session.until_state(&second, "SUCCEEDED").await?;
    expect_injected(&client, "early-b", &[(NEW, 2)]).await?;
    session.end_with(&["early-a", "early-b"]).await
}

/// What was paused half way is finished by a cancellation, which starts nothing else.
pub(crate) async fn a_paused_migration_is_cancelled(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    held_application(bed, "half-a").await?;
    application(bed, "half-b").await?;
    let session = Session::start(bed).await?;
    let id = session.detach(&["half-a", "half-b"], &[]).await?;
    // It may not even have restarted anything yet.
    until(bed, "half-a is relabelled", async || expect_label(&client, "half-a", NEW).await).await?;
    session.done(&["pause", &id]).await?;
    session.done(&["cancel", &id, "--yes"]).await?;
    session.refused(&["resume", &id], 1, &["CANCELL"]).await?;
    session.release(&id, "half-a").await?;
    session.until_state(&id, "CANCELLED").await?;
    expect_injected(&client, "half-a", &[(NEW, 2)]).await?;
    expect_label(&client, "half-b", OLD).await?;
    session.end_with(&["half-a", "half-b"]).await
}

/// A cancelled migration finishes what it has begun, and leaves the rest.
pub(crate) async fn a_cancelled_migration_finishes_what_it_began(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    held_application(bed, "cancel-a").await?;
    application(bed, "cancel-b").await?;
    let second = History::of(bed, "cancel-b").await?;
    let session = Session::start(bed).await?;
    let id = session.detach(&["cancel-a", "cancel-b"], &[]).await?;
    session.until_move(&id, "cancel-a", MoveState::Restarting).await?;
    session.refused(&["cancel", &id], 2, &["--yes"]).await?;
    let cancelled = session.run(&["cancel", &id, "--yes"]).await?;
    ensure!(cancelled.status == 0, "{cancelled:?}");
    ensure!(cancelled.stderr.contains("running to their end: cancel-a"), "{}", cancelled.stderr);
    session.release(&id, "cancel-a").await?;
    session.refused(&["watch", &id], 1, &["CANCELLED"]).await?;
    session.until_move(&id, "cancel-b", MoveState::Cancelled).await?;
    expect_injected(&client, "cancel-a", &[(NEW, 2)]).await?;
    expect_label(&client, "cancel-b", OLD).await?;
    second.untouched(bed).await?;
    // It is cancelled already.
    session.done(&["cancel", &id, "--yes"]).await?;
    let retry = ["retry", &id, "-n", "cancel-b", "--yes"];
    for command in [&["pause", id.as_str()][..], &["resume", &id], &retry] {
        session.refused(command, 1, &["CANCELLED", "it has ended"]).await?;
    }
    session.end_with(&["cancel-a", "cancel-b"]).await
}

/// What has ended takes no commands any more.
pub(crate) async fn a_finished_migration_refuses_commands(bed: &dyn Bed) -> Result<()> {
    application(bed, "finished").await?;
    let session = Session::start(bed).await?;
    let id = session.detach(&["finished"], &[]).await?;
    session.until_state(&id, "SUCCEEDED").await?;
    let retry = ["retry", &id, "-n", "finished", "--yes"];
    let cancel = ["cancel", &id, "--yes"];
    for command in [&["pause", id.as_str()][..], &["resume", &id], &cancel, &retry] {
        session.refused(command, 1, &["SUCCEEDED", "it has ended"]).await?;
    }
    session.until_state(&id, "SUCCEEDED").await?;
    session.end_with(&["finished"]).await
}
