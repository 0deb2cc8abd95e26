//! Argo's Rollouts, as far as `spec.restartAt` and a canary without steps go: a new template
//! rolls like a Deployment's, and a restart evicts the pods that are older than the moment. The
//! template may be that of a Deployment.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::deployment::{Dialect, Sets, clean_up, replicas, roll, slack};
use super::progress::{Counts, set_count};
use super::{Outcome, pods};
use crate::cluster::{Author, Cluster};
use crate::kind;
use crate::object;
use crate::store::Reference;

const MANAGER: &str = "rollouts-controller";
/// How often Argo looks again at a restart that could not go on.
const RECHECK: Duration = Duration::from_secs(30);

pub(super) fn reconcile(cluster: &mut Cluster, target: &Reference) -> Outcome {
    let Some(rollout) = whole(cluster, target) else { return Outcome::Done };
    if object::deleting(&rollout) {
        return Outcome::Done;
    }
    let (restarted, next) = restart(cluster, &rollout);
    let result = roll(cluster, &rollout);
    clean_up(cluster, &rollout);
    report(cluster, target, restarted.as_deref());
    match (result, next) {
        (Err(_), _) => Outcome::Retry,
        (Ok(()), Some(delay)) => Outcome::After(delay),
        (Ok(()), None) => Outcome::Done,
    }
}

/// Evicts pods that are too old; gives the restart that is done, and when to look again.
fn restart(cluster: &mut Cluster, rollout: &Value) -> (Option<String>, Option<Duration>) {
    let asked = object::text(rollout, "/spec/restartAt");
    let Ok(moment) = asked.parse::<Timestamp>() else { return (None, None) };
    if object::text(rollout, "/status/restartedAt") == asked {
        return (None, None);
    }
    let early = Duration::try_from(moment.duration_since(cluster.now())).unwrap_or_default();
    if !early.is_zero() {
        return (None, Some(early));
    }
    let sets = Sets::of(cluster, rollout);
    let total: i64 = sets.all().map(|set| replicas(set)).sum();
    let all: Vec<Arc<Value>> = sets.all().flat_map(|set| pods::of(cluster, set)).collect();
    let min_ready = pods::min_ready(rollout);
    let available =
        pods::count(&all, |pod| !object::deleting(pod) && pods::available(cluster, pod, min_ready));
    let (unavailable, _) = slack(rollout);
    // At least one at a time, also where the strategy allows none to be missing.
    let mut room = available - (replicas(rollout).max(total) - unavailable.max(1));
    let mut left = 0;
    let Some(kind) = cluster.store.kind(kind::PODS) else { return (None, None) };
    for pod in &all {
        let created = object::text(pod, "/metadata/creationTimestamp").parse::<Timestamp>();
        if created.is_ok_and(|created| created >= moment) {
            continue;
        }
        left += 1;
        if room <= 0 || object::deleting(pod) {
            continue;
        }
        let reference = Reference::new(kind::PODS, object::namespace(pod), object::name(pod));
        // A budget may refuse; the next look tries again.
        if cluster.evict(&kind, &reference, &json!({}), Author::controller(MANAGER)).is_ok() {
            room -= 1;
            left -= 1;
        }
    }
    if left == 0 { (Some(asked.to_owned()), None) } else { (None, Some(RECHECK)) }
}

/// A Rollout, with the template of the workload that it refers to.
fn whole(cluster: &Cluster, target: &Reference) -> Option<Value> {
    let mut rollout = Value::clone(cluster.store.get(target)?);
    if object::text(&rollout, "/spec/workloadRef/kind") == "Deployment" {
        let name = object::text(&rollout, "/spec/workloadRef/name");
        let lender = Reference::new(kind::DEPLOYMENTS, &target.namespace, name);
        let template = object::at(cluster.store.get(&lender)?, "/spec/template")?.clone();
        object::set(&mut rollout, "/spec/template", template);
    }
    Some(rollout)
}

fn report(cluster: &mut Cluster, target: &Reference, restarted: Option<&str>) {
    let Some(rollout) = whole(cluster, target) else { return };
    let sets = Sets::of(cluster, &rollout);
    let counts = Counts::of_sets(&sets);
    let complete = counts.complete(replicas(&rollout));
    let hash = sets.new.as_deref().and_then(|new| object::label(new, Dialect::of(&rollout).hash));
    let generation = object::integer(&rollout, "/metadata/generation").unwrap_or_default();
    cluster.update_status(target, MANAGER, |rollout| {
        object::set(rollout, "/status/observedGeneration", generation.to_string());
        for (field, count) in [
            ("replicas", counts.replicas),
            ("HPAReplicas", counts.replicas),
            ("updatedReplicas", counts.updated),
            ("readyReplicas", counts.ready),
            ("availableReplicas", counts.available),
        ] {
            set_count(rollout, field, count);
        }
        let phase = if complete { "Healthy" } else { "Progressing" };
        object::set(rollout, "/status/phase", phase);
        if let Some(hash) = hash {
            object::set(rollout, "/status/currentPodHash", hash);
            if complete {
                object::set(rollout, "/status/stableRS", hash);
            }
        }
        if let Some(restarted) = restarted {
            object::set(rollout, "/status/restartedAt", restarted);
        }
    });
}
