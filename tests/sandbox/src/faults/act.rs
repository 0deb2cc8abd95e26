//! What faults do to the cluster, in the name of somebody else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Fault, FaultKind, Most, Occasion};
use crate::cluster::{Author, Cluster, DeleteOptions};
use crate::exchange::Exchange;
use crate::kind;
use crate::object;
use crate::store::Reference;
use crate::{Sandbox, Shared, locked};

const REVISION: &str = "istio.io/rev";
const WORKLOADS: [&str; 3] = [kind::DEPLOYMENTS, kind::STATEFUL_SETS, kind::DAEMON_SETS];

/// Does what a fault does when `exchange` is met and not yet handled. Nothing for those that only
/// change how the request is answered.
pub(crate) fn act(sandbox: &Sandbox, fault: &Fault, exchange: &Exchange) {
    let Some(occasion) = Occasion::of(exchange) else { return };
    let extent = fault.extent.unwrap_or_default();
    let age = Duration::try_from(extent).unwrap_or_default();
    let namespace = occasion.space().unwrap_or_default();
    let reference = occasion.reference();
    match fault.kind {
        FaultKind::Compacted => sandbox.compact(),
        FaultKind::WatchesDropped => sandbox.drop_watches(),
        FaultKind::Restored | FaultKind::RestoredAhead => {
            let version = locked(&sandbox.shared.cluster).version_before(Some(age));
            sandbox.restore(version, fault.kind == FaultKind::RestoredAhead);
        }
        FaultKind::ClockJump => sandbox.jump_clock(extent),
        FaultKind::GitOps => agent(sandbox, namespace, age, fault.count.most),
        _ => {
            let mut cluster = locked(&sandbox.shared.cluster);
            edit(&mut cluster, fault.kind, namespace, &reference);
        }
    }
}

fn edit(cluster: &mut Cluster, fault: FaultKind, namespace: &str, reference: &Reference) {
    let space = Reference::new(kind::NAMESPACES, "", namespace);
    match fault {
        FaultKind::Touched => cluster.update_main(reference, "kubectl-annotate", |object| {
            let version = object::version(object).to_owned();
            object::set_annotation(object, "example.com/touched", &version);
        }),
        FaultKind::LeaseDeleted => {
            cluster.erase(reference, "kubectl");
        }
        FaultKind::LeaseStolen => {
            let now = cluster.now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string();
            cluster.update_main(reference, "kubectl-edit", |lease| {
                object::set(lease, "/spec/holderIdentity", "somebody-else");
                object::set(lease, "/spec/renewTime", now);
            });
        }
        FaultKind::Relabelled => cluster.update_main(&space, "kubectl-label", |object| {
            object::set_label(object, REVISION, "elsewhere");
        }),
        FaultKind::NamespaceDeleted => {
            let Some(kind) = cluster.store.kind(kind::NAMESPACES) else { return };
            let author = Author::controller("kubectl");
            // It can only be gone already.
            let _ = cluster.delete(&kind, &space, &DeleteOptions::default(), author);
        }
        FaultKind::NamespaceRecreated => recreate(cluster, &space),
        _ => {}
    }
}

fn recreate(cluster: &mut Cluster, space: &Reference) {
    let Some(before) = cluster.store.get(space).cloned() else { return };
    let resources: Vec<_> = cluster.store.kinds().map(|kind| kind.resource.clone()).collect();
    for resource in resources {
        let contents: Vec<_> = cluster
            .store
            .list(&resource, Some(&space.name))
            .map(|one| Reference::new(&resource, &space.name, object::name(one)))
            .collect();
        for one in contents {
            cluster.erase(&one, "kubectl");
        }
    }
    cluster.erase(space, "kubectl");
    cluster.fix(json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": { "name": space.name, "labels": object::at(&before, "/metadata/labels") },
    }));
}

/// What an agent wants of an object: the value at a pointer, or none.
type Wanted = BTreeMap<Reference, (&'static str, Value)>;

/// Starts an agent that brings a namespace's labels and its workloads' pod annotations back to
/// what they are now, every so often, so many times. It lives no longer than the sandbox.
fn agent(sandbox: &Sandbox, namespace: &str, every: Duration, most: Most) {
    let wanted = {
        let cluster = locked(&sandbox.shared.cluster);
        wanted(&cluster, namespace)
    };
    let shared = Arc::downgrade(&sandbox.shared);
    tokio::spawn(async move {
        let start = Instant::now();
        let mut times = 0;
        loop {
            tokio::time::sleep(every).await;
            let over = match most {
                Most::Times(most) => times >= most,
                Most::Always => false,
                Most::For(time) => start.elapsed() > time,
            };
            let Some(shared) = shared.upgrade().filter(|_| !over) else { return };
            times += u64::from(reset(&shared, &wanted));
        }
    });
}

fn wanted(cluster: &Cluster, namespace: &str) -> Wanted {
    let mut wanted = Wanted::new();
    let mut want = |reference: Reference, pointer: &'static str, object: &Value| {
        let value = object::at(object, pointer).cloned().unwrap_or_else(|| json!({}));
        wanted.insert(reference, (pointer, value));
    };
    let space = Reference::new(kind::NAMESPACES, "", namespace);
    if let Some(object) = cluster.store.get(&space) {
        want(space, "/metadata/labels", object);
    }
    for resource in WORKLOADS {
        for object in cluster.store.list(resource, Some(namespace)) {
            let reference = Reference::new(resource, namespace, object::name(object));
            want(reference, "/spec/template/metadata/annotations", object);
        }
    }
    wanted
}

/// Whether anything was to be reset.
fn reset(shared: &Shared, wanted: &Wanted) -> bool {
    let mut cluster = locked(&shared.cluster);
    let (before, nothing) = (cluster.store.version(), json!({}));
    for (reference, (pointer, value)) in wanted {
        let differs = cluster
            .store
            .get(reference)
            .is_some_and(|object| object::at(object, pointer).unwrap_or(&nothing) != value);
        if differs {
            cluster.update_main(reference, "argocd-controller", |object| {
                object::set(object, pointer, value.clone());
            });
        }
    }
    cluster.store.version() != before
}
