//! Pods that no change of a template replaces are evicted, one at a time.

use crate::api::MoveState;
use crate::bed::{Bed, Power, require};
use crate::cluster::{
    NEW, OLD, application, create, daemon_set, deployment, edit, expect_injected, held_application,
    injected, injected_by, namespace, pods, ready, stateful_set, until_injected,
};
use crate::history::History;
use crate::mesh;
use crate::session::{Session, until};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ReplicationController};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Api, DeleteParams};
use kube::{Client, ResourceExt};
use revshift_proto::v1 as proto;
use revshift_proto::v1::restart::Method;
use serde_json::{Value, json};

/// Paused, OnDelete, partitioned, of nobody, or written by another controller: each has all its
/// pods replaced exactly once.
pub(crate) async fn what_does_not_roll_is_evicted_pod_by_pod(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    let names = [
        "evict-paused",
        "evict-delete",
        "evict-partition",
        "evict-set",
        "evict-controller",
        "evict-owned",
    ];
    for name in names {
        namespace(&client, name, &[("istio.io/rev", OLD)]).await?;
    }
    create::<Deployment>(&client, deployment("evict-paused", "web", 2)).await?;
    let mut db = stateful_set("evict-delete", "db", 3);
    db["spec"]["updateStrategy"] = json!({ "type": "OnDelete" });
    create::<StatefulSet>(&client, db).await?;
    let mut db = stateful_set("evict-partition", "db", 3);
    let strategy = json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 2 } });
    db["spec"]["updateStrategy"] = strategy;
    create::<StatefulSet>(&client, db).await?;
    create::<ReplicaSet>(&client, replica_set("evict-set", "lonely", 2)).await?;
    let mut lonely = deployment("evict-controller", "lonely", 2);
    lonely["apiVersion"] = json!("v1");
    lonely["kind"] = json!("ReplicationController");
    lonely["spec"]["selector"] = json!({ "app": "lonely" });
    create::<ReplicationController>(&client, lonely).await?;
    let owned = owned_deployment(&client, "evict-owned").await?;
    create::<Deployment>(&client, owned).await?;
    let mut histories = Vec::new();
    for name in names {
        ready(bed, name, count(name)).await?;
        histories.push(History::of(bed, name).await?);
    }
    let paused = json!({ "spec": { "paused": true } });
    edit::<Deployment>(&client, "evict-paused", "web", paused).await?;

    let session = Session::start(bed).await?;
    let mut dry = vec!["migrate", "--from", OLD, "--to", NEW, "--dry-run"];
    dry.extend(names.iter().flat_map(|name| ["-n", name]));
    let plan = until(bed, "the plan shows how each is restarted", async || {
        let plan = session.done(&dry).await?;
        ensure!(plan.matches("EVICT").count() == names.len(), "{plan}");
        Ok(plan)
    })
    .await?;
    for word in [
        "RS1101 Deployment/evict-paused/web",
        "RS1102 StatefulSet/evict-delete/db",
        "RS1103 StatefulSet/evict-partition/db",
        "RS1104 ReplicaSet/evict-set/lonely",
        "RS1104 ReplicationController/evict-controller/lonely",
        "RS1108 Deployment/evict-owned/web",
    ] {
        ensure!(plan.contains(word), "{plan}");
    }
    let id = session.detach(&names, &[]).await?;
    session.until_state(&id, "SUCCEEDED").await?;
    for history in &histories {
        history.replaced_once(bed).await?;
    }
    for m in session.moves(&id).await? {
        expect_injected(&client, &m.namespace, &[(NEW, count(&m.namespace))]).await?;
        let evicted = m.restarts.iter().all(|restart| restart.method() == Method::Evict);
        ensure!(m.attempt == 1 && m.restarts.len() == 1 && evicted, "{m:?}");
    }
    // The way back goes the same way.
    session.done(&["rollback", &id, "--reason", "to see it", "--yes"]).await?;
    for name in names {
        expect_injected(&client, name, &[(OLD, count(name))]).await?;
    }
    session.end_with(&names).await
}

/// A workload that would be interrupted is refused, by the name of the flag that allows it.
pub(crate) async fn the_only_pod_is_evicted_only_when_told(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    namespace(&client, "single", &[("istio.io/rev", OLD)]).await?;
    create::<Deployment>(&client, deployment("single", "web", 1)).await?;
    let mut agent = daemon_set("single", "agent");
    agent["spec"]["updateStrategy"] = json!({ "type": "OnDelete" });
    create::<DaemonSet>(&client, agent).await?;
    ready(bed, "single", 2).await?;
    edit::<Deployment>(&client, "single", "web", json!({ "spec": { "paused": true } })).await?;
    let history = History::of(bed, "single").await?;
    let session = Session::start(bed).await?;
    let migrate = ["migrate", "--from", OLD, "--to", NEW, "-n", "single", "--dry-run"];
    until(bed, "the migration is refused", async || {
        let words = ["RS1107 Deployment/single/web", "RS1107 DaemonSet/single/agent", "paused"];
        session.refused(&migrate, 1, &words).await?;
        session.refused(&migrate, 1, &["--allow-downtime"]).await
    })
    .await?;
    let id = session.detach(&["single"], &["--allow-downtime"]).await?;
    session.until_state(&id, "SUCCEEDED").await?;
    history.replaced_once(bed).await?;
    expect_injected(&client, "single", &[(NEW, 2)]).await?;
    session.end_with(&["single"]).await
}

/// A budget that forbids an eviction holds that workload only, and is named in the end.
pub(crate) async fn a_budget_holds_its_workload_only(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    application(bed, "budget").await?;
    let mut db = stateful_set("budget", "db", 2);
    db["spec"]["updateStrategy"] = json!({ "type": "OnDelete" });
    create::<StatefulSet>(&client, db).await?;
    ready(bed, "budget", 4).await?;
    let budget = json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": { "name": "strict", "namespace": "budget" },
        "spec": { "minAvailable": 2, "selector": { "matchLabels": { "app": "db" } } },
    });
    create::<PodDisruptionBudget>(&client, budget).await?;
    let history = History::of(bed, "budget").await?;
    let session = Session::start(bed).await?;
    let words = ["RS3013", "Pod/budget/db-", "disruption budget"];
    let id = session.migrate_in_vain(&["budget"], &words).await?;
    let problem = session.until_problem(&id, "budget", MoveState::Blocked, "RS3013").await?;
    ensure!(problem.object == "Pod/budget/db-1", "{problem:?}");
    // Its neighbour was restarted all the same.
    expect_injected(&client, "budget", &[(OLD, 2), (NEW, 2)]).await?;

    let looser = json!({ "spec": { "minAvailable": 1 } });
    edit::<PodDisruptionBudget>(&client, "budget", "strict", looser).await?;
    session.done(&["retry", &id, "-n", "budget", "--yes"]).await?;
    session.until_state(&id, "SUCCEEDED").await?;
    history.replaced_once(bed).await?;
    expect_injected(&client, "budget", &[(NEW, 4)]).await?;
    session.end_with(&["budget"]).await
}

/// Somebody takes the restart back again and again: where a second pod is there, the pods are
/// evicted.
pub(crate) async fn a_restart_that_is_taken_back_becomes_evictions(bed: &dyn Bed) -> Result<()> {
    let client = bed.client();
    held_application(bed, "taken").await?;
    let session = Session::start(bed).await?;
    let id = session.detach(&["taken"], &[]).await?;
    until(bed, "the restart is recorded", async || {
        let m = session.a_move(&id, "taken").await?;
        ensure!(m.restarts.len() == 1, "{m:?}");
        Ok(())
    })
    .await?;
    let patch = json!({ "spec": { "template": { "metadata": { "annotations": null } } } });
    edit::<Deployment>(&client, "taken", "web", patch).await?;
    session.release(&id, "taken").await?;
    session.until_state(&id, "SUCCEEDED").await?;
    until_injected(bed, "taken", NEW, 2).await?;
    let m = session.a_move(&id, "taken").await?;
    let methods: Vec<Method> = m.restarts.iter().map(proto::Restart::method).collect();
    ensure!(m.attempt == 1 && methods == [Method::Roll, Method::Evict], "{m:?}");
    session.end_with(&["taken"]).await
}

/// Pods that come without a sidecar while the webhook fails open are evicted, singly and once.
pub(crate) async fn a_straggler_is_evicted(bed: &dyn Bed) -> Result<()> {
    require(bed, Power::Outages)?;
    let client = bed.client();
    held_application(bed, "strays").await?;
    let session = Session::start(bed).await?;
    let id = session.detach(&["strays"], &[]).await?;
    mesh::set_failure_policy(&client, NEW, "Ignore").await?;
    let strayed = stray(bed, "strays").await;
    bed.set_injector_down(NEW, false).await?;
    mesh::set_failure_policy(&client, NEW, "Fail").await?;
    strayed?;
    session.release(&id, "strays").await?;
    session.until_state(&id, "SUCCEEDED").await?;
    until_injected(bed, "strays", NEW, 2).await?;
    let m = session.a_move(&id, "strays").await?;
    let methods: Vec<Method> = m.restarts.iter().map(proto::Restart::method).collect();
    ensure!(m.attempt == 1 && methods == [Method::Roll, Method::Evict], "{m:?}");
    session.end_with(&["strays"]).await
}

/// A straggler whose replacement is a straggler too fails the move; a retry restarts it.
pub(crate) async fn a_second_wrong_injection_fails_the_move(bed: &dyn Bed) -> Result<()> {
    require(bed, Power::Outages)?;
    let client = bed.client();
    held_application(bed, "astray").await?;
    let session = Session::start(bed).await?;
    let id = session.detach(&["astray"], &[]).await?;
    mesh::set_failure_policy(&client, NEW, "Ignore").await?;
    let failed = match stray(bed, "astray").await {
        Ok(()) => session.until_problem(&id, "astray", MoveState::Failed, "RS3010").await,
        Err(error) => Err(error),
    };
    bed.set_injector_down(NEW, false).await?;
    mesh::set_failure_policy(&client, NEW, "Fail").await?;
    let problem = failed?;
    ensure!(problem.object == "Deployment/astray/web", "{problem:?}");
    session.done(&["retry", &id, "-n", "astray", "--yes"]).await?;
    session.release(&id, "astray").await?;
    session.until_state(&id, "SUCCEEDED").await?;
    until_injected(bed, "astray", NEW, 2).await?;
    session.end_with(&["astray"]).await
}

/// Waits for a pod of the new plane, takes its injector down, and replaces the pod by one without a
/// sidecar.
async fn stray(bed: &dyn Bed, namespace: &str) -> Result<()> {
    let client = bed.client();
    let held = until(bed, "a pod is on the new plane", async || {
        let pods = pods(&client, namespace).await?;
        let new = pods.iter().find(|pod| injected_by(pod).is_ok_and(|by| by == NEW));
        Ok(new.context("none yet")?.name_any())
    })
    .await?;
    bed.set_injector_down(NEW, true).await?;
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    api.delete(&held, &DeleteParams::default()).await?;
    until(bed, "a pod without a sidecar is there", async || {
        let found = injected(&client, namespace).await?;
        ensure!(found.contains_key(""), "{found:?}");
        Ok(())
    })
    .await
}

fn count(namespace: &str) -> usize {
    if ["evict-delete", "evict-partition"].contains(&namespace) { 3 } else { 2 }
}

fn replica_set(namespace: &str, name: &str, replicas: u32) -> Value {
    let mut set = deployment(namespace, name, replicas);
    set["kind"] = json!("ReplicaSet");
    set
}

/// A Deployment that another controller writes.
async fn owned_deployment(client: &Client, namespace: &str) -> Result<Value> {
    let owner = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": { "name": "operator", "namespace": namespace },
    });
    let owner = create::<ConfigMap>(client, owner).await?;
    let mut made = deployment(namespace, "web", 2);
    made["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "name": "operator",
        "uid": owner.uid(),
        "controller": true,
    }]);
    Ok(made)
}
