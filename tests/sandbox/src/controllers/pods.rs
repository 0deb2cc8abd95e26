//! What the workload controllers share about pods: making them, deleting them, and telling
//! which of them count.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::{Author, Cluster, DeleteOptions};
use crate::kind;
use crate::object;
use crate::refusal::Refusal;
use crate::store::Reference;

/// The pods that an object controls, by name.
pub(super) fn of(cluster: &Cluster, owner: &Value) -> Vec<Arc<Value>> {
    cluster.store.controlled(kind::PODS, object::uid(owner))
}

/// A pod that counts: neither finished nor going.
pub(super) fn active(pod: &Value) -> bool {
    !object::deleting(pod) && !finished(pod)
}

pub(super) fn finished(pod: &Value) -> bool {
    matches!(object::text(pod, "/status/phase"), "Succeeded" | "Failed")
}

pub(super) fn ready(pod: &Value) -> bool {
    object::condition_holds(pod, "Ready")
}

/// Ready for as long as the workload asks for.
pub(super) fn available(cluster: &Cluster, pod: &Value, min_ready: Duration) -> bool {
    let since = object::condition(pod, "Ready")
        .filter(|ready| object::text(ready, "/status") == "True")
        .and_then(|ready| cluster.since(object::text(ready, "/lastTransitionTime")));
    since.is_some_and(|since| min_ready.is_zero() || since >= min_ready)
}

/// `spec.minReadySeconds`.
pub(super) fn min_ready(workload: &Value) -> Duration {
    let seconds = object::integer(workload, "/spec/minReadySeconds").unwrap_or_default();
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

/// A pod from a workload's template, controlled by the workload.
pub(super) fn from_template(owner: &Value, template: &Value) -> Value {
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": template.get("metadata").cloned().unwrap_or_else(|| json!({})),
        "spec": template.get("spec").cloned().unwrap_or_else(|| json!({})),
    });
    object::set(&mut pod, "/metadata/generateName", format!("{}-", object::name(owner)));
    object::set(&mut pod, "/metadata/ownerReferences", object::controlled_by(owner));
    pod
}

/// Creates a pod for a workload and says so in an Event, success or not.
pub(super) fn create(
    cluster: &mut Cluster,
    owner: &Value,
    pod: Value,
    source: &str,
) -> Result<Arc<Value>, Refusal> {
    let kind = cluster.store.kind(kind::PODS).ok_or_else(|| Refusal::internal("no pods"))?;
    let namespace = object::namespace(owner);
    let name = object::name(&pod).to_owned();
    let created =
        cluster.create(&kind, namespace, pod, Author::controller("kube-controller-manager"));
    match &created {
        Ok(pod) => {
            let message = match ordinal_owner(owner) {
                Some(set) => {
                    format!("create Pod {} in StatefulSet {set} successful", object::name(pod))
                }
                None => format!("Created pod: {}", object::name(pod)),
            };
            cluster.event(owner, "Normal", "SuccessfulCreate", &message, source);
        }
        // A namespace that goes away is no failure of the workload.
        Err(refusal) if refusal.message.contains("is being terminated") => {}
        Err(refusal) => {
            let message = match ordinal_owner(owner) {
                Some(set) => format!(
                    "create Pod {name} in StatefulSet {set} failed error: {}",
                    refusal.message
                ),
                None => format!("Error creating: {}", refusal.message),
            };
            cluster.event(owner, "Warning", "FailedCreate", &message, source);
        }
    }
    created
}

/// Deletes a pod for a workload.
pub(super) fn delete(cluster: &mut Cluster, owner: &Value, pod: &Value, source: &str) {
    let Some(kind) = cluster.store.kind(kind::PODS) else { return };
    let reference = Reference::new(kind::PODS, object::namespace(pod), object::name(pod));
    let options =
        DeleteOptions { uid: Some(object::uid(pod).to_owned()), ..DeleteOptions::default() };
    let author = Author::controller("kube-controller-manager");
    if cluster.delete(&kind, &reference, &options, author).is_ok() {
        let message = match ordinal_owner(owner) {
            Some(set) => {
                format!("delete Pod {} in StatefulSet {set} successful", object::name(pod))
            }
            None => format!("Deleted pod: {}", object::name(pod)),
        };
        cluster.event(owner, "Normal", "SuccessfulDelete", &message, source);
    }
}

/// How many of the pods satisfy a test, as statuses count.
pub(super) fn count(pods: &[Arc<Value>], test: impl Fn(&Value) -> bool) -> i64 {
    i64::try_from(pods.iter().filter(|pod| test(pod)).count()).unwrap_or(i64::MAX)
}

/// The name of a StatefulSet, whose Events are worded differently.
fn ordinal_owner(owner: &Value) -> Option<&str> {
    (object::text(owner, "/kind") == "StatefulSet").then(|| object::name(owner))
}
