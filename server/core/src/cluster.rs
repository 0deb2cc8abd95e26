//! The view of a cluster: plain values, kept current by changes.
//!
//! Level-triggered: a change only replaces what is known; dropping, merging or repeating changes
//! leads to the same view once the last one has arrived.

mod changed;
mod controller;
mod peers;
mod planes;
mod pods;
mod reply;
mod slice;

pub use controller::Controller;
pub use peers::Peer;
pub use planes::{DefaultBy, Istiod};
pub use slice::{Family, Slice};

use crate::injection::{self, Injection, Injector};
use crate::label::{InjectionLabels, Labels};
use crate::plane::{Plane, Planes, Revision, Source};
use crate::pod::{Injected, InjectionWish, Owner, Pod, TemplateHash};
use crate::workload::{Role, Workload, WorkloadKey, WorkloadKind};
use changed::Changed;
pub use pods::Pods;
use std::collections::{BTreeMap, VecDeque};

/// What is known of the cluster.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    namespaces: BTreeMap<String, Namespace>,
    /// Planes of Calisti and Sail by source and resource name.
    declared: BTreeMap<(Source, String), Plane>,
    /// istiod Deployments by namespace and name.
    istiods: BTreeMap<(String, String), Istiod>,
    /// Injectors by webhook configuration.
    injectors: BTreeMap<String, Vec<Injector>>,
    /// The revision on the default validator.
    default_validator: Option<Revision>,
    /// Copies of planes in other clusters, by namespace and name.
    peers: BTreeMap<(String, String), Peer>,
    planes: Planes,
    flat_injectors: Vec<Injector>,
    /// Versions learnt from replies to own calls, until a watch has passed them: a list that began
    /// before the call must not set the view back.
    replied: BTreeMap<(Kind, Key), String>,
    /// Uids that watches told were deleted, newest last: a late reply must not bring them back.
    deleted: VecDeque<String>,
    changed: Changed,
}

/// A namespace and what is in it.
#[derive(Clone, Debug, Default)]
pub struct Namespace {
    /// The namespace itself; none while only its content was seen.
    pub meta: Option<NamespaceMeta>,
    /// Its workloads of the kinds that are watched.
    pub workloads: BTreeMap<WorkloadKey, Workload>,
    /// Its unfinished pods by name.
    pub pods: Pods,
    /// The CronJob of each of its Jobs that has one, by the Job's name.
    pub cron_jobs: BTreeMap<String, String>,
    /// Its EndpointSlices by name.
    pub slices: BTreeMap<String, Slice>,
}

/// The namespace object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceMeta {
    /// Uid.
    pub uid: String,
    /// Version of the object that was read; the precondition of a relabelling.
    pub resource_version: String,
    /// All its labels.
    pub labels: Labels,
    /// The lock that a migration put on it.
    pub lock: Option<Lock>,
    /// Whether it is being deleted.
    pub terminating: bool,
    /// What its owner says of its place in automatic waves: the annotation `revshift.dev/order`; lower
    /// moves earlier, 0 where nothing is said.
    pub order: i64,
    /// Whether its owner wants it left alone.
    pub skip: bool,
    /// Field manager that last wrote `istio.io/rev`, where the object tells.
    pub label_manager: Option<String>,
    /// Who keeps the namespace elsewhere and would put the label back, for people: Argo CD, Flux, Helm.
    /// The label is theirs to write; none where nobody is known.
    pub label_owner: Option<String>,
}

/// The annotation by which a migration locks a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Id of the migration; empty when the annotation cannot be read.
    pub migration: String,
    /// Attempt that wrote it.
    pub attempt: u32,
}

/// What is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Namespaces.
    Namespace,
    /// Workloads of a kind.
    Workload(WorkloadKind),
    /// Pods that are neither succeeded nor failed.
    Pod,
    /// Jobs that a CronJob owns.
    Job,
    /// EndpointSlices of Services that select pods.
    Slice,
    /// Injectors.
    Injector,
    /// Planes of Calisti or Sail.
    Plane(Source),
    /// Copies of Calisti's planes in other clusters.
    Peer,
    /// The default validator.
    DefaultValidator,
}

/// One object as read.
#[derive(Clone, Debug)]
pub enum Object {
    /// A namespace.
    Namespace(NamespaceMeta),
    /// A workload; an istiod's Deployment says so.
    Workload(Box<Workload>, Option<Istiod>),
    /// A pod.
    Pod(Box<Pod>),
    /// A Job, and the CronJob that owns it.
    Job(Option<String>),
    /// An EndpointSlice; none where no controller of the cluster fills it.
    Slice(Option<Slice>),
    /// The injectors of one webhook configuration.
    Injectors(Vec<Injector>),
    /// A plane.
    Plane(Box<Plane>),
    /// A copy of a plane in another cluster.
    Peer(Peer),
    /// The revision that the default validator names.
    DefaultValidator(Option<Revision>),
}

/// Names an object among those of its kind; `namespace` is empty for cluster-scoped ones.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

/// What was learnt about the cluster.
#[derive(Clone, Debug)]
pub enum Change {
    /// A complete list of a kind: what is not in it does not exist.
    Listed(Kind, Vec<(Key, Object)>),
    /// A list of all pods begins, which is told pod by pod, as it is too long to be held.
    ListingPods,
    /// That list is complete: a pod that was not told since it has begun does not exist.
    ListedPods,
    /// An object is now so.
    Set(Kind, Key, Object),
    /// An object does not exist any more.
    Gone(Kind, Key),
}

impl Cluster {
    /// Takes a change in.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Listed(kind, objects) => {
                let kept = self.replies_ahead(kind, &objects);
                self.forget(kind);
                for (key, object) in objects {
                    self.set(kind, key, object);
                }
                for (key, object) in kept {
                    self.set(kind, key, object);
                }
            }
            Change::ListingPods => {
                self.namespaces.values_mut().for_each(|namespace| namespace.pods.doubt());
            }
            Change::ListedPods => {
                self.changed.everything();
                self.namespaces.values_mut().for_each(|namespace| namespace.pods.drop_unseen());
                self.namespaces.retain(|_, namespace| !namespace.is_empty());
            }
            Change::Set(kind, key, object) => {
                self.passed(kind, &key, &object);
                self.set(kind, key, object);
            }
            Change::Gone(kind, key) => self.gone(kind, &key),
        }
    }

    /// Planes by revision, from every source.
    pub fn planes(&self) -> &Planes {
        &self.planes
    }

    /// Injectors, ordered by webhook configuration.
    pub fn injectors(&self) -> &[Injector] {
        &self.flat_injectors
    }

    /// The namespace, if it exists.
    pub fn namespace(&self, name: &str) -> Option<(&NamespaceMeta, &Namespace)> {
        let namespace = self.namespaces.get(name)?;
        Some((namespace.meta.as_ref()?, namespace))
    }

    /// Every namespace that exists, by name.
    pub fn namespaces(&self) -> impl Iterator<Item = (&str, &NamespaceMeta, &Namespace)> {
        self.namespaces.iter().filter_map(|(name, namespace)| {
            Some((name.as_str(), namespace.meta.as_ref()?, namespace))
        })
    }

    /// What happens to an ordinary pod that is created in a namespace with `labels`.
    pub fn injection_of_labels(&self, labels: &Labels) -> Injection {
        injection::resolve(&self.flat_injectors, labels, &InjectionWish::default(), false)
    }

    /// What happens to a pod of `workload` that is created in a namespace with `labels`.
    pub fn injection(&self, labels: &Labels, workload: &Workload) -> Injection {
        injection::resolve(&self.flat_injectors, labels, &workload.wish, workload.host_network)
    }

    /// What would have to inject `pod`, by the labels of its namespace as they are.
    pub fn injection_of_pod(&self, labels: &Labels, namespace: &Namespace, pod: &Pod) -> Injection {
        let host_network = match namespace.controller(pod) {
            Controller::Workload(key) => {
                let workload = namespace.workloads.get(&key);
                workload.is_some_and(|workload| namespace.template(workload).host_network)
            }
            _ => false,
        };
        injection::resolve(&self.flat_injectors, labels, &pod.make.wish, host_network)
    }

    fn set(&mut self, kind: Kind, key: Key, object: Object) {
        if kind != Kind::Pod {
            self.note(kind, &key);
        }
        match object {
            Object::Namespace(meta) => {
                let known = &mut self.entry(&key.name).meta;
                let outdated = known.as_ref().is_some_and(|known| {
                    known.uid == meta.uid && older(&meta.resource_version, &known.resource_version)
                });
                if !outdated {
                    *known = Some(meta);
                }
            }
            Object::Workload(workload, istiod) => {
                let place = (key.namespace.clone(), key.name.clone());
                if kind == Kind::Workload(WorkloadKind::Deployment) {
                    let known = match istiod {
                        Some(istiod) => self.istiods.insert(place, istiod.clone()) != Some(istiod),
                        None => self.istiods.remove(&place).is_some(),
                    };
                    if known {
                        self.changed.everything();
                        self.find_planes();
                    }
                }
                let workloads = &mut self.entry(&key.namespace).workloads;
                let outdated = workloads.get(&workload.key).is_some_and(|known| {
                    known.uid == workload.uid
                        && older(&workload.resource_version, &known.resource_version)
                });
                if !outdated {
                    workloads.insert(workload.key.clone(), *workload);
                }
            }
            Object::Pod(pod) => {
                // A list repeats what is known.
                if self.entry(&key.namespace).pods.insert(*pod) {
                    self.note(kind, &key);
                }
            }
            Object::Job(Some(cron_job)) => {
                self.entry(&key.namespace).cron_jobs.insert(key.name, cron_job);
            }
            Object::Slice(Some(slice)) => {
                self.entry(&key.namespace).slices.insert(key.name, slice);
            }
            Object::Job(None) | Object::Slice(None) => self.gone(kind, &key),
            Object::Injectors(injectors) => {
                self.injectors.insert(key.name, injectors);
                self.find_planes();
            }
            Object::Plane(plane) => {
                if let Kind::Plane(source) = kind {
                    self.declared
                        .insert((source, format!("{}/{}", key.namespace, key.name)), *plane);
                }
                self.find_planes();
            }
            Object::Peer(peer) => self.set_peer(key, peer),
            Object::DefaultValidator(revision) => self.default_validator = revision,
        }
    }

    fn gone(&mut self, kind: Kind, key: &Key) {
        self.note(kind, key);
        self.bury(kind, key);
        match kind {
            Kind::Namespace => self.edit(&key.name, |namespace| namespace.meta = None),
            Kind::Workload(kind) => {
                if kind == WorkloadKind::Deployment
                    && self.istiods.remove(&(key.namespace.clone(), key.name.clone())).is_some()
                {
                    self.changed.everything();
                    self.find_planes();
                }
                let workload = WorkloadKey { kind, name: key.name.clone() };
                self.edit(&key.namespace, |namespace| {
                    namespace.workloads.remove(&workload);
                });
            }
            Kind::Pod => self.edit(&key.namespace, |namespace| {
                namespace.pods.remove(&key.name);
            }),
            Kind::Job => self.edit(&key.namespace, |namespace| {
                namespace.cron_jobs.remove(&key.name);
            }),
            Kind::Slice => self.edit(&key.namespace, |namespace| {
                namespace.slices.remove(&key.name);
            }),
            Kind::Injector => {
                self.injectors.remove(&key.name);
                self.find_planes();
            }
            Kind::Plane(source) => {
                self.declared.remove(&(source, format!("{}/{}", key.namespace, key.name)));
                self.find_planes();
            }
            Kind::Peer => self.peer_gone(key),
            Kind::DefaultValidator => self.default_validator = None,
        }
    }

    /// Notes which namespace a change concerns; planes and injectors are compared once they are
    /// found.
    fn note(&mut self, kind: Kind, key: &Key) {
        match kind {
            Kind::Namespace => self.changed.namespace(&key.name),
            Kind::Workload(_) | Kind::Pod | Kind::Job | Kind::Slice => {
                self.changed.namespace(&key.namespace);
            }
            Kind::Injector | Kind::Plane(_) | Kind::Peer | Kind::DefaultValidator => {}
        }
    }

    fn forget(&mut self, kind: Kind) {
        if kind == Kind::DefaultValidator {
            self.default_validator = None;
            return;
        }
        self.changed.everything();
        for namespace in self.namespaces.values_mut() {
            match kind {
                Kind::Namespace => namespace.meta = None,
                Kind::Workload(kind) => namespace.workloads.retain(|key, _| key.kind != kind),
                Kind::Pod => namespace.pods.clear(),
                Kind::Job => namespace.cron_jobs.clear(),
                Kind::Slice => namespace.slices.clear(),
                Kind::Injector | Kind::Plane(_) | Kind::Peer | Kind::DefaultValidator => {}
            }
        }
        self.namespaces.retain(|_, namespace| !namespace.is_empty());
        match kind {
            Kind::Workload(WorkloadKind::Deployment) => self.istiods.clear(),
            Kind::Injector => self.injectors.clear(),
            Kind::Plane(source) => self.declared.retain(|(of, _), _| *of != source),
            Kind::Peer => self.peers.clear(),
            Kind::Namespace
            | Kind::Workload(_)
            | Kind::Pod
            | Kind::Job
            | Kind::Slice
            | Kind::DefaultValidator => return,
        }
        self.find_planes();
    }

    fn entry(&mut self, namespace: &str) -> &mut Namespace {
        self.namespaces.entry(namespace.to_owned()).or_default()
    }

    fn edit(&mut self, name: &str, edit: impl FnOnce(&mut Namespace)) {
        if let Some(namespace) = self.namespaces.get_mut(name) {
            edit(namespace);
            if namespace.is_empty() {
                self.namespaces.remove(name);
            }
        }
    }
}

impl Namespace {
    /// Who controls `pod`. ReplicaSets are not watched: their names end with the hash that their
    /// Deployment gave them.
    pub fn controller(&self, pod: &Pod) -> Controller {
        let Some(Owner { group, kind, name, template_hash }) = &pod.make.owner else {
            return Controller::Nobody;
        };
        let other = |kind: &str, name: &str, unseen: bool| {
            let (kind, name) = (kind.to_owned(), name.to_owned());
            Controller::Other { kind, name, unseen }
        };
        match (kind.as_str(), template_hash) {
            ("ReplicaSet", Some(TemplateHash::Deployment(hash))) => {
                let deployment = name.strip_suffix(hash.as_str()).and_then(|x| x.strip_suffix('-'));
                let key = deployment.map(|name| WorkloadKey {
                    kind: WorkloadKind::Deployment,
                    name: name.to_owned(),
                });
                match key.filter(|key| self.workloads.contains_key(key)) {
                    Some(key) => Controller::Workload(key),
                    None => other(kind, name, true),
                }
            }
            ("ReplicaSet", Some(TemplateHash::Rollout(hash))) => {
                let rollout = name.strip_suffix(hash.as_str()).and_then(|x| x.strip_suffix('-'));
                let name = rollout.unwrap_or(name).to_owned();
                let key = WorkloadKey { kind: WorkloadKind::Rollout, name };
                let known = self.workloads.contains_key(&key);
                if known { Controller::Workload(key) } else { other("Rollout", &key.name, true) }
            }
            ("Job", _) if group == "batch" => match self.cron_jobs.get(name) {
                Some(cron_job) => Controller::CronJob(cron_job.clone()),
                None => Controller::Job(name.clone()),
            },
            // A mirror pod of a node's own manifest: nothing that the API can restart.
            ("Node", _) => Controller::Nobody,
            // Others have kinds of the same names in groups of their own.
            _ => match WorkloadKind::of(kind).filter(|_| group == "apps") {
                Some(found) => {
                    let key = WorkloadKey { kind: found, name: name.clone() };
                    let known = self.workloads.contains_key(&key);
                    if known { Controller::Workload(key) } else { other(kind, name, true) }
                }
                None => other(kind, name, false),
            },
        }
    }

    /// The workload whose template makes the pods of `workload`: itself, unless it refers to another.
    pub fn template<'a>(&'a self, workload: &'a Workload) -> &'a Workload {
        let named = workload.template_of().and_then(|key| self.workloads.get(key));
        named.unwrap_or(workload)
    }

    /// Whether `workload` is there only to lend its template.
    pub fn lends_template(&self, workload: &Workload) -> bool {
        self.workloads.values().any(|other| other.template_of() == Some(&workload.key))
    }

    /// Whether a gateway runs in it.
    pub fn has_gateway(&self) -> bool {
        self.workloads.values().any(|workload| workload.role == Role::Gateway)
    }

    /// Its pods with a sidecar.
    pub fn injected_pods(&self) -> usize {
        self.pods.values().filter(|pod| pod.make.injected != Injected::No).count()
    }

    /// The labels that decide on injection; none set while the namespace itself was not seen.
    pub fn injection_labels(&self) -> InjectionLabels {
        self.meta.as_ref().map(|meta| InjectionLabels::among(&meta.labels)).unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        self.meta.is_none()
            && self.workloads.is_empty()
            && self.pods.is_empty()
            && self.cron_jobs.is_empty()
            && self.slices.is_empty()
    }
}

/// Whether `version` of an object is older than `known`: since 1.35 resource versions are
/// comparable. The reply to an own write may overtake the watch, which then must not set the view
/// back; a complete list always does, as after a restore of etcd.
pub fn older(version: &str, known: &str) -> bool {
    match (version.parse::<u64>(), known.parse::<u64>()) {
        (Ok(version), Ok(known)) => version < known,
        _ => false,
    }
}
