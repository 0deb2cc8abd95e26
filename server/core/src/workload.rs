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
    /// argoproj.io/v1alpha1 Rollout, whose controller restarts its pods by evicting them.
    Rollout,
}

impl WorkloadKind {
    /// The kind's name in Kubernetes.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::Rollout => "Rollout",
        }
    }

    /// The kind of that name.
    pub fn of(name: &str) -> Option<Self> {
        [Self::Deployment, Self::StatefulSet, Self::DaemonSet, Self::Rollout]
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
    /// The restart that the template asks for, or of a Rollout the object itself: the value of
    /// `revshift.dev/restart`.
    pub restart: Option<String>,
    /// What only a workload has that is restarted without a change of its template.
    pub in_place: Option<InPlace>,
    /// Who wrote that value last, by field manager, where the object tells.
    pub template_manager: Option<String>,
    /// What the controller says of a rollout that does not go on.
    pub complaints: Complaints,
    /// For a StatefulSet that rolls and waits for each pod before it turns to the next: the revision
    /// of its current template.
    pub ordered: Option<String>,
}

/// How far a restart has come that leaves the template, and so the pods' annotations, as they are: a
/// Rollout's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InPlace {
    /// Whether the controller has replaced every pod that is older than the restart asked for.
    pub done: bool,
    /// The workload whose template makes the pods; none where it has its own.
    pub template_of: Option<WorkloadKey>,
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
    /// A Deployment or Rollout with `spec.paused`.
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
    /// Whether a restart leaves its template, and so its pods' annotations, as they are.
    pub fn restarts_in_place(&self) -> bool {
        self.in_place.is_some()
    }

    /// Whether its controller has yet to do the restart in place that was asked for.
    pub fn restart_pending(&self) -> bool {
        self.in_place.as_ref().is_some_and(|restart| !restart.done)
    }

    /// The workload whose template makes its pods; none where it has its own.
    pub fn template_of(&self) -> Option<&WorkloadKey> {
        self.in_place.as_ref()?.template_of.as_ref()
    }

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
