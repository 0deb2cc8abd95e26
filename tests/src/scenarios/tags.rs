//! Namespaces on tags, planes that are named by tags, and tags that are led elsewhere.

use crate::api::{MigrationState, MoveState};
use crate::bed::Bed;
use crate::cluster::{
    NEW, OLD, application_on, expect_injected, expect_label, held_application, label, uids,
    until_injected, until_injecting,
};
use crate::mesh;
use crate::session::{Session, until};
use anyhow::{Context, Result, ensure};
use revshift_proto::v1 as proto;
use serde_json::Value;

/// The arguments of a migration between the planes of the procedure.
const MIGRATE: [&str; 5] = ["migrate", "--from", "cp-v113x", "--to", "cp-v115x"];

/// Labels that name a tag, and `istio-injection`, are refused, then rewritten when told, and restored by a
/// rollback exactly as they were.
pub(crate) async fn labels_of_tags_are_rewritten_and_restored(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    mesh::lead_tag(&client, "rw-stable", OLD).await?;
    mesh::lead_tag(&client, "default", OLD).await?;
    application_on(bed, "rw-tagged", &[("istio.io/rev", "rw-stable")], OLD).await?;
    application_on(bed, "rw-enabled", &[("istio-injection", "enabled")], OLD).await?;
    // The one hides the other.
    let both = [("istio-injection", "enabled"), ("istio.io/rev", NEW)];
    application_on(bed, "rw-both", &both, OLD).await?;
    let names = ["rw-tagged", "rw-enabled", "rw-both"];
    let session = Session::start(bed).await?;
    attached(&session, "rw-tagged", "rw-stable").await?;
    attached(&session, "rw-enabled", "default").await?;
    let chosen = ["-n", "rw-tagged", "-n", "rw-enabled", "-n", "rw-both"];
    let plain = [&MIGRATE[..], &chosen, &["--yes"]].concat();
    let words = ["RS1004 Namespace/rw-tagged", "RS1005 Namespace/rw-enabled", "--tags=rewrite"];
    session.refused(&plain, 1, &words).await?;

    let rewrite = [&plain[..], &["--tags=rewrite"]].concat();
    let dry = [&MIGRATE[..], &chosen, &["--tags=rewrite", "--dry-run"]].concat();
    let shown = session.done(&dry).await?;
    for words in [
        "istio.io/rev=rw-stable leads to cp-v113x.istio-system by tag rw-stable",
        "istio-injection=enabled leads to cp-v113x.istio-system by tag default",
        "RS1012 Namespace/rw-tagged",
    ] {
        ensure!(shown.contains(words), "it does not say `{words}`:\n{shown}");
    }
    let id = session.done(&[&rewrite[..], &["--detach"]].concat()).await?.trim().to_owned();
    session.until_state(&id, "SUCCEEDED").await?;
    for name in names {
        expect_label(&client, name, NEW).await?;
        ensure!(label(&client, name, "istio-injection").await?.is_none(), "{name}");
        until_injected(bed, name, NEW, 2).await?;
    }

    session.done(&["rollback", &id, "--reason", "to see the labels again", "--yes"]).await?;
    expect_label(&client, "rw-tagged", "rw-stable").await?;
    ensure!(label(&client, "rw-tagged", "istio-injection").await?.is_none());
    let enabled = Some("enabled".to_owned());
    ensure!(label(&client, "rw-enabled", "istio-injection").await? == enabled);
    ensure!(label(&client, "rw-enabled", "istio.io/rev").await?.is_none());
    ensure!(label(&client, "rw-both", "istio-injection").await? == enabled);
    expect_label(&client, "rw-both", NEW).await?;
    for name in names {
        until_injected(bed, name, OLD, 2).await?;
    }
    mesh::remove_tag(&client, "default").await?;
    mesh::remove_tag(&client, "rw-stable").await?;
    session.end_with(&names).await
}

/// A rule leaves namespaces on tags out, and says so, unless it is told to rewrite their labels.
pub(crate) async fn a_rule_leaves_tags_out_unless_told(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    mesh::lead_tag(&client, "rule-stable", OLD).await?;
    let plain = [("istio.io/rev", OLD), ("team", "rule-tags")];
    application_on(bed, "rule-plain", &plain, OLD).await?;
    let tagged = [("istio.io/rev", "rule-stable"), ("team", "rule-tags")];
    application_on(bed, "rule-tagged", &tagged, OLD).await?;
    let session = Session::start(bed).await?;
    attached(&session, "rule-tagged", "rule-stable").await?;
    let rule = [&MIGRATE[..], &["-l", "team=rule-tags", "--dry-run"]].concat();
    until(bed, "one is left out", async || {
        let shown = session.done(&rule).await?;
        ensure!(shown.contains("plan: 1 namespace ") && shown.contains("RS1004"), "{shown}");
        ensure!(shown.contains("namespace `rule-tagged` is left out"), "{shown}");
        Ok(())
    })
    .await?;
    let told =
        [&MIGRATE[..], &["-l", "team=rule-tags", "--tags=rewrite", "--approve-all"]].concat();
    let shown = session.done(&[&told[..], &["--dry-run"]].concat()).await?;
    ensure!(shown.contains("plan: 2 namespaces ") && !shown.contains("RS1004"), "{shown}");
    let id = session.done(&[&told[..], &["--yes", "--detach"]].concat()).await?;
    let id = id.trim();
    session.until_state(id, "SUCCEEDED").await?;
    for name in ["rule-plain", "rule-tagged"] {
        expect_label(&client, name, NEW).await?;
        until_injected(bed, name, NEW, 2).await?;
    }
    // What leads elsewhere by now does not stand in the way back.
    mesh::lead_tag(&client, "rule-stable", NEW).await?;
    let back = ["rollback", id, "--reason", "the tag has moved on"];
    until(bed, "it would go back by the name of the plane", async || {
        let shown = session.done(&[&back[..], &["--dry-run"]].concat()).await?;
        ensure!(shown.contains("WARNING RS1304 Namespace/rule-tagged"), "{shown}");
        ensure!(shown.contains("-> cp-v113x.istio-system"), "{shown}");
        Ok(())
    })
    .await?;
    session.done(&[&back[..], &["--yes"]].concat()).await?;
    for name in ["rule-plain", "rule-tagged"] {
        expect_label(&client, name, OLD).await?;
        until_injected(bed, name, OLD, 2).await?;
    }
    mesh::remove_tag(&client, "rule-stable").await?;
    session.end_with(&["rule-plain", "rule-tagged"]).await
}

/// The tag that was named is what namespaces are labelled with; what leads to the target already, by
/// whatever name, keeps its label and its pods.
pub(crate) async fn a_tag_that_is_named_is_what_is_written(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    mesh::lead_tag(&client, "named-old", OLD).await?;
    mesh::lead_tag(&client, "named-new", NEW).await?;
    application_on(bed, "named-moved", &[("istio.io/rev", OLD)], OLD).await?;
    application_on(bed, "named-there", &[("istio.io/rev", NEW)], NEW).await?;
    let before = uids(&client, "named-there").await?;
    let session = Session::start(bed).await?;
    let args = ["migrate", "--from", "named-old", "--to", "named-new", "--yes"];
    let args = [&args[..], &["-n", "named-moved", "-n", "named-there"]].concat();
    let dry = [&args[..5], &args[6..], &["--dry-run"]].concat();
    until(bed, "the plan says both", async || {
        let shown = session.done(&dry).await?;
        let ways = format!("from tag named-old ({OLD}) to tag named-new ({NEW})");
        ensure!(shown.contains(&ways), "{shown}");
        ensure!(shown.contains("labels stay as they are"), "{shown}");
        Ok(())
    })
    .await?;
    let id = session.done(&[&args[..], &["--detach"]].concat()).await?.trim().to_owned();
    session.until_state(&id, "SUCCEEDED").await?;
    expect_label(&client, "named-moved", "named-new").await?;
    until_injected(bed, "named-moved", NEW, 2).await?;
    session.until_move(&id, "named-there", MoveState::Skipped).await?;
    expect_label(&client, "named-there", NEW).await?;
    ensure!(uids(&client, "named-there").await? == before, "its pods were replaced");
    let tags = session.migration(&id).await?.tags.context("no tags")?;
    ensure!((tags.source_tag, tags.target_tag) == ("named-old".into(), "named-new".into()));
    let status = session.done(&["status", &id]).await?;
    ensure!(status.contains(&format!("tag named-new ({NEW})")), "{status}");

    let back = ["rollback", &id, "--reason", "to see it back", "-n", "named-moved", "--yes"];
    session.done(&back).await?;
    expect_label(&client, "named-moved", OLD).await?;
    until_injected(bed, "named-moved", OLD, 2).await?;
    mesh::remove_tag(&client, "named-old").await?;
    mesh::remove_tag(&client, "named-new").await?;
    session.end_with(&["named-moved", "named-there"]).await
}

/// The target's tag is led elsewhere in the middle: everything stops, by name, until it leads back.
pub(crate) async fn a_tag_that_moves_pauses_the_migration(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    mesh::lead_tag(&client, "moving", NEW).await?;
    held_application(bed, "adrift-a").await?;
    application_on(bed, "adrift-b", &[("istio.io/rev", OLD)], OLD).await?;
    let session = Session::start(bed).await?;
    let args = ["migrate", "--from", OLD, "--to", "moving", "-n", "adrift-a", "-n", "adrift-b"];
    let args = [&args[..], &["--yes", "--detach"]].concat();
    let id = until(bed, "the tag is seen", async || session.done(&args).await).await?;
    let id = id.trim().to_owned();
    session.until_move(&id, "adrift-a", MoveState::Restarting).await?;
    mesh::lead_tag(&client, "moving", OLD).await?;
    let problem = drifts(&session, &id).await?;
    ensure!(problem.code == "RS1501" && problem.object == "Tag/moving", "{problem:?}");
    for plane in [OLD, NEW] {
        ensure!(problem.message.contains(plane), "{problem:?}");
    }
    let words = ["PAUSED", "RS1501", "moving", "resume"];
    session.refused(&["watch", &id], 1, &words).await?;
    session.refused(&["resume", &id], 1, &["tag `moving`", OLD, NEW]).await?;
    // Nothing more begins meanwhile, and what has begun is not judged.
    session.until_move(&id, "adrift-a", MoveState::Restarting).await?;
    session.until_move(&id, "adrift-b", MoveState::Pending).await?;
    expect_label(&client, "adrift-b", OLD).await?;

    mesh::lead_tag(&client, "moving", NEW).await?;
    until_injecting(bed, "adrift-a", NEW).await?;
    // It goes on only when somebody says so.
    drifts(&session, &id).await?;
    until(bed, "it is resumed", async || session.done(&["resume", &id]).await).await?;
    session.release(&id, "adrift-a").await?;
    session.until_state(&id, "SUCCEEDED").await?;
    for name in ["adrift-a", "adrift-b"] {
        expect_label(&client, name, "moving").await?;
        until_injected(bed, name, NEW, 2).await?;
    }
    mesh::remove_tag(&client, "moving").await?;
    session.end_with(&["adrift-a", "adrift-b"]).await
}

/// The tag that namespaces are on is taken away before they have moved; who gives up on the migration leaves
/// them so.
pub(crate) async fn a_tag_that_is_left_is_watched_until_it_is_left(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    mesh::lead_tag(&client, "left", OLD).await?;
    held_application(bed, "left-a").await?;
    application_on(bed, "left-b", &[("istio.io/rev", "left")], OLD).await?;
    let session = Session::start(bed).await?;
    attached(&session, "left-b", "left").await?;
    let id = session.detach(&["left-a", "left-b"], &["--tags=rewrite"]).await?;
    session.until_move(&id, "left-a", MoveState::Restarting).await?;
    mesh::remove_tag(&client, "left").await?;
    let problem = drifts(&session, &id).await?;
    ensure!(problem.code == "RS1501" && problem.object == "Tag/left", "{problem:?}");
    ensure!(problem.message.contains("not injected"), "{problem:?}");
    session.done(&["cancel", &id, "--yes"]).await?;
    session.until_move(&id, "left-b", MoveState::Cancelled).await?;
    // What is on its way to the target does not need the tag any more.
    session.release(&id, "left-a").await?;
    session.until_state(&id, "CANCELLED").await?;
    expect_label(&client, "left-b", "left").await?;
    expect_injected(&client, "left-b", &[(OLD, 2)]).await?;
    session.end_with(&["left-a", "left-b"]).await
}

/// Planes tell their tags, and which of them is the default by what.
pub(crate) async fn planes_tell_tags_and_the_default(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    let session = Session::start(bed).await?;
    mesh::create_default_validator(&client, OLD).await?;
    let is = |revision: &'static str, by: &'static str, tags: &'static [&'static str]| {
        let session = &session;
        until(bed, format!("{revision} has {tags:?} and {by}"), async move || {
            let list = session.done(&["planes", "-o", "json"]).await?;
            let list: Value = serde_json::from_str(&list)?;
            let items = list["items"].as_array().context("no items")?;
            let plane = items.iter().find(|plane| plane["revision"] == revision);
            let plane = plane.with_context(|| format!("no {revision}"))?;
            let shown = plane["defaultBy"].as_str().unwrap_or_default();
            ensure!(shown == by, "{plane}");
            let found: Vec<_> =
                plane["tags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            ensure!(found == tags, "{plane}");
            Ok(())
        })
    };
    is(OLD, "DEFAULT_BY_VALIDATOR", &[]).await?;
    is(NEW, "", &[]).await?;
    mesh::lead_tag(&client, "default", NEW).await?;
    mesh::lead_tag(&client, "prod", NEW).await?;
    is(NEW, "DEFAULT_BY_TAG", &["default", "prod"]).await?;
    is(OLD, "", &[]).await?;
    let table = session.done(&["planes"]).await?;
    let row = table.lines().find(|line| line.contains(NEW)).context("no row of the new plane")?;
    ensure!(row.ends_with("default,prod   TAG"), "{row}");
    mesh::remove_tag(&client, "prod").await?;
    mesh::remove_tag(&client, "default").await?;
    is(OLD, "DEFAULT_BY_VALIDATOR", &[]).await?;
    mesh::delete_default_validator(&client).await?;
    is(OLD, "", &[]).await?;
    session.end().await
}

/// Waits until the server shows a namespace on the old plane through a tag.
async fn attached(session: &Session<'_>, name: &str, tag: &str) -> Result<()> {
    until(session.bed, format!("{name} is shown on tag {tag}"), async || {
        let list = session.done(&["namespaces", "-o", "json"]).await?;
        let list: Value = serde_json::from_str(&list)?;
        let mut items = list["items"].as_array().into_iter().flatten();
        let found = items.find(|it| it["name"] == name).context("it is missing")?;
        ensure!(found["tag"] == tag && found["resolvedPlane"] == OLD, "{found}");
        Ok(())
    })
    .await
}

/// Waits until a migration is paused as its labels lead elsewhere; answers what it says of that.
async fn drifts(session: &Session<'_>, id: &str) -> Result<proto::Problem> {
    until(session.bed, format!("{id} is adrift"), async || {
        let found = session.migration(id).await?;
        ensure!(found.state() == MigrationState::Paused, "{found:?}");
        ensure!(found.pause_reason() == proto::migration::PauseReason::Drift, "{found:?}");
        found.tags.and_then(|tags| tags.drift).context("it does not say what")
    })
    .await
}
