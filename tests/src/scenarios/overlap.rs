//! Migrations of the same namespaces, and namespaces that are already there.

use crate::api::{MigrationState, MoveState};
use crate::bed::Bed;
use crate::cluster::{
    NEW, OLD, application, expect_injected, expect_label, failing_application, held_application,
    mend, set_label, until_injected,
};
use crate::history::History;
use crate::session::{Session, until};
use anyhow::{Result, ensure};

/// The younger one is accepted, waits, says for whom, and does what is left to do.
pub(crate) async fn an_overlapping_migration_waits_for_the_older(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    held_application(bed, "shared").await?;
    application(bed, "own").await?;
    let session = Session::start(bed).await?;
    let first = session.detach(&["shared"], &[]).await?;
    session.until_move(&first, "shared", MoveState::Restarting).await?;
    let plan = session
        .done(&["migrate", "--from", OLD, "--to", NEW, "-n", "own", "-n", "shared", "--dry-run"])
        .await?;
    ensure!(plan.contains(&format!("waits for: {first}")), "{plan}");
    let second = session.detach(&["own", "shared"], &[]).await?;
    let waiting = session.migration(&second).await?;
    ensure!(waiting.state() == MigrationState::Pending, "{waiting:?}");
    ensure!(waiting.waiting_for.iter().eq([&first]), "{waiting:?}");
    let shown = session.done(&["status", &second]).await?;
    ensure!(shown.contains("PENDING") && shown.contains(&first), "{shown}");
    // Not even the namespace that only it has is touched before.
    expect_label(&client, "own", OLD).await?;
    let history = History::of(bed, "shared").await?;
    session.release(&first, "shared").await?;
    let watched = session.run(&["watch", &second]).await?;
    ensure!(watched.status == 0, "{watched:?}");
    let first = session.migration(&first).await?;
    ensure!(first.state() == MigrationState::Succeeded, "{first:?}");
    session.until_move(&second, "own", MoveState::Moved).await?;
    // Nothing was left to be done there.
    session.until_move(&second, "shared", MoveState::Skipped).await?;
    ensure!(history.created(bed).await? <= 2, "the pods of `shared` were replaced twice");
    expect_injected(&client, "own", &[(NEW, 2)]).await?;
    session.end_with(&["shared", "own"]).await
}

/// Somebody gives up on a failed migration and starts another: it takes over what is half done.
pub(crate) async fn a_new_migration_finishes_what_a_cancelled_one_left(
    bed: &dyn Bed,
) -> Result<()> {
    let client = bed.client();
    failing_application(bed, "given-up", "never-ready").await?;
    let session = Session::start(bed).await?;
    let first = session.migrate_in_vain(&["given-up"], &["RS3005"]).await?;
    let second = session.detach(&["given-up"], &[]).await?;
    session.until_state(&second, "PENDING").await?;
    session.done(&["cancel", &first, "--yes"]).await?;
    session.until_state(&first, "CANCELLED").await?;
    mend(&client, "given-up", "web").await?;
    session.until_state(&second, "SUCCEEDED").await?;
    until_injected(bed, "given-up", NEW, 2).await?;
    // The label was the target's when the second was planned, so it has nothing to restore.
    let back = ["rollback", &second, "-n", "given-up", "--reason", "too far", "--yes"];
    session.refused(&back, 1, &["RS1301"]).await?;
    session.end_with(&["given-up"]).await
}

/// Relabelled by hand and not restarted: only the restart is left, and nothing to take back.
pub(crate) async fn a_relabelled_namespace_is_only_restarted(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    application(bed, "by-hand").await?;
    set_label(&client, "by-hand", "istio.io/rev", Some(NEW)).await?;
    let history = History::of(bed, "by-hand").await?;
    let session = Session::start(bed).await?;
    let id = session.detach(&["by-hand"], &[]).await?;
    session.until_state(&id, "SUCCEEDED").await?;
    let m = session.until_move(&id, "by-hand", MoveState::Moved).await?;
    ensure!(m.labels_before == m.labels_after && m.restarts.len() == 1, "{m:?}");
    expect_injected(&client, "by-hand", &[(NEW, 2)]).await?;
    history.replaced_once(bed).await?;
    let reason = ["--reason", "to see it refused", "--yes"];
    for namespaces in [&["-n", "by-hand"][..], &[]] {
        let back = [&["rollback", &id][..], namespaces, &reason].concat();
        session.refused(&back, 1, &["RS1301 Namespace/by-hand"]).await?;
    }
    expect_label(&client, "by-hand", NEW).await?;
    session.end_with(&["by-hand"]).await
}

/// What is wholly there is not touched.
pub(crate) async fn a_namespace_on_the_target_is_skipped(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    application(bed, "there").await?;
    let session = Session::start(bed).await?;
    let first = session.detach(&["there"], &[]).await?;
    session.until_state(&first, "SUCCEEDED").await?;
    let history = History::of(bed, "there").await?;
    let second = session.detach(&["there"], &[]).await?;
    let watched = session.run(&["watch", &second]).await?;
    ensure!(watched.status == 0 && watched.stderr.contains("skipped"), "{watched:?}");
    history.untouched(bed).await?;
    let reason = ["--reason", "to see it refused", "--yes"];
    let back = [&["rollback", &second, "-n", "there"][..], &reason].concat();
    session.refused(&back, 1, &["RS1302 Namespace/there"]).await?;
    // The first one moved it, and still knows from where.
    let back = [&["rollback", &first][..], &reason].concat();
    session.done(&back).await?;
    until(bed, "it is back", async || expect_label(&client, "there", OLD).await).await?;
    session.end_with(&["there"]).await
}

/// Migrations that share nothing do not wait for each other.
pub(crate) async fn independent_migrations_run_side_by_side(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    held_application(bed, "side-a").await?;
    for name in ["side-b", "side-c"] {
        application(bed, name).await?;
    }
    let session = Session::start(bed).await?;
    let first = session.detach(&["side-a", "side-c"], &[]).await?;
    session.until_move(&first, "side-a", MoveState::Restarting).await?;
    session.done(&["pause", &first]).await?;
    session.migrate(&["side-b"]).await?;
    expect_injected(&client, "side-b", &[(NEW, 2)]).await?;
    session.done(&["resume", &first]).await?;
    session.release(&first, "side-a").await?;
    session.until_state(&first, "SUCCEEDED").await?;
    session.end_with(&["side-a", "side-b", "side-c"]).await
}

/// There and back again, the way back being asked for before the way there has ended.
pub(crate) async fn an_opposite_migration_waits_and_moves_back(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    held_application(bed, "opposite").await?;
    let session = Session::start(bed).await?;
    let there = session.detach(&["opposite"], &[]).await?;
    session.until_move(&there, "opposite", MoveState::Restarting).await?;
    let args = ["migrate", "--from", NEW, "--to", OLD, "-n", "opposite", "--yes", "--detach"];
    let back = session.done(&args).await?.trim().to_owned();
    let waiting = session.migration(&back).await?.waiting_for;
    ensure!(waiting.iter().eq([&there]), "{waiting:?}");
    session.release(&there, "opposite").await?;
    session.until_state(&there, "SUCCEEDED").await?;
    session.until_state(&back, "SUCCEEDED").await?;
    expect_label(&client, "opposite", OLD).await?;
    expect_injected(&client, "opposite", &[(OLD, 2)]).await?;
    // What the first one wrote is not there any more.
    let reason = ["--reason", "to see it refused", "--yes"];
    let undo = [&["rollback", &there][..], &reason].concat();
    session.refused(&undo, 1, &["RS1303 Namespace/opposite"]).await?;
    session.end_with(&["opposite"]).await
}
