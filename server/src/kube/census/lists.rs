//! The lists of a census, and what each of their objects says of a revision.

use super::reader::Reader;
use super::{Question, stored, subject};
use crate::kube::cni::is_agent;
use crate::kube::crd::Retirement;
use crate::kube::external;
use crate::kube::gateway_class::Classes;
use crate::kube::retirements::has_ended;
use crate::kube::{observe, record, store};
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Namespace, Pod, PodTemplateSpec, ReplicationController};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, ListParams};
use kube::core::PartialObjectMeta;
use kube::{Resource, ResourceExt};
use revshift_core::cluster::{Change, Key, Kind, Object};
use revshift_core::label;
use revshift_core::plane::{Revision, Source};
use revshift_core::pod::InjectionWish;
use revshift_core::retirement::census::{Census, Cni, Gateway, Machine, Template};
use revshift_core::workload::{WorkloadKey, WorkloadKind};
use std::collections::{BTreeMap, BTreeSet};

/// The gateway that each plane of Calisti has of its own.
const EXPANSION_GATEWAY: &str = "istio-meshexpansion-gateway";

/// Namespaces, workloads and pods.
pub(super) async fn cluster(reader: &mut Reader<'_>, census: &mut Census, question: &Question) {
    let namespaces: Vec<Namespace> = reader.list(ListParams::default()).await;
    census.cluster.apply(listed(Kind::Namespace, &namespaces, observe::namespace));
    let kind = |kind| Kind::Workload(kind);
    let mut found = Vec::new();
    let take = |one: Deployment| {
        deployment(census, question, &one);
        found.push((observe::key(&one), observe::deployment(&one)));
    };
    reader.each(take).await;
    census.cluster.apply(Change::Listed(kind(WorkloadKind::Deployment), found));
    let mut found = Vec::new();
    let take = |one: StatefulSet| {
        template(census, "StatefulSet", &one, one.spec.as_ref().map(|spec| &spec.template));
        found.push((observe::key(&one), observe::stateful_set(&one)));
    };
    reader.each(take).await;
    census.cluster.apply(Change::Listed(kind(WorkloadKind::StatefulSet), found));
    let mut found = Vec::new();
    let take = |one: DaemonSet| {
        daemon_set(census, &one);
        found.push((observe::key(&one), observe::daemon_set(&one)));
    };
    reader.each(take).await;
    census.cluster.apply(Change::Listed(kind(WorkloadKind::DaemonSet), found));
    let rollouts = reader.optional(&observe::rollouts()).await;
    for one in &rollouts {
        let found = serde_json::from_value(one.data["spec"]["template"].clone()).ok();
        template(census, "Rollout", one, found.as_ref());
    }
    census.cluster.apply(listed(kind(WorkloadKind::Rollout), &rollouts, observe::rollout));
    bare(reader, census).await;
    let unfinished = ListParams::default().fields("status.phase!=Succeeded,status.phase!=Failed");
    let pods: Vec<PartialObjectMeta<Pod>> = reader.list(unfinished).await;
    census.cluster.apply(Change::ListingPods);
    for pod in &pods {
        census.cluster.apply(Change::Set(Kind::Pod, observe::key(pod), observe::pod(pod)));
    }
    census.cluster.apply(Change::ListedPods);
}

/// What makes pods and is no workload that could be rolled.
async fn bare(reader: &mut Reader<'_>, census: &mut Census) {
    // Old ones of Deployments are many, and make no pods: only where others are, templates are read.
    let mut places = BTreeSet::new();
    let take = |one: PartialObjectMeta<ReplicaSet>| {
        if !is_controlled(&one.metadata) {
            places.extend(one.metadata.namespace);
        }
    };
    reader.marks::<ReplicaSet>(take).await;
    for namespace in places {
        let take = |one: ReplicaSet| {
            if !is_controlled(one.meta()) {
                let found = one.spec.as_ref().and_then(|spec| spec.template.as_ref());
                template(census, "ReplicaSet", &one, found);
            }
        };
        reader.each_in(&namespace, take).await;
    }
    let take = |one: ReplicationController| {
        if !is_controlled(one.meta()) {
            let found = one.spec.as_ref().and_then(|spec| spec.template.as_ref());
            template(census, "ReplicationController", &one, found);
        }
    };
    reader.each(take).await;
    let mut of_cron = Vec::new();
    let take = |job: Job| {
        if !is_finished(&job) {
            template(census, "Job", &job, job.spec.as_ref().map(|spec| &spec.template));
        }
        let owners = job.metadata.owner_references.iter().flatten();
        let owner = owners.into_iter().find(|owner| owner.kind == "CronJob");
        of_cron.push((observe::key(&job), Object::Job(owner.map(|owner| owner.name.clone()))));
    };
    reader.each(take).await;
    census.cluster.apply(Change::Listed(Kind::Job, of_cron));
    let take = |one: CronJob| {
        let job = one.spec.as_ref().and_then(|spec| spec.job_template.spec.as_ref());
        template(census, "CronJob", &one, job.map(|job| &job.template));
    };
    reader.each(take).await;
}

/// Gateways and machines, by their own resources.
pub(super) async fn istio(reader: &mut Reader<'_>, census: &mut Census, question: &Question) {
    let classes = match Classes::read(reader.client).await {
        Ok(classes) => classes,
        Err(error) => {
            reader.missed::<()>("gatewayclasses.gateway.networking.k8s.io", &error);
            Classes::default()
        }
    };
    for one in reader.in_any_version("gateway.networking.k8s.io", "Gateway").await {
        let class = one.data["spec"]["gatewayClassName"].as_str().unwrap_or_default();
        if classes.is_istios(class) {
            let revision = one.labels().get(label::REVISION).cloned();
            census.gateways.push(gateway("Gateway", &one, revision));
        }
    }
    for one in reader.in_any_version("servicemesh.cisco.com", "IstioMeshGateway").await {
        let plane = &one.data["spec"]["istioControlPlane"];
        let [name, namespace] = ["name", "namespace"].map(|key| plane[key].as_str());
        let home = one.namespace().unwrap_or_default();
        let named = name.map(|name| {
            let namespace = namespace.unwrap_or(&home);
            Revision::of_calisti(name, namespace).0
        });
        let mine = named.as_deref() == Some(question.revision.as_str());
        let at_home = home == question.namespace;
        let app = one.labels().get("app").map(String::as_str);
        if mine && at_home && app == Some(EXPANSION_GATEWAY) {
            // It is the plane's own, and goes with it.
            let kind = WorkloadKind::Deployment;
            census.own.insert((home, WorkloadKey { kind, name: one.name_any() }));
            continue;
        }
        census.gateways.push(gateway("IstioMeshGateway", &one, named));
    }
    for name in ["WorkloadGroup", "WorkloadEntry"] {
        for one in reader.in_any_version("networking.istio.io", name).await {
            let inner = &one.data["spec"]["metadata"];
            let inner = [&inner["labels"], &inner["annotations"], &one.data["spec"]["labels"]];
            let inner = inner.into_iter().filter_map(|all| all[label::REVISION].as_str());
            let own = [one.labels(), one.annotations()];
            let own = own.into_iter().filter_map(|all| all.get(label::REVISION));
            let named: BTreeSet<&str> = own.map(String::as_str).chain(inner).collect();
            for revision in named {
                census.machines.push(Machine {
                    kind: name.to_owned(),
                    namespace: one.namespace().unwrap_or_default(),
                    name: one.name_any(),
                    revision: revision.to_owned(),
                });
            }
        }
    }
}

/// Migrations, those included that are just being stored.
pub(super) async fn migrations(reader: &mut Reader<'_>, census: &mut Census) {
    let (objects, shards) = match stored(reader.client).await {
        Ok(found) => found,
        Err(error) => {
            reader.missed::<()>("migrations.revshift.dev", &error);
            return;
        }
    };
    for object in &objects {
        let mine: Vec<_> = shards.iter().filter(|shard| store::is_of(shard, object)).collect();
        let planes = [object.spec.source.clone(), object.spec.target.clone()];
        match record::migration(object, &mine) {
            Ok(Some(migration)) if object.spec.sealed => census.migrations.push(migration),
            _ => _ = census.unsealed.insert(object.name_any(), planes),
        }
    }
}

/// Retirements that have not ended, the plane's own among them.
pub(super) async fn retirements(reader: &mut Reader<'_>, census: &mut Census) {
    let all: Vec<Retirement> = reader.list(ListParams::default()).await;
    let unfinished = all.into_iter().filter(|it| !has_ended(it));
    census.retiring = unfinished.map(|it| Revision(it.spec.revision)).collect();
}

/// What the plane's operator has left in its status.
pub(super) fn operator(census: &mut Census, plane: &DynamicObject, source: Source) {
    if source != Source::Calisti {
        return;
    }
    let told = plane.data["status"]["injectionNamespaces"].as_array();
    let names = told.map(|all| all.iter().filter_map(|it| Some(it.as_str()?.to_owned())).collect());
    // An empty list is not written at all, so whatever it wrote counts. What it only took away leaves no
    // time.
    let entries = plane.metadata.managed_fields.iter().flatten().filter(|entry| {
        entry.fields_v1.as_ref().is_some_and(|fields| fields.0.get("f:status").is_some())
    });
    let written: Option<Timestamp> =
        entries.filter_map(|entry| entry.time.as_ref()).map(|time| time.0).max();
    census.operator.namespaces = names;
    census.operator.written = written;
}

/// The Istio that would make this IstioRevision anew, being its active one.
pub(super) async fn parent(reader: &mut Reader<'_>, plane: &DynamicObject) -> Option<String> {
    let owner = plane.owner_references().iter().find(|owner| owner.kind == "Istio")?;
    let resource = kind("sailoperator.io", "v1", "Istio", "istios");
    let api = Api::<DynamicObject>::all_with(reader.client.clone(), &resource);
    let object = format!("Istio/{}", owner.name);
    match api.get_opt(&owner.name).await {
        Ok(found) => {
            let found = found?;
            let active = found.data["status"]["activeRevisionName"].as_str();
            active.is_none_or(|active| active == plane.name_any()).then_some(object)
        }
        Err(error) => {
            reader.missed::<()>(&object, &error);
            None
        }
    }
}

fn deployment(census: &mut Census, question: &Question, object: &Deployment) {
    let (labels, name) = (object.labels(), object.name_any());
    let app = labels.get("app").map(String::as_str);
    let mine = labels.get(label::REVISION).is_some_and(|it| it == question.revision.as_str());
    let namespace = object.namespace().unwrap_or_default();
    let at_home = namespace == question.namespace;
    if mine && at_home && [Some("istiod"), Some(EXPANSION_GATEWAY)].contains(&app) {
        let kind = WorkloadKind::Deployment;
        census.own.insert((namespace, WorkloadKey { kind, name }));
        if app == Some("istiod") && question.source == Source::Istio {
            census.deleting = object.metadata.deletion_timestamp.is_some();
            census.plane = Some(subject(question, object.uid().unwrap_or_default()));
            census.keeper = external::keeper(object.meta());
        }
        return;
    }
    if operates(&name, question) {
        let available = object.status.as_ref().and_then(|status| status.available_replicas);
        let found = (format!("{namespace}/{name}"), available.unwrap_or_default() > 0);
        census.operator.deployments.push(found);
    }
    template(census, "Deployment", object, object.spec.as_ref().map(|spec| &spec.template));
}

/// Whether a Deployment of this name is the operator of the plane: each of Calisti's is for one minor
/// version, as its name tells (`istio-operator-v117x`).
fn operates(name: &str, question: &Question) -> bool {
    match question.source {
        Source::Istio => false,
        Source::Sail => {
            ["sail-operator", "servicemesh-operator3"].iter().any(|it| name.starts_with(it))
        }
        Source::Calisti => {
            let plane = question.name.rsplit('-').next().unwrap_or_default();
            name.contains("istio-operator")
                && (!name.contains("-v") || name.ends_with(&format!("-{plane}")))
        }
    }
}

fn daemon_set(census: &mut Census, object: &DaemonSet) {
    match cni(object) {
        Some(cni) => census.cnis.push(cni),
        None => template(census, "DaemonSet", object, object.spec.as_ref().map(|it| &it.template)),
    }
}

/// What a DaemonSet is as a node agent of Istio's CNI; none if it is none.
pub(super) fn cni(object: &DaemonSet) -> Option<Cni> {
    if !is_agent(object) {
        return None;
    }
    let status = object.status.clone().unwrap_or_default();
    Some(Cni {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        revision: object.labels().get(label::REVISION).cloned(),
        nodes: u32::try_from(status.desired_number_scheduled).unwrap_or_default(),
        ready: status.number_ready >= status.desired_number_scheduled,
    })
}

/// Notes a pod template that asks to be injected.
fn template<K: Resource>(
    census: &mut Census,
    kind: &str,
    object: &K,
    template: Option<&PodTemplateSpec>,
) {
    let Some(meta) = template.and_then(|it| it.metadata.as_ref()) else {
        return;
    };
    let (labels, annotations) = (meta.labels.as_ref(), meta.annotations.as_ref());
    let wish = InjectionWish::among(
        labels.unwrap_or(&BTreeMap::new()),
        annotations.unwrap_or(&BTreeMap::new()),
    );
    let refuses = wish.labels.get(label::SIDECAR_INJECT).is_some_and(|it| it == "false");
    if refuses || wish.labels.is_empty() {
        return;
    }
    census.templates.push(Template {
        kind: kind.to_owned(),
        namespace: object.meta().namespace.clone().unwrap_or_default(),
        name: object.meta().name.clone().unwrap_or_default(),
        wish,
    });
}

fn gateway(kind: &str, object: &DynamicObject, revision: Option<String>) -> Gateway {
    Gateway {
        kind: kind.to_owned(),
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        revision,
    }
}

fn is_controlled(meta: &ObjectMeta) -> bool {
    meta.owner_references.iter().flatten().any(|owner| owner.controller == Some(true))
}

fn is_finished(job: &Job) -> bool {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_ref());
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|it| ["Complete", "Failed"].contains(&it.type_.as_str()) && it.status == "True")
}

fn listed<K: Resource>(kind: Kind, objects: &[K], convert: fn(&K) -> Object) -> Change {
    let listed: Vec<(Key, Object)> =
        objects.iter().map(|it| (observe::key(it), convert(it))).collect();
    Change::Listed(kind, listed)
}

fn kind(group: &str, version: &str, kind: &str, plural: &str) -> ApiResource {
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}
