//! What is told to people who look at the cluster and not at revshift, as Kubernetes Events.
//!
//! Nothing depends on them: they may be lost, and none is told twice for one change.

use crate::migration::{Migration, MigrationState, Move, MoveState, PauseReason};
use crate::retirement::{Record, Retirement, RetirementState};

/// Something to tell about an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// What it is about.
    pub subject: Subject,
    /// Whether somebody should look.
    pub warning: bool,
    /// What happened, in CamelCase.
    pub reason: &'static str,
    /// What happened, in words.
    pub message: String,
    /// The same for the same change, and for no other.
    pub key: String,
}

/// An object that something is told about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A namespace.
    Namespace {
        /// Its name.
        name: String,
        /// Its uid.
        uid: String,
    },
    /// A migration.
    Migration {
        /// Its id.
        id: String,
    },
    /// A retirement.
    Retirement {
        /// Its id.
        id: String,
    },
}

/// What the namespace's people may want to know when `before` becomes `after`.
pub fn of_move(migration: &Migration, before: &Move, after: &Move) -> Option<Announcement> {
    if before.state == after.state && before.attempt == after.attempt {
        return None;
    }
    let id = &migration.id;
    let label = after.after.deciding().unwrap_or_else(|| "no injection label".to_owned());
    let (warning, reason, message) = match &after.state {
        MoveState::AwaitingLabel(owner) => {
            (false, "AwaitingLabel", format!("migration {id} waits until {owner} sets {label}"))
        }
        MoveState::Restarting => (
            false,
            "Relabelled",
            format!("migration {id}: the label is {label}; what is off it is restarted now"),
        ),
        MoveState::Moved(leftovers) => {
            let left = match leftovers.len() {
                0 => String::new(),
                1 => "; 1 object stays off it until it ends or is replaced".to_owned(),
                some => format!("; {some} objects stay off it until they end or are replaced"),
            };
            let target = &migration.spec.target;
            (false, "Moved", format!("migration {id} has moved it to {target}{left}"))
        }
        MoveState::Failed(problem) | MoveState::Blocked(problem) => {
            let reason = match after.state {
                MoveState::Failed(_) => "MoveFailed",
                _ => "MoveBlocked",
            };
            let (code, object) = (problem.code.as_str(), &problem.object);
            let (what, remedy) = (&problem.message, problem.code.remedy());
            (true, reason, format!("migration {id}: {code} {object}: {what}; {remedy}"))
        }
        MoveState::Pending
        | MoveState::Checking
        | MoveState::Relabeling
        | MoveState::Verifying
        | MoveState::Skipped(_)
        | MoveState::Cancelled
        | MoveState::Gone
        | MoveState::Superseded => return None,
    };
    let (name, uid) = (after.namespace.clone(), after.uid.clone());
    let key = format!("{id}\n{reason}\n{}", after.attempt);
    Some(Announcement { subject: Subject::Namespace { name, uid }, warning, reason, message, key })
}

/// What the people who run migrations may want to know when one comes to stand at `state`. Of the
/// state `before` only the name is stored.
pub fn of_migration(
    migration: &Migration,
    before: &str,
    state: MigrationState,
) -> Option<Announcement> {
    if before == state.as_str() {
        return None;
    }
    let counts = migration.counts();
    let sum = format!("{} of {} namespaces moved", counts.moved, migration.moves.len());
    let stuck = counts.failed + counts.blocked;
    let (warning, reason, message) = match state {
        MigrationState::Paused(PauseReason::User) => (false, "Paused", sum),
        MigrationState::Paused(PauseReason::FailureBudget) => {
            (true, "Paused", format!("{stuck} failed or blocked; {sum}"))
        }
        MigrationState::Paused(PauseReason::Gate) => {
            let why = migration.stopped_by().map(|(due, verdict)| {
                let (check, outcome) = (due.check.as_str(), verdict.outcome.as_str());
                format!("{check} after wave {}: {outcome}: {}; ", due.wave, verdict.message)
            });
            (true, "Paused", format!("{}{sum}", why.unwrap_or_default()))
        }
        MigrationState::Paused(PauseReason::Drift) => {
            let why = migration.drifted().map(|drift| format!("{}; ", drift.problem().message));
            (true, "Paused", format!("{}{sum}", why.unwrap_or_default()))
        }
        MigrationState::WaitingApproval(wave) => {
            (false, "WaitingApproval", format!("wave {wave} waits for an approval; {sum}"))
        }
        MigrationState::Succeeded => (false, "Succeeded", sum),
        MigrationState::CompletedWithExceptions => (true, "CompletedWithExceptions", sum),
        MigrationState::Cancelled => (false, "Cancelled", sum),
        MigrationState::Pending | MigrationState::Running | MigrationState::Cancelling => {
            return None;
        }
    };
    let id = migration.id.clone();
    // A migration may pause twice with as many namespaces moved.
    let key = format!("{reason}\n{message}\n{}", migration.moves.highest());
    Some(Announcement { subject: Subject::Migration { id }, warning, reason, message, key })
}

/// What the people who run control planes may want to know when a retirement comes to stand at `after`.
pub fn of_retirement(retirement: &Retirement, after: &Record) -> Option<Announcement> {
    if retirement.record.state == after.state {
        return None;
    }
    let plane = &retirement.spec.plane.revision;
    let (warning, reason, message) = match after.state {
        RetirementState::Blocked(_) => {
            let blocking: Vec<_> = after.findings.iter().filter(|it| it.blocks).collect();
            let why = blocking.first().map_or_else(String::new, |first| {
                let (code, object) = (first.code.as_str(), &first.object);
                format!(": {code} {object}: {}; {}", first.message, first.remedy)
            });
            let more = match blocking.len() {
                0 | 1 => String::new(),
                many => format!(" (and {} more)", many - 1),
            };
            (true, "Blocked", format!("control plane {plane} cannot be retired{why}{more}"))
        }
        RetirementState::Deleting => {
            let text = format!("control plane {plane} is proved to be unused, and is deleted now");
            (false, "Deleting", text)
        }
        RetirementState::Retired => (false, "Retired", format!("control plane {plane} is gone")),
        RetirementState::Cancelled => {
            (false, "Cancelled", format!("the retirement of control plane {plane} is given up"))
        }
        RetirementState::Checking
        | RetirementState::Cordoning
        | RetirementState::Proving
        | RetirementState::Verifying => return None,
    };
    let id = retirement.id.clone();
    let key = format!("{reason}\n{}\n{}", after.epoch, after.since);
    Some(Announcement { subject: Subject::Retirement { id }, warning, reason, message, key })
}
