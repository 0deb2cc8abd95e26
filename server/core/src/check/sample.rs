//! Which pods tell how the workloads of namespaces run.

use super::Scope;
use crate::cluster::{Cluster, Controller};
use crate::pod::Injected;
use crate::workload::WorkloadKey;
use std::collections::BTreeMap;

/// Whether workloads run with a sidecar, by namespace; none of those without pods.
pub(super) type Sidecars<'a> = BTreeMap<&'a str, BTreeMap<WorkloadKey, bool>>;

/// Whether any pod of each workload that runs has a sidecar, by namespace.
pub(super) fn sidecars<'a>(cluster: &Cluster, scope: &'a Scope) -> Sidecars<'a> {
    let mut found = Sidecars::new();
    for name in &scope.namespaces {
        let Some((_, namespace)) = cluster.namespace(name) else {
            continue;
        };
        let of: &mut BTreeMap<WorkloadKey, bool> = found.entry(name).or_default();
        for pod in namespace.pods.values().filter(|pod| !pod.terminating) {
            if let Controller::Workload(key) = namespace.controller(pod) {
                *of.entry(key).or_default() |= pod.make.injected != Injected::No;
            }
        }
    }
    found
}

/// One running pod of each workload of the scope, by namespace and name, with `Kind/namespace/name` of the
/// workload; one with a sidecar where there is one.
pub fn samples(cluster: &Cluster, scope: &Scope) -> BTreeMap<(String, String), String> {
    let mut chosen = BTreeMap::new();
    for name in &scope.namespaces {
        let Some((_, namespace)) = cluster.namespace(name) else {
            continue;
        };
        let mut pods: BTreeMap<String, (bool, &str)> = BTreeMap::new();
        for pod in namespace.pods.values().filter(|pod| !pod.terminating) {
            let Controller::Workload(key) = namespace.controller(pod) else {
                continue;
            };
            let injected = pod.make.injected != Injected::No;
            let workload = format!("{}/{name}/{}", key.kind.as_str(), key.name);
            let best = pods.entry(workload).or_insert((injected, &pod.name));
            if injected && !best.0 {
                *best = (true, &pod.name);
            }
        }
        chosen.extend(
            pods.into_iter().map(|(workload, (_, pod))| ((name.clone(), pod.to_owned()), workload)),
        );
    }
    chosen
}
