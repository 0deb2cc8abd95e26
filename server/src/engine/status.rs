//! The status of a migration's own object, as `kubectl get migrations` shows it.

use crate::kube::crd::{Condition, Migration as MigrationObject, MigrationStatus};
use jiff::Timestamp;
use revshift_core::migration::{Migration, MigrationState};
use std::collections::BTreeSet;

/// The status that follows from the records; the same records give the same status again.
pub(crate) fn status(
    migration: &Migration,
    waiting_for: &BTreeSet<String>,
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
        moved: counts.moved,
        failed: counts.failed + counts.blocked,
        ended,
        end_time: ended.then(|| before.and_then(|before| before.end_time).unwrap_or(now)),
        final_sequence: if ended { last } else { 0 },
        observed_generation: generation,
        conditions: vec![succeeded(migration, state, before, generation, now)],
    }
}

fn succeeded(
    migration: &Migration,
    state: MigrationState,
    before: Option<&MigrationStatus>,
    generation: i64,
    now: Timestamp,
) -> Condition {
    let (status, reason) = match state {
        MigrationState::Pending => ("Unknown", "Pending"),
        MigrationState::Running => ("Unknown", "Running"),
        MigrationState::Paused(_) => ("Unknown", "Paused"),
        MigrationState::WaitingApproval(_) => ("Unknown", "WaitingApproval"),
        MigrationState::Cancelling => ("Unknown", "Cancelling"),
        MigrationState::Succeeded => ("True", "Succeeded"),
        MigrationState::CompletedWithExceptions => ("False", "CompletedWithExceptions"),
        MigrationState::Cancelled => ("False", "Cancelled"),
    };
    let superseded = migration.moves.superseded();
    let mut failures = migration.moves.failed().chain(superseded);
    let failure = failures.find_map(|(_, m)| m.problem()).map(|problem| {
        format!("{} {}: {}", problem.code.as_str(), problem.object, problem.message)
    });
    let old = before.and_then(|before| before.conditions.iter().find(|c| c.kind == "Succeeded"));
    let since = old.filter(|old| old.status == status).map(|old| old.last_transition_time);
    Condition {
        kind: "Succeeded".to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: failure.unwrap_or_default(),
        last_transition_time: since.unwrap_or(now),
        observed_generation: generation,
    }
}
