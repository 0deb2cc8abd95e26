//! The scheduler: which node a pod gets, and why it gets none.
//!
//! Nodes are those that the options name; a Node object says more of one (labels, room,
//! `unschedulable`) or adds one.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::kubelet;
use crate::cluster::Cluster;
use crate::kind;
use crate::object;
use crate::store::Reference;

const SOURCE: &str = "default-scheduler";

/// The nodes by name, with their objects where there are any.
pub(super) fn nodes(cluster: &Cluster) -> BTreeMap<String, Option<Arc<Value>>> {
    let mut all: BTreeMap<_, _> =
        cluster.options.nodes.iter().map(|name| (name.clone(), None)).collect();
    for node in cluster.store.list(kind::NODES, None) {
        all.insert(object::name(node).to_owned(), Some(node.clone()));
    }
    all
}

/// Whether a node has the labels of a `nodeSelector`.
pub(super) fn selects(selector: Option<&Value>, node: Option<&Value>) -> bool {
    object::strings(selector)
        .iter()
        .all(|(key, value)| node.and_then(|node| object::label(node, key)) == Some(value.as_str()))
}

/// Binds a pod to a node; tells whether there was one.
pub(super) fn schedule(cluster: &mut Cluster, target: &Reference, pod: &Value) -> bool {
    let given = object::text(pod, "/spec/nodeName");
    if !given.is_empty() {
        cluster.bind(target, given);
        return true;
    }
    let (mut fitting, mut reasons) = (Vec::new(), BTreeMap::new());
    for (name, node) in nodes(cluster) {
        match misfit(cluster, pod, &name, node.as_deref()) {
            None => fitting.push(name),
            Some(reason) => *reasons.entry(reason).or_insert(0) += 1,
        }
    }
    if fitting.is_empty() {
        refuse(cluster, target, pod, &reasons);
        return false;
    }
    let node = fitting.swap_remove(cluster.nodes.bound % fitting.len());
    cluster.nodes.bound += 1;
    cluster.bind(target, &node);
    let message = format!("Successfully assigned {}/{} to {node}", target.namespace, target.name);
    cluster.event(pod, "Normal", "Scheduled", &message, SOURCE);
    true
}

fn misfit(
    cluster: &Cluster,
    pod: &Value,
    name: &str,
    node: Option<&Value>,
) -> Option<&'static str> {
    if kubelet::failure(pod) == Some("unschedulable") {
        return Some("Insufficient memory");
    }
    if node.is_some_and(|node| object::flag(node, "/spec/unschedulable")) {
        return Some("node(s) were unschedulable");
    }
    if !selects(object::at(pod, "/spec/nodeSelector"), node) {
        return Some("node(s) didn't match Pod's node affinity/selector");
    }
    let room = node.and_then(|node| {
        let room = ["/status/allocatable/pods", "/status/capacity/pods"];
        room.into_iter().find_map(|at| object::at(node, at))
    });
    let room = room.and_then(|room| match room {
        Value::String(text) => text.parse::<usize>().ok(),
        number => usize::try_from(number.as_u64()?).ok(),
    })?;
    let present = cluster.store.list(kind::PODS, None).filter(|pod| {
        object::text(pod, "/spec/nodeName") == name
            && !matches!(object::text(pod, "/status/phase"), "Succeeded" | "Failed")
    });
    (present.count() >= room).then_some("Too many pods")
}

fn refuse(
    cluster: &mut Cluster,
    target: &Reference,
    pod: &Value,
    reasons: &BTreeMap<&'static str, usize>,
) {
    let total: usize = reasons.values().sum();
    let mut why: Vec<_> =
        reasons.iter().map(|(reason, nodes)| format!("{nodes} {reason}")).collect();
    why.sort();
    let message = if total == 0 {
        "no nodes available to schedule pods".to_owned()
    } else {
        format!(
            "0/{total} nodes are available: {}. no new claims to deallocate, preemption: \
             0/{total} nodes are available: {total} Preemption is not helpful for scheduling.",
            why.join(", ")
        )
    };
    let known = object::condition(pod, "PodScheduled");
    if known.is_some_and(|one| object::text(one, "/message") == message) {
        return;
    }
    let now = cluster.stamp();
    cluster.update_status(target, "kube-scheduler", |pod| {
        let condition = json!({
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": message,
        });
        object::set_condition(pod, condition, &now);
    });
    cluster.event(pod, "Warning", "FailedScheduling", &message, SOURCE);
}
