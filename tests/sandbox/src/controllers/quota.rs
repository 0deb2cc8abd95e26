//! The usage that ResourceQuotas show; admission counts for itself.

use serde_json::json;

use super::Outcome;
use crate::cluster::{Cluster, hard, shown};
use crate::object;
use crate::store::Reference;

pub(super) fn reconcile(cluster: &mut Cluster, target: &Reference) -> Outcome {
    let Some(quota) = cluster.store.get(target).cloned() else { return Outcome::Done };
    let used = shown(&cluster.used(&target.namespace, &hard(&quota)));
    let hard = object::at(&quota, "/spec/hard").cloned().unwrap_or_else(|| json!({}));
    cluster.update_status(target, "kube-controller-manager", |status| {
        object::set(status, "/status/hard", hard);
        object::set(status, "/status/used", used);
    });
    Outcome::Done
}
