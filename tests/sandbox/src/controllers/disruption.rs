//! PodDisruptionBudgets: how many of the pods may be disrupted now.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Outcome, pods};
use crate::cluster::{Cluster, set_allowed};
use crate::kind;
use crate::object;
use crate::selector::LabelSelector;
use crate::store::Reference;

const MANAGER: &str = "kube-controller-manager";
const SOURCE: &str = "controllermanager";

pub(super) fn reconcile(cluster: &mut Cluster, target: &Reference) -> Outcome {
    let Some(budget) = cluster.store.get(target).cloned() else { return Outcome::Done };
    let covered = covered(cluster, &budget);
    if covered.is_empty() {
        cluster.event(&budget, "Normal", "NoPods", "No matching pods found", SOURCE);
    }
    match expected(cluster, &budget, &covered) {
        Ok((expected, desired)) => report(cluster, target, &covered, expected, desired),
        Err(why) => {
            let message = format!("Failed to calculate the number of expected pods: {why}");
            let reason = "CalculateExpectedPodCountFailed";
            cluster.event(&budget, "Warning", reason, &message, SOURCE);
            fail(cluster, target, &why);
        }
    }
    Outcome::Done
}

/// The pods that a budget selects; without a selector none.
fn covered(cluster: &Cluster, budget: &Value) -> Vec<Arc<Value>> {
    let Some(selector) = object::at(budget, "/spec/selector") else { return Vec::new() };
    let selector = LabelSelector::structured(Some(selector));
    let all = cluster.store.list(kind::PODS, Some(object::namespace(budget)));
    all.filter(|pod| selector.matches_object(pod)).cloned().collect()
}

/// How many pods there should be, and how many of them healthy.
fn expected(
    cluster: &mut Cluster,
    budget: &Value,
    covered: &[Arc<Value>],
) -> Result<(i64, i64), String> {
    if let Some(unavailable) = object::at(budget, "/spec/maxUnavailable") {
        let scale = scale(cluster, budget, covered)?;
        let unavailable = object::share(Some(unavailable), scale, true).unwrap_or_default();
        return Ok((scale, (scale - unavailable).max(0)));
    }
    let Some(available) = object::at(budget, "/spec/minAvailable") else { return Ok((0, 0)) };
    if let Some(number) = available.as_i64() {
        return Ok((pods::count(covered, |_| true), number));
    }
    let scale = scale(cluster, budget, covered)?;
    Ok((scale, object::share(Some(available), scale, true).unwrap_or_default()))
}

/// The sum of the sizes of all controllers that the pods have.
fn scale(cluster: &mut Cluster, budget: &Value, covered: &[Arc<Value>]) -> Result<i64, String> {
    let mut sizes: BTreeMap<String, i64> = BTreeMap::new();
    let mut unmanaged = false;
    for pod in covered {
        let Some(owner) = object::controller(pod) else {
            unmanaged = true;
            continue;
        };
        let (uid, size) = size(cluster, owner, object::namespace(pod))?
            .ok_or_else(|| format!("found no controllers for pod \"{}\"", object::name(pod)))?;
        sizes.insert(uid, size);
    }
    if unmanaged {
        let message = "Pods selected by this PodDisruptionBudget were found to be unmanaged. As a \
                       result, the status of the PDB cannot be calculated correctly, which may \
                       result in undefined behavior. To account for these pods please set \
                       \".spec.minAvailable\" field of the PDB to an integer value.";
        cluster.event(budget, "Warning", "UnmanagedPods", message, SOURCE);
    }
    Ok(sizes.values().sum())
}

/// Uid and size of a pod's controller; a Deployment stands for its ReplicaSets.
fn size(
    cluster: &Cluster,
    owner: &Value,
    namespace: &str,
) -> Result<Option<(String, i64)>, String> {
    let reference = cluster.owner(owner, namespace);
    let Some(found) = cluster.store.get(&reference) else { return Ok(None) };
    if object::uid(found) != object::text(owner, "/uid") {
        return Ok(None);
    }
    let above = object::controller(found)
        .filter(|above| object::text(above, "/kind") == "Deployment")
        .and_then(|above| cluster.store.get(&cluster.owner(above, namespace)));
    let found = match (reference.resource.as_str(), above) {
        (kind::REPLICA_SETS, Some(deployment)) => deployment,
        (
            kind::REPLICA_SETS
            | kind::STATEFUL_SETS
            | kind::REPLICATION_CONTROLLERS
            | kind::ROLLOUTS,
            _,
        ) => found,
        (resource, _) => {
            return Err(format!("{resource} does not implement the scale subresource"));
        }
    };
    let replicas = object::integer(found, "/spec/replicas").unwrap_or(1);
    Ok(Some((object::uid(found).to_owned(), replicas)))
}

fn report(
    cluster: &mut Cluster,
    target: &Reference,
    covered: &[Arc<Value>],
    expected: i64,
    desired: i64,
) {
    let healthy = pods::count(covered, |pod| !object::deleting(pod) && pods::ready(pod));
    let allowed = if expected > 0 { (healthy - desired).max(0) } else { 0 };
    let now = cluster.stamp();
    cluster.update_status(target, MANAGER, |budget| {
        let generation = object::integer(budget, "/metadata/generation").unwrap_or_default();
        for (field, value) in [
            ("currentHealthy", healthy),
            ("desiredHealthy", desired),
            ("expectedPods", expected),
            ("disruptionsAllowed", allowed),
            ("observedGeneration", generation),
        ] {
            object::set(budget, &format!("/status/{field}"), value);
        }
        set_allowed(budget, allowed, &now);
    });
}

/// What cannot be counted allows nothing.
fn fail(cluster: &mut Cluster, target: &Reference, why: &str) {
    let now = cluster.stamp();
    cluster.update_status(target, MANAGER, |budget| {
        for field in ["currentHealthy", "desiredHealthy", "expectedPods"] {
            object::default(budget, &format!("/status/{field}"), 0);
        }
        object::set(budget, "/status/disruptionsAllowed", 0);
        let observed = object::integer(budget, "/status/observedGeneration").unwrap_or_default();
        let condition = json!({
            "type": "DisruptionAllowed",
            "status": "False",
            "reason": "SyncFailed",
            "message": why,
            "observedGeneration": observed,
        });
        object::set_condition(budget, condition, &now);
    });
}
