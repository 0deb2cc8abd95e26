//! Whether what was moved is well, as far as the cluster itself tells.

use crate::cluster::Cluster;
use crate::migration::{Migration, Move};
use crate::rollout::{Goal, Verdict};
use crate::workload::Workload;

/// What is amiss in a namespace that was moved, for people; none while nothing is, or the namespace is
/// gone.
///
/// Its people go on with their work: a rollout of theirs is not amiss while any pod is available, and
/// Kubernetes does not call it late.
pub fn ailment(cluster: &Cluster, migration: &Migration, m: &Move) -> Option<String> {
    let (meta, namespace) = cluster.namespace(&m.namespace)?;
    if meta.uid != m.uid || meta.terminating {
        return None;
    }
    let labels = namespace.injection_labels();
    if labels != m.after {
        let now = labels.deciding().unwrap_or_else(|| "none that injects".to_owned());
        return Some(format!("the label of Namespace/{} is {now}", m.namespace));
    }
    let target = &migration.spec.target;
    let goal = Goal { cluster, namespace, labels: &meta.labels, target };
    let rollback_of = migration.spec.rollback_of.as_deref();
    let off = |controller: &str| {
        format!("{controller} in {} has pods that are off {target}", m.namespace)
    };
    for workload in namespace.workloads.values() {
        let within = format!("{} in {}", workload.key, m.namespace);
        match goal.judge(workload, m, &migration.id, rollback_of) {
            Verdict::Done | Verdict::OptedOut | Verdict::ScaledToZero => {}
            Verdict::Rolling => {
                if let Some(lack) = lack(workload) {
                    return Some(format!("{within}: {lack}"));
                }
            }
            Verdict::Restart | Verdict::Evict(_) | Verdict::Straggling => {
                return Some(off(&workload.key.to_string()));
            }
            Verdict::Stuck(_, message) => return Some(format!("{within}: {message}")),
        }
    }
    let strangers = goal.strangers();
    strangers.keys().next().map(|controller| off(&controller.label().unwrap_or_default()))
}

/// What a workload lacks that is not as it should be; none for a rollout that goes on.
fn lack(workload: &Workload) -> Option<String> {
    let Workload { desired, available, complaints, .. } = workload;
    if let Some(late) = &complaints.late {
        return Some(late.clone());
    }
    let fewest = if workload.rolling() { 1.min(*desired) } else { *desired };
    (*available < fewest).then(|| format!("{available} of {desired} pods are available"))
}
