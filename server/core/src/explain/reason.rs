//! Reasons: why something is not where its namespace's labels lead.

use crate::problem::Code;

/// Why something is not on the plane that its namespace's labels lead to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No webhook serves the label.
    Dangling,
    /// Several planes would inject it.
    Conflict,
    /// A rollout does not go on.
    RolloutStuck,
    /// A rollout is under way.
    Rolling,
    /// It was created after the labels, and has no sidecar: no webhook was asked, or none answered.
    WebhookDown,
    /// It was created after the labels, and another plane has injected it.
    InjectedByOther,
    /// It was not restarted since the labels have changed.
    NotRestarted,
    /// Its template carries a sidecar of its own.
    BakedIn,
    /// Rollouts of its workload are paused.
    Paused,
    /// Its workload replaces pods only when they are deleted.
    OnDelete,
    /// Its workload keeps pods below a partition.
    Partition,
    /// Another controller writes its workload.
    Owned,
    /// Its owner wants it left alone.
    Skipped,
    /// It runs to its end as it is.
    Job,
    /// It belongs to a run of a CronJob; the next one is injected anew.
    CronJob,
    /// It has no controller that would replace it.
    BarePod,
    /// Its own label names a plane.
    Pinned,
    /// It asks for no injection.
    Excluded,
    /// It uses its node's network.
    HostNetwork,
    /// Its workload has no replicas.
    ScaledToZero,
}

/// A reason with what it rests on, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// The reason.
    pub reason: Reason,
    /// What it rests on.
    pub message: String,
    /// The finding code of what keeps a rollout from going on.
    pub code: Option<Code>,
}

/// A reason that no finding stands for.
pub(super) fn why(reason: Reason, message: &str) -> Why {
    Why { reason, message: message.to_owned(), code: None }
}
