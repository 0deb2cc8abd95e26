//! What etcd holds: every object of every kind under one counter of versions, and the log of
//! all changes. It knows owners, so that controllers find their pods without a scan, but no
//! rules: validation, admission and deletion are the cluster's.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::history::History;
use crate::kind::{self, Kind};
use crate::object;

/// Which object: resource (`plural.group`), namespace (empty for cluster scope) and name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    pub resource: String,
    pub namespace: String,
    pub name: String,
}

/// How an object changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    Added,
    Modified,
    Deleted,
}

/// One stored change.
#[derive(Debug, Clone)]
pub struct Change {
    /// The version that this change made: also its place in the order of all changes.
    pub version: u64,
    /// The cluster's wall time.
    pub time: Timestamp,
    /// The same moment on tokio's clock.
    pub at: Instant,
    pub change: ChangeKind,
    pub reference: Reference,
    pub kind: String,
    pub uid: String,
    /// Field manager of the request, or the controller that wrote.
    pub manager: String,
    /// The object after the change, or its last state with the version of the deletion.
    pub object: Arc<Value>,
    pub previous: Option<Arc<Value>>,
}

#[derive(Debug)]
pub(crate) struct Store {
    kinds: BTreeMap<String, Arc<Kind>>,
    /// Every object by resource, namespace and name.
    objects: BTreeMap<String, BTreeMap<String, Objects>>,
    /// Objects by the uid of an owner, whether it still exists or not.
    dependents: BTreeMap<String, BTreeSet<Reference>>,
    uids: BTreeMap<String, Reference>,
    log: History,
    /// The states of each namespace object, which admission looks up.
    namespaces: BTreeMap<String, Vec<State>>,
    version: u64,
    compacted: u64,
    serial: u64,
    changed: watch::Sender<u64>,
}

/// Objects by name.
type Objects = BTreeMap<String, Arc<Value>>;
/// Since when an object is so, and how; nothing once it was deleted.
type State = (Instant, Option<Arc<Value>>);

impl Reference {
    pub fn new(resource: &str, namespace: &str, name: &str) -> Self {
        Self { resource: resource.into(), namespace: namespace.into(), name: name.into() }
    }
}

impl Store {
    pub(crate) fn new() -> Self {
        Self {
            kinds: kind::built_in(),
            objects: BTreeMap::new(),
            dependents: BTreeMap::new(),
            uids: BTreeMap::new(),
            log: History::default(),
            namespaces: BTreeMap::new(),
            version: 1,
            compacted: 0,
            serial: 0,
            changed: watch::Sender::new(1),
        }
    }

    pub(crate) fn kinds(&self) -> impl Iterator<Item = &Arc<Kind>> {
        self.kinds.values()
    }

    pub(crate) fn kind(&self, resource: &str) -> Option<Arc<Kind>> {
        self.kinds.get(resource).cloned()
    }

    /// The kind that an object says it is of.
    pub(crate) fn kind_of(&self, api_version: &str, kind: &str) -> Option<Arc<Kind>> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        self.kinds
            .values()
            .find(|one| {
                one.kind == kind && one.group == group && one.served.iter().any(|v| v == version)
            })
            .cloned()
    }

    pub(crate) fn get(&self, reference: &Reference) -> Option<&Arc<Value>> {
        self.find(&reference.resource, &reference.namespace, &reference.name)
    }

    pub(crate) fn find(&self, resource: &str, namespace: &str, name: &str) -> Option<&Arc<Value>> {
        self.objects.get(resource)?.get(namespace)?.get(name)
    }

    /// The objects of a resource in the order of namespace and name, of one namespace or all.
    pub(crate) fn list<'a>(
        &'a self,
        resource: &str,
        namespace: Option<&str>,
    ) -> impl Iterator<Item = &'a Arc<Value>> + use<'a> {
        let all = self.objects.get(resource);
        let one = namespace.and_then(|wanted| all?.get(wanted));
        let every = all.filter(|_| namespace.is_none()).into_iter().flat_map(BTreeMap::values);
        one.into_iter().chain(every).flat_map(BTreeMap::values)
    }

    pub(crate) fn dependents(&self, uid: &str) -> Vec<Reference> {
        self.dependents.get(uid).into_iter().flatten().cloned().collect()
    }

    /// The objects of a resource whose controller has this uid.
    pub(crate) fn controlled(&self, resource: &str, uid: &str) -> Vec<Arc<Value>> {
        self.dependents
            .get(uid)
            .into_iter()
            .flatten()
            .filter(|one| one.resource == resource)
            .filter_map(|one| self.get(one))
            .filter(|one| {
                object::controller(one).is_some_and(|owner| object::text(owner, "/uid") == uid)
            })
            .cloned()
            .collect()
    }

    pub(crate) fn exists(&self, uid: &str) -> bool {
        self.uids.contains_key(uid)
    }

    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Forgets history for watches; the log itself stays for assertions.
    pub(crate) fn compact(&mut self) {
        self.compacted = self.version;
    }

    /// Forgets the changes before a position for good.
    pub(crate) fn trim(&mut self, until: usize) {
        self.log.trim(until);
    }

    /// The newest version that a watch of a resource cannot begin at any more.
    pub(crate) fn too_old(&self, resource: &str) -> u64 {
        self.compacted.max(self.log.compacted(resource))
    }

    pub(crate) fn log(&self) -> &History {
        &self.log
    }

    /// The objects of a resource as they were at a version.
    pub(crate) fn list_at(&self, version: u64, kind: &Kind) -> Vec<Arc<Value>> {
        let mut objects = self.objects.get(&kind.resource).cloned().unwrap_or_default();
        for change in self.log.from(self.log.position_after(version)).rev() {
            let Reference { resource, namespace, name } = &change.reference;
            if *resource != kind.resource {
                continue;
            }
            let all = objects.entry(namespace.clone()).or_default();
            match &change.previous {
                Some(previous) => all.insert(name.clone(), previous.clone()),
                None => all.remove(name),
            };
        }
        objects.into_values().flat_map(BTreeMap::into_values).collect()
    }

    /// Goes back to what was stored at a version, as if nothing had happened since; what was
    /// trimmed is not brought back.
    pub(crate) fn restore(&mut self, version: u64) {
        while self.version > version {
            let Some(change) = self.log.pop() else { break };
            let about = &change.reference;
            if change.change != ChangeKind::Deleted {
                self.forget(about, &change.object);
            }
            match change.previous {
                Some(previous) => {
                    self.remember(about, &previous);
                    self.insert(about, previous);
                }
                None => {
                    self.take(about);
                }
            }
            if about.resource == kind::NAMESPACES
                && let Some(history) = self.namespaces.get_mut(&about.name)
            {
                history.pop();
            }
            self.version = change.version - 1;
        }
        self.compacted = self.compacted.min(self.version);
        self.nudge();
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Wakes when the resource changes.
    pub(crate) fn subscribe_to(&mut self, resource: &str) -> watch::Receiver<()> {
        self.log.subscribe(resource)
    }

    /// Wakes everybody who waits for changes.
    pub(crate) fn nudge(&self) {
        self.changed.send_modify(|_| {});
        self.log.nudge();
    }

    /// A number that no other caller gets.
    pub(crate) fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// The labels that a namespace had at `moment`, as a cache sees them; None if it did not
    /// exist yet or was deleted.
    pub(crate) fn namespace_at(&self, name: &str, moment: Instant) -> Option<Arc<Value>> {
        let history = self.namespaces.get(name)?;
        let until = history.partition_point(|(at, _)| *at <= moment);
        history[until.checked_sub(1)?].1.clone()
    }

    /// Stores an object under the next version.
    pub(crate) fn put(
        &mut self,
        reference: &Reference,
        mut object: Value,
        manager: &str,
        at: (Timestamp, Instant),
    ) -> Arc<Value> {
        self.version += 1;
        object::set(&mut object, "/metadata/resourceVersion", self.version.to_string());
        let object = Arc::new(object);
        let previous = self.insert(reference, object.clone());
        if let Some(previous) = &previous {
            self.forget(reference, previous);
        }
        self.remember(reference, &object);
        let change = if previous.is_some() { ChangeKind::Modified } else { ChangeKind::Added };
        self.record(change, reference, object.clone(), previous, manager, at);
        object
    }

    /// Removes an object under the next version, and gives its last state.
    pub(crate) fn remove(
        &mut self,
        reference: &Reference,
        manager: &str,
        at: (Timestamp, Instant),
    ) -> Option<Arc<Value>> {
        let previous = self.take(reference)?;
        self.forget(reference, &previous);
        self.version += 1;
        let mut last = Value::clone(&previous);
        object::set(&mut last, "/metadata/resourceVersion", self.version.to_string());
        let last = Arc::new(last);
        self.record(ChangeKind::Deleted, reference, last.clone(), Some(previous), manager, at);
        Some(last)
    }

    fn insert(&mut self, reference: &Reference, object: Arc<Value>) -> Option<Arc<Value>> {
        let Reference { resource, namespace, name } = reference;
        if let Some(known) = self
            .objects
            .get_mut(resource)
            .and_then(|all| all.get_mut(namespace))
            .and_then(|all| all.get_mut(name))
        {
            return Some(std::mem::replace(known, object));
        }
        let all = self.objects.entry(resource.clone()).or_default();
        all.entry(namespace.clone()).or_default().insert(name.clone(), object)
    }

    fn take(&mut self, reference: &Reference) -> Option<Arc<Value>> {
        let all = self.objects.get_mut(&reference.resource)?;
        let objects = all.get_mut(&reference.namespace)?;
        let taken = objects.remove(&reference.name);
        if objects.is_empty() {
            all.remove(&reference.namespace);
        }
        taken
    }

    fn remember(&mut self, reference: &Reference, object: &Value) {
        self.uids.insert(object::uid(object).to_owned(), reference.clone());
        for owner in object::list(object, "/metadata/ownerReferences") {
            let owner = object::text(owner, "/uid").to_owned();
            self.dependents.entry(owner).or_default().insert(reference.clone());
        }
        if reference.resource == kind::DEFINITIONS
            && let Some(kind) = Kind::of_definition(object)
        {
            self.kinds.insert(kind.resource.clone(), Arc::new(kind));
        }
    }

    fn forget(&mut self, reference: &Reference, object: &Value) {
        self.uids.remove(object::uid(object));
        for owner in object::list(object, "/metadata/ownerReferences") {
            let owner = object::text(owner, "/uid");
            if let Some(all) = self.dependents.get_mut(owner) {
                all.remove(reference);
                if all.is_empty() {
                    self.dependents.remove(owner);
                }
            }
        }
        if reference.resource == kind::DEFINITIONS {
            self.kinds.remove(&reference.name);
            // Those who watch that kind have nothing to wait for.
            self.log.nudge();
        }
    }

    fn record(
        &mut self,
        change: ChangeKind,
        reference: &Reference,
        object: Arc<Value>,
        previous: Option<Arc<Value>>,
        manager: &str,
        (time, at): (Timestamp, Instant),
    ) {
        if reference.resource == kind::NAMESPACES {
            let state = Some(object.clone()).filter(|_| change != ChangeKind::Deleted);
            let history = self.namespaces.entry(reference.name.clone()).or_default();
            history.push((at, state));
        }
        self.log.push(Change {
            version: self.version,
            time,
            at,
            change,
            reference: reference.clone(),
            kind: object::text(&object, "/kind").to_owned(),
            uid: object::uid(&object).to_owned(),
            manager: manager.to_owned(),
            object,
            previous,
        });
        self.changed.send_replace(self.version);
    }
}
