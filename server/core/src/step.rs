//! The next step of one move: a total function of its record and of what is observed now.
//!
//! A step either commits a new record, or makes calls, or waits; never a call that a record has to
//! announce before it is stored. The same facts give the same step again, and calls are guarded by
//! the version that was decided on, so a repeated or late call changes nothing.

mod connection;
mod eviction;
mod passage;
mod patience;
mod stuck;
mod verification;

use crate::budget::Room;
use crate::cluster::{Cluster, Lock};
use crate::connection::Heard;
use crate::diagnosis::Inspection;
use crate::label::InjectionLabels;
use crate::migration::{MigrationSpec, Move, MoveState};
use crate::plane::Revision;
use crate::problem::Code;
use crate::tag::Drift;
use crate::workload::WorkloadKey;
use jiff::Timestamp;
use passage::{Step, block, commit};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long the API server's admission may still match pods against a namespace's old labels.
pub const SETTLE: Duration = Duration::from_secs(2);
/// How long a verification that did not hold waits before it looks again.
pub const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// How long lies between two questions to an istiod about the same namespace.
pub const ASK_AGAIN: Duration = Duration::from_secs(5);

/// How long a pod whose containers have restarted must run on before it counts as verified.
pub const STEADY: Duration = Duration::from_mins(1);

/// How long pods may outlive a controller that was deleted before they count as somebody else's.
pub const STRAY: Duration = Duration::from_secs(30);

/// How long what made a pod come off the target is given to pass before the pod is evicted.
pub const LINGER: Duration = Duration::from_secs(10);
/// How long an eviction that a budget forbade waits before it is tried again.
pub const WITHHELD: Duration = Duration::from_secs(5);

/// What is observed now.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Ids of migrations that have not ended: their locks hold.
    pub unfinished: &'a BTreeSet<String>,
    /// Time on the engine's clock.
    pub elapsed: Duration,
    /// Wall time, for records.
    pub wall: Timestamp,
}

/// The migration that a move belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// Its id.
    pub migration: &'a str,
    /// What was accepted.
    pub spec: &'a MigrationSpec,
    /// Whether somebody has paused it: nothing is written until it is resumed.
    pub paused: bool,
    /// Whether it was cancelled.
    pub cancelled: bool,
    /// What of the plan's labels leads elsewhere now: nothing is done meanwhile.
    pub drift: Option<&'a Drift>,
    /// So many more namespaces may be under way: what has waited for its label goes on then.
    pub places: u32,
    /// Whether a broken pod that a StatefulSet is stuck on is deleted instead of being evicted.
    pub force: bool,
    /// What may begin beside all that is under way.
    pub room: Room,
}

/// What a leader remembers of a move between two steps; a new leader starts without it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scratch {
    /// Since when the namespace has been seen relabelled.
    pub settled_from: Option<Duration>,
    /// The furthest progress seen, and when.
    pub furthest: Option<(Progress, Duration)>,
    /// The version of the namespace in the view once it was last read from the API server itself; none
    /// inside where there was no such namespace.
    pub read: Option<Option<String>>,
    /// The reply to the last look.
    pub inspection: Option<Inspection>,
    /// What istiods last said of the namespace.
    pub heard: Option<Heard>,
    /// Since when pods have been seen that are not connected as they should be.
    pub unconnected_from: Option<Duration>,
    /// What Kubernetes refused for good.
    pub refusal: Option<(Code, String, String)>,
    /// Not before this time may a call be repeated that had no clear reply.
    pub back_off: Option<Duration>,
    /// Since when writes have had no clear reply, on which object, and what was last said.
    pub failing: Option<(Duration, String, String)>,
    /// Since when a rollout has been over its own deadline.
    pub late_from: Option<Duration>,
    /// Since when pods have been seen whose controller is not.
    pub stray_from: Option<Duration>,
    /// Since when stragglers have been seen.
    pub straggling_from: Option<Duration>,
    /// Evictions that a budget forbids, by controller.
    pub withheld: BTreeMap<String, Withheld>,
    /// Pods of the smallest workload that waits for room; none while none does.
    pub crowded: Option<u32>,
}

/// An eviction that a PodDisruptionBudget forbids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withheld {
    /// The pod.
    pub pod: String,
    /// What the API server says of the budget.
    pub message: String,
    /// Not before this time is it tried again.
    pub until: Duration,
}

/// How far a move has come; it only counts what never goes back while a rollout goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    restarted: u32,
    done: u32,
    updated: u32,
    on_target: u32,
}

/// A call to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Set the namespace's labels and lock, if it is still of this version.
    Relabel {
        /// The namespace.
        namespace: String,
        /// Its uid.
        uid: String,
        /// The version decided on.
        resource_version: String,
        /// The labels to set; what is absent is removed.
        labels: InjectionLabels,
        /// The labels that are replaced, for the readable copy in the lock.
        prior: InjectionLabels,
        /// The lock to write.
        lock: Lock,
    },
    /// Change a workload's pod template, or tell a Rollout to restart, if it is still of this version.
    Restart {
        /// The namespace.
        namespace: String,
        /// The workload.
        workload: WorkloadKey,
        /// The version decided on.
        resource_version: String,
        /// The restart to ask for.
        restart: String,
        /// When it is asked for.
        at: Timestamp,
        /// How many pods that concerns.
        pods: u32,
    },
    /// Evict a pod, if it is still this one.
    Evict {
        /// The namespace.
        namespace: String,
        /// The pod's controller, as `kind/name`.
        controller: String,
        /// The pod.
        pod: String,
        /// Its uid.
        uid: String,
    },
    /// Delete a pod whatever the budgets say, if it is still this one.
    Delete {
        /// The namespace.
        namespace: String,
        /// The pod's controller, as `kind/name`.
        controller: String,
        /// The pod.
        pod: String,
        /// Its uid.
        uid: String,
    },
    /// Read the namespace itself, as a watch may be behind.
    Read {
        /// The namespace.
        namespace: String,
    },
    /// List the namespace's pods in full, and its warnings.
    Inspect {
        /// The namespace.
        namespace: String,
    },
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Store this record, then step again.
    Commit(Box<Move>),
    /// Make these calls, then step again.
    Calls(Vec<Call>),
    /// Ask the istiods of planes which pods of the namespace are connected to them, then step again.
    Ask {
        /// The plane where they should be.
        target: Revision,
        /// The plane where they were, if that is asked, too.
        source: Option<Revision>,
    },
    /// Nothing, until a fact changes or this time has come.
    Wait(Option<Duration>),
}

/// The next step of `m`. `scratch` is brought up to date.
pub fn step(order: Order<'_>, m: &Move, scratch: &mut Scratch, facts: Facts<'_>) -> Next {
    match decide(order, m, scratch, facts) {
        Next::Commit(next) if ends_by_namespace(&next) && !was_read(m, scratch, facts) => {
            if let Some(until) = scratch.back_off.filter(|until| facts.elapsed < *until) {
                return Next::Wait(Some(until));
            }
            Next::Calls(vec![Call::Read { namespace: m.namespace.clone() }])
        }
        next => next,
    }
}

/// Whether a record says that the namespace is not as it was left. A watch that hangs shows it as it
/// was before, which looks just like that.
fn ends_by_namespace(next: &Move) -> bool {
    match &next.state {
        MoveState::Gone => true,
        MoveState::Blocked(problem) => {
            matches!(problem.code, Code::LabelDrift | Code::NamespaceLocked)
        }
        _ => false,
    }
}

/// Whether the view shows the namespace as the API server itself has told it.
fn was_read(m: &Move, scratch: &Scratch, facts: Facts<'_>) -> bool {
    let seen = facts.cluster.namespace(&m.namespace);
    let version = seen.map(|(meta, _)| &meta.resource_version);
    scratch.read.as_ref().is_some_and(|read| read.as_ref() == version)
}

fn decide(order: Order<'_>, m: &Move, scratch: &mut Scratch, facts: Facts<'_>) -> Next {
    if !m.state.is_active() {
        return Next::Wait(None);
    }
    let Some((meta, namespace)) = facts.cluster.namespace(&m.namespace) else {
        return commit(m.enter(MoveState::Gone, facts.wall));
    };
    if meta.uid != m.uid || meta.terminating {
        return commit(m.enter(MoveState::Gone, facts.wall));
    }
    if let Some((code, object, message)) = scratch.refusal.take() {
        return block(m, facts, code, object, message, None);
    }
    let step = Step { order, m, facts, meta, namespace };
    if let Some(next) = order.drift.and_then(|drift| step.adrift(drift)) {
        return next;
    }
    match m.state {
        MoveState::Checking => step.check(),
        MoveState::Relabeling => step.relabel(scratch),
        MoveState::AwaitingLabel(_) => step.await_label(scratch),
        MoveState::Restarting => step.restart(scratch),
        MoveState::Verifying => step.verify(scratch),
        MoveState::Pending
        | MoveState::Moved(_)
        | MoveState::Blocked(_)
        | MoveState::Failed(_)
        | MoveState::Skipped(_)
        | MoveState::Cancelled
        | MoveState::Gone
        | MoveState::Superseded => Next::Wait(None),
    }
}

impl Progress {
    /// Takes over what got better; tells whether anything did.
    fn advance(&mut self, now: Self) -> bool {
        let before = *self;
        self.restarted = self.restarted.max(now.restarted);
        self.done = self.done.max(now.done);
        self.updated = self.updated.max(now.updated);
        self.on_target = self.on_target.max(now.on_target);
        *self != before
    }
}
