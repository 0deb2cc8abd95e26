//! Kubernetes objects to what core observes; missing fields become their documented defaults, so
//! nothing that a cluster holds can make this fail.

pub mod endpoints;
mod istiod;
mod resources;

pub use resources::{calisti_planes, peers, rollouts, sail_planes};

use crate::kube::external;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::{
    DaemonSet, Deployment, DeploymentCondition, DeploymentStatus, StatefulSet,
};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Namespace, Pod, PodTemplateSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::ResourceExt;
use kube::api::DynamicObject;
use kube::core::PartialObjectMeta;
use revshift_core::cluster::{Key, Lock, NamespaceMeta, Object};
use revshift_core::injection::Injector;
use revshift_core::label::{self, Labels, Operator, Requirement, Selector};
use revshift_core::plane::{Plane, Revision, Source};
use revshift_core::pod::{self, Injected, InjectionWish, Make, Owner, TemplateHash};
use revshift_core::workload::{
    Complaints, InPlace, Obstacle, Role, Workload, WorkloadKey, WorkloadKind,
};
use serde_json::Value;
use std::cmp::Reverse;
use std::sync::Arc;

/// The key of an object.
pub fn key(object: &impl kube::Resource) -> Key {
    let meta = object.meta();
    Key {
        namespace: meta.namespace.clone().unwrap_or_default(),
        name: meta.name.clone().unwrap_or_default(),
    }
}

/// A namespace.
pub fn namespace(object: &Namespace) -> Object {
    let meta = &object.metadata;
    let lock = meta.annotations.as_ref().and_then(|annotations| annotations.get(label::LOCK));
    let terminating = meta.deletion_timestamp.is_some();
    Object::Namespace(NamespaceMeta {
        uid: text(meta.uid.as_ref()),
        resource_version: text(meta.resource_version.as_ref()),
        labels: meta.labels.clone().unwrap_or_default(),
        lock: lock.map(|text| read_lock(text)),
        terminating,
        order: meta
            .annotations
            .as_ref()
            .and_then(|annotations| annotations.get(label::ORDER)?.trim().parse().ok())
            .unwrap_or_default(),
        skip: skipped(meta),
        label_manager: manager(meta, &["f:metadata", "f:labels", "f:istio.io/rev"]),
        label_owner: external::owner(meta),
    })
}

/// A Deployment.
pub fn deployment(object: &Deployment) -> Object {
    let spec = object.spec.clone().unwrap_or_default();
    let status = object.status.clone().unwrap_or_default();
    let paused = spec.paused.unwrap_or_default().then_some(Obstacle::Paused);
    let workload = Workload {
        desired: count(spec.replicas.or(Some(1))),
        total: count(status.replicas),
        updated: count(status.updated_replicas),
        available: count(status.available_replicas),
        obstacle: obstacle(&object.metadata, paused),
        complaints: complaints(&status),
        ..workload(
            WorkloadKind::Deployment,
            &object.metadata,
            &spec.template,
            status.observed_generation,
        )
    };
    let istiod = istiod::istiod(object, &workload);
    Object::Workload(Box::new(workload), istiod)
}

/// A StatefulSet.
pub fn stateful_set(object: &StatefulSet) -> Object {
    let spec = object.spec.clone().unwrap_or_default();
    let status = object.status.clone().unwrap_or_default();
    let strategy = spec.update_strategy.unwrap_or_default();
    let partition = strategy.rolling_update.and_then(|rolling| rolling.partition).unwrap_or(0);
    let own = match strategy.type_.as_deref() {
        Some("OnDelete") => Some(Obstacle::OnDelete),
        _ if partition > 0 => Some(Obstacle::Partition),
        _ => None,
    };
    // Once a rollout is complete the controller makes the update revision the current one, and
    // counts its pods as current only.
    let complete =
        status.update_revision.is_some() && status.update_revision == status.current_revision;
    let updated = if complete { Some(status.replicas) } else { status.updated_replicas };
    let obstacle = obstacle(&object.metadata, own);
    let parallel = spec.pod_management_policy.as_deref() == Some("Parallel");
    let ordered = status.update_revision.filter(|_| !parallel && obstacle.is_none());
    Object::Workload(
        Box::new(Workload {
            desired: count(spec.replicas.or(Some(1))),
            total: count(Some(status.replicas)),
            updated: count(updated),
            available: count(status.available_replicas.or(status.ready_replicas)),
            obstacle,
            ordered,
            ..workload(
                WorkloadKind::StatefulSet,
                &object.metadata,
                &spec.template,
                status.observed_generation,
            )
        }),
        None,
    )
}

/// A DaemonSet.
pub fn daemon_set(object: &DaemonSet) -> Object {
    let spec = object.spec.clone().unwrap_or_default();
    let status = object.status.clone().unwrap_or_default();
    let strategy = spec.update_strategy.unwrap_or_default();
    let on_delete = strategy.type_.as_deref() == Some("OnDelete");
    let own = on_delete.then_some(Obstacle::OnDelete);
    Object::Workload(
        Box::new(Workload {
            desired: count(Some(status.desired_number_scheduled)),
            total: count(Some(status.current_number_scheduled)),
            updated: count(status.updated_number_scheduled),
            available: count(status.number_available),
            obstacle: obstacle(&object.metadata, own),
            ..workload(
                WorkloadKind::DaemonSet,
                &object.metadata,
                &spec.template,
                status.observed_generation,
            )
        }),
        None,
    )
}

/// An Argo Rollout.
pub fn rollout(object: &DynamicObject) -> Object {
    let meta = &object.metadata;
    let (spec, status) = (&object.data["spec"], &object.data["status"]);
    let template = serde_json::from_value(spec["template"].clone()).unwrap_or_default();
    // Its generation as text; that of versions before 1.0 was a hash, which tells nothing.
    let observed = match status["observedGeneration"].as_str() {
        Some(text) => text.parse().unwrap_or(i64::MAX),
        None => status["observedGeneration"].as_i64().unwrap_or_default(),
    };
    let number =
        |value: &Value| u32::try_from(value.as_u64().unwrap_or_default()).unwrap_or(u32::MAX);
    let total = number(&status["replicas"]);
    // A canary that waits for somebody, or that was given up, replaces no pods either.
    let phase = status["phase"].as_str().unwrap_or_default();
    let rests = ["Healthy", "Paused"].contains(&phase) || status["abort"] == true;
    let paused = (spec["paused"] == true).then_some(Obstacle::Paused);
    let moment = |value: &Value| value.as_str()?.parse::<Timestamp>().ok();
    let asked = moment(&spec["restartAt"]);
    let referred = &spec["workloadRef"];
    let template_of = WorkloadKind::of(&string(&referred["kind"]))
        .map(|kind| WorkloadKey { kind, name: string(&referred["name"]) });
    let path = ["f:metadata", "f:annotations", "f:revshift.dev/restart"];
    let restart_at = ["f:spec", "f:restartAt"];
    Object::Workload(
        Box::new(Workload {
            desired: spec["replicas"].as_u64().map_or(1, |_| number(&spec["replicas"])),
            total,
            updated: if rests { total } else { number(&status["updatedReplicas"]) },
            available: number(&status["availableReplicas"]),
            obstacle: obstacle(meta, paused),
            restart: meta.annotations.as_ref().and_then(|all| all.get(label::RESTART)).cloned(),
            in_place: Some(InPlace {
                done: asked.is_none() || asked == moment(&status["restartedAt"]),
                template_of,
            }),
            template_manager: manager(meta, &path).or_else(|| manager(meta, &restart_at)),
            complaints: rollout_complaints(status),
            ..workload(WorkloadKind::Rollout, meta, &template, Some(observed))
        }),
        None,
    )
}

/// A pod, from its metadata.
pub fn pod(object: &PartialObjectMeta<Pod>) -> Object {
    Object::Pod(Box::new(pod_of(&object.metadata)))
}

/// A pod, from its metadata.
pub fn pod_of(meta: &ObjectMeta) -> pod::Pod {
    let none = Labels::new();
    let labels = meta.labels.as_ref().unwrap_or(&none);
    let annotations = meta.annotations.as_ref().unwrap_or(&none);
    let owner = meta.owner_references.iter().flatten().find(|o| o.controller == Some(true));
    let template_hash = labels
        .get("pod-template-hash")
        .map(|hash| TemplateHash::Deployment(hash.clone()))
        .or_else(|| {
            let hash = labels.get("rollouts-pod-template-hash")?;
            Some(TemplateHash::Rollout(hash.clone()))
        });
    // A record that is not JSON still shows that there is a sidecar.
    let status = annotations.get(label::SIDECAR_STATUS).map(|record| {
        let record: Value = serde_json::from_str(record).unwrap_or_default();
        record["revision"].as_str().unwrap_or_default().to_owned()
    });
    pod::Pod {
        name: text(meta.name.as_ref()),
        uid: text(meta.uid.as_ref()),
        make: Arc::new(Make {
            owner: owner.map(|owner| Owner {
                group: owner.api_version.rsplit_once('/').map_or("", |(group, _)| group).to_owned(),
                kind: owner.kind.clone(),
                name: owner.name.clone(),
                template_hash,
            }),
            injected: Injected::read(
                status.as_deref(),
                annotations.get(label::REVISION).map(String::as_str),
                labels.get(label::REVISION).map(String::as_str),
            ),
            wish: InjectionWish::among(labels, annotations),
            restart: annotations.get(label::RESTART).cloned(),
        }),
        terminating: meta.deletion_timestamp.is_some(),
    }
}

/// A Job: whose CronJob it is of.
pub fn job(object: &PartialObjectMeta<Job>) -> Object {
    let owners = object.metadata.owner_references.iter().flatten();
    Object::Job(owners.into_iter().find(|o| o.kind == "CronJob").map(|o| o.name.clone()))
}

/// The sidecar injectors of a webhook configuration; none when it is not Istio's.
pub fn injectors(object: &MutatingWebhookConfiguration) -> Object {
    let labels = object.labels();
    let Some(revision) = labels.get(label::REVISION) else {
        return Object::Injectors(Vec::new());
    };
    let hooks = object.webhooks.iter().flatten();
    let injectors = hooks
        .filter(|hook| hook.name.ends_with("sidecar-injector.istio.io"))
        .map(|hook| Injector {
            configuration: object.name_any(),
            webhook: hook.name.clone(),
            revision: Revision(revision.clone()),
            tag: labels.get(label::TAG).cloned(),
            namespace: hook
                .client_config
                .service
                .as_ref()
                .map(|service| service.namespace.clone())
                .unwrap_or_default(),
            namespace_selector: selector(hook.namespace_selector.as_ref()),
            object_selector: selector(hook.object_selector.as_ref()),
            // A URL is trusted by the API server's own roots where it has no bundle.
            trusted: hook.client_config.url.is_some()
                || hook.client_config.ca_bundle.as_ref().is_some_and(|ca| !ca.0.is_empty()),
        })
        .collect();
    Object::Injectors(injectors)
}

/// The default validator: its label names the default revision.
pub fn default_validator(object: &PartialObjectMeta<ValidatingWebhookConfiguration>) -> Object {
    Object::DefaultValidator(object.labels().get(label::REVISION).cloned().map(Revision))
}

/// An IstioControlPlane (servicemesh.cisco.com/v1alpha1).
pub fn calisti_plane(object: &DynamicObject) -> Object {
    let (spec, status) = (&object.data["spec"], &object.data["status"]);
    let name = object.name_any();
    let namespace = object.namespace().unwrap_or_default();
    let state = string(&status["status"]);
    let addresses = status["gatewayAddress"].as_array();
    Object::Plane(Box::new(Plane {
        revision: Revision::of_calisti(&name, &namespace),
        source: Source::Calisti,
        version: string(&spec["version"]),
        mode: string(&spec["mode"]),
        network: string(&spec["networkName"]),
        available: state == "Available" && object.metadata.deletion_timestamp.is_none(),
        status: if state.is_empty() { "Unspecified".to_owned() } else { state },
        mesh_expansion: spec["meshExpansion"]["enabled"].as_bool(),
        gateway_addresses: addresses.into_iter().flatten().map(string).collect(),
        error: string(&status["errorMessage"]),
        created: created(&object.metadata),
        name,
        namespace,
    }))
}

/// An IstioRevision (sailoperator.io/v1).
pub fn sail_plane(object: &DynamicObject) -> Object {
    let (spec, status) = (&object.data["spec"], &object.data["status"]);
    let name = object.name_any();
    let conditions = status["conditions"].as_array();
    let ready = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
    let available = ready.is_some_and(|ready| ready["status"] == "True");
    Object::Plane(Box::new(Plane {
        revision: Revision(name.clone()),
        source: Source::Sail,
        namespace: string(&spec["namespace"]),
        version: string(&spec["version"]).trim_start_matches('v').to_owned(),
        mode: String::new(),
        network: string(&spec["values"]["global"]["network"]),
        available: available && object.metadata.deletion_timestamp.is_none(),
        status: string(&status["state"]),
        mesh_expansion: None,
        gateway_addresses: Vec::new(),
        error: match ready {
            Some(ready) if !available => string(&ready["message"]),
            _ => String::new(),
        },
        created: created(&object.metadata),
        name,
    }))
}

/// The lock that an annotation holds; one that cannot be read is nobody's that we know.
pub fn read_lock(text: &str) -> Lock {
    let lock: Value = serde_json::from_str(text).unwrap_or_default();
    let attempt = lock["attempt"].as_u64().and_then(|attempt| u32::try_from(attempt).ok());
    Lock { migration: string(&lock["migration"]), attempt: attempt.unwrap_or_default() }
}

fn workload(
    kind: WorkloadKind,
    meta: &ObjectMeta,
    template: &PodTemplateSpec,
    observed: Option<i64>,
) -> Workload {
    let none = ObjectMeta::default();
    let pod = template.metadata.as_ref().unwrap_or(&none);
    let labels = pod.labels.clone().unwrap_or_default();
    let annotations = pod.annotations.clone().unwrap_or_default();
    let spec = template.spec.as_ref();
    let path = ["f:spec", "f:template", "f:metadata", "f:annotations", "f:revshift.dev/restart"];
    Workload {
        key: WorkloadKey { kind, name: text(meta.name.as_ref()) },
        uid: text(meta.uid.as_ref()),
        resource_version: text(meta.resource_version.as_ref()),
        desired: 0,
        total: 0,
        updated: 0,
        available: 0,
        observed: observed.unwrap_or_default() >= meta.generation.unwrap_or_default(),
        obstacle: None,
        wish: InjectionWish::among(&labels, &annotations),
        host_network: spec.and_then(|spec| spec.host_network).unwrap_or_default(),
        role: role(&labels, &annotations),
        baked_in: annotations.contains_key(label::SIDECAR_STATUS),
        restart: annotations.get(label::RESTART).cloned(),
        in_place: None,
        // Whoever wrote the template last, where our own annotation is gone from it.
        template_manager: manager(meta, &path).or_else(|| manager(meta, &path[..2])),
        complaints: Complaints::default(),
        ordered: None,
    }
}

/// A gateway's pod template: injected by the `gateway` template, as Istio's chart and the
/// IstioMeshGateway have it, or made by istiod for a Gateway (`gateway.networking.k8s.io/…`, in older
/// versions `istio.io/…`), waypoints included.
fn role(labels: &Labels, annotations: &Labels) -> Role {
    let templates = annotations.get("inject.istio.io/templates").map(String::as_str);
    let injected = templates.is_some_and(|names| names.split(',').any(|it| it.trim() == "gateway"));
    let managed = [
        "gateway.networking.k8s.io/gateway-name",
        "istio.io/gateway-name",
        "gateway.istio.io/managed",
    ];
    if injected || managed.into_iter().any(|key| labels.contains_key(key)) {
        Role::Gateway
    } else {
        Role::Application
    }
}

/// What keeps a change of the pod template from replacing pods: its owner's wish, `own` of its kind, or
/// a controller that writes the workload itself.
fn obstacle(meta: &ObjectMeta, own: Option<Obstacle>) -> Option<Obstacle> {
    if skipped(meta) {
        return Some(Obstacle::Skipped);
    }
    own.or_else(|| {
        let mut owners = meta.owner_references.iter().flatten();
        let owner = owners.find(|owner| owner.controller == Some(true))?;
        Some(Obstacle::Owned(format!("{}/{}", owner.kind, owner.name)))
    })
}

fn skipped(meta: &ObjectMeta) -> bool {
    let annotations = meta.annotations.as_ref();
    annotations.and_then(|all| all.get(label::SKIP)).is_some_and(|value| value == "true")
}

fn complaints(status: &DeploymentStatus) -> Complaints {
    let find = |kind: &str, is: &str| {
        let mut conditions = status.conditions.iter().flatten();
        conditions.find(|condition| condition.type_ == kind && condition.status == is)
    };
    let message = |condition: &DeploymentCondition| condition.message.clone().unwrap_or_default();
    let late = find("Progressing", "False")
        .filter(|condition| condition.reason.as_deref() == Some("ProgressDeadlineExceeded"));
    Complaints { late: late.map(message), creation: find("ReplicaFailure", "True").map(message) }
}

fn rollout_complaints(status: &Value) -> Complaints {
    let find = |kind: &str, is: &str| {
        let mut conditions = status["conditions"].as_array().into_iter().flatten();
        conditions.find(|condition| condition["type"] == kind && condition["status"] == is)
    };
    let message = |condition: &Value| string(&condition["message"]);
    let late = find("Progressing", "False")
        .filter(|condition| condition["reason"] == "ProgressDeadlineExceeded");
    // What is not valid is not acted upon at all.
    let creation = find("ReplicaFailure", "True").or_else(|| find("InvalidSpec", "True"));
    Complaints { late: late.map(message), creation: creation.map(message) }
}

pub(super) fn selector(selector: Option<&LabelSelector>) -> Selector {
    let Some(selector) = selector else {
        return Selector::default();
    };
    let labels = selector.match_labels.iter().flatten();
    let equal = labels.map(|(key, value)| Requirement {
        key: key.clone(),
        operator: Operator::In(vec![value.clone()]),
    });
    let expressions = selector.match_expressions.iter().flatten().map(|expression| {
        let values = expression.values.clone().unwrap_or_default();
        let operator = match expression.operator.as_str() {
            "In" => Operator::In(values),
            "NotIn" => Operator::NotIn(values),
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            _ => Operator::Unknown,
        };
        Requirement { key: expression.key.clone(), operator }
    });
    Selector { requirements: equal.chain(expressions).collect() }
}

/// The field manager that wrote the field at `path` last. Times are in seconds: of several that wrote
/// in the same one, whoever owns least is the last, as the one who made the object owns the rest of it.
fn manager(meta: &ObjectMeta, path: &[&str]) -> Option<String> {
    let owns =
        |fields: &Value| path.iter().try_fold(fields, |fields, step| fields.get(step)).is_some();
    meta.managed_fields
        .iter()
        .flatten()
        .filter(|entry| entry.fields_v1.as_ref().is_some_and(|fields| owns(&fields.0)))
        .max_by_key(|entry| {
            let owned = entry.fields_v1.as_ref().map_or(0, |fields| leaves(&fields.0));
            (entry.time.as_ref().map(|time| time.0), Reverse(owned))
        })
        .and_then(|entry| entry.manager.clone())
}

fn leaves(fields: &Value) -> usize {
    fields.as_object().map_or(0, |map| map.values().map(leaves).sum::<usize>().max(1))
}

fn created(meta: &ObjectMeta) -> Option<Timestamp> {
    meta.creation_timestamp.as_ref().map(|time| time.0)
}

fn text(value: Option<&String>) -> String {
    value.cloned().unwrap_or_default()
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn count(value: Option<i32>) -> u32 {
    u32::try_from(value.unwrap_or_default()).unwrap_or_default()
}

#[cfg(test)]
mod tests;
