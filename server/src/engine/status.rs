//! The status of a migration's own object, as `kubectl get migrations` shows it.

use crate::kube::crd::{Condition, Migration as MigrationObject, MigrationStatus};
use jiff::Timestamp;
use revshift_core::migration::{Migration, MigrationState, PauseReason};
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
        conditions: conditions(migration, state)
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
fn conditions(migration: &Migration, state: MigrationState) -> [Told; 3] {
    let told = |kind, status, reason, message| Told { kind, status, reason, message };
    let (done, goes_on, reason) = match state {
        MigrationState::Pending => ("Unknown", "False", "Pending"),
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
        _ => ("False", "NotPaused"),
    };
    let superseded = migration.moves.superseded();
    let mut failures = migration.moves.failed().chain(superseded);
    let failure = failures.find_map(|(_, m)| m.problem()).map(|problem| {
        format!("{} {}: {}", problem.code.as_str(), problem.object, problem.message)
    });
    let failure = failure.unwrap_or_default();
    let held = if paused == "True" { failure.clone() } else { String::new() };
    [
        told("Succeeded", done, reason, failure),
        told("Progressing", goes_on, reason, waiting(migration, state)),
        told("Paused", paused, why, held),
    ]
}

/// What somebody else has to do for it to go on.
fn waiting(migration: &Migration, state: MigrationState) -> String {
    if let MigrationState::WaitingApproval(wave) = state {
        return format!("wave {wave} waits for an approval");
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
mod tests {
    use super::*;
    use crate::grpc::sample;
    use revshift_core::migration::MoveState;
    use std::time::Duration;

    const LATER: Timestamp = Timestamp::constant(60, 0);

    fn shown(
        migration: &Migration,
        before: Option<MigrationStatus>,
        now: Timestamp,
    ) -> MigrationStatus {
        let spec = serde_json::from_value(serde_json::json!({
            "source": "1-30", "target": "1-31", "moves": 1, "shards": 1, "rolloutTimeoutMs": 1,
            "requester": "x", "planHash": "h", "planVersion": 1, "sealed": true,
            "created": "1970-01-01T00:00:00Z",
        }));
        let mut object = MigrationObject::new("m", spec.unwrap());
        object.metadata.generation = Some(7);
        object.status = before;
        status(migration, &BTreeSet::new(), &object, now)
    }

    fn told(status: &MigrationStatus) -> Vec<(&str, &str, &str)> {
        let all = status.conditions.iter();
        all.map(|c| (c.kind.as_str(), c.status.as_str(), c.reason.as_str())).collect()
    }

    #[test]
    fn conditions_follow_the_state_and_keep_their_time() {
        let of = |state| sample::migration("m", vec![sample::movement("a", 1, state)]);
        let running = shown(&of(MoveState::Restarting), None, sample::TIME);
        assert_eq!(
            told(&running),
            [
                ("Succeeded", "Unknown", "Running"),
                ("Progressing", "True", "Running"),
                ("Paused", "False", "NotPaused"),
            ]
        );
        let failed = shown(&of(MoveState::Failed(sample::problem())), Some(running), LATER);
        assert_eq!(
            told(&failed),
            [
                ("Succeeded", "Unknown", "Paused"),
                ("Progressing", "False", "Paused"),
                ("Paused", "True", "FailureBudget"),
            ]
        );
        let times = failed.conditions.iter().map(|c| c.last_transition_time);
        assert_eq!(times.collect::<Vec<_>>(), [sample::TIME, LATER, LATER]);
        assert!(failed.conditions[2].message.contains("RS3003"));
        assert!(failed.conditions.iter().all(|c| c.observed_generation == 7));
        // The same records give the same status, whenever that is asked.
        let later = LATER + Duration::from_secs(1);
        let again = shown(&of(MoveState::Failed(sample::problem())), Some(failed.clone()), later);
        assert_eq!(again, failed);
        let awaiting = of(MoveState::AwaitingLabel("Argo CD".to_owned()));
        let awaiting = shown(&awaiting, Some(failed), later);
        assert!(awaiting.conditions[1].message.contains("Namespace/a"), "{awaiting:?}");
    }
}
