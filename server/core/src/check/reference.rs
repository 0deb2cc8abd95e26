//! References of Istio's resources to what does not exist.

use super::Checks;
use crate::problem::Code;
use std::collections::BTreeSet;

impl Checks<'_> {
    pub(super) fn references(&mut self) {
        let around = self.around;
        let gateways: BTreeSet<String> = around
            .resources
            .iter()
            .filter(|it| it.kind == "Gateway")
            .map(|it| format!("{}/{}", it.namespace, it.name))
            .collect();
        let hosts_of_all = around.hosts.iter().flatten();
        let wild: Vec<&str> = hosts_of_all
            .filter_map(|it| it.strip_prefix('*'))
            .filter(|it| !it.is_empty())
            .collect();
        for resource in &around.resources {
            for gateway in &resource.gateways {
                // Those of namespaces that are not looked at are not known.
                let known = gateway.split_once('/').is_some_and(|(it, _)| it == resource.namespace);
                if gateway != "mesh" && known && !gateways.contains(gateway) {
                    let message = format!("it names the gateway {gateway}, which does not exist");
                    self.warn(Code::ReferenceBroken, resource.object(), message);
                }
            }
            let Some(hosts) = &around.hosts else {
                continue;
            };
            for destination in &resource.destinations {
                if !offered(hosts, &wild, destination, &resource.namespace) {
                    let message = format!(
                        "it names the host {destination}, which no Service and no ServiceEntry of this cluster offers"
                    );
                    self.warn(Code::ReferenceBroken, resource.object(), message);
                }
            }
        }
    }
}

/// Whether a host exists, by its short name as seen from `namespace` or by its full name; `wild` are the
/// suffixes of those that are offered with a wildcard.
fn offered(hosts: &BTreeSet<String>, wild: &[&str], host: &str, namespace: &str) -> bool {
    if hosts.contains(host) {
        return true;
    }
    // Which domain a cluster has is not known here; that of the whole mesh is `clusterset.local`.
    let full = match host.split('.').collect::<Vec<_>>().as_slice() {
        [name] => format!("{name}.{namespace}.svc.cluster.local"),
        [name, namespace] | [name, namespace, "svc", ..] => {
            format!("{name}.{namespace}.svc.cluster.local")
        }
        _ => host.to_owned(),
    };
    // A host with a wildcard stands for whatever there is.
    host.starts_with('*')
        || hosts.contains(&full)
        || wild.iter().any(|suffix| full.ends_with(suffix))
}
