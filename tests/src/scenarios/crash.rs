//! Servers that are killed, and others that go on.

use crate::api::{Follower, MigrationState, MoveState};
use crate::bed::Bed;
use crate::cluster::{
    NEW, OLD, application, create, daemon_set, expect_injected, failing_application,
    held_application, namespace, ready, stateful_set, until_injected,
};
use crate::history::History;
use crate::session::Session;
use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::{DaemonSet, StatefulSet};

/// Killed right after it was told to begin, while it restarts, and while it verifies, a server's
/// migration comes to its end: every pod is replaced once, and the stream misses nothing.
pub(crate) async fn a_killed_server_goes_on_where_it_was(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    let names = ["crash-a", "crash-b"];
    let mut histories = Vec::new();
    held_application(bed, "crash-a").await?;
    application(bed, "crash-b").await?;
    for name in names {
        create::<StatefulSet>(&client, stateful_set(name, "db", 2)).await?;
        create::<DaemonSet>(&client, daemon_set(name, "agent")).await?;
        ready(bed, name, 5).await?;
        histories.push(History::of(bed, name).await?);
    }
    let mut session = Session::start(bed).await?;
    let id = session.detach(&names, &[]).await?;
    session.kill_and_restart().await?;
    // What was accepted is there, whoever is asked.
    session.done(&["status", &id]).await?;

    let mut follower = Follower::start(bed, &*session.replica, &id).await?;
    let passed = |namespace: &'static str, states: &'static [MoveState]| {
        move |follower: &Follower<'_>| states.contains(&follower.state(namespace))
    };
    follower.until("crash-a restarts", passed("crash-a", &[MoveState::Restarting])).await?;
    session.kill_and_restart().await?;
    follower.resume(&*session.replica).await?;
    session.release(&id, "crash-a").await?;
    let verifying = &[MoveState::Verifying, MoveState::Moved];
    follower.until("crash-b is verified", passed("crash-b", verifying)).await?;
    session.kill_and_restart().await?;
    follower.resume(&*session.replica).await?;
    follower.read_out().await?;

    ensure!(follower.migration.state() == MigrationState::Succeeded, "{:?}", follower.migration);
    let stored = session.moves(&id).await?;
    ensure!(stored.iter().all(|m| follower.moves.get(&m.namespace) == Some(m)), "{stored:?}");
    for (m, history) in stored.iter().zip(&histories) {
        ensure!(m.attempt == 1 && m.restarts.len() == 3, "{m:?}");
        expect_injected(&client, &m.namespace, &[(NEW, 5)]).await?;
        history.replaced_once(bed).await?;
    }
    session.end_with(&names).await
}

/// The CLI waits for the server that it follows to come back; commands go on as if nothing was.
pub(crate) async fn a_failure_outlives_its_server(bed: &dyn Bed) -> Result<()> {
    failing_application(bed, "outlives", "never-ready").await?;
    let mut session = Session::start(bed).await?;
    let id = session.migrate_in_vain(&["outlives"], &["RS3005"]).await?;
    let before = session.until_problem(&id, "outlives", MoveState::Failed, "RS3005").await?;
    session.kill_and_restart().await?;
    let after = session.until_problem(&id, "outlives", MoveState::Failed, "RS3005").await?;
    ensure!(before == after, "{before:?} became {after:?}");
    session.until_state(&id, "PAUSED").await?;
    session.refused(&["resume", &id], 1, &["only failed moves are left"]).await?;
    let back = ["rollback", &id, "--reason", "it does not become ready", "--yes", "--detach"];
    let rollback = session.done(&back).await?.trim().to_owned();
    session.kill_and_restart().await?;
    session.until_state(&rollback, "SUCCEEDED").await?;
    until_injected(bed, "outlives", OLD, 2).await?;
    session.until_state(&id, "COMPLETED_WITH_EXCEPTIONS").await?;
    session.end_with(&["outlives"]).await
}

/// An empty namespace moves by its label alone.
pub(crate) async fn an_empty_namespace_moves_by_its_label(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    namespace(&client, "empty", &[("istio.io/rev", OLD)]).await?;
    let session = Session::start(bed).await?;
    let id = session.detach(&["empty"], &[]).await?;
    session.until_state(&id, "SUCCEEDED").await?;
    let m = session.until_move(&id, "empty", MoveState::Moved).await?;
    ensure!(m.restarts.is_empty() && m.leftovers.is_empty(), "{m:?}");
    ensure!(m.labels_before["istio.io/rev"] == OLD && m.labels_after["istio.io/rev"] == NEW);
    let back = ["rollback", &id, "--reason", "because it can be", "--yes"];
    session.done(&back).await?;
    crate::cluster::expect_label(&client, "empty", OLD).await?;
    session.end_with(&["empty"]).await
}
