//! Which pods tell how the workloads of namespaces run.

use super::Scope;
use crate::cluster::{Cluster, Controller};
use crate::pod::Injected;
use std::collections::BTreeMap;

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
