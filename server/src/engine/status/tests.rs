//! Conditions, by what the records say.

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
    status(migration, &BTreeSet::new(), migration.hold.as_ref(), &object, now)
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
