//! What makes a DaemonSet Istio's CNI.

use k8s_openapi::api::apps::v1::DaemonSet;
use kube::ResourceExt;

/// Whether a DaemonSet is a node agent of Istio's CNI: upstream's has the label `k8s-app`, Calisti's `app`.
pub(super) fn is_agent(object: &DaemonSet) -> bool {
    let labels = object.labels();
    let mut apps = ["k8s-app", "app"].into_iter().filter_map(|key| labels.get(key));
    object.name_any().starts_with("istio-cni") || apps.any(|app| app.starts_with("istio-cni"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn agents_are_known_by_the_labels_of_either_make() {
        for (name, key, value, agent) in [
            ("node-agent", "k8s-app", "istio-cni-node", true),
            ("node-agent", "app", "istio-cni-node", true),
            ("istio-cni-node-v117x", "tier", "infra", true),
            ("fluentd", "app", "fluentd", false),
        ] {
            let set = json!({ "metadata": { "name": name, "labels": { key: value } } });
            let set: DaemonSet = serde_json::from_value(set).unwrap();
            assert_eq!(is_agent(&set), agent, "{name} {key}={value}");
        }
    }
}
