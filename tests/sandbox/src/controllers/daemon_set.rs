//! DaemonSets: one pod a node, replaced node by node.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::progress::set_count;
use super::{Outcome, pods, revisions};
use crate::cluster::Cluster;
use crate::object;
use crate::refusal::Refusal;
use crate::store::Reference;

const SOURCE: &str = "daemonset-controller";

pub(super) fn reconcile(cluster: &mut Cluster, target: &Reference) -> Outcome {
    let Some(set) = cluster.store.get(target).cloned() else { return Outcome::Done };
    if object::deleting(&set) {
        return Outcome::Done;
    }
    let Ok(revision) = revisions::current(cluster, &set) else { return Outcome::Retry };
    let hash = revisions::hash(&revision).to_owned();
    let placed = fill_nodes(cluster, &set, &hash);
    if object::text(&set, "/spec/updateStrategy/type") != "OnDelete" {
        update(cluster, &set, &hash);
    }
    let slow = report(cluster, target, &set, &hash);
    match placed {
        Err(_) => Outcome::Retry,
        Ok(()) if slow => Outcome::After(std::time::Duration::from_secs(1)),
        Ok(()) => Outcome::Done,
    }
}

fn by_node(cluster: &Cluster, set: &Value) -> BTreeMap<String, Vec<Arc<Value>>> {
    let nodes = cluster.options.nodes.iter();
    let mut placed: BTreeMap<_, _> = nodes.map(|node| (node.clone(), Vec::new())).collect();
    for pod in pods::of(cluster, set) {
        let node = object::text(&pod, "/spec/nodeName").to_owned();
        placed.entry(node).or_default().push(pod);
    }
    placed
}

/// A node gets a pod once the one before is gone.
fn fill_nodes(cluster: &mut Cluster, set: &Value, hash: &str) -> Result<(), Refusal> {
    for (node, present) in by_node(cluster, set) {
        for pod in present.iter().filter(|pod| pods::finished(pod) && !object::deleting(pod)) {
            pods::delete(cluster, set, pod, SOURCE);
        }
        if !present.is_empty() {
            continue;
        }
        let template = object::at(set, "/spec/template").cloned().unwrap_or_default();
        let mut pod = pods::from_template(set, &template);
        object::set(&mut pod, "/spec/nodeName", node);
        object::set_label(&mut pod, revisions::HASH, hash);
        let generation = object::integer(set, "/metadata/generation").unwrap_or_default();
        object::set_label(&mut pod, "pod-template-generation", &generation.to_string());
        pods::create(cluster, set, pod, SOURCE)?;
    }
    Ok(())
}

/// Deletes outdated pods as far as `maxUnavailable` allows; those that are down anyway first.
fn update(cluster: &mut Cluster, set: &Value, hash: &str) {
    let min_ready = pods::min_ready(set);
    let placed = by_node(cluster, set);
    let nodes = i64::try_from(placed.len()).unwrap_or(i64::MAX);
    let setting = object::at(set, "/spec/updateStrategy/rollingUpdate/maxUnavailable");
    let allowed = object::share(setting, nodes, true).unwrap_or(1).max(1);
    let mut unavailable = 0;
    let (mut down, mut candidates) = (Vec::new(), Vec::new());
    for present in placed.values() {
        let Some(pod) = present.iter().find(|pod| pods::active(pod)) else {
            unavailable += 1;
            continue;
        };
        let available = pods::available(cluster, pod, min_ready);
        unavailable += i64::from(!available);
        if object::label(pod, revisions::HASH) != Some(hash) {
            if available { candidates.push(pod.clone()) } else { down.push(pod.clone()) }
        }
    }
    let room = usize::try_from(allowed - unavailable).unwrap_or_default();
    for pod in down.iter().chain(candidates.iter().take(room)) {
        pods::delete(cluster, set, pod, SOURCE);
    }
}

fn report(cluster: &mut Cluster, target: &Reference, set: &Value, hash: &str) -> bool {
    let min_ready = pods::min_ready(set);
    let mut all = pods::of(cluster, set);
    all.retain(|pod| pods::active(pod));
    let desired = i64::try_from(cluster.options.nodes.len()).unwrap_or(i64::MAX);
    let scheduled = pods::count(&all, |_| true).min(desired);
    let ready = pods::count(&all, pods::ready);
    let available = pods::count(&all, |pod| pods::available(cluster, pod, min_ready));
    let updated = pods::count(&all, |pod| object::label(pod, revisions::HASH) == Some(hash));
    let generation = object::integer(set, "/metadata/generation").unwrap_or_default();
    cluster.update_status(target, "kube-controller-manager", |set| {
        for (field, count) in [
            ("observedGeneration", generation),
            ("desiredNumberScheduled", desired),
            ("currentNumberScheduled", scheduled),
            ("numberMisscheduled", 0),
            ("numberReady", ready),
        ] {
            object::set(set, &format!("/status/{field}"), count);
        }
        set_count(set, "updatedNumberScheduled", updated);
        set_count(set, "numberAvailable", available);
        set_count(set, "numberUnavailable", desired - available);
    });
    ready > available
}
