//! Hand-made records for the tests of this module.

use revshift_core::label::InjectionLabels;
use revshift_core::migration::{
    Control, Ended, Migration, MigrationSpec, MigrationState, Move, MoveState, OnFailure,
    Verification,
};
use revshift_core::plane::Revision;
use revshift_core::problem::{Code, Problem};
use std::time::Duration;

/// A time.
pub(crate) const TIME: jiff::Timestamp = jiff::Timestamp::UNIX_EPOCH;

/// A migration from `1-30` to `1-31`.
pub(crate) fn migration(id: &str, moves: Vec<Move>) -> Migration {
    Migration {
        id: id.to_owned(),
        spec: MigrationSpec {
            source: Revision("1-30".to_owned()),
            target: Revision("1-31".to_owned()),
            rollout_timeout: Duration::from_mins(10),
            failure_budget: 0,
            approvals: std::collections::BTreeSet::new(),
            allow_downtime: false,
            force: false,
            on_failure: OnFailure::Pause,
            verification: Verification::default(),
            rollback_of: None,
            rule: None,
            windows: Vec::new(),
            gates: Vec::new(),
            tags: revshift_core::tag::Tags::default(),
            allowances: Vec::new(),
            requester: "somebody".to_owned(),
            reason: String::new(),
            plan_hash: String::new(),
            created: TIME,
        },
        control: Control::default(),
        moves: moves.into(),
        ended: None,
        hold: None,
        verdicts: std::collections::BTreeMap::new(),
        baselines: std::collections::BTreeMap::new(),
        drift: None,
    }
}

/// The move of a namespace, in its first attempt.
pub(crate) fn movement(namespace: &str, sequence: u64, state: MoveState) -> Move {
    let labels = InjectionLabels::of_revision;
    let m = Move::pending(namespace, "ns-uid", labels("1-30"), labels("1-31"), TIME);
    Move { sequence, attempt: u32::from(state != MoveState::Pending), state, ..m }
}

/// A move's failure.
pub(crate) fn problem() -> Problem {
    Problem {
        code: Code::ImagePull,
        object: "Pod/shop/web-0".to_owned(),
        message: "no such image".to_owned(),
        manager: Some("argocd".to_owned()),
        since: TIME,
    }
}

/// An end.
pub(crate) fn ended(state: MigrationState, sequence: u64) -> Ended {
    Ended { state, at: TIME, sequence }
}
