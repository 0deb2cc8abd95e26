//! Workloads: what owns pods and can be restarted.

use crate::pod::InjectionWish;
use std::fmt;

/// The kinds of workload that a move restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WorkloadKind {
    /// apps/v1 Deployment.
    Deployment,
    /// apps/v1 StatefulSet.
    StatefulSet,
    /// apps/v1 DaemonSet.
    DaemonSet,
}

impl WorkloadKind {
    /// The kind's name in Kubernetes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
        }
    }

    /// The kind of that name.
    pub fn of(name: &str) -> Option<Self> {
        [Self::Deployment, Self::StatefulSet, Self::DaemonSet]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }
}

/// Names a workload within its namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkloadKey {
    /// Kind.
    pub kind: WorkloadKind,
    /// Name.
    pub name: String,
}

impl fmt::Display for WorkloadKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.as_str(), self.name)
    }
}

/// A workload: what its specification and its status say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Kind and name.
    pub key: WorkloadKey,
    /// Uid.
    pub uid: String,
    /// Version of the object that was read; the precondition of a restart.
    pub resource_version: String,
    /// Pods asked for: replicas, or for a DaemonSet the nodes to run on.
    pub desired: u32,
    /// Pods that exist.
    pub total: u32,
    /// Of them, of the current template.
    pub updated: u32,
    /// Of them, ready for long enough.
    pub available: u32,
    /// Whether the controller has seen the current specification.
    pub observed: bool,
    /// Why the template cannot simply be rolled; none when it can.
    pub obstacle: Option<Obstacle>,
    /// What the pod template asks of the injector.
    pub wish: InjectionWish,
    /// Whether pods use the node's network; they are never injected.
    pub host_network: bool,
    /// What its pods are in the mesh.
    pub role: Role,
    /// Whether the template carries a sidecar of its own (`istioctl kube-inject`).
    pub baked_in: bool,
    /// The restart that the template asks for: the value of `revshift.dev/restart`.
    pub restart: Option<String>,
    /// Who wrote that value last, by field manager, where the object tells.
    pub template_manager: Option<String>,
    /// What the controller says of a rollout that does not go on.
    pub complaints: Complaints,
}

/// What pods are in a mesh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// An application's, with a sidecar or without.
    #[default]
    Application,
    /// A gateway's: traffic of many applications passes them.
    Gateway,
}

/// Why a change of the pod template would not replace the pods; they are evicted instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// A Deployment with `spec.paused`.
    Paused,
    /// Update strategy OnDelete.
    OnDelete,
    /// A StatefulSet with a partition above 0.
    Partition,
    /// Its owner wants it left alone: nothing is done to it at all.
    Skipped,
    /// Another controller, `kind/name`, writes the template and would take a change back.
    Owned(String),
}

/// What a controller says of a rollout that does not go on, in its own words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Complaints {
    /// The Deployment's own progress deadline has passed.
    pub late: Option<String>,
    /// Pods cannot be created, for example by a quota or an unreachable webhook.
    pub creation: Option<String>,
}

impl Workload {
    /// Whether its owner wants it left alone.
    pub fn skipped(&self) -> bool {
        self.obstacle == Some(Obstacle::Skipped)
    }

    /// Whether the controller still replaces pods by those of the current template. A workload that
    /// is merely not available rolls no more than a healthy one.
    pub fn rolling(&self) -> bool {
        !self.observed || self.updated < self.desired || self.total > self.updated
    }

    /// Whether the rollout of the current template is complete, as `kubectl rollout status`
    /// judges it.
    pub fn rolled_out(&self) -> bool {
        !self.rolling() && self.available >= self.desired
    }
}
