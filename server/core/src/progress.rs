//! Live counts of a move that runs: from the cluster as it is now, never stored.

use crate::cluster::{Cluster, Controller, Namespace};
use crate::migration::{Migration, Move};
use crate::pod::Pod;
use crate::rollout::{Goal, Verdict};
use std::collections::BTreeMap;

/// How far a move has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveProgress {
    /// Pods that are to be on the target.
    pub pods_total: u32,
    /// Of them, injected by the target.
    pub pods_on_target: u32,
    /// Workloads that are to be on the target.
    pub workloads_total: u32,
    /// Of them, rolled out.
    pub workloads_done: u32,
    /// The workload that is waited for, as `kind/name`; empty when none is.
    pub waiting_for: String,
}

/// How far `m` has come; none when the namespace is gone.
pub fn live(cluster: &Cluster, migration: &Migration, m: &Move) -> Option<LiveProgress> {
    let (meta, namespace) = cluster.namespace(&m.namespace)?;
    let mut labels = meta.labels.clone();
    m.after.replace(&mut labels);
    let target = &migration.spec.target;
    let goal = Goal { cluster, namespace, labels: &labels, target };
    let rollback_of = migration.spec.rollback_of.as_deref();
    let mut progress = LiveProgress::default();
    for workload in namespace.workloads.values() {
        let verdict = goal.judge(workload, m, &migration.id, rollback_of);
        match verdict {
            Verdict::OptedOut | Verdict::ScaledToZero => continue,
            Verdict::Done => progress.workloads_done += 1,
            Verdict::Restart
            | Verdict::Rolling
            | Verdict::Evict(_)
            | Verdict::Straggling
            | Verdict::Stuck(..) => {
                if progress.waiting_for.is_empty() {
                    progress.waiting_for = workload.key.to_string();
                }
            }
        }
        progress.workloads_total += 1;
        progress.pods_total += workload.desired;
        let on_target = goal.pods_of(workload).filter(|pod| goal.on_target(pod)).count();
        let on_target = u32::try_from(on_target).unwrap_or(u32::MAX);
        // A surge shows more pods than are asked for.
        progress.pods_on_target += on_target.min(workload.desired);
    }
    let strangers = goal.strangers();
    for (controller, pods) in others(namespace) {
        let label = controller.label().unwrap_or_default();
        let waited = strangers.contains_key(&controller);
        if !waited && m.evictions_of(&label).is_none() {
            continue;
        }
        progress.workloads_total += 1;
        progress.workloads_done += u32::from(!waited);
        for pod in pods {
            progress.pods_total += 1;
            progress.pods_on_target += u32::from(goal.on_target(pod));
        }
        if waited && progress.waiting_for.is_empty() {
            progress.waiting_for = label;
        }
    }
    Some(progress)
}

/// The pods of controllers whose template is not known.
fn others(namespace: &Namespace) -> BTreeMap<Controller, Vec<&Pod>> {
    let mut pods: BTreeMap<Controller, Vec<&Pod>> = BTreeMap::new();
    for pod in namespace.pods.values().filter(|pod| !pod.terminating) {
        let controller = namespace.controller(pod);
        if matches!(controller, Controller::Other { .. }) {
            pods.entry(controller).or_default().push(pod);
        }
    }
    pods
}
