//! Where a migration stands as a whole, and where each of its moves does.

use super::MoveState;

/// Where a migration stands; follows from its control, its moves and what it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationState {
    /// Waits for another migration.
    Pending,
    /// Moves namespaces.
    Running,
    /// Starts nothing until resumed.
    Paused(PauseReason),
    /// Its next wave, of this number, waits for an approval.
    WaitingApproval(u32),
    /// Finishes what is in flight.
    Cancelling,
    /// Final: all moved or already there.
    Succeeded,
    /// Final: some were not moved.
    CompletedWithExceptions,
    /// Final: cancelled.
    Cancelled,
}

/// Why a migration is paused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseReason {
    /// Somebody paused it, or took one of its namespaces back.
    User,
    /// A move failed or is blocked.
    FailureBudget,
    /// A check after a wave has not passed.
    Gate,
    /// A tag or an injector webhook that the plan rests on leads to another plane.
    Drift,
}

/// How many moves are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MoveCounts {
    /// Not started.
    pub pending: u32,
    /// Under way.
    pub active: u32,
    /// Waiting for a label that somebody else has to set.
    pub awaiting: u32,
    /// Moved or already there.
    pub moved: u32,
    /// Failed.
    pub failed: u32,
    /// Blocked.
    pub blocked: u32,
    /// Cancelled, gone, superseded, or skipped on request.
    pub other: u32,
}

impl MoveCounts {
    /// How many have not come to an end or a halt.
    pub fn unfinished(self) -> u32 {
        self.pending + self.active + self.awaiting
    }
}

impl MigrationState {
    /// Whether it never changes again.
    pub fn is_final(self) -> bool {
        match self {
            Self::Succeeded | Self::CompletedWithExceptions | Self::Cancelled => true,
            Self::Pending
            | Self::Running
            | Self::Paused(_)
            | Self::WaitingApproval(_)
            | Self::Cancelling => false,
        }
    }

    /// The state's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Paused(_) => "PAUSED",
            Self::WaitingApproval(_) => "WAITING_APPROVAL",
            Self::Cancelling => "CANCELLING",
            Self::Succeeded => "SUCCEEDED",
            Self::CompletedWithExceptions => "COMPLETED_WITH_EXCEPTIONS",
            Self::Cancelled => "CANCELLED",
        }
    }
}

impl MoveState {
    /// Whether the move is under way.
    pub fn is_active(&self) -> bool {
        match self {
            Self::Checking
            | Self::Relabeling
            | Self::AwaitingLabel(_)
            | Self::Restarting
            | Self::Verifying => true,
            Self::Pending
            | Self::Moved(_)
            | Self::Blocked(_)
            | Self::Failed(_)
            | Self::Skipped(_)
            | Self::Cancelled
            | Self::Gone
            | Self::Superseded => false,
        }
    }

    /// Whether the move takes a place among those that may be under way at once: one that waits for
    /// somebody else takes none.
    pub fn takes_place(&self) -> bool {
        self.is_active() && !matches!(self, Self::AwaitingLabel(_))
    }

    /// The state's name.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Checking => "CHECKING",
            Self::Relabeling => "RELABELING",
            Self::AwaitingLabel(_) => "AWAITING_LABEL",
            Self::Restarting => "RESTARTING",
            Self::Verifying => "VERIFYING",
            Self::Moved(_) => "MOVED",
            Self::Blocked(_) => "BLOCKED",
            Self::Failed(_) => "FAILED",
            Self::Skipped(_) => "SKIPPED",
            Self::Cancelled => "CANCELLED",
            Self::Gone => "GONE",
            Self::Superseded => "SUPERSEDED",
        }
    }
}
