//! What owners do to their workloads while their namespace moves: it is theirs to do, and the move
//! takes the namespace as it becomes.

use crate::api::MoveState;
use crate::bed::Bed;
use crate::cluster::{NEW, create, deployment, edit, held_application, until_injected};
use crate::session::{Session, until};
use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Api, DeleteParams};
use serde_json::json;

/// More replicas are waited for; none at all are told as such.
pub(crate) async fn a_workload_is_scaled_in_the_middle(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    let (session, id) = half_way(bed, &["scaled-up", "scaled-off"]).await?;
    let replicas = |count: u32| json!({ "spec": { "replicas": count } });
    edit::<Deployment>(&client, "scaled-up", "web", replicas(4)).await?;
    session.release(&id, "scaled-up").await?;
    until_injected(bed, "scaled-up", NEW, 4).await?;
    session.until_move(&id, "scaled-off", MoveState::Restarting).await?;
    edit::<Deployment>(&client, "scaled-off", "web", replicas(0)).await?;
    session.until_state(&id, "SUCCEEDED").await?;
    let m = session.until_move(&id, "scaled-off", MoveState::Moved).await?;
    ensure!(m.leftovers.iter().any(|left| left.name == "web" && left.pods == 0), "{m:?}");
    session.end_with(&["scaled-up", "scaled-off"]).await
}

/// A new version that is deployed meanwhile is what moves; it is not restarted once more.
pub(crate) async fn a_workload_is_deployed_in_the_middle(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    let (session, id) = half_way(bed, &["deployed"]).await?;
    let metadata = json!({ "labels": { "version": "next" } });
    let patch = json!({ "spec": { "template": { "metadata": metadata } } });
    edit::<Deployment>(&client, "deployed", "web", patch).await?;
    let m = session.release(&id, "deployed").await?;
    ensure!(m.attempt == 1 && m.restarts.len() == 1, "{m:?}");
    session.until_state(&id, "SUCCEEDED").await?;
    until_injected(bed, "deployed", NEW, 2).await?;
    let shown = Api::<Deployment>::namespaced(client.clone(), "deployed").get("web").await?;
    let labels = shown.spec.and_then(|spec| spec.template.metadata?.labels).unwrap_or_default();
    ensure!(labels.get("version").is_some_and(|version| version == "next"), "{labels:?}");
    session.end_with(&["deployed"]).await
}

/// A workload that is deleted is not waited for; one that takes its place is.
pub(crate) async fn workloads_are_deleted_and_recreated_in_the_middle(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    let (session, id) = half_way(bed, &["remade", "removed"]).await?;
    let delete = async |namespace: &str| {
        let deployments = Api::<Deployment>::namespaced(client.clone(), namespace);
        deployments.delete("web", &DeleteParams::background()).await?;
        until(bed, format!("web of {namespace} is gone"), async || {
            ensure!(deployments.get_opt("web").await?.is_none(), "it is still there");
            Ok(())
        })
        .await
    };
    delete("remade").await?;
    create::<Deployment>(&client, deployment("remade", "web", 3)).await?;
    session.until_move(&id, "remade", MoveState::Moved).await?;
    until_injected(bed, "remade", NEW, 3).await?;
    session.until_move(&id, "removed", MoveState::Restarting).await?;
    delete("removed").await?;
    session.until_state(&id, "SUCCEEDED").await?;
    session.until_move(&id, "removed", MoveState::Moved).await?;
    session.end_with(&["remade", "removed"]).await
}

/// A migration of held applications, the first of which is being restarted.
async fn half_way<'a>(bed: &'a dyn Bed, names: &[&str]) -> Result<(Session<'a>, String)> {
    for name in names {
        held_application(bed, name).await?;
    }
    let session = Session::start(bed).await?;
    let id = session.detach(names, &[]).await?;
    session.until_move(&id, names[0], MoveState::Restarting).await?;
    until(bed, "the restart is recorded", async || {
        let m = session.a_move(&id, names[0]).await?;
        ensure!(m.restarts.len() == 1, "{m:?}");
        Ok(())
    })
    .await?;
    Ok((session, id))
}
