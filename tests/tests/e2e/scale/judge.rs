//! What must hold at every stored change, judged by the changes alone.

use revshift_sandbox::{Change, ChangeKind, Sandbox};
use revshift_tests::{NEW, OLD};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::{self, Display, Formatter};

/// Budgets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) namespaces: u32,
    pub(crate) workloads: u32,
    pub(crate) pods: u32,
    /// Pods a second.
    pub(crate) rate: u32,
}

/// Reads the changes in their order.
pub(crate) struct Judge {
    limits: Limits,
    namespaces: usize,
    pods: usize,
    /// The last change that was judged.
    version: u64,
    changes: u64,
    /// Namespaces whose moves are under way, by shard.
    active: BTreeMap<String, u32>,
    /// The restart that each workload's template asks for, by namespace.
    restarts: BTreeMap<String, String>,
    /// Workloads whose restart is under way, by namespace.
    rolling: BTreeSet<String>,
    /// When the restarts of the last second began, in milliseconds.
    begun: VecDeque<i64>,
    peak: Peak,
    ended: bool,
}

/// The most that was under way at any time.
#[derive(Debug, Default)]
struct Peak {
    namespaces: u32,
    workloads: usize,
    pods_begun: usize,
}

impl Judge {
    /// One that judges what comes from now on, in a cluster of so many namespaces that are to be moved,
    /// each with a workload of so many pods.
    pub(crate) fn new(sandbox: &Sandbox, limits: Limits, namespaces: usize, pods: usize) -> Self {
        Self {
            limits,
            namespaces,
            pods,
            version: sandbox.version(),
            changes: 0,
            active: BTreeMap::new(),
            restarts: BTreeMap::new(),
            rolling: BTreeSet::new(),
            begun: VecDeque::new(),
            peak: Peak::default(),
            ended: false,
        }
    }

    /// Judges what came since the last look; tells whether the migration has ended.
    pub(crate) fn look(&mut self, sandbox: &Sandbox) -> bool {
        for change in sandbox.changes_after(self.version) {
            assert_eq!(change.version, self.version + 1, "changes were forgotten unseen");
            self.version = change.version;
            self.changes += 1;
            self.judge(&change);
        }
        self.ended
    }

    fn judge(&mut self, change: &Change) {
        let Change { reference, object, .. } = change;
        let ours = change.manager == "revshift";
        match (change.kind.as_str(), change.change) {
            ("Namespace", _) if ours && reference.name != "revshift-system" => {
                self.is_planned(&reference.name);
            }
            ("Deployment", ChangeKind::Added | ChangeKind::Modified) => {
                if ours {
                    self.is_planned(&reference.namespace);
                }
                self.take_workload(change);
            }
            ("Pod", ChangeKind::Modified)
                if going(object) && change.previous.as_deref().is_some_and(|one| !going(one)) =>
            {
                let restart = &object["metadata"]["annotations"]["revshift.dev/restart"];
                let current = self.restarts.get(&reference.namespace);
                let replaced =
                    restart.as_str().is_none_or(|of| Some(of) != current.map(String::as_str));
                assert!(replaced, "I2: {reference:?} of {restart} is replaced");
            }
            ("MigrationShard", ChangeKind::Added | ChangeKind::Modified) => self.take_shard(change),
            ("Migration", ChangeKind::Modified) if object["status"]["ended"] == true => {
                assert_eq!(object["status"]["state"], "SUCCEEDED");
                self.ended = true;
            }
            _ => {
                let own = ["Migration", "MigrationShard", "Lease", "CustomResourceDefinition"];
                let may =
                    own.contains(&change.kind.as_str()) || reference.name == "revshift-system";
                assert!(!ours || may, "I4: {reference:?} was written");
            }
        }
    }

    fn is_planned(&self, namespace: &str) {
        let index = namespace.strip_prefix("n-").and_then(|number| number.parse().ok());
        assert!(
            index.is_some_and(|index: usize| index < self.namespaces),
            "I4: {namespace} written"
        );
    }

    fn take_workload(&mut self, change: &Change) {
        let (namespace, object) = (&change.reference.namespace, &change.object);
        let annotations = &object["spec"]["template"]["metadata"]["annotations"];
        let Some(restart) = annotations["revshift.dev/restart"].as_str() else {
            return;
        };
        if self.restarts.get(namespace).map(String::as_str) != Some(restart) {
            let before = self.restarts.insert(namespace.clone(), restart.to_owned());
            assert_eq!(before, None, "I2: {namespace} was restarted twice");
            self.begin(change.time.as_millisecond());
        }
        let count = |field: &str| object["status"][field].as_u64().unwrap_or_default();
        let desired = object["spec"]["replicas"].as_u64().unwrap_or(1);
        let done = object["status"]["observedGeneration"] == object["metadata"]["generation"]
            && ["updatedReplicas", "replicas", "availableReplicas"].map(count) == [desired; 3];
        if done {
            self.rolling.remove(namespace);
        } else {
            self.rolling.insert(namespace.clone());
        }
        let rolling = self.rolling.len();
        self.peak.workloads = self.peak.workloads.max(rolling);
        let Limits { workloads, pods, .. } = self.limits;
        assert!(rolling <= size(workloads), "I3: {rolling} workloads at once");
        let alone = rolling == 1;
        assert!(
            alone || rolling * self.pods <= size(pods),
            "I3: {rolling} workloads of too many pods"
        );
    }

    /// Two seconds' worth may be saved up, one second's worth comes in meanwhile, and the last workload
    /// may be larger than what is left.
    fn begin(&mut self, at: i64) {
        self.begun.push_back(at);
        while self.begun.front().is_some_and(|first| *first <= at - 1_000) {
            self.begun.pop_front();
        }
        let pods = self.begun.len() * self.pods;
        self.peak.pods_begun = self.peak.pods_begun.max(pods);
        let most = 3 * size(self.limits.rate) + self.pods;
        assert!(pods <= most, "I3: {pods} pods began within a second");
    }

    fn take_shard(&mut self, change: &Change) {
        let moves = change.object["status"]["moves"].as_array();
        let under_way = ["CHECKING", "RELABELING", "RESTARTING", "VERIFYING"];
        let active = moves
            .into_iter()
            .flatten()
            .filter(|m| m["state"].as_str().is_some_and(|state| under_way.contains(&state)));
        let active = u32::try_from(active.count()).unwrap();
        self.active.insert(change.reference.name.clone(), active);
        let all = self.active.values().sum();
        self.peak.namespaces = self.peak.namespaces.max(all);
        assert!(all <= self.limits.namespaces, "I3: {all} namespaces at once");
    }

    /// The end state, of every object.
    pub(crate) fn end(&self, sandbox: &Sandbox) {
        let planned = |name: &str| {
            let index = name.strip_prefix("n-").and_then(|number| number.parse::<usize>().ok());
            index.is_some_and(|index| index < self.namespaces)
        };
        let mut moved = 0;
        for namespace in sandbox.objects("/api/v1/namespaces") {
            let name = namespace["metadata"]["name"].as_str().unwrap_or_default();
            let label = &namespace["metadata"]["labels"]["istio.io/rev"];
            if planned(name) {
                assert_eq!(label, NEW, "I7: {name}");
                moved += 1;
            } else {
                assert!(label != NEW && label != OLD, "I4: {name} is labelled {label}");
            }
        }
        assert_eq!(moved, self.namespaces);
        assert_eq!(self.restarts.len(), self.namespaces);
        let mut pods = 0;
        for pod in sandbox.objects("/api/v1/pods") {
            let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
            if !planned(namespace) || going(&pod) {
                continue;
            }
            let record = pod["metadata"]["annotations"]["sidecar.istio.io/status"].as_str();
            assert!(record.is_some_and(|record| record.contains(NEW)), "I7: a pod of {namespace}");
            let conditions = pod["status"]["conditions"].as_array();
            let ready = |one: &Value| one["type"] == "Ready" && one["status"] == "True";
            assert!(conditions.into_iter().flatten().any(ready), "I7: a pod of {namespace}");
            pods += 1;
        }
        assert_eq!(pods, self.namespaces * self.pods);
    }
}

impl Display for Judge {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Peak { namespaces, workloads, pods_begun } = &self.peak;
        write!(
            f,
            "{} changes judged; at most {namespaces} namespaces and {workloads} workloads at once, and \
             {pods_begun} pods begun in a second",
            self.changes
        )
    }
}

impl fmt::Debug for Judge {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// Whether a pod is being deleted.
fn going(pod: &Value) -> bool {
    !pod["metadata"]["deletionTimestamp"].is_null()
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
