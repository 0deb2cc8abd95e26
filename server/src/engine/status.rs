//! The status of a migration's own object, as `kubectl get migrations` shows it.

use crate::kube::crd::{Condition, Migration as MigrationObject, MigrationStatus};
use crate::kube::record;
use jiff::Timestamp;
use revshift_core::calendar::{self, Cause, Hold};
use revshift_core::migration::{Migration, MigrationState, PauseReason};
use revshift_core::problem::Problem;
use std::collections::BTreeSet;

/// The status that follows from the records; the same records give the same status again.
pub(crate) fn status(
    migration: &Migration,
    waiting_for: &BTreeSet<String>,
    hold: Option<&Hold>,
    object: &MigrationObject,
    now: Timestamp,
) -> MigrationStatus {
    let state = migration.state(waiting_for);
    let counts = migration.counts();
    let ended = state.is_final();
    let before = object.status.as_ref();
    let generation = object.metadata.generation.unwrap_or_default();
    let last = migration.moves.highest();
    MigrationStatus {
        state: state.as_str().to_owned(),
        waiting_for: waiting_for.iter().cloned().collect(),
        hold: hold.map(record::hold_record),
        verdicts: record::verdict_records(&migration.verdicts),
        baselines: record::baseline_records(&migration.baselines),
        drift: migration.drift.as_ref().map(record::drift_record),
        moved: counts.moved,
        failed: counts.failed + counts.blocked,
        ended,
        end_time: ended.then(|| before.and_then(|before| before.end_time).unwrap_or(now)),
        final_sequence: if ended { last } else { 0 },
        observed_generation: generation,
        conditions: conditions(migration, state, hold)
            .map(|told| told.since(before, generation, now))
            .into(),
    }
}

/// What a condition says.
struct Told {
    kind: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
}

/// `Succeeded` sums up; `Progressing` and `Paused` tell why it does not go on.
fn conditions(migration: &Migration, state: MigrationState, hold: Option<&Hold>) -> [Told; 3] {
    let told = |kind, status, reason, message| Told { kind, status, reason, message };
    let (done, goes_on, reason) = match state {
        MigrationState::Pending => ("Unknown", "False", "Pending"),
        MigrationState::Running if hold.is_some() && migration.counts().active == 0 => {
            ("Unknown", "False", "Held")
        }
        MigrationState::Running => ("Unknown", "True", "Running"),
        MigrationState::Paused(_) => ("Unknown", "False", "Paused"),
        MigrationState::WaitingApproval(_) => ("Unknown", "False", "WaitingApproval"),
        MigrationState::Cancelling => ("Unknown", "True", "Cancelling"),
        MigrationState::Succeeded => ("True", "False", "Succeeded"),
        MigrationState::CompletedWithExceptions => ("False", "False", "CompletedWithExceptions"),
        MigrationState::Cancelled => ("False", "False", "Cancelled"),
    };
    let (paused, why) = match state {
        MigrationState::Paused(PauseReason::User) => ("True", "Commanded"),
        MigrationState::Paused(PauseReason::FailureBudget) => ("True", "FailureBudget"),
        MigrationState::Paused(PauseReason::Gate) => ("True", "Gate"),
        MigrationState::Paused(PauseReason::Drift) => ("True", "Drift"),
        _ => ("False", "NotPaused"),
    };
    let superseded = migration.moves.superseded();
    let mut failures = migration.moves.failed().chain(superseded);
    let tell = |problem: &Problem| {
        format!("{} {}: {}", problem.code.as_str(), problem.object, problem.message)
    };
    let failure = failures.find_map(|(_, m)| m.problem()).map(tell).unwrap_or_default();
    let cause = match (state, migration.stopped_by()) {
        (MigrationState::Paused(PauseReason::Gate), Some((due, verdict))) => {
            let (check, outcome) = (due.check.as_str(), verdict.outcome.as_str());
            format!("{check} after wave {}: {outcome}: {}", due.wave, verdict.message)
        }
        (MigrationState::Paused(PauseReason::Drift), _) => {
            migration.drifted().map(|drift| tell(&drift.problem())).unwrap_or_default()
        }
        _ if paused == "True" => failure.clone(),
        _ => String::new(),
    };
    [
        told("Succeeded", done, reason, failure),
        told("Progressing", goes_on, reason, waiting(migration, state, hold)),
        told("Paused", paused, why, cause),
    ]
}

/// What somebody else has to do for it to go on, or what time has to come.
fn waiting(migration: &Migration, state: MigrationState, hold: Option<&Hold>) -> String {
    if let Some(Hold { cause, until }) = hold {
        let until = until.map(|until| calendar::local(&migration.spec.windows, until));
        let until = until.map_or_else(|| "for long".to_owned(), |until| format!("until {until}"));
        return match cause {
            Cause::Window => format!("its windows are closed {until}"),
            Cause::Freeze(reason) => format!("frozen {until}: {reason}"),
        };
    }
    if let MigrationState::WaitingApproval(wave) = state {
        return format!("wave {wave} waits for an approval");
    }
    if let Some(due) = migration.due_check() {
        return format!("waits for {} after wave {}", due.check.as_str(), due.wave);
    }
    let mut awaiting = migration.active().filter(|(_, m)| !m.state.takes_place());
    let Some((_, first)) = awaiting.next() else {
        return String::new();
    };
    let more = match awaiting.count() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("the label of Namespace/{}{more} has to be set where it is kept", first.namespace)
}

impl Told {
    /// The condition, with the time when its status changed last.
    fn since(self, before: Option<&MigrationStatus>, generation: i64, now: Timestamp) -> Condition {
        let Self { kind, status, reason, message } = self;
        let old = before.and_then(|before| before.conditions.iter().find(|c| c.kind == kind));
        let since = old.filter(|old| old.status == status).map(|old| old.last_transition_time);
        Condition {
            kind: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            last_transition_time: since.unwrap_or(now),
            observed_generation: generation,
        }
    }
}

#[cfg(test)]
mod tests;
