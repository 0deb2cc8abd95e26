//! EndpointSlices: the pods that a Service selects, and which of them are ready.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{Outcome, pods};
use crate::cluster::{Author, Cluster, DeleteOptions};
use crate::kind;
use crate::object;
use crate::selector::LabelSelector;
use crate::store::Reference;

const MANAGER: &str = "kube-controller-manager";
const SERVICE: &str = "kubernetes.io/service-name";
/// How many endpoints a slice holds.
const MOST: usize = 100;

pub(super) fn reconcile(cluster: &mut Cluster, target: &Reference) -> Outcome {
    // Slices of a Service that is gone are garbage, and collected as such.
    let Some(service) = cluster.store.get(target).cloned() else { return Outcome::Done };
    let Some(selector) = selector(&service) else { return Outcome::Done };
    if object::deleting(&service) {
        return Outcome::Done;
    }
    let endpoints: Vec<Value> = cluster
        .store
        .list(kind::PODS, Some(&target.namespace))
        .filter(|pod| selector.matches_object(pod) && !pods::finished(pod))
        .filter(|pod| !object::text(pod, "/status/podIP").is_empty())
        .map(|pod| endpoint(&service, pod))
        .collect();
    let ports = ports(&service);
    let mut left: BTreeSet<String> = cluster
        .store
        .controlled(kind::ENDPOINT_SLICES, object::uid(&service))
        .iter()
        .map(|slice| object::name(slice).to_owned())
        .collect();
    // A Service without pods keeps one empty slice.
    let chunks = endpoints.len().div_ceil(MOST).max(1);
    for index in 0..chunks {
        let part: Vec<_> = endpoints.iter().skip(index * MOST).take(MOST).cloned().collect();
        let hash = object::hash(&json!([object::uid(&service), index]));
        let name = format!("{}-{}", target.name, &hash[..5]);
        left.remove(&name);
        write(cluster, &service, &name, &part, &ports);
    }
    let Some(kind) = cluster.store.kind(kind::ENDPOINT_SLICES) else { return Outcome::Done };
    for name in left {
        let reference = Reference::new(kind::ENDPOINT_SLICES, &target.namespace, &name);
        let author = Author::controller(MANAGER);
        // It can only be gone already.
        let _ = cluster.delete(&kind, &reference, &DeleteOptions::default(), author);
    }
    Outcome::Done
}

/// What a Service selects; nothing without a selector.
pub(super) fn selector(service: &Value) -> Option<LabelSelector> {
    let labels = object::at(service, "/spec/selector").filter(|one| one.is_object())?;
    Some(LabelSelector::structured(Some(&json!({ "matchLabels": labels }))))
}

fn endpoint(service: &Value, pod: &Arc<Value>) -> Value {
    let serving = pods::ready(pod);
    let terminating = object::deleting(pod);
    let anyway = object::flag(service, "/spec/publishNotReadyAddresses");
    json!({
        "addresses": [object::text(pod, "/status/podIP")],
        "conditions": {
            "ready": anyway || (serving && !terminating),
            "serving": serving,
            "terminating": terminating,
        },
        "nodeName": object::text(pod, "/spec/nodeName"),
        "targetRef": {
            "kind": "Pod",
            "namespace": object::namespace(pod),
            "name": object::name(pod),
            "uid": object::uid(pod),
        },
    })
}

fn ports(service: &Value) -> Value {
    let ports = object::list(service, "/spec/ports").iter().map(|port| {
        let number = object::integer(port, "/targetPort")
            .or_else(|| object::integer(port, "/port"))
            .unwrap_or_default();
        let protocol = match object::text(port, "/protocol") {
            "" => "TCP",
            protocol => protocol,
        };
        json!({ "name": object::text(port, "/name"), "port": number, "protocol": protocol })
    });
    Value::Array(ports.collect())
}

fn write(cluster: &mut Cluster, service: &Value, name: &str, endpoints: &[Value], ports: &Value) {
    let namespace = object::namespace(service);
    let reference = Reference::new(kind::ENDPOINT_SLICES, namespace, name);
    if cluster.store.get(&reference).is_some() {
        cluster.update_main(&reference, MANAGER, |slice| {
            object::set(slice, "/endpoints", endpoints);
            object::set(slice, "/ports", ports.clone());
        });
        return;
    }
    let mut slice = json!({
        "metadata": {
            "name": name,
            "namespace": namespace,
            "generateName": format!("{}-", object::name(service)),
            "ownerReferences": object::controlled_by(service),
        },
        "addressType": "IPv4",
        "endpoints": endpoints,
        "ports": ports,
    });
    object::set_label(&mut slice, SERVICE, object::name(service));
    let by = "endpointslice-controller.k8s.io";
    object::set_label(&mut slice, "endpointslice.kubernetes.io/managed-by", by);
    let Some(kind) = cluster.store.kind(kind::ENDPOINT_SLICES) else { return };
    // A namespace that goes away takes no slices; the next change tries again otherwise.
    let _ = cluster.create(&kind, namespace, slice, Author::controller(MANAGER));
}
