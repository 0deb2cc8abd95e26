//! Waves: by rule and by file, with approvals, gateways last; namespaces that are left out.

use crate::api::MoveState;
use crate::bed::Bed;
use crate::cluster::{
    NEW, OLD, application, create, deployment, expect_injected, expect_label, failing_application,
    mend, namespace, ready, set_label, with_pod_label,
};
use crate::session::{Session, until};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use std::io::Write;

/// A rule finds its namespaces; the canary goes alone, the rest when somebody has looked.
pub(crate) async fn a_rule_moves_in_waves(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    let names = ["team-a", "team-b", "team-c", "team-d"];
    for name in names.into_iter().chain(["stranger"]) {
        application(bed, name).await?;
    }
    for name in names {
        set_label(&client, name, "team", Some("waves")).await?;
    }
    let session = Session::start(bed).await?;
    let rule = ["migrate", "--from", OLD, "--to", NEW, "-l", "team=waves,team!=other"];
    let plan = until(bed, "the rule finds all four", async || {
        let plan = session.done(&[&rule[..], &["--dry-run"]].concat()).await?;
        ensure!(plan.contains("plan: 4 namespaces"), "{plan}");
        Ok(plan)
    })
    .await?;
    for word in [
        "wave 0\nteam-a",
        "wave 1, after an approval\nteam-b",
        "budgets, over all migrations:",
        "a second: ",
        "estimated duration: ",
        "how long 1 wave waits for an approval",
    ] {
        ensure!(plan.contains(word), "no {word:?} in {plan}");
    }
    ensure!(!plan.contains("stranger"), "{plan}");

    let words = ["WAITING_APPROVAL", "approve", "wave 1"];
    session.refused(&[&rule[..], &["--yes"]].concat(), 1, &words).await?;
    let listed = session.done(&["migrations", "-o", "name"]).await?;
    let id = listed.lines().next().context("no migration is listed")?;
    expect_injected(&client, "team-a", &[(NEW, 2)]).await?;
    for name in &names[1..] {
        expect_label(&client, name, OLD).await?;
    }
    let shown = session.done(&["status", id]).await?;
    ensure!(shown.contains("WAITING_APPROVAL"), "{shown}");
    ensure!(!shown.contains("Unplanned"), "{shown}");
    application(bed, "team-new").await?;
    set_label(&client, "team-new", "team", Some("waves")).await?;
    until(bed, "what the rule finds later is reported", async || {
        let shown = session.done(&["status", id]).await?;
        ensure!(shown.contains("Unplanned:") && shown.contains("team-new: found"), "{shown}");
        Ok(())
    })
    .await?;
    session.refused(&["approve", id, "--wave", "0"], 1, &["wave 0 needs no approval"]).await?;
    session.done(&["approve", id]).await?;
    session.done(&["approve", id, "--wave", "1"]).await?;
    session.until_state(id, "SUCCEEDED").await?;
    let shown = session.done(&["status", id]).await?;
    ensure!(shown.contains("Approved:") && shown.contains("wave 1 by"), "{shown}");
    for name in names {
        expect_injected(&client, name, &[(NEW, 2)]).await?;
    }
    for name in ["stranger", "team-new"] {
        expect_label(&client, name, OLD).await?;
    }
    let plan = session.done(&[&rule[..], &["--dry-run"]].concat()).await?;
    ensure!(plan.contains("plan: 1 namespace ") && plan.contains("team-new"), "{plan}");
    session.end_with(&[&names[..], &["stranger", "team-new"]].concat()).await
}

/// The whole specification as a file: what the API's message holds.
pub(crate) async fn a_file_holds_the_whole_specification(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    let names = ["filed-a", "filed-b", "filed-c"];
    for name in names {
        application(bed, name).await?;
    }
    let session = Session::start(bed).await?;
    let text = "source: cp-v113x\ntarget: cp-v115x\nrolloutTimeout: 300s\nwaves:\n\
        - namespaces: [filed-b]\n- namespaces: [filed-a, filed-c]\n  approval: true\n";
    let file = written(text)?;
    let path = file.path().to_string_lossy().into_owned();
    let id = session.done(&["migrate", "-f", &path, "--yes", "--detach"]).await?;
    let id = id.trim();
    session.until_state(id, "WAITING_APPROVAL").await?;
    expect_injected(&client, "filed-b", &[(NEW, 2)]).await?;
    expect_label(&client, "filed-a", OLD).await?;
    session.done(&["approve", id]).await?;
    session.until_state(id, "SUCCEEDED").await?;
    let bad = written("source: a\ntarget: b\nnamespace: [x]\n")?;
    let path = bad.path().to_string_lossy().into_owned();
    session.refused(&["migrate", "-f", &path, "--yes"], 2, &["namespace"]).await?;
    session.end_with(&names).await
}

/// Gateways come last, one a wave, and never by themselves.
pub(crate) async fn a_gateway_waits_for_an_approval(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    namespace(&client, "edge", &[("istio.io/rev", OLD), ("tier", "edged")]).await?;
    let gateway = deployment("edge", "gate", 1);
    let gateway = with_pod_label(gateway, "gateway.networking.k8s.io/gateway-name", "gate");
    create::<Deployment>(&client, gateway).await?;
    ready(bed, "edge", 1).await?;
    application(bed, "behind").await?;
    set_label(&client, "behind", "tier", Some("edged")).await?;
    let session = Session::start(bed).await?;
    let rule = ["migrate", "--from", OLD, "--to", NEW, "-l", "tier=edged"];
    let id = until(bed, "both are found", async || {
        let plan = session.done(&[&rule[..], &["--dry-run"]].concat()).await?;
        let expected = "wave 1, after an approval\nedge";
        ensure!(plan.contains("wave 0\nbehind") && plan.contains(expected), "{plan}");
        session.done(&[&rule[..], &["--yes", "--detach"]].concat()).await
    })
    .await?;
    let id = id.trim();
    session.until_state(id, "WAITING_APPROVAL").await?;
    expect_label(&client, "edge", OLD).await?;
    session.done(&["approve", id]).await?;
    session.until_state(id, "SUCCEEDED").await?;
    expect_injected(&client, "edge", &[(NEW, 1)]).await?;
    // Named alone it waits too, unless told otherwise.
    let back = ["migrate", "--from", NEW, "--to", OLD, "-n", "edge"];
    session.refused(&[&back[..], &["--yes"]].concat(), 1, &["WAITING_APPROVAL"]).await?;
    let listed = session.done(&["migrations", "-o", "name"]).await?;
    let waiting = listed.lines().next().context("no migration is listed")?;
    session.done(&["cancel", waiting, "--yes"]).await?;
    session.until_state(waiting, "CANCELLED").await?;
    session.done(&[&back[..], &["--approve-all", "--yes"]].concat()).await?;
    expect_injected(&client, "edge", &[(OLD, 1)]).await?;
    session.end_with(&["edge", "behind"]).await
}

/// A namespace that somebody leaves out after all stays as it is.
pub(crate) async fn a_namespace_is_left_out_after_all(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    failing_application(bed, "kept-a", "never-ready").await?;
    for name in ["kept-b", "kept-c"] {
        application(bed, name).await?;
    }
    let session = Session::start(bed).await?;
    let id = session.detach(&["kept-a", "kept-b", "kept-c"], &[]).await?;
    session.until_move(&id, "kept-a", MoveState::Restarting).await?;
    session.refused(&["skip", &id, "-n", "kept-b"], 2, &["--yes"]).await?;
    let under_way = ["skip", &id, "-n", "kept-a", "--yes"];
    session.refused(&under_way, 1, &["`kept-a` is RESTARTING"]).await?;
    session.refused(&["skip", &id, "-n", "other", "--yes"], 1, &["does not move"]).await?;
    session.done(&["skip", &id, "-n", "kept-b", "--yes"]).await?;
    session.done(&["skip", &id, "-n", "kept-b", "--yes"]).await?;
    mend(&client, "kept-a", "web").await?;
    session.until_state(&id, "COMPLETED_WITH_EXCEPTIONS").await?;
    session.until_move(&id, "kept-b", MoveState::Skipped).await?;
    let watched = session.run(&["watch", &id]).await?;
    ensure!(watched.stderr.contains("skipped on request"), "{watched:?}");
    expect_label(&client, "kept-b", OLD).await?;
    expect_injected(&client, "kept-c", &[(NEW, 2)]).await?;
    session.end_with(&["kept-a", "kept-b", "kept-c"]).await
}

/// With a failure budget, a failure is reported and the others go on.
pub(crate) async fn a_failure_budget_lets_the_others_go_on(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    failing_application(bed, "spent", "image-pull").await?;
    for name in ["saved-a", "saved-b"] {
        application(bed, name).await?;
    }
    let session = Session::start(bed).await?;
    let extra = ["--failure-budget", "1", "--rollout-timeout", "5s"];
    let id = session.detach(&["spent", "saved-a", "saved-b"], &extra).await?;
    session.until_problem(&id, "spent", MoveState::Failed, "RS3003").await?;
    for name in ["saved-a", "saved-b"] {
        session.until_move(&id, name, MoveState::Moved).await?;
        expect_injected(&client, name, &[(NEW, 2)]).await?;
    }
    // Only the failure is left: that is for somebody to decide.
    session.until_state(&id, "PAUSED").await?;
    mend(&client, "spent", "web").await?;
    session.done(&["retry", &id, "-n", "spent", "--yes"]).await?;
    session.until_state(&id, "SUCCEEDED").await?;
    session.end_with(&["spent", "saved-a", "saved-b"]).await
}

fn written(text: &str) -> Result<tempfile::NamedTempFile> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(text.as_bytes())?;
    Ok(file)
}
