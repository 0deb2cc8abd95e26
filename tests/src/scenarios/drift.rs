//! What others do to a namespace while it moves.

use crate::api::{Follower, MigrationState, MoveState};
use crate::bed::Bed;
use crate::cluster::{
    NEW, OLD, application, create, delete_namespace, deployment, edit, expect_label,
    held_application, label, ready, release, set_label, until_injected, until_injecting,
};
use crate::history::History;
use crate::session::{Session, until};
use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject};
use kube::core::GroupVersionKind;
use serde_json::json;

/// Somebody relabels the namespace in the middle: it is left to them, by name.
pub(crate) async fn a_label_that_drifts_is_not_fought_over(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    held_application(bed, "drifts").await?;
    let session = Session::start(bed).await?;
    let id = session.detach(&["drifts"], &[]).await?;
    session.until_move(&id, "drifts", MoveState::Restarting).await?;
    set_label(&client, "drifts", "istio.io/rev", Some(OLD)).await?;
    let problem = session.until_problem(&id, "drifts", MoveState::Blocked, "RS4001").await?;
    ensure!(problem.manager == "kubectl-label", "{problem:?}");
    ensure!(problem.object == "Namespace/drifts" && problem.message.contains(OLD), "{problem:?}");
    let words = ["PAUSED", "RS4001", "kubectl-label", "retry"];
    session.refused(&["watch", &id], 1, &words).await?;
    expect_label(&client, "drifts", OLD).await?;
    // It does not go back by itself, nor is it put back.
    let back = ["rollback", &id, "--reason", "to see it refused", "--yes"];
    session.refused(&back, 1, &["RS1303"]).await?;

    set_label(&client, "drifts", "istio.io/rev", Some(NEW)).await?;
    until_injecting(bed, "drifts", NEW).await?;
    session.done(&["retry", &id, "-n", "drifts", "--yes"]).await?;
    session.release(&id, "drifts").await?;
    session.until_state(&id, "SUCCEEDED").await?;
    until_injected(bed, "drifts", NEW, 2).await?;
    session.end_with(&["drifts"]).await
}

/// A label that is taken away is as good as another; who gives up on it leaves it so.
pub(crate) async fn a_blocked_namespace_stays_blocked_when_cancelled(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    held_application(bed, "blocked-a").await?;
    application(bed, "blocked-b").await?;
    let session = Session::start(bed).await?;
    let id = session.detach(&["blocked-a", "blocked-b"], &[]).await?;
    session.until_move(&id, "blocked-a", MoveState::Restarting).await?;
    set_label(&client, "blocked-a", "istio.io/rev", None).await?;
    let problem = session.until_problem(&id, "blocked-a", MoveState::Blocked, "RS4001").await?;
    ensure!(problem.message.contains("no injection label"), "{problem:?}");
    // A retry while nothing has changed changes nothing.
    session.done(&["retry", &id, "-n", "blocked-a", "--yes"]).await?;
    until(bed, "it was tried again", async || {
        let m = session.a_move(&id, "blocked-a").await?;
        ensure!(m.attempt == 2 && m.state() == MoveState::Blocked, "{m:?}");
        Ok(())
    })
    .await?;
    session.done(&["cancel", &id, "--yes"]).await?;
    session.until_state(&id, "CANCELLED").await?;
    session.until_move(&id, "blocked-a", MoveState::Blocked).await?;
    session.until_move(&id, "blocked-b", MoveState::Cancelled).await?;
    ensure!(label(&client, "blocked-a", "istio.io/rev").await?.is_none());
    expect_label(&client, "blocked-b", OLD).await?;
    // Its lock is that of a migration that has ended: with its label, it can be moved again.
    set_label(&client, "blocked-a", "istio.io/rev", Some(OLD)).await?;
    let again =
        until(bed, "the label is seen", async || session.detach(&["blocked-a"], &[]).await).await?;
    session.release(&again, "blocked-a").await?;
    session.until_state(&again, "SUCCEEDED").await?;
    until_injected(bed, "blocked-a", NEW, 2).await?;
    session.end_with(&["blocked-a", "blocked-b"]).await
}

/// Somebody replaces the restart in a pod template.
pub(crate) async fn a_restart_that_is_reverted_is_left_to_its_owner(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    held_application(bed, "reverts").await?;
    // The only pod is not evicted unasked.
    let labels = json!({ "owned-by": "kubectl-edit" });
    let template = json!({ "metadata": { "labels": labels } });
    let patch = json!({ "spec": { "replicas": 1, "template": template } });
    edit::<Deployment>(&client, "reverts", "web", patch).await?;
    ready(bed, "reverts", 1).await?;
    let session = Session::start(bed).await?;
    let id = session.detach(&["reverts"], &[]).await?;
    until(bed, "the restart is recorded", async || {
        let m = session.a_move(&id, "reverts").await?;
        ensure!(m.restarts.len() == 1, "{m:?}");
        Ok(())
    })
    .await?;
    let metadata = json!({ "annotations": null });
    let patch = json!({ "spec": { "template": { "metadata": metadata } } });
    edit::<Deployment>(&client, "reverts", "web", patch).await?;
    let problem = session.until_problem(&id, "reverts", MoveState::Blocked, "RS3012").await?;
    ensure!(problem.object == "Deployment/reverts/web", "{problem:?}");
    // Kubernetes keeps no trace of who removed a field: whoever else wrote the template last is named.
    ensure!(problem.manager == "kubectl-edit", "{problem:?}");
    ready(bed, "reverts", 1).await?;
    session.done(&["retry", &id, "-n", "reverts", "--yes"]).await?;
    session.release(&id, "reverts").await?;
    session.until_state(&id, "SUCCEEDED").await?;
    until_injected(bed, "reverts", NEW, 1).await?;
    session.end_with(&["reverts"]).await
}

/// A namespace that is deleted is gone; another of its name is not touched.
pub(crate) async fn a_deleted_namespace_is_gone_and_its_heir_spared(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    held_application(bed, "gone-a").await?;
    for name in ["gone-b", "gone-c"] {
        application(bed, name).await?;
    }
    let session = Session::start(bed).await?;
    let names = ["gone-a", "gone-b", "gone-c"];
    let id = session.detach(&names, &[]).await?;
    session.until_move(&id, "gone-a", MoveState::Restarting).await?;
    // The second one is deleted and made anew before its turn comes, the first one in the middle.
    session.done(&["pause", &id]).await?;
    delete_namespace(&client, "gone-b").await?;
    delete_namespace(&client, "gone-a").await?;
    let namespaces = Api::<Namespace>::all(client.clone());
    until(bed, "both are gone", async || {
        for name in ["gone-a", "gone-b"] {
            ensure!(namespaces.get_opt(name).await?.is_none(), "{name} is still there");
        }
        Ok(())
    })
    .await?;
    application(bed, "gone-b").await?;
    let heir = History::of(bed, "gone-b").await?;
    session.done(&["resume", &id]).await?;
    let words = ["COMPLETED_WITH_EXCEPTIONS", "gone-a", "gone-b"];
    session.refused(&["watch", &id], 1, &words).await?;
    session.until_move(&id, "gone-a", MoveState::Gone).await?;
    session.until_move(&id, "gone-b", MoveState::Gone).await?;
    session.until_move(&id, "gone-c", MoveState::Moved).await?;
    expect_label(&client, "gone-b", OLD).await?;
    let annotated = namespaces.get("gone-b").await?;
    ensure!(!annotated.annotations().contains_key("revshift.dev/migration"), "{annotated:?}");
    heir.untouched(bed).await?;
    let back = ["rollback", &id, "-n", "gone-b", "--reason", "to see it refused", "--yes"];
    session.refused(&back, 1, &["RS1303 Namespace/gone-b"]).await?;
    // All that it moved includes one that is not there any more; the rest can be named.
    let back = ["rollback", &id, "--reason", "to see it refused", "--yes"];
    session.refused(&back, 1, &["RS1001 Namespace/gone-a", "name only the other"]).await?;
    session.end_with(&["gone-b", "gone-c"]).await
}

/// `kubectl delete` of a migration that runs cancels it, and takes it away when it has ended.
pub(crate) async fn a_deleted_migration_is_cancelled_first(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    held_application(bed, "deleted-a").await?;
    application(bed, "deleted-b").await?;
    let session = Session::start(bed).await?;
    let id = session.detach(&["deleted-a", "deleted-b"], &[]).await?;
    session.until_move(&id, "deleted-a", MoveState::Restarting).await?;
    let objects = |kind: &str, plural: &str| {
        let kind = GroupVersionKind::gvk("revshift.dev", "v1alpha1", kind);
        let resource = ApiResource::from_gvk_with_plural(&kind, plural);
        Api::<DynamicObject>::all_with(client.clone(), &resource)
    };
    let migrations = objects("Migration", "migrations");
    migrations.delete(&id, &DeleteParams::background()).await?;
    let shown = session.migration(&id).await?;
    ensure!(shown.state() != MigrationState::Succeeded, "{shown:?}");
    release(bed, "deleted-a", async || {
        ensure!(migrations.get_opt(&id).await?.is_none(), "the migration is still there");
        let shards = objects("MigrationShard", "migrationshards");
        ensure!(shards.get_opt(&format!("{id}-0")).await?.is_none(), "its shard is still there");
        Ok(())
    })
    .await?;
    until(bed, "nobody knows it any more", async || {
        session.refused(&["status", &id], 1, &["no migration"]).await
    })
    .await?;
    until_injected(bed, "deleted-a", NEW, 2).await?;
    expect_label(&client, "deleted-b", OLD).await?;
    // Its lock binds nobody any more.
    let next = session.detach(&["deleted-b", "deleted-a"], &[]).await?;
    session.until_state(&next, "SUCCEEDED").await?;
    // One that has ended goes at once.
    migrations.delete(&next, &DeleteParams::background()).await?;
    until(bed, "the other is gone too", async || {
        ensure!(migrations.get_opt(&next).await?.is_none(), "it is still there");
        session.refused(&["status", &next], 1, &["no migration"]).await
    })
    .await?;
    session.end_with(&["deleted-a", "deleted-b"]).await
}

/// A workload that appears in the middle is born on the right plane, and waited for.
pub(crate) async fn a_workload_that_appears_in_the_middle_is_counted(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    held_application(bed, "grows").await?;
    let session = Session::start(bed).await?;
    let id = session.detach(&["grows"], &[]).await?;
    session.until_move(&id, "grows", MoveState::Restarting).await?;
    create::<Deployment>(&client, deployment("grows", "late", 2)).await?;
    session.release(&id, "grows").await?;
    session.until_state(&id, "SUCCEEDED").await?;
    until_injected(bed, "grows", NEW, 4).await?;
    let m = session.a_move(&id, "grows").await?;
    ensure!(m.restarts.iter().all(|restart| restart.name == "web"), "{m:?}");
    session.end_with(&["grows"]).await
}

/// Who follows a migration that is deleted hears that it was cancelled.
pub(crate) async fn a_follower_hears_of_a_deletion(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    held_application(bed, "heard-a").await?;
    application(bed, "heard-b").await?;
    let session = Session::start(bed).await?;
    let id = session.detach(&["heard-a", "heard-b"], &[]).await?;
    let mut follower = Follower::start(bed, &*session.replica, &id).await?;
    let restarting = |follower: &Follower<'_>| follower.state("heard-a") == MoveState::Restarting;
    follower.until("heard-a restarts", restarting).await?;
    let kind = GroupVersionKind::gvk("revshift.dev", "v1alpha1", "Migration");
    let resource = ApiResource::from_gvk_with_plural(&kind, "migrations");
    let migrations = Api::<DynamicObject>::all_with(client.clone(), &resource);
    migrations.delete(&id, &DeleteParams::background()).await?;
    let cancelling =
        |follower: &Follower<'_>| follower.migration.state() == MigrationState::Cancelling;
    follower.until("the migration is being cancelled", cancelling).await?;
    let released = release(bed, "heard-a", async || {
        ensure!(migrations.get_opt(&id).await?.is_none(), "the migration is still there");
        Ok(())
    });
    let (read, released) = futures::join!(follower.read_out(), released);
    read?;
    released?;
    ensure!(follower.migration.state() == MigrationState::Cancelled, "{:?}", follower.migration);
    ensure!(follower.state("heard-a") == MoveState::Moved, "{:?}", follower.moves);
    ensure!(follower.state("heard-b") == MoveState::Cancelled, "{:?}", follower.moves);
    session.end_with(&["heard-a", "heard-b"]).await
}

/// A plan is made for the labels of its time: what another migration has changed since is drift.
pub(crate) async fn a_plan_is_for_the_labels_of_its_time(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    held_application(bed, "stale-a").await?;
    application(bed, "stale-b").await?;
    let session = Session::start(bed).await?;
    let there = session.detach(&["stale-a", "stale-b"], &[]).await?;
    session.until_move(&there, "stale-a", MoveState::Restarting).await?;
    let args = ["migrate", "--from", NEW, "--to", OLD, "-n", "stale-b", "--yes", "--detach"];
    let stay = session.done(&args).await?.trim().to_owned();
    session.release(&there, "stale-a").await?;
    session.until_state(&there, "SUCCEEDED").await?;
    let problem = session.until_problem(&stay, "stale-b", MoveState::Blocked, "RS4001").await?;
    ensure!(problem.manager == "revshift", "{problem:?}");
    expect_label(&client, "stale-b", NEW).await?;
    session.done(&["cancel", &stay, "--yes"]).await?;
    session.end_with(&["stale-a", "stale-b"]).await
}
