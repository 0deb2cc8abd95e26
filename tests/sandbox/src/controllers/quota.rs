//! The usage that ResourceQuotas show; admission counts for itself.

use serde_json::json;

use super::Outcome;
use crate::cluster::{Cluster, hard_limit};
use crate::object;
use crate::store::Reference;

pub(super) fn reconcile(cluster: &mut Cluster, target: &Reference) -> Outcome {
    let Some(quota) = cluster.store.get(target).cloned() else { return Outcome::Done };
    let used = cluster.pods_counted(&target.namespace).to_string();
    let hard = object::at(&quota, "/spec/hard").cloned().unwrap_or_else(|| json!({}));
    cluster.update_status(target, "kube-controller-manager", |status| {
        object::set(status, "/status/hard", hard);
        for resource in ["pods", "count/pods"] {
            if hard_limit(&quota, resource).is_some() {
                let pointer = format!("/status/used/{}", resource.replace('/', "~1"));
                object::set(status, &pointer, used.as_str());
            }
        }
    });
    Outcome::Done
}
