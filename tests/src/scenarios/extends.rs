//! Extensions: an unfinished migration takes in what came since.

use crate::bed::Bed;
use crate::cluster::{NEW, OLD, application, expect_injected, expect_label, set_label};
use crate::session::{Session, until};
use anyhow::{Context, Result, ensure};

/// What the rule finds later is taken in, and what is named; whoever follows sees it.
pub(crate) async fn a_migration_takes_in_what_came_since(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    let names = ["late-a", "late-b", "late-c", "late-d", "late-e"];
    for name in names {
        application(bed, name).await?;
    }
    for name in &names[..2] {
        set_label(&client, name, "team", Some("late")).await?;
    }
    let mut session = Session::start(bed).await?;
    let rule = ["migrate", "--from", OLD, "--to", NEW, "-l", "team=late"];
    until(bed, "the rule finds both", async || {
        let plan = session.done(&[&rule[..], &["--dry-run"]].concat()).await?;
        ensure!(plan.contains("plan: 2 namespaces"), "{plan}");
        Ok(())
    })
    .await?;
    let id = session.done(&[&rule[..], &["--yes", "--detach"]].concat()).await?;
    let id = id.trim();
    session.until_state(id, "WAITING_APPROVAL").await?;
    let extend = ["extend", id];
    let nothing = ["its rule finds nothing that it does not have", "WAITING_APPROVAL"];
    session.refused(&[&extend[..], &["--yes"]].concat(), 1, &nothing[..1]).await?;
    let known = ["namespaces[0]: `late-a` is in it already, in wave 0"];
    session.refused(&[&extend[..], &["-n", "late-a", "--yes"]].concat(), 1, &known).await?;

    set_label(&client, "late-c", "team", Some("late")).await?;
    let plan = until(bed, "the rule finds the third", async || {
        session.done(&[&extend[..], &["--dry-run"]].concat()).await
    })
    .await?;
    for word in ["plan: 1 namespace from", &format!("migration {id} takes them in"), "late-c"] {
        ensure!(plan.contains(word), "no {word:?} in {plan}");
    }
    expect_label(&client, "late-c", OLD).await?;
    session.done(&[&extend[..], &["--yes", "--detach"]].concat()).await?;
    // What is in the migration is held by it.
    let mine = ["migrate", "--from", OLD, "--to", NEW, "-n", "late-c", "--dry-run"];
    let plan = session.done(&mine).await?;
    ensure!(plan.contains(&format!("waits for: {id}")), "{plan}");
    session.kill_and_restart().await?;
    session
        .done(&[&extend[..], &["-n", "late-e", "-n", "late-d", "--yes", "--detach"]].concat())
        .await?;
    session.done(&["approve", id]).await?;
    let watched = session.run(&["watch", id]).await?;
    let end = "done: 5 of 5 moved";
    ensure!(watched.status == 0 && watched.stderr.contains(end), "{}", watched.stderr);
    for name in names {
        ensure!(watched.stderr.contains(&format!("{name}: moved")), "{}", watched.stderr);
        expect_injected(&client, name, &[(NEW, 2)]).await?;
    }
    let moves = session.moves(id).await?;
    let order: Vec<_> = moves.iter().map(|m| (m.namespace.as_str(), m.wave)).collect();
    let expected = [("late-a", 0), ("late-b", 1), ("late-c", 2), ("late-e", 3), ("late-d", 4)];
    ensure!(order == expected, "{order:?}");
    let starts: Vec<_> = moves.iter().map(|m| m.start_time.map(|time| time.seconds)).collect();
    ensure!(starts.is_sorted(), "{starts:?}");
    let shown = session.done(&["status", id]).await?;
    for word in ["extend late-c: ", "extend late-e, late-d: "] {
        ensure!(shown.contains(word), "no {word:?} in {shown}");
    }
    let over = [&extend[..], &["-n", "late-a", "--yes"]].concat();
    session.refused(&over, 1, &["it has ended"]).await?;
    let back = session.done(&["rollback", id, "--reason", "late", "--yes", "--detach"]).await?;
    let back = back.lines().next().context("no rollback is named")?;
    session.until_state(back, "SUCCEEDED").await?;
    for name in names {
        expect_label(&client, name, OLD).await?;
    }
    session.end_with(&names).await
}
