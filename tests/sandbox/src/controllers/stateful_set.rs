//! StatefulSets: ordered pods with stable names.
//!
//! As the real controller, an ordered set does nothing while a lower pod is not ready; a
//! template that mends a broken pod is therefore not rolled out to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::progress::set_count;
use super::{Outcome, pods, revisions};
use crate::cluster::Cluster;
use crate::object;
use crate::refusal::Refusal;
use crate::store::Reference;

const SOURCE: &str = "statefulset-controller";

/// One look at a set.
struct View {
    set: Arc<Value>,
    pods: BTreeMap<i64, Arc<Value>>,
    start: i64,
    end: i64,
    ordered: bool,
    partition: i64,
    current: String,
    update: String,
}

pub(super) fn reconcile(cluster: &mut Cluster, target: &Reference) -> Outcome {
    let Some(set) = cluster.store.get(target).cloned() else { return Outcome::Done };
    if object::deleting(&set) {
        return Outcome::Done;
    }
    let Ok(update) = revisions::current(cluster, &set) else { return Outcome::Retry };
    let update = object::name(&update).to_owned();
    let current = match object::text(&set, "/status/currentRevision") {
        "" => update.clone(),
        current => current.to_owned(),
    };
    let view = View::of(cluster, set, current, update);
    let result = step(cluster, &view);
    let slow = report(cluster, target, &view);
    match result {
        Err(_) => Outcome::Retry,
        Ok(()) if slow => Outcome::After(Duration::from_secs(1)),
        Ok(()) => Outcome::Done,
    }
}

impl View {
    fn of(cluster: &Cluster, set: Arc<Value>, current: String, update: String) -> Self {
        let start = object::integer(&set, "/spec/ordinals/start").unwrap_or_default();
        let replicas = object::integer(&set, "/spec/replicas").unwrap_or(1);
        let partition = object::integer(&set, "/spec/updateStrategy/rollingUpdate/partition");
        Self {
            pods: ordinals(cluster, &set),
            start,
            end: start + replicas,
            ordered: object::text(&set, "/spec/podManagementPolicy") != "Parallel",
            partition: start + partition.unwrap_or_default(),
            current,
            update,
            set,
        }
    }

    fn rolls(&self) -> bool {
        object::text(&self.set, "/spec/updateStrategy/type") != "OnDelete"
    }
}

fn ordinals(cluster: &Cluster, set: &Value) -> BTreeMap<i64, Arc<Value>> {
    let ordinal = |pod: &Arc<Value>| {
        object::name(pod).strip_prefix(object::name(set))?.strip_prefix('-')?.parse().ok()
    };
    pods::of(cluster, set).into_iter().filter_map(|pod| Some((ordinal(&pod)?, pod))).collect()
}

fn revision(pod: &Value) -> &str {
    object::label(pod, revisions::HASH).unwrap_or_default()
}

fn step(cluster: &mut Cluster, view: &View) -> Result<(), Refusal> {
    let min_ready = pods::min_ready(&view.set);
    for ordinal in view.start..view.end {
        let Some(pod) = view.pods.get(&ordinal) else {
            create(cluster, view, ordinal)?;
            if view.ordered {
                return Ok(());
            }
            continue;
        };
        if pods::finished(pod) && !object::deleting(pod) {
            pods::delete(cluster, &view.set, pod, SOURCE);
        }
        let settled = !object::deleting(pod) && pods::available(cluster, pod, min_ready);
        if view.ordered && !settled {
            return Ok(());
        }
    }
    for (_, pod) in view.pods.range(view.end..).rev() {
        if !object::deleting(pod) {
            pods::delete(cluster, &view.set, pod, SOURCE);
        }
        if view.ordered {
            return Ok(());
        }
    }
    if view.rolls() {
        update(cluster, view);
    }
    Ok(())
}

/// Replaces one pod, the highest that has not the new template.
fn update(cluster: &mut Cluster, view: &View) {
    let min_ready = pods::min_ready(&view.set);
    for ordinal in (view.partition.max(view.start)..view.end).rev() {
        let Some(pod) = view.pods.get(&ordinal) else { return };
        if revision(pod) != view.update && !object::deleting(pod) {
            pods::delete(cluster, &view.set, pod, SOURCE);
            return;
        }
        if object::deleting(pod) || !pods::available(cluster, pod, min_ready) {
            return;
        }
    }
}

fn create(cluster: &mut Cluster, view: &View, ordinal: i64) -> Result<(), Refusal> {
    // Below the partition pods come back as they were.
    let name = if view.rolls() && ordinal < view.partition { &view.current } else { &view.update };
    let template = revisions::template(cluster, object::namespace(&view.set), name)
        .or_else(|| object::at(&view.set, "/spec/template").cloned())
        .unwrap_or_default();
    let mut pod = pods::from_template(&view.set, &template);
    object::remove(&mut pod, "/metadata/generateName");
    let pod_name = format!("{}-{ordinal}", object::name(&view.set));
    object::set(&mut pod, "/metadata/name", pod_name.as_str());
    object::set(&mut pod, "/spec/hostname", pod_name.as_str());
    object::set_label(&mut pod, revisions::HASH, name);
    object::set_label(&mut pod, "statefulset.kubernetes.io/pod-name", &pod_name);
    object::set_label(&mut pod, "apps.kubernetes.io/pod-index", &ordinal.to_string());
    pods::create(cluster, &view.set, pod, SOURCE).map(drop)
}

/// Writes the status; tells whether pods are ready but not yet for long enough.
fn report(cluster: &mut Cluster, target: &Reference, view: &View) -> bool {
    let all: Vec<_> = ordinals(cluster, &view.set).into_values().collect();
    let min_ready = pods::min_ready(&view.set);
    let present = |pod: &Value| !pods::finished(pod);
    let of =
        |pod: &Value, name: &str| present(pod) && !object::deleting(pod) && revision(pod) == name;
    let replicas = pods::count(&all, present);
    let ready = pods::count(&all, |pod| present(pod) && pods::ready(pod));
    let available = pods::count(&all, |pod| pods::available(cluster, pod, min_ready));
    let updated = pods::count(&all, |pod| of(pod, &view.update));
    let mut current_count = pods::count(&all, |pod| of(pod, &view.current));
    let mut current = view.current.as_str();
    let wanted = view.end - view.start;
    let complete = updated == wanted && replicas == wanted && ready == wanted;
    if view.rolls() && complete {
        current = &view.update;
        current_count = updated;
    }
    let generation = object::integer(&view.set, "/metadata/generation").unwrap_or_default();
    cluster.update_status(target, "kube-controller-manager", |set| {
        object::set(set, "/status/observedGeneration", generation);
        object::set(set, "/status/replicas", replicas);
        object::set(set, "/status/availableReplicas", available);
        set_count(set, "readyReplicas", ready);
        set_count(set, "currentReplicas", current_count);
        set_count(set, "updatedReplicas", updated);
        object::set(set, "/status/currentRevision", current);
        object::set(set, "/status/updateRevision", view.update.as_str());
        object::set(set, "/status/collisionCount", json!(0));
    });
    ready > available
}
