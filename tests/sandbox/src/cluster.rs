//! The state of the simulated cluster and the rules by which objects come, change and go.
//!
//! The HTTP side and the controllers write through the same functions, so that admission,
//! preconditions and finalizers hold for both.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::Options;
use crate::controllers::{Agenda, Nodes};
use crate::faults::Faults;
use crate::kind;
use crate::object;
use crate::store::{Reference, Store};

mod admission;
mod budget;
mod cordon;
mod delete;
mod limits;
mod quota;
mod write;

pub(crate) use admission::{POD_LABEL_ANNOTATION, VERSION_ANNOTATION, injected_by};
pub(crate) use budget::set_allowed;
pub(crate) use delete::{DeleteOptions, Propagation};
pub(crate) use limits::complete as complete_limits;
pub(crate) use quota::{hard, shown};
pub(crate) use write::{Author, Part};

/// Everything behind the one lock of a sandbox.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) options: Options,
    pub(crate) store: Store,
    pub(crate) agenda: Agenda,
    pub(crate) nodes: Nodes,
    /// Remaining pages of lists, so that pages show one moment.
    pub(crate) pages: Pages,
    /// Watches of an older epoch end.
    pub(crate) watch_epoch: u64,
    pub(crate) injectors_down: BTreeSet<String>,
    pub(crate) istiods_silent: BTreeSet<String>,
    /// Verb and resource of what no client may do, by what reviews say.
    pub(crate) forbidden: BTreeSet<(String, String)>,
    pub(crate) faults: Faults,
    origin: Instant,
}

/// Snapshots that continue tokens point into.
#[derive(Debug, Default)]
pub(crate) struct Pages {
    next: u64,
    snapshots: BTreeMap<u64, Snapshot>,
}

/// A version and what a list showed at it.
type Snapshot = (u64, Arc<Vec<Arc<Value>>>);

impl Pages {
    /// How many unfinished lists are remembered.
    const KEPT: usize = 256;

    pub(crate) fn keep(&mut self, version: u64, items: Vec<Arc<Value>>) -> u64 {
        self.next += 1;
        self.snapshots.insert(self.next, (version, Arc::new(items)));
        if self.snapshots.len() > Self::KEPT {
            self.snapshots.pop_first();
        }
        self.next
    }

    pub(crate) fn get(&self, id: u64) -> Option<Snapshot> {
        self.snapshots.get(&id).cloned()
    }

    pub(crate) fn clear(&mut self) {
        self.snapshots.clear();
    }
}

impl Cluster {
    pub(crate) fn new(options: Options) -> Self {
        let mut cluster = Self {
            store: Store::new(),
            agenda: Agenda::default(),
            nodes: Nodes::default(),
            pages: Pages::default(),
            watch_epoch: 0,
            injectors_down: BTreeSet::new(),
            istiods_silent: BTreeSet::new(),
            forbidden: BTreeSet::new(),
            faults: Faults::default(),
            origin: Instant::now(),
            options,
        };
        for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            cluster.fix(json!({
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": { "name": name },
            }));
        }
        cluster
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.wall(Instant::now())
    }

    /// The cluster's wall time at a moment of tokio's clock.
    pub(crate) fn wall(&self, at: Instant) -> Timestamp {
        let elapsed = SignedDuration::try_from(at.saturating_duration_since(self.origin))
            .unwrap_or(SignedDuration::MAX);
        self.options.start.saturating_add(elapsed).unwrap_or(Timestamp::MAX)
    }

    /// The newest version of so long ago; without a time, of now.
    pub(crate) fn version_before(&self, age: Option<Duration>) -> u64 {
        let Some(age) = age else { return self.store.version() };
        let now = Instant::now();
        let log = self.store.log();
        let newer = log.partition_point(|change| change.at + age <= now);
        log.get(newer).map_or_else(|| self.store.version(), |change| change.version - 1)
    }

    /// Goes back to a version, as a restored backup does. The API server starts anew, so that
    /// watches and continue tokens end; the controllers look at everything again.
    pub(crate) fn restore(&mut self, version: u64, ahead: bool) {
        if ahead {
            self.undo_since(version);
            self.store.compact();
        } else {
            self.store.restore(version);
        }
        self.agenda = Agenda::default();
        self.pages.clear();
        self.watch_epoch += 1;
        self.store.nudge();
    }

    /// Makes everything as it was at a version, by changes that make newer versions.
    fn undo_since(&mut self, version: u64) {
        let mut then = BTreeMap::new();
        let log = self.store.log();
        for change in log.from(log.position_after(version)).rev() {
            then.insert(change.reference.clone(), change.previous.clone());
        }
        let at = (self.now(), Instant::now());
        for (reference, object) in then {
            match object {
                Some(object) => {
                    self.store.put(&reference, Value::clone(&object), "etcd", at);
                }
                None => {
                    self.store.remove(&reference, "etcd", at);
                }
            }
        }
    }

    /// Now, as Kubernetes writes times: whole seconds.
    pub(crate) fn stamp(&self) -> String {
        stamp(self.now())
    }

    /// Seconds since a time that Kubernetes wrote.
    pub(crate) fn since(&self, time: &str) -> Option<Duration> {
        let then: Timestamp = time.parse().ok()?;
        Some(Duration::try_from(self.now().duration_since(then)).unwrap_or_default())
    }

    /// A uid: unique, and the same in every run.
    pub(crate) fn uid(&mut self) -> String {
        let serial = self.store.serial();
        format!(
            "{serial:08x}-5a4d-4b0c-9e1f-{:012x}",
            serial.wrapping_mul(0x9e_3779_b97f) & 0xffff_ffff_ffff
        )
    }

    /// Creates or replaces an object as it is, status included, without admission.
    pub(crate) fn fix(&mut self, mut object: Value) {
        let (api_version, name) =
            (object::text(&object, "/apiVersion"), object::text(&object, "/kind"));
        let Some(kind) = self.store.kind_of(api_version, name) else {
            panic!("the sandbox does not serve {api_version} {name}; apply its definition first");
        };
        if kind.namespaced() {
            object::default(&mut object, "/metadata/namespace", "default");
        } else {
            object::remove(&mut object, "/metadata/namespace");
        }
        let reference =
            Reference::new(&kind.resource, object::namespace(&object), object::name(&object));
        let previous = self.store.get(&reference).cloned();
        let kept =
            |pointer: &str| previous.as_ref().and_then(|one| object::at(one, pointer)).cloned();
        if let Some(uid) = kept("/metadata/uid") {
            object::set(&mut object, "/metadata/uid", uid);
        } else if object::uid(&object).is_empty() {
            let uid = self.uid();
            object::set(&mut object, "/metadata/uid", uid);
        }
        let created = kept("/metadata/creationTimestamp").unwrap_or_else(|| self.stamp().into());
        object::default(&mut object, "/metadata/creationTimestamp", created);
        if kind.generation {
            let generation = previous.as_ref().map_or(0, |one| {
                object::integer(one, "/metadata/generation").unwrap_or_default()
                    - i64::from(one.get("spec") == object.get("spec"))
            });
            object::default(&mut object, "/metadata/generation", generation + 1);
        }
        if let Some(status) = kept("/status") {
            object::default(&mut object, "/status", status);
        }
        let mut first = object.clone();
        crate::defaults::first_status(&kind, &mut first);
        if let Some(status) = first.get("status") {
            object::default(&mut object, "/status", status.clone());
        }
        crate::defaults::fill(&kind, &mut object);
        self.establish(&kind, &mut object);
        let at = (self.now(), Instant::now());
        self.store.put(&reference, object, "fixture", at);
    }

    /// Records an Event about an object; the same one again only counts up.
    pub(crate) fn event(
        &mut self,
        about: &Value,
        severity: &str,
        reason: &str,
        message: &str,
        source: &str,
    ) {
        let namespace = match object::namespace(about) {
            "" => "default",
            namespace => namespace,
        };
        let fingerprint = object::hash(&json!([object::uid(about), reason, message, source]));
        let name = format!("{}.{fingerprint}", object::name(about));
        let now = self.stamp();
        let reference = Reference::new(kind::EVENTS, namespace, &name);
        let event = if let Some(event) = self.store.get(&reference) {
            let mut event = Value::clone(event);
            let count = object::integer(&event, "/count").unwrap_or_default() + 1;
            object::set(&mut event, "/count", count);
            object::set(&mut event, "/lastTimestamp", now);
            event
        } else {
            let uid = self.uid();
            json!({
                "apiVersion": "v1",
                "kind": "Event",
                "metadata": {
                    "name": name,
                    "namespace": namespace,
                    "uid": uid,
                    "creationTimestamp": now,
                },
                "involvedObject": {
                    "apiVersion": object::text(about, "/apiVersion"),
                    "kind": object::text(about, "/kind"),
                    "namespace": object::namespace(about),
                    "name": object::name(about),
                    "uid": object::uid(about),
                    "resourceVersion": object::version(about),
                },
                "type": severity,
                "reason": reason,
                "message": message,
                "source": { "component": source },
                "reportingComponent": source,
                "reportingInstance": "",
                "count": 1,
                "firstTimestamp": now,
                "lastTimestamp": now,
                "eventTime": null,
            })
        };
        let at = (self.now(), Instant::now());
        self.store.put(&reference, event, source, at);
    }
}

/// A time as Kubernetes writes it.
pub(crate) fn stamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
