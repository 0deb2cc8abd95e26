//! Every kind of workload, each with all its pods replaced exactly once.

use crate::bed::Bed;
use crate::cluster::{
    NEW, OLD, create, daemon_set, deployment, expect_injected, namespace, ready, stateful_set,
};
use crate::history::History;
use crate::session::Session;
use anyhow::{Result, ensure};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use serde_json::json;

/// Ordered and parallel StatefulSets, DaemonSets, and Deployments that roll or recreate.
pub(crate) async fn every_kind_is_replaced_pod_by_pod_once(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    let names = ["kind-sts", "kind-parallel", "kind-ds", "kind-roll", "kind-recreate"];
    for name in names {
        namespace(&client, name, &[("istio.io/rev", OLD)]).await?;
    }
    create::<StatefulSet>(&client, stateful_set("kind-sts", "db", 3)).await?;
    let mut parallel = stateful_set("kind-parallel", "db", 3);
    parallel["spec"]["podManagementPolicy"] = json!("Parallel");
    create::<StatefulSet>(&client, parallel).await?;
    create::<DaemonSet>(&client, daemon_set("kind-ds", "agent")).await?;
    create::<Deployment>(&client, deployment("kind-roll", "web", 3)).await?;
    let mut recreate = deployment("kind-recreate", "web", 3);
    recreate["spec"]["strategy"] = json!({ "type": "Recreate" });
    create::<Deployment>(&client, recreate).await?;

    let mut histories = Vec::new();
    for name in names {
        ready(bed, name, pods(name)).await?;
        histories.push(History::of(bed, name).await?);
    }
    let session = Session::start(bed).await?;
    let id = session.detach(&names, &[]).await?;
    session.until_state(&id, "SUCCEEDED").await?;
    for history in &histories {
        history.replaced_once(bed).await?;
    }
    let moves = session.moves(&id).await?;
    ensure!(moves.iter().map(|m| m.namespace.as_str()).eq(names), "{moves:?}");
    for (m, name) in moves.iter().zip(names) {
        expect_injected(&client, name, &[(NEW, pods(name))]).await?;
        ensure!(m.attempt == 1 && m.restarts.len() == 1 && m.leftovers.is_empty(), "{m:?}");
    }
    session.end_with(&names).await
}

fn pods(name: &str) -> usize {
    if name == "kind-ds" { 1 } else { 3 }
}
