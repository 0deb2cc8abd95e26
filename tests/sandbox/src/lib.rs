//! A simulated Kubernetes cluster in memory: an API server of JSON objects as one
//! `tower::Service`, with the controllers, the kubelet, the sidecar injectors and the faults
//! that revshift meets.
//!
//! Time is tokio's clock and nothing else, names and uids are counted, and nothing depends on
//! the order of a hash map: with a paused clock a run repeats exactly.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::exchange::Requests;
use crate::route::Route;

mod api;
mod cluster;
mod controllers;
mod defaults;
mod exchange;
mod faults;
pub mod fixtures;
mod history;
mod istiod;
mod kind;
mod listener;
mod object;
mod ownership;
mod patch;
mod proxies;
mod quantity;
mod refusal;
mod route;
mod schema;
mod selector;
mod service;
mod store;
mod watch;

pub use exchange::{Exchange, Verdict, WatchFault};
pub use faults::{Count, Fault, FaultKind, Faults, Malformed, Most, Place};
pub use listener::kubeconfig;
pub use service::{ApiService, Body, BodyError};
pub use store::{Change, ChangeKind, Reference};

/// A handle on a simulated cluster; clones share it.
#[derive(Debug, Clone)]
pub struct Sandbox {
    shared: Arc<Shared>,
}

/// How the cluster behaves.
#[derive(Debug, Clone)]
pub struct Options {
    /// The wall time when the sandbox is made.
    pub start: Timestamp,
    /// From the binding of a pod to Running and Ready.
    pub pod_ready_after: Duration,
    /// How far admission's view of namespaces lags behind.
    pub label_lag: Duration,
    /// From the deletion of a running pod until it is gone.
    pub termination: Duration,
    /// The nodes that DaemonSets and the scheduler use.
    pub nodes: Vec<String>,
    /// How many new proxies a plane admits in a second; as many as come unless told.
    pub streams_per_second: Option<f64>,
    /// How fast each controller may write; as fast as it can unless told.
    pub controller_rate: Option<ControllerRate>,
    /// How long a request takes before it is applied, and again before it is answered.
    pub latency: Duration,
    /// How far watches lag behind the store.
    pub watch_lag: Duration,
    /// Time between bookmarks.
    pub bookmark_every: Duration,
    /// How many changes are kept, for watches that start at an older version and for
    /// [`Sandbox::changes`], and how many requests; all of them unless told, which is too much for
    /// days.
    pub history: Option<usize>,
}

/// The limit of a controller's requests, of which only those that write are counted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ControllerRate {
    pub per_second: f64,
    pub burst: u32,
}

impl ControllerRate {
    /// What kube-controller-manager has unless it is told otherwise.
    pub const KUBERNETES: Self = Self { per_second: 20.0, burst: 30 };
}

type Judge = Box<dyn FnMut(&Exchange) -> Verdict + Send>;

/// What the handles share.
struct Shared {
    cluster: Arc<Mutex<Cluster>>,
    requests: Mutex<Requests>,
    judge: Mutex<Option<Judge>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            start: Timestamp::constant(1_767_225_600, 0),
            pod_ready_after: Duration::from_secs(1),
            label_lag: Duration::from_millis(500),
            termination: Duration::from_millis(500),
            nodes: vec!["node-1".to_owned()],
            streams_per_second: None,
            controller_rate: None,
            latency: Duration::from_millis(1),
            watch_lag: Duration::from_millis(2),
            bookmark_every: Duration::from_mins(1),
            history: None,
        }
    }
}

impl Sandbox {
    /// A cluster with the usual namespaces and nothing else.
    pub fn new(options: Options) -> Self {
        let cluster = Arc::new(Mutex::new(Cluster::new(options)));
        let shared = Shared { cluster, requests: Mutex::default(), judge: Mutex::default() };
        Self { shared: Arc::new(shared) }
    }

    /// The API server for one client; the tag names the client in the log of requests.
    pub fn service(&self, tag: &str) -> ApiService {
        ApiService::new(self.shared.clone(), tag)
    }

    /// Drives the controllers and the kubelet for ever. Dropped and run again, they go on.
    ///
    /// Pods say by labels how they fare: `bed.revshift.dev/fails` is `image-pull`,
    /// `never-ready`, `crash-loop` or `unschedulable`, on all pods or only on those that the revision in
    /// `bed.revshift.dev/fails-on` injected; `bed.revshift.dev/ready-after` delays readiness by
    /// seconds. The annotation `sandbox.revshift.dev/run-for` is how many seconds a pod that is
    /// not restarted runs, 5 by default; `sandbox.revshift.dev/exit-code` is how it ends.
    pub async fn run(&self) {
        controllers::run(&self.shared.cluster).await;
    }

    /// All requests so far that are not forgotten.
    pub fn requests(&self) -> Vec<Exchange> {
        locked(&self.shared.requests).all()
    }

    /// Lets `judge` decide on every request from now on, before it is applied. It may look at
    /// the sandbox, but must not call `intercept` or `clear_intercept`.
    pub fn intercept(&self, judge: impl FnMut(&Exchange) -> Verdict + Send + 'static) {
        *locked(&self.shared.judge) = Some(Box::new(judge));
    }

    /// Handles all requests again.
    pub fn clear_intercept(&self) {
        *locked(&self.shared.judge) = None;
    }

    /// Lets faults strike from now on, in place of those before. What `intercept` decides comes
    /// first.
    pub fn inject(&self, faults: &Faults) {
        self.cluster().faults = faults.clone();
    }

    /// Makes the injection webhooks of a revision unreachable, or reachable again: those whose
    /// configuration is labelled `istio.io/rev` with it, tags included.
    pub fn set_injector_down(&self, revision: &str, down: bool) {
        let mut cluster = self.cluster();
        if down {
            cluster.injectors_down.insert(revision.to_owned());
        } else {
            cluster.injectors_down.remove(revision);
        }
    }

    /// Has reviews of rights say that `verb` on `resource`, such as `pods/eviction`, is forbidden.
    pub fn forbid(&self, verb: &str, resource: &str) {
        self.cluster().forbidden.insert((verb.to_owned(), resource.to_owned()));
    }

    /// How many new proxies the plane of a revision has refused, having too many at once.
    pub fn rejected_streams(&self, revision: &str) -> u64 {
        self.cluster().nodes.streams.rejects(revision)
    }

    /// The object at an API path such as `/apis/apps/v1/namespaces/shop/deployments/web`.
    pub fn object(&self, path: &str) -> Option<Value> {
        let route = Route::parse(path)?;
        let namespace = route.namespace.as_deref().unwrap_or_default();
        let cluster = self.cluster();
        let found = cluster.store.find(&route.resource(), namespace, route.name.as_deref()?)?;
        Some(Value::clone(found))
    }

    /// The objects of a collection such as `/api/v1/pods` or `/api/v1/namespaces/shop/pods`,
    /// in the order of namespace and name.
    pub fn objects(&self, path: &str) -> Vec<Value> {
        let Some(route) = Route::parse(path) else { return Vec::new() };
        let cluster = self.cluster();
        let all = cluster.store.list(&route.resource(), route.namespace.as_deref());
        all.map(|object| Value::clone(object)).collect()
    }

    /// Creates or replaces an object as given, status included, past admission: a fixture.
    ///
    /// # Panics
    /// If no such kind is served.
    pub fn apply(&self, object: Value) {
        self.cluster().fix(object);
    }

    /// Removes the object at an API path at once, past finalizers and grace.
    pub fn remove(&self, path: &str) {
        let Some(route) = Route::parse(path) else { return };
        let (Some(name), namespace) = (&route.name, route.namespace.as_deref()) else { return };
        let reference = Reference::new(&route.resource(), namespace.unwrap_or_default(), name);
        self.cluster().erase(&reference, "fixture");
    }

    /// Every stored change so far that is not forgotten, oldest first.
    pub fn changes(&self) -> Vec<Change> {
        self.changes_after(0)
    }

    /// The changes after a version, for oracles that look often.
    pub fn changes_after(&self, version: u64) -> Vec<Change> {
        let cluster = self.cluster();
        let log = cluster.store.log();
        log.from(log.position_after(version)).cloned().collect()
    }

    /// The newest version.
    pub fn version(&self) -> u64 {
        self.cluster().store.version()
    }

    /// Forgets history: older versions answer 410, and so do continue tokens.
    pub fn compact(&self) {
        let mut cluster = self.cluster();
        cluster.store.compact();
        cluster.pages.clear();
    }

    /// Ends all open watches, as a restart of the API server does.
    pub fn drop_watches(&self) {
        let mut cluster = self.cluster();
        cluster.watch_epoch += 1;
        cluster.store.nudge();
    }

    /// Restores etcd from a backup that was made at a version; all watches end. Versions go back
    /// too, and what [`Sandbox::changes`] tells ends there, unless they go on `ahead`, as they do
    /// with etcd's own tools when asked to.
    pub fn restore(&self, version: u64, ahead: bool) {
        self.cluster().restore(version, ahead);
    }

    /// Moves the cluster's wall clock, and no timer.
    pub fn jump_clock(&self, by: SignedDuration) {
        let mut cluster = self.cluster();
        let start = cluster.options.start.saturating_add(by);
        cluster.options.start = start.unwrap_or(Timestamp::MAX);
    }

    /// The cluster's wall time.
    pub fn now(&self) -> Timestamp {
        self.cluster().now()
    }

    fn cluster(&self) -> MutexGuard<'_, Cluster> {
        locked(&self.shared.cluster)
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Shared").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// Locks, also after a panic elsewhere: a failed assertion must not hide behind another.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
