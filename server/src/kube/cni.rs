//! What makes a DaemonSet Istio's CNI.

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::ResourceExt;

/// Whether a DaemonSet is a node agent of Istio's CNI: upstream's has the label `k8s-app`, Calisti's `app`.
/// Anybody may choose a label; an agent also has the CNI's directories of its node, which is a privilege.
pub(super) fn is_agent(object: &DaemonSet) -> bool {
    let labels = object.labels();
    let mut apps = ["k8s-app", "app"].into_iter().filter_map(|key| labels.get(key));
    let named =
        object.name_any().starts_with("istio-cni") || apps.any(|app| app.starts_with("istio-cni"));
    let pod = object.spec.as_ref().and_then(|spec| spec.template.spec.as_ref());
    let mut volumes = pod.into_iter().flat_map(|pod| pod.volumes.iter().flatten());
    named && volumes.any(|it| it.host_path.as_ref().is_some_and(|it| it.path.contains("/cni")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn agents_are_known_by_the_labels_of_either_make_and_by_what_they_mount() {
        for (name, key, value, path, agent) in [
            ("node-agent", "k8s-app", "istio-cni-node", "/opt/cni/bin", true),
            ("node-agent", "app", "istio-cni-node", "/etc/cni/net.d", true),
            ("istio-cni-node-v117x", "tier", "infra", "/opt/cni/bin", true),
            ("istio-cni-node", "app", "istio-cni-node", "/var/log", false),
            ("fluentd", "app", "fluentd", "/opt/cni/bin", false),
        ] {
            let volumes = json!([{ "name": "dir", "hostPath": { "path": path } }]);
            let set = json!({
                "metadata": { "name": name, "labels": { key: value } },
                "spec": { "selector": {}, "template": { "spec": {
                    "containers": [], "volumes": volumes,
                } } },
            });
            let set: DaemonSet = serde_json::from_value(set).unwrap();
            assert_eq!(is_agent(&set), agent, "{name} {key}={value}");
        }
    }
}
