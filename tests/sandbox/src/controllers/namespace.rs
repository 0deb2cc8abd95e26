//! The end of namespaces: contents first, then the namespace itself.

use serde_json::json;

use super::Outcome;
use crate::cluster::{Author, Cluster, DeleteOptions};
use crate::object;
use crate::store::Reference;

pub(super) fn reconcile(cluster: &mut Cluster, target: &Reference) -> Outcome {
    let Some(namespace) = cluster.store.get(target).cloned() else { return Outcome::Done };
    if !object::deleting(&namespace) {
        return Outcome::Done;
    }
    let kinds: Vec<_> = cluster.store.kinds().filter(|kind| kind.namespaced()).cloned().collect();
    let author = Author::controller("kube-controller-manager");
    let mut left = 0;
    for kind in kinds {
        let contents: Vec<_> =
            cluster.store.list(&kind.resource, Some(&target.name)).cloned().collect();
        for object in contents {
            let reference = Reference::new(&kind.resource, &target.name, object::name(&object));
            if !object::deleting(&object) {
                // It can only be gone already.
                let _ = cluster.delete(&kind, &reference, &DeleteOptions::default(), author);
            }
            left += usize::from(cluster.store.get(&reference).is_some());
        }
    }
    if left > 0 {
        // The removal of the last object brings us back.
        return Outcome::Done;
    }
    cluster.update_main(target, "kube-controller-manager", |namespace| {
        object::set(namespace, "/spec/finalizers", json!([]));
    });
    Outcome::Done
}
