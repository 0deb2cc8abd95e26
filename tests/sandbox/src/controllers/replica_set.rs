//! ReplicaSets and ReplicationControllers: as many pods as asked for, the least useful removed first.

use serde_json::{Value, json};

use super::{Outcome, pods};
use crate::cluster::Cluster;
use crate::object;
use crate::refusal::Refusal;
use crate::store::Reference;

pub(super) fn reconcile(cluster: &mut Cluster, target: &Reference) -> Outcome {
    let Some(set) = cluster.store.get(target).cloned() else { return Outcome::Done };
    let mut failure = None;
    if !object::deleting(&set) {
        failure = scale(cluster, &set).err();
    }
    let min_ready = pods::min_ready(&set);
    let all = pods::of(cluster, &set);
    let active: Vec<_> = all.into_iter().filter(|pod| pods::active(pod)).collect();
    let replicas = pods::count(&active, |_| true);
    let ready = pods::count(&active, pods::ready);
    let available = pods::count(&active, |pod| pods::available(cluster, pod, min_ready));
    let now = cluster.stamp();
    let generation = object::integer(&set, "/metadata/generation");
    cluster.update_status(target, "kube-controller-manager", |set| {
        for (field, value) in [
            ("replicas", replicas),
            ("fullyLabeledReplicas", replicas),
            ("readyReplicas", ready),
            ("availableReplicas", available),
            ("observedGeneration", generation.unwrap_or_default()),
        ] {
            object::set(set, &format!("/status/{field}"), value);
        }
        match &failure {
            // Written once: later messages differ by generated names, and each write would
            // wake the controller before its back-off is over.
            Some(_) if object::condition_holds(set, "ReplicaFailure") => {}
            Some(refusal) => {
                let condition = json!({
                    "type": "ReplicaFailure",
                    "status": "True",
                    "reason": "FailedCreate",
                    "message": refusal.message,
                });
                object::set_condition(set, condition, &now);
            }
            None => object::clear_condition(set, "ReplicaFailure"),
        }
    });
    if failure.is_some() {
        Outcome::Retry
    } else if ready > available {
        Outcome::After(std::time::Duration::from_secs(1))
    } else {
        Outcome::Done
    }
}

fn scale(cluster: &mut Cluster, set: &Value) -> Result<(), Refusal> {
    let source = match object::text(set, "/kind") {
        "ReplicationController" => "replication-controller",
        _ => "replicaset-controller",
    };
    let wanted = object::integer(set, "/spec/replicas").unwrap_or(1);
    let mut active = pods::of(cluster, set);
    active.retain(|pod| pods::active(pod));
    let present = pods::count(&active, |_| true);
    let Some(template) = object::at(set, "/spec/template") else { return Ok(()) };
    for _ in present..wanted {
        // The first refusal ends the batch: the others would fail alike.
        pods::create(cluster, set, pods::from_template(set, template), source)?;
    }
    let surplus = usize::try_from(present - wanted).unwrap_or_default();
    // Unbound first, then pending, then not ready, then the newest.
    active.sort_by_key(|pod| {
        let rank = match () {
            () if object::text(pod, "/spec/nodeName").is_empty() => 0,
            () if object::text(pod, "/status/phase") == "Pending" => 1,
            () if !pods::ready(pod) => 2,
            () => 3,
        };
        let created = object::text(pod, "/metadata/creationTimestamp").to_owned();
        (rank, std::cmp::Reverse((created, object::uid(pod).to_owned())))
    });
    for pod in active.iter().take(surplus) {
        pods::delete(cluster, set, pod, source);
    }
    Ok(())
}
