//! Going back, deliberately.

use crate::api::MoveState;
use crate::bed::Bed;
use crate::cluster::{
    NEW, OLD, application, expect_injected, expect_label, held_application, set_label,
    until_injected,
};
use crate::history::History;
use crate::session::Session;
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::Api;
use serde_json::Value;

const REASON: [&str; 3] = ["--reason", "errors in the log", "--yes"];

/// All namespaces of a migration, the last one first, with the labels that they had.
pub(crate) async fn a_migration_is_rolled_back_in_reverse_order(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    let names = ["back-a", "back-b", "back-c"];
    for name in names {
        application(bed, name).await?;
    }
    set_label(&client, "back-b", "team", Some("payments")).await?;
    let session = Session::start(bed).await?;
    let id = session.detach(&names, &[]).await?;
    session.until_state(&id, "SUCCEEDED").await?;
    let mut histories = Vec::new();
    for name in names {
        histories.push(History::of(bed, name).await?);
    }

    session.refused(&["rollback", &id, "--yes"], 2, &["--reason"]).await?;
    session.refused(&["rollback", &id, "--reason", " ", "--yes"], 1, &["reason: "]).await?;
    session.refused(&["rollback", &id, "--reason", "errors"], 2, &["--yes"]).await?;
    let plan = session.done(&["rollback", &id, "--reason", "errors", "--dry-run"]).await?;
    ensure!(plan.contains(&format!("label istio.io/rev: {NEW} -> {OLD}")), "{plan}");
    for name in names {
        expect_label(&client, name, NEW).await?;
    }

    let back = [&["rollback", &id, "--detach"][..], &REASON].concat();
    let rollback = session.done(&back).await?.trim().to_owned();
    session.until_state(&rollback, "SUCCEEDED").await?;
    let moves = session.moves(&rollback).await?;
    ensure!(moves.iter().map(|m| &*m.namespace).eq(["back-c", "back-b", "back-a"]), "{moves:?}");
    for pair in moves.windows(2) {
        let started = |m: &revshift_proto::v1::Move| m.start_time.map(|at| (at.seconds, at.nanos));
        ensure!(started(&pair[0]) <= started(&pair[1]), "{moves:?}");
    }
    let made = session.migration(&rollback).await?;
    ensure!(made.rollback_of == id && made.reason == REASON[1], "{made:?}");
    ensure!((&*made.source, &*made.target) == (NEW, OLD), "{made:?}");
    for (name, history) in names.iter().zip(&histories) {
        expect_label(&client, name, OLD).await?;
        expect_injected(&client, name, &[(OLD, 2)]).await?;
        history.replaced_once(bed).await?;
    }
    let other = Api::<Namespace>::all(client.clone()).get("back-b").await?;
    ensure!(other.labels().get("team").map(String::as_str) == Some("payments"), "{other:?}");
    let listed = session.done(&["migrations"]).await?;
    let row = listed.lines().find(|line| line.starts_with(&rollback)).context("no row")?;
    ensure!(row.ends_with(REASON[1]), "{row}");
    session.end_with(&names).await
}

/// What was not moved by it, is back already, or was moved again since, is not rolled back.
pub(crate) async fn a_rollback_is_refused_where_it_would_guess(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    for name in ["guess-a", "guess-b"] {
        application(bed, name).await?;
    }
    let session = Session::start(bed).await?;
    let roll_back = |id: &str, namespaces: &[&'static str]| {
        let mut args = vec!["rollback".to_owned(), id.to_owned()];
        args.extend(namespaces.iter().flat_map(|name| ["-n".to_owned(), (*name).to_owned()]));
        args.extend(REASON.map(str::to_owned));
        args
    };
    let refused = async |id: &str, namespaces: &[&'static str], words: &[&str]| {
        let args = roll_back(id, namespaces);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        session.refused(&args, 1, words).await
    };
    let first = session.detach(&["guess-a"], &[]).await?;
    session.until_state(&first, "SUCCEEDED").await?;
    refused(&first, &["guess-b"], &["does not move namespace `guess-b`"]).await?;
    refused(&first, &["guess-a", "guess-a"], &["namespaces[1]"]).await?;

    // Moved, and back, and moved again: the first one's move is history.
    session.done(&[&["rollback", &first][..], &REASON].concat()).await?;
    refused(&first, &["guess-a"], &["RS1303 Namespace/guess-a"]).await?;
    session.migrate(&["guess-a"]).await?;
    refused(&first, &[], &["RS1303 Namespace/guess-a"]).await?;
    expect_injected(&client, "guess-a", &[(NEW, 2)]).await?;

    // A label that is not the migration's any more.
    let second = session.detach(&["guess-b"], &[]).await?;
    session.until_state(&second, "SUCCEEDED").await?;
    set_label(&client, "guess-b", "istio.io/rev", Some("another")).await?;
    crate::session::until(bed, "the new label is seen", async || {
        refused(&second, &[], &["RS1303 Namespace/guess-b"]).await
    })
    .await?;
    session.end_with(&["guess-a", "guess-b"]).await
}

/// A namespace that is still being moved is taken back at once; the rest waits for a word.
pub(crate) async fn a_running_migration_is_rolled_back(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    held_application(bed, "undo-a").await?;
    application(bed, "undo-b").await?;
    let session = Session::start(bed).await?;
    let id = session.detach(&["undo-a", "undo-b"], &[]).await?;
    session.until_move(&id, "undo-a", MoveState::Restarting).await?;
    let back = [&["rollback", &id, "-n", "undo-b"][..], &REASON].concat();
    session.refused(&back, 1, &["RS1302 Namespace/undo-b"]).await?;
    session.done(&[&["rollback", &id, "-n", "undo-a"][..], &REASON].concat()).await?;
    expect_label(&client, "undo-a", OLD).await?;
    until_injected(bed, "undo-a", OLD, 2).await?;
    session.until_move(&id, "undo-a", MoveState::Superseded).await?;
    let shown = session.until_state(&id, "PAUSED").await?;
    ensure!(shown.contains("a rollback took `undo-a` over"), "{shown}");
    expect_label(&client, "undo-b", OLD).await?;
    session.done(&["resume", &id]).await?;
    session.until_state(&id, "COMPLETED_WITH_EXCEPTIONS").await?;
    expect_injected(&client, "undo-b", &[(NEW, 2)]).await?;
    session.end_with(&["undo-a", "undo-b"]).await
}

/// A rollback is a migration of its own, and so can be rolled back.
pub(crate) async fn a_rollback_is_rolled_back(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    application(bed, "to-and-fro").await?;
    let session = Session::start(bed).await?;
    let id = session.detach(&["to-and-fro"], &[]).await?;
    session.until_state(&id, "SUCCEEDED").await?;
    let namespaces = Api::<Namespace>::all(client.clone());
    let lock = async || {
        let namespace = namespaces.get("to-and-fro").await?;
        let text = namespace.annotations().get("revshift.dev/migration").cloned();
        let lock: Value = serde_json::from_str(&text.context("no lock")?)?;
        Ok::<_, anyhow::Error>(lock)
    };
    // Who looks at the namespace alone sees who moved it, and from where.
    let held = lock().await?;
    ensure!(held["migration"] == *id && held["prior"]["istio.io/rev"] == OLD, "{held}");
    let back = [&["rollback", &id, "--detach"][..], &REASON].concat();
    let first = session.done(&back).await?.trim().to_owned();
    session.until_state(&first, "SUCCEEDED").await?;
    expect_injected(&client, "to-and-fro", &[(OLD, 2)]).await?;
    let back = [&["rollback", &first, "--detach"][..], &REASON].concat();
    let second = session.done(&back).await?.trim().to_owned();
    session.until_state(&second, "SUCCEEDED").await?;
    expect_injected(&client, "to-and-fro", &[(NEW, 2)]).await?;
    let held = lock().await?;
    ensure!(held["migration"] == *second && held["prior"]["istio.io/rev"] == OLD, "{held}");
    session.end_with(&["to-and-fro"]).await
}
