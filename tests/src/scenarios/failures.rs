//! Rollouts that do not succeed, and ways out.

use super::events::until_told;
use crate::api::MoveState;
use crate::bed::{Bed, Power, require};
use crate::cluster::{
    FAILS, FAILS_ON, NEW, OLD, application, create, edit, expect_injected, expect_label,
    failing_application, mend, namespace, ready, stateful_set, until_injected, with_pod_label,
};
use crate::session::Session;
use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use revshift_proto::v1::Restart;
use revshift_proto::v1::restart::Method;
use serde_json::json;

/// The first failure pauses; the others go on when told to; the failed one when it was mended.
pub(crate) async fn a_failed_rollout_pauses_until_it_is_mended(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    failing_application(bed, "pull-a", "image-pull").await?;
    application(bed, "pull-b").await?;
    let session = Session::start(bed).await?;
    let words = ["PAUSED", "RS3003", "Pod/pull-a/web-", "Back-off pulling image"];
    let id = session.migrate_in_vain(&["pull-a", "pull-b"], &words).await?;
    let advice = format!("revshift retry {id} -n pull-a");
    session.refused(&["watch", &id], 1, &[&advice, "revshift resume"]).await?;
    session.until_problem(&id, "pull-a", MoveState::Failed, "RS3003").await?;
    let told = until_told(bed, "pull-a", "pull-a", "MoveFailed").await?;
    ensure!(told.type_.as_deref() == Some("Warning"), "{told:?}");
    until_told(bed, "default", &id, "Paused").await?;
    let waiting = session.a_move(&id, "pull-b").await?;
    ensure!(waiting.state() == MoveState::Pending, "{waiting:?}");
    expect_label(&client, "pull-a", NEW).await?;
    expect_label(&client, "pull-b", OLD).await?;

    // The others go on, and then there is nothing but the failure.
    session.done(&["resume", &id]).await?;
    session.until_move(&id, "pull-b", MoveState::Moved).await?;
    let shown = session.until_state(&id, "PAUSED").await?;
    ensure!(shown.contains("pull-a") && shown.contains("RS3003"), "{shown}");
    session.refused(&["resume", &id], 1, &["only failed moves are left: pull-a"]).await?;

    mend(&client, "pull-a", "web").await?;
    until_injected(bed, "pull-a", NEW, 2).await?;
    session.refused(&["retry", &id, "-n", "pull-a"], 2, &["--yes"]).await?;
    session.refused(&["retry", &id, "-n", "pull-b", "--yes"], 1, &["MOVED"]).await?;
    session.refused(&["retry", &id, "-n", "pull-c", "--yes"], 1, &["does not move"]).await?;
    session.done(&["retry", &id, "-n", "pull-a", "--yes"]).await?;
    session.until_state(&id, "SUCCEEDED").await?;
    until_injected(bed, "pull-a", NEW, 2).await?;
    let moved = session.a_move(&id, "pull-a").await?;
    ensure!(moved.attempt == 2 && moved.problem.is_none(), "{moved:?}");
    session.end_with(&["pull-a", "pull-b"]).await
}

/// Pods that crash and pods that do nothing are told apart. A cancelled migration leaves the
/// failures as they are, and what it did is still rolled back.
pub(crate) async fn failures_are_told_apart_and_rolled_back_together(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    failing_application(bed, "crashes", "crash-loop").await?;
    failing_application(bed, "idles", "never-ready").await?;
    let session = Session::start(bed).await?;
    let id =
        session.migrate_in_vain(&["crashes", "idles"], &["RS3004", "Pod/crashes/web-"]).await?;
    let crash = session.until_problem(&id, "crashes", MoveState::Failed, "RS3004").await?;
    ensure!(crash.message.contains("restarting failed container"), "{crash:?}");
    session.done(&["resume", &id]).await?;
    session.until_problem(&id, "idles", MoveState::Failed, "RS3005").await?;
    let shown = session.until_state(&id, "PAUSED").await?;
    ensure!(shown.contains("`crashes`") && shown.contains("`idles`"), "{shown}");

    session.done(&["cancel", &id, "--yes"]).await?;
    let shown = session.until_state(&id, "CANCELLED").await?;
    ensure!(shown.contains("half moved: `crashes`, `idles`"), "{shown}");
    session.done(&["rollback", &id, "--reason", "both fail", "--yes"]).await?;
    for name in ["crashes", "idles"] {
        expect_label(&client, name, OLD).await?;
        until_injected(bed, name, OLD, 2).await?;
    }
    session.end_with(&["crashes", "idles"]).await
}

/// Only the failed namespace goes back, although its rollout is stuck; the rest stays moved.
pub(crate) async fn a_stuck_namespace_is_rolled_back_alone(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    failing_application(bed, "alone-b", "never-ready").await?;
    application(bed, "alone-a").await?;
    application(bed, "alone-c").await?;
    let session = Session::start(bed).await?;
    let id = session.migrate_in_vain(&["alone-a", "alone-b", "alone-c"], &["RS3005"]).await?;
    let reason = ["--reason", "its pods do not become ready", "--yes"];
    let back = [&["rollback", &id, "-n", "alone-b"][..], &reason].concat();
    session.done(&back).await?;
    expect_label(&client, "alone-b", OLD).await?;
    until_injected(bed, "alone-b", OLD, 2).await?;
    session.until_move(&id, "alone-b", MoveState::Superseded).await?;
    expect_injected(&client, "alone-a", &[(NEW, 2)]).await?;
    // Whoever took one back wants to look before the others go on.
    let shown = session.until_state(&id, "PAUSED").await?;
    ensure!(shown.contains("a rollback took `alone-b` over"), "{shown}");
    expect_label(&client, "alone-c", OLD).await?;
    session.done(&["resume", &id]).await?;
    session.until_state(&id, "COMPLETED_WITH_EXCEPTIONS").await?;
    expect_injected(&client, "alone-c", &[(NEW, 2)]).await?;
    session.refused(&["watch", &id], 1, &["COMPLETED_WITH_EXCEPTIONS"]).await?;
    session.end_with(&["alone-a", "alone-b", "alone-c"]).await
}

/// A Deployment's own deadline counts where it is sooner than the migration's.
pub(crate) async fn a_deployments_own_deadline_is_kept(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    failing_application(bed, "late", "never-ready").await?;
    let patch = json!({ "spec": { "progressDeadlineSeconds": 3 } });
    edit::<Deployment>(&client, "late", "web", patch).await?;
    ready(bed, "late", 2).await?;
    let session = Session::start(bed).await?;
    let id = session.detach(&["late"], &["--rollout-timeout", "1h"]).await?;
    session.until_problem(&id, "late", MoveState::Failed, "RS3005").await?;
    // The way back may take longer.
    let patch = json!({ "spec": { "progressDeadlineSeconds": 600 } });
    edit::<Deployment>(&client, "late", "web", patch).await?;
    session.done(&["rollback", &id, "--reason", "it is late", "--yes"]).await?;
    until_injected(bed, "late", OLD, 2).await?;
    session.until_state(&id, "COMPLETED_WITH_EXCEPTIONS").await?;
    session.end_with(&["late"]).await
}

/// Pods that are well and do not count as available yet: a rollout fails in time, though nothing is wrong
/// with any pod, and goes on when there is more patience.
pub(crate) async fn a_rollout_without_progress_fails_in_time(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    application(bed, "stalled").await?;
    let patient = json!({ "spec": { "minReadySeconds": 500 } });
    edit::<Deployment>(&client, "stalled", "web", patient).await?;
    let session = Session::start(bed).await?;
    let id = session.detach(&["stalled"], &["--rollout-timeout", "20s"]).await?;
    session.until_problem(&id, "stalled", MoveState::Failed, "RS3001").await?;
    let hasty = json!({ "spec": { "minReadySeconds": null } });
    edit::<Deployment>(&client, "stalled", "web", hasty).await?;
    session.done(&["retry", &id, "-n", "stalled", "--yes"]).await?;
    session.until_state(&id, "SUCCEEDED").await?;
    until_injected(bed, "stalled", NEW, 2).await?;
    session.end_with(&["stalled"]).await
}

/// An ordered StatefulSet does not replace its broken pod by itself, whatever its template says: the
/// pod is evicted, when the move is tried again and when it is taken back.
pub(crate) async fn a_stuck_stateful_set_needs_no_hand(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    let names = ["ordered-a", "ordered-b"];
    ordered_applications(bed, &names).await?;
    let session = Session::start(bed).await?;
    let id = session.migrate_in_vain(&names, &["RS3005", "Pod/ordered-a/db-1"]).await?;
    // The first pod was left alone.
    expect_injected(&client, "ordered-a", &[(OLD, 1), (NEW, 1)]).await?;
    session.done(&["resume", &id]).await?;
    session.until_problem(&id, "ordered-b", MoveState::Failed, "RS3005").await?;
    session.until_state(&id, "PAUSED").await?;

    let labels = json!({ FAILS: null, FAILS_ON: null });
    let patch = json!({ "spec": { "template": { "metadata": { "labels": labels } } } });
    edit::<StatefulSet>(&client, "ordered-a", "db", patch).await?;
    session.done(&["retry", &id, "-n", "ordered-a", "--yes"]).await?;
    let m = session.until_move(&id, "ordered-a", MoveState::Moved).await?;
    let evicted = Restart { attempt: 2, ..restart("db", Method::Evict) };
    ensure!(m.restarts == [restart("db", Method::Roll), evicted], "{m:?}");
    expect_injected(&client, "ordered-a", &[(NEW, 2)]).await?;

    let reason = ["--reason", "it is stuck", "--yes", "--detach"];
    let back = [&["rollback", &id, "-n", "ordered-b"][..], &reason].concat();
    let back = session.done(&back).await?.trim().to_owned();
    session.until_state(&back, "SUCCEEDED").await?;
    let m = session.a_move(&back, "ordered-b").await?;
    ensure!(m.restarts == [Method::Roll, Method::Evict].map(|it| restart("db", it)), "{m:?}");
    expect_injected(&client, "ordered-b", &[(OLD, 2)]).await?;
    session.until_state(&id, "COMPLETED_WITH_EXCEPTIONS").await?;
    session.end_with(&names).await
}

/// A budget that forbids the eviction of the broken pod is named; force does not ask it.
pub(crate) async fn a_stuck_stateful_set_is_forced(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    let names = ["forced-a", "forced-b"];
    ordered_applications(bed, &names).await?;
    for name in names {
        let budget = json!({
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": { "name": "strict", "namespace": name },
            "spec": { "minAvailable": 2, "selector": { "matchLabels": { "app": "db" } } },
        });
        create::<PodDisruptionBudget>(&client, budget).await?;
    }
    let session = Session::start(bed).await?;
    let extra = ["--rollout-timeout", "10s", "--failure-budget", "1"];
    let id = session.detach(&names, &extra).await?;
    for name in names {
        session.until_problem(&id, name, MoveState::Failed, "RS3005").await?;
    }
    let roll_back = |name: &'static str, force: &'static [&str]| {
        let reason = ["--reason", "it is stuck", "--yes", "--detach"];
        [&["rollback", &id, "-n", name][..], &reason, force].concat()
    };
    let back = session.done(&roll_back("forced-a", &[])).await?.trim().to_owned();
    let problem = session.until_problem(&back, "forced-a", MoveState::Blocked, "RS3013").await?;
    ensure!(problem.object == "Pod/forced-a/db-1", "{problem:?}");
    session.done(&["retry", &back, "-n", "forced-a", "--force", "--yes"]).await?;
    session.until_state(&back, "SUCCEEDED").await?;
    let m = session.a_move(&back, "forced-a").await?;
    let deleted = Restart { attempt: 2, ..restart("db", Method::Delete) };
    ensure!(m.restarts == [restart("db", Method::Roll), deleted], "{m:?}");

    let back = session.done(&roll_back("forced-b", &["--force"])).await?.trim().to_owned();
    session.until_state(&back, "SUCCEEDED").await?;
    let m = session.a_move(&back, "forced-b").await?;
    ensure!(m.restarts == [Method::Roll, Method::Delete].map(|it| restart("db", it)), "{m:?}");
    for name in names {
        expect_injected(&client, name, &[(OLD, 2)]).await?;
    }
    session.end_with(&names).await
}

/// Namespaces on the old plane, each with an ordered StatefulSet whose pods fail on the new one.
async fn ordered_applications(bed: &dyn Bed, names: &[&str]) -> Result<()> {
    require(bed, Power::FailingPods)?;
    let client = bed.client();
    for name in names {
        namespace(&client, name, &[("istio.io/rev", OLD)]).await?;
        let db = with_pod_label(stateful_set(name, "db", 2), FAILS, "never-ready");
        create::<StatefulSet>(&client, with_pod_label(db, FAILS_ON, NEW)).await?;
    }
    for name in names {
        ready(bed, name, 2).await?;
    }
    Ok(())
}

/// What the first attempt has done to a StatefulSet.
fn restart(name: &str, method: Method) -> Restart {
    let (kind, name) = ("StatefulSet".to_owned(), name.to_owned());
    Restart { kind, name, attempt: 1, method: method.into() }
}
