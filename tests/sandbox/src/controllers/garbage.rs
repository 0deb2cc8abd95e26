//! Garbage collection: objects whose owners are all gone, and deletions in the foreground.

use serde_json::Value;

use super::Outcome;
use crate::cluster::{Author, Cluster, DeleteOptions, Propagation};
use crate::object;
use crate::store::Reference;

const MANAGER: &str = "kube-controller-manager";

pub(super) fn reconcile(cluster: &mut Cluster, target: &Reference) -> Outcome {
    let Some(object) = cluster.store.get(target).cloned() else { return Outcome::Done };
    if object::deleting(&object) {
        finish(cluster, target, &object);
        return Outcome::Done;
    }
    let owners = object::list(&object, "/metadata/ownerReferences");
    let lives = |owner: &Value| cluster.store.exists(object::text(owner, "/uid"));
    if owners.is_empty() || owners.iter().all(lives) {
        return Outcome::Done;
    }
    let left: Vec<_> = owners.iter().filter(|owner| lives(owner)).cloned().collect();
    if left.is_empty() {
        remove(cluster, target, &object, Propagation::Background);
    } else {
        cluster.update_main(target, MANAGER, |object| {
            object::set(object, "/metadata/ownerReferences", left);
        });
    }
    Outcome::Done
}

/// Goes on with a deletion that waits for dependents.
fn finish(cluster: &mut Cluster, target: &Reference, object: &Value) {
    let finalizers = object::list(object, "/metadata/finalizers");
    let uid = object::uid(object);
    let dependents = cluster.store.dependents(uid);
    if finalizers.iter().any(|one| one == "orphan") {
        for dependent in &dependents {
            cluster.update_main(dependent, MANAGER, |object| {
                let mut owners = object::list(object, "/metadata/ownerReferences").to_vec();
                owners.retain(|owner| object::text(owner, "/uid") != uid);
                object::set(object, "/metadata/ownerReferences", owners);
            });
        }
        drop_finalizer(cluster, target, "orphan");
    }
    if !finalizers.iter().any(|one| one == "foregroundDeletion") {
        return;
    }
    let mut blocked = false;
    for dependent in &dependents {
        let Some(found) = cluster.store.get(dependent).cloned() else { continue };
        let blocks = object::list(&found, "/metadata/ownerReferences").iter().any(|owner| {
            object::text(owner, "/uid") == uid && object::flag(owner, "/blockOwnerDeletion")
        });
        if !object::deleting(&found) {
            remove(cluster, dependent, &found, Propagation::Foreground);
        }
        blocked |= blocks && cluster.store.get(dependent).is_some();
    }
    if !blocked {
        drop_finalizer(cluster, target, "foregroundDeletion");
    }
}

fn remove(cluster: &mut Cluster, target: &Reference, object: &Value, how: Propagation) {
    let Some(kind) = cluster.store.kind(&target.resource) else { return };
    // Pods own nothing, and in the foreground they would wait for the collector.
    let propagation = if cluster.store.dependents(object::uid(object)).is_empty() {
        Propagation::Background
    } else {
        how
    };
    let options = DeleteOptions {
        uid: Some(object::uid(object).to_owned()),
        propagation,
        ..DeleteOptions::default()
    };
    // A refusal means that it changed or is gone; a change brings the collector back.
    let _ = cluster.delete(&kind, target, &options, Author::controller(MANAGER));
}

fn drop_finalizer(cluster: &mut Cluster, target: &Reference, finalizer: &str) {
    cluster.update_main(target, MANAGER, |object| {
        let mut all = object::list(object, "/metadata/finalizers").to_vec();
        all.retain(|one| one != finalizer);
        object::set(object, "/metadata/finalizers", all);
    });
}
