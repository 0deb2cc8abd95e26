//! How long a namespace may take, in starts of pods one after the other: coarse, but enough to let
//! what takes longest begin first.

use crate::cluster::Namespace;
use crate::workload::{Workload, WorkloadKind};

/// Rounds of pods that a Deployment of the default strategy needs: a quarter more and a quarter less
/// than asked for at a time.
const DEPLOYMENT_ROUNDS: u32 = 3;

/// How many pods must start one after the other until everything in `namespace` was restarted.
pub fn rounds(namespace: &Namespace) -> u32 {
    namespace.workloads.values().map(rounds_of).max().unwrap_or_default()
}

fn rounds_of(workload: &Workload) -> u32 {
    match workload.key.kind {
        WorkloadKind::Deployment | WorkloadKind::Rollout => workload.desired.min(DEPLOYMENT_ROUNDS),
        // One pod after the other.
        WorkloadKind::StatefulSet | WorkloadKind::DaemonSet => workload.desired,
    }
}
