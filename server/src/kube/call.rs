//! Calls that a step asks for, carried out: each once, guarded by the version decided on.
//!
//! What a reply says of an object enters the view like a watched change. A reply that was lost says
//! nothing: the next step decides from what is then seen.

use crate::kube::client::FIELD_MANAGER;
use crate::kube::{inspect, observe};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, DeleteParams, DynamicObject, EvictParams, Patch, PatchParams, Preconditions};
use kube::{Client, Error, Resource};
use revshift_core::cluster::{Change, Key, Kind, Lock, Object};
use revshift_core::diagnosis::Inspection;
use revshift_core::label::{self, InjectionLabels};
use revshift_core::problem::Code;
use revshift_core::step::Call;
use revshift_core::workload::{WorkloadKey, WorkloadKind};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;
use std::time::Duration;
use tracing::{debug, info, warn};

/// What became of a call.
#[derive(Debug)]
pub enum Reply {
    /// The object is now so: written, or found changed by somebody else.
    Seen(Change),
    /// The namespace's pods and warnings.
    Inspected(Box<Inspection>),
    /// This pod is on its way out, or gone already.
    Evicted {
        /// The namespace.
        namespace: String,
        /// The pod's controller, as `kind/name`.
        controller: String,
        /// The pod.
        pod: String,
        /// Its uid.
        uid: String,
    },
    /// A PodDisruptionBudget forbids the eviction for now.
    Withheld {
        /// The pod's controller, as `kind/name`.
        controller: String,
        /// The pod.
        pod: String,
        /// What is said of the budget.
        message: String,
    },
    /// Kubernetes refuses it for a reason that repeating does not mend.
    Refused(Code, String, String),
    /// Nobody knows whether it was done.
    Unknown {
        /// Not before this time has passed is it to be tried again.
        pause: Duration,
        /// Whether the API server says that it has too much to do.
        too_many: bool,
        /// The object.
        object: String,
        /// What was said last.
        message: String,
    },
}

/// Not even a hint of when to try again was given.
const PAUSE: Duration = Duration::from_secs(1);

/// Makes calls.
#[derive(Clone)]
pub struct Caller {
    client: Client,
}

impl Debug for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Caller").finish_non_exhaustive()
    }
}

impl Caller {
    /// Calls through `client`, whose writes end before the lease does.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Makes one call, asked for at `elapsed`.
    pub async fn call(&self, call: Call, elapsed: Duration) -> Reply {
        match call {
            Call::Relabel { namespace, uid, resource_version, labels, prior, lock } => {
                let patch = relabelling(&uid, &resource_version, &labels, &prior, &lock);
                info!(namespace, migration = lock.migration, "relabelling");
                let api = Api::<Namespace>::all(self.client.clone());
                self.patch(&api, Kind::Namespace, &namespace, &patch, observe::namespace).await
            }
            Call::Restart { namespace, workload, resource_version, restart, at, .. } => {
                info!(namespace, %workload, restart, "restarting");
                let patch = match workload.kind {
                    WorkloadKind::Rollout => restarting_in_place(&resource_version, &restart, at),
                    _ => restarting(&resource_version, &restart),
                };
                self.restart(&namespace, &workload, &patch).await
            }
            Call::Evict { namespace, controller, pod, uid } => {
                info!(namespace, controller, pod, "evicting");
                self.evict(namespace, controller, pod, uid).await
            }
            Call::Delete { namespace, controller, pod, uid } => {
                info!(namespace, controller, pod, "deleting");
                self.delete(namespace, controller, pod, uid).await
            }
            Call::Read { namespace } => {
                let api = Api::<Namespace>::all(self.client.clone());
                match api.get_opt(&namespace).await {
                    Ok(found) => seen(Kind::Namespace, None, &namespace, found, observe::namespace),
                    Err(error) => refused(&error, "read", "Namespace", &namespace),
                }
            }
            Call::Inspect { namespace } => {
                match inspect::inspect(&self.client, &namespace, elapsed).await {
                    Ok(inspection) => Reply::Inspected(Box::new(inspection)),
                    Err(error) => {
                        refused(&error, "list pods and events in", "Namespace", &namespace)
                    }
                }
            }
        }
    }

    async fn restart(&self, namespace: &str, workload: &WorkloadKey, patch: &Value) -> Reply {
        let kind = Kind::Workload(workload.kind);
        let name = &workload.name;
        match workload.kind {
            WorkloadKind::Deployment => {
                let api = Api::<Deployment>::namespaced(self.client.clone(), namespace);
                self.patch(&api, kind, name, patch, observe::deployment).await
            }
            WorkloadKind::StatefulSet => {
                let api = Api::<StatefulSet>::namespaced(self.client.clone(), namespace);
                self.patch(&api, kind, name, patch, observe::stateful_set).await
            }
            WorkloadKind::DaemonSet => {
                let api = Api::<DaemonSet>::namespaced(self.client.clone(), namespace);
                self.patch(&api, kind, name, patch, observe::daemon_set).await
            }
            WorkloadKind::Rollout => {
                let resource = observe::rollouts();
                let api = Api::<DynamicObject>::namespaced_with(
                    self.client.clone(),
                    namespace,
                    &resource,
                );
                self.patch(&api, kind, name, patch, observe::rollout).await
            }
        }
    }

    /// The API server itself heeds the budgets. A pod that was replaced meanwhile has another uid.
    async fn evict(
        &self,
        namespace: String,
        controller: String,
        pod: String,
        uid: String,
    ) -> Reply {
        let preconditions = Preconditions { uid: Some(uid.clone()), ..Preconditions::default() };
        let delete_options =
            DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let params = EvictParams { delete_options: Some(delete_options), ..<_>::default() };
        let api = Api::<Pod>::namespaced(self.client.clone(), &namespace);
        match api.evict(&pod, &params).await {
            Ok(_) => Reply::Evicted { namespace, controller, pod, uid },
            Err(Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
                debug!(namespace, pod, message = status.message, "it is not there any more");
                Reply::Evicted { namespace, controller, pod, uid }
            }
            Err(error) => match budget(&error) {
                Some(message) => {
                    info!(namespace, pod, message, "a budget forbids its eviction");
                    Reply::Withheld { controller, pod, message }
                }
                None => refused(&error, "evict", "Pod", &format!("{namespace}/{pod}")),
            },
        }
    }

    /// What a budget says does not count here; a pod that was replaced meanwhile is another one all
    /// the same.
    async fn delete(
        &self,
        namespace: String,
        controller: String,
        pod: String,
        uid: String,
    ) -> Reply {
        let preconditions = Preconditions { uid: Some(uid.clone()), ..Preconditions::default() };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let api = Api::<Pod>::namespaced(self.client.clone(), &namespace);
        match api.delete(&pod, &params).await {
            Ok(_) => Reply::Evicted { namespace, controller, pod, uid },
            Err(Error::Api(status)) if status.is_not_found() || status.is_conflict() => {
                debug!(namespace, pod, message = status.message, "it is not there any more");
                Reply::Evicted { namespace, controller, pod, uid }
            }
            Err(error) => refused(&error, "delete", "Pod", &format!("{namespace}/{pod}")),
        }
    }

    async fn patch<K>(
        &self,
        api: &Api<K>,
        kind: Kind,
        name: &str,
        patch: &Value,
        convert: fn(&K) -> Object,
    ) -> Reply
    where
        K: Resource + Clone + DeserializeOwned + Debug,
    {
        let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..<_>::default() };
        let answer = match api.patch(name, &params, &Patch::Merge(patch)).await {
            // Somebody was faster: what they wrote decides.
            Err(Error::Api(status)) if status.is_conflict() => {
                debug!(name, "lost a race; looking again");
                api.get_opt(name).await
            }
            Err(Error::Api(status)) if status.is_not_found() => api.get_opt(name).await,
            answer => answer.map(Some),
        };
        match answer {
            Ok(found) => seen(kind, api.namespace(), name, found, convert),
            Err(error) => {
                let object = match api.namespace() {
                    Some(namespace) => format!("{namespace}/{name}"),
                    None => name.to_owned(),
                };
                refused(&error, "patch", kind_name(kind), &object)
            }
        }
    }
}

/// What the API server itself says of an object.
fn seen<K: Resource>(
    kind: Kind,
    namespace: Option<&str>,
    name: &str,
    found: Option<K>,
    convert: fn(&K) -> Object,
) -> Reply {
    let gone = || {
        let namespace = namespace.unwrap_or_default().to_owned();
        Change::Gone(kind, Key { namespace, name: name.to_owned() })
    };
    let set = |object: K| Change::Set(kind, observe::key(&object), convert(&object));
    Reply::Seen(found.map_or_else(gone, set))
}

/// Sets the labels and the lock in one write, if the namespace is still the one decided on.
fn relabelling(
    uid: &str,
    resource_version: &str,
    labels: &InjectionLabels,
    prior: &InjectionLabels,
    lock: &Lock,
) -> Value {
    let copy = json!({
        "migration": lock.migration,
        "attempt": lock.attempt,
        "prior": prior.entries(),
    });
    json!({ "metadata": {
        "uid": uid,
        "resourceVersion": resource_version,
        "labels": { label::REVISION: labels.revision, label::INJECTION: labels.injection },
        "annotations": { label::LOCK: copy.to_string() },
    }})
}

/// Changes the pod template, if the workload is still the one decided on.
fn restarting(resource_version: &str, restart: &str) -> Value {
    json!({
        "metadata": { "resourceVersion": resource_version },
        "spec": { "template": { "metadata": { "annotations": { label::RESTART: restart } } } },
    })
}

/// Tells the controller of a Rollout to replace every pod that is older than this moment: the next
/// whole second, as pods' ages have no finer unit. The annotation makes the restart known again.
fn restarting_in_place(resource_version: &str, restart: &str, at: Timestamp) -> Value {
    let seconds = at.as_second().saturating_add(1);
    let at = Timestamp::from_second(seconds).unwrap_or(at);
    json!({
        "metadata": {
            "resourceVersion": resource_version,
            "annotations": { label::RESTART: restart },
        },
        "spec": { "restartAt": at.to_string() },
    })
}

/// The name of a kind that is written to.
fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Workload(kind) => kind.as_str(),
        _ => "Namespace",
    }
}

/// What is said of the PodDisruptionBudget that forbids an eviction; none for any other error.
fn budget(error: &Error) -> Option<String> {
    let Error::Api(status) = error else { return None };
    let causes = status.details.as_ref().map_or(&[][..], |details| &details.causes);
    let cause = causes.iter().find(|cause| cause.reason == "DisruptionBudget")?;
    Some(format!("{} {}", status.message, cause.message).trim_end().to_owned())
}

/// Tells what repeating does not mend from what it may.
fn refused(error: &Error, verb: &str, kind: &str, object: &str) -> Reply {
    let Error::Api(status) = error else {
        warn!(verb, kind, object, %error, "a call had no clear reply");
        let message = format!("cannot {verb} it: {error}");
        let object = format!("{kind}/{object}");
        return Reply::Unknown { pause: PAUSE, too_many: false, object, message };
    };
    let object = format!("{kind}/{object}");
    // Webhooks and policies deny with 403 too, which no right of revshift's would change.
    let denied = ["denied the request", "denied request"].map(|text| status.message.contains(text));
    if status.is_forbidden() && !denied.contains(&true) {
        let message = format!("cannot {verb} it: {}", status.message);
        return Reply::Refused(Code::PermissionDenied, object, message);
    }
    // An admission webhook or policy may deny with any code of its own below 500.
    // A token is refused for a moment while it rotates.
    let transient = status.code >= 500 || [401, 408, 409, 410, 429].contains(&status.code);
    if !transient {
        let message = format!("cannot {verb} it: {}", status.message);
        return Reply::Refused(Code::WriteRefused, object, message);
    }
    warn!(verb, object, code = status.code, message = status.message, "a call failed for now");
    let hint = status.details.as_ref().map(|details| u64::from(details.retry_after_seconds));
    let pause = hint.filter(|hint| *hint > 0).map_or(PAUSE, Duration::from_secs);
    let too_many = status.code == 429;
    let message = format!("cannot {verb} it: {}", status.message);
    Reply::Unknown { pause, too_many, object, message }
}
