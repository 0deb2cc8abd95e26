//! Defaults that the API server writes into objects and that clients come to rely on.

use serde_json::{Value, json};

use crate::cluster::complete_limits;
use crate::kind::{self, Kind};
use crate::object::{self, default};

/// Fills in the defaults of a kind; harmless when repeated.
pub(crate) fn fill(kind: &Kind, object: &mut Value) {
    match kind.resource.as_str() {
        kind::NAMESPACES => namespace(object),
        kind::PODS => {
            pod_spec(object, "/spec");
            requests(object);
        }
        kind::DEPLOYMENTS => deployment(object),
        kind::REPLICA_SETS => {
            default(object, "/spec/replicas", 1);
            pod_spec(object, "/spec/template/spec");
        }
        kind::REPLICATION_CONTROLLERS => replication_controller(object),
        kind::STATEFUL_SETS => stateful_set(object),
        kind::DAEMON_SETS => daemon_set(object),
        kind::JOBS => job(object),
        kind::CRON_JOBS => {
            default(object, "/spec/suspend", false);
            default(object, "/spec/concurrencyPolicy", "Allow");
            default(object, "/spec/successfulJobsHistoryLimit", 3);
            default(object, "/spec/failedJobsHistoryLimit", 1);
        }
        kind::LIMIT_RANGES => complete_limits(object),
        kind::WEBHOOKS => webhooks(object),
        kind::DEFINITIONS => definition(object),
        _ => {}
    }
}

/// Fills in the defaults of a pod template, which custom kinds do without.
pub(crate) fn fill_template(template: &mut Value) {
    pod_spec(template, "/spec");
}

/// The status of a newly created object: what clients cannot set.
pub(crate) fn first_status(kind: &Kind, object: &mut Value) {
    if !kind.status {
        return;
    }
    object::remove(object, "/status");
    match kind.resource.as_str() {
        kind::NAMESPACES => object::set(object, "/status", json!({ "phase": "Active" })),
        kind::PODS => {
            object::set(object, "/status", json!({ "phase": "Pending", "qosClass": "BestEffort" }));
        }
        kind::STATEFUL_SETS => {
            object::set(object, "/status", json!({ "replicas": 0, "availableReplicas": 0 }));
        }
        kind::REPLICA_SETS | kind::REPLICATION_CONTROLLERS => {
            object::set(object, "/status", json!({ "replicas": 0 }));
        }
        kind::BUDGETS => object::set(
            object,
            "/status",
            json!({
                "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0,
                "disruptionsAllowed": 0,
            }),
        ),
        kind::DAEMON_SETS => object::set(
            object,
            "/status",
            json!({
                "currentNumberScheduled": 0,
                "desiredNumberScheduled": 0,
                "numberMisscheduled": 0,
                "numberReady": 0,
            }),
        ),
        kind::DEPLOYMENTS | kind::JOBS | kind::CRON_JOBS => {
            object::set(object, "/status", json!({}));
        }
        _ => {}
    }
}

fn namespace(object: &mut Value) {
    let name = object::name(object).to_owned();
    object::set_label(object, "kubernetes.io/metadata.name", &name);
    default(object, "/spec/finalizers", json!(["kubernetes"]));
    default(object, "/status/phase", "Active");
}

fn deployment(object: &mut Value) {
    default(object, "/spec/replicas", 1);
    default(object, "/spec/revisionHistoryLimit", 10);
    default(object, "/spec/progressDeadlineSeconds", 600);
    default(object, "/spec/strategy/type", "RollingUpdate");
    if object::text(object, "/spec/strategy/type") == "RollingUpdate" {
        default(object, "/spec/strategy/rollingUpdate/maxSurge", "25%");
        default(object, "/spec/strategy/rollingUpdate/maxUnavailable", "25%");
    }
    pod_spec(object, "/spec/template/spec");
}

fn replication_controller(object: &mut Value) {
    default(object, "/spec/replicas", 1);
    let labels = object::at(object, "/spec/template/metadata/labels").cloned();
    if let Some(labels) = labels {
        default(object, "/spec/selector", labels.clone());
        default(object, "/metadata/labels", labels);
    }
    pod_spec(object, "/spec/template/spec");
}

fn stateful_set(object: &mut Value) {
    default(object, "/spec/replicas", 1);
    default(object, "/spec/revisionHistoryLimit", 10);
    default(object, "/spec/podManagementPolicy", "OrderedReady");
    default(object, "/spec/updateStrategy/type", "RollingUpdate");
    if object::text(object, "/spec/updateStrategy/type") == "RollingUpdate" {
        default(object, "/spec/updateStrategy/rollingUpdate/partition", 0);
    }
    let retention = json!({ "whenDeleted": "Retain", "whenScaled": "Retain" });
    default(object, "/spec/persistentVolumeClaimRetentionPolicy", retention);
    pod_spec(object, "/spec/template/spec");
}

fn daemon_set(object: &mut Value) {
    default(object, "/spec/revisionHistoryLimit", 10);
    default(object, "/spec/updateStrategy/type", "RollingUpdate");
    if object::text(object, "/spec/updateStrategy/type") == "RollingUpdate" {
        default(object, "/spec/updateStrategy/rollingUpdate/maxUnavailable", 1);
        default(object, "/spec/updateStrategy/rollingUpdate/maxSurge", 0);
    }
    pod_spec(object, "/spec/template/spec");
}

fn job(object: &mut Value) {
    if object::at(object, "/spec/parallelism").is_none() {
        default(object, "/spec/completions", 1);
    }
    default(object, "/spec/parallelism", 1);
    default(object, "/spec/backoffLimit", 6);
    default(object, "/spec/completionMode", "NonIndexed");
    default(object, "/spec/suspend", false);
    let uid = object::uid(object).to_owned();
    if !uid.is_empty() && object::at(object, "/spec/selector").is_none() {
        // The API server gives each Job a selector of its own.
        let name = object::name(object).to_owned();
        for (key, value) in
            [("batch.kubernetes.io/controller-uid", &uid), ("batch.kubernetes.io/job-name", &name)]
        {
            let escaped = key.replace('/', "~1");
            object::set(
                object,
                &format!("/spec/template/metadata/labels/{escaped}"),
                value.as_str(),
            );
        }
        object::set(object, "/spec/template/metadata/labels/job-name", name);
        object::set(object, "/spec/selector/matchLabels/batch.kubernetes.io~1controller-uid", uid);
    }
    pod_spec(object, "/spec/template/spec");
}

fn pod_spec(object: &mut Value, at: &str) {
    if !object.pointer(at).is_some_and(Value::is_object) {
        return;
    }
    for (field, value) in [
        ("restartPolicy", json!("Always")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("dnsPolicy", json!("ClusterFirst")),
        ("schedulerName", json!("default-scheduler")),
        ("securityContext", json!({})),
    ] {
        default(object, &format!("{at}/{field}"), value);
    }
    let containers = object.pointer_mut(&format!("{at}/containers"));
    for container in containers.and_then(Value::as_array_mut).into_iter().flatten() {
        default(container, "/imagePullPolicy", "IfNotPresent");
        default(container, "/resources", json!({}));
        default(container, "/terminationMessagePath", "/dev/termination-log");
        default(container, "/terminationMessagePolicy", "File");
    }
}

/// A container that names only a limit asks for as much.
fn requests(pod: &mut Value) {
    for list in ["/spec/containers", "/spec/initContainers"] {
        let containers = pod.pointer_mut(list).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            for (resource, amount) in object::strings(object::at(container, "/resources/limits")) {
                default(container, &format!("/resources/requests/{resource}"), amount);
            }
        }
    }
}

fn webhooks(object: &mut Value) {
    let webhooks = object.pointer_mut("/webhooks").and_then(Value::as_array_mut);
    for webhook in webhooks.into_iter().flatten() {
        default(webhook, "/failurePolicy", "Fail");
        default(webhook, "/matchPolicy", "Equivalent");
        default(webhook, "/reinvocationPolicy", "Never");
        default(webhook, "/timeoutSeconds", 10);
        default(webhook, "/namespaceSelector", json!({}));
        default(webhook, "/objectSelector", json!({}));
    }
}

fn definition(object: &mut Value) {
    let kind = object::text(object, "/spec/names/kind").to_owned();
    default(object, "/spec/names/listKind", format!("{kind}List"));
    default(object, "/spec/names/singular", kind.to_lowercase());
    default(object, "/spec/conversion/strategy", "None");
}
