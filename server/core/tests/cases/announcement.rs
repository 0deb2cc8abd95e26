//! What is told as Kubernetes Events, and what is not.

use super::retiring::retirement;
use super::world::{NEW, at, migration, problem};
use revshift_core::announcement::{Subject, of_migration, of_move, of_retirement};
use revshift_core::migration::{Leftover, LeftoverReason, MigrationState, MoveState, PauseReason};
use revshift_core::problem::Code;
use revshift_core::retirement::{Finding, Record, Resume, RetirementState};

#[test]
fn owners_hear_of_what_concerns_them_and_of_each_thing_once() {
    let m = migration("m", &["shop"]);
    let leftover = || Leftover {
        reason: LeftoverReason::Job,
        kind: "Job".to_owned(),
        name: "report".to_owned(),
        pods: 1,
    };
    for (state, warning, reason, words) in [
        (MoveState::AwaitingLabel("Argo CD".to_owned()), false, "AwaitingLabel", "Argo CD sets"),
        (MoveState::Restarting, false, "Relabelled", NEW),
        (MoveState::Moved(Vec::new()), false, "Moved", "migration m has moved it to"),
        (MoveState::Moved(vec![leftover()]), false, "Moved", "1 object stays off"),
        (MoveState::Moved(vec![leftover(), leftover()]), false, "Moved", "2 objects stay off"),
        (MoveState::Failed(problem()), true, "MoveFailed", problem().code.as_str()),
        (MoveState::Blocked(problem()), true, "MoveBlocked", problem().code.remedy()),
    ] {
        let before = &m.moves[0];
        let after = before.enter(state, at(1));
        let told = of_move(&m, before, &after).unwrap();
        assert_eq!((told.warning, told.reason), (warning, reason));
        assert!(told.message.contains(words), "{told:?}");
        let subject = Subject::Namespace { name: "shop".to_owned(), uid: before.uid.clone() };
        assert_eq!(told.subject, subject);
        assert_eq!(of_move(&m, &after, &after), None, "nothing has changed");
        // The same again after another attempt is another thing to tell.
        let mut again = after.clone();
        again.attempt += 1;
        assert_ne!(of_move(&m, before, &again).unwrap().key, told.key);
    }
    for quiet in [MoveState::Checking, MoveState::Relabeling, MoveState::Verifying] {
        assert_eq!(of_move(&m, &m.moves[0], &m.moves[0].enter(quiet, at(1))), None);
    }
}

#[test]
fn a_migration_tells_when_it_halts_or_ends() {
    let m = migration("m", &["a", "b"]);
    for (state, warning, words) in [
        (MigrationState::Paused(PauseReason::User), false, "0 of 2 namespaces moved"),
        (MigrationState::Paused(PauseReason::FailureBudget), true, "failed or blocked"),
        (MigrationState::WaitingApproval(1), false, "wave 1 waits for an approval"),
        (MigrationState::Succeeded, false, "namespaces moved"),
        (MigrationState::CompletedWithExceptions, true, "namespaces moved"),
        (MigrationState::Cancelled, false, "namespaces moved"),
    ] {
        let told = of_migration(&m, "RUNNING", state).unwrap();
        assert_eq!((told.warning, told.subject), (warning, Subject::Migration { id: "m".into() }));
        assert!(told.message.contains(words), "{}", told.message);
        assert_eq!(of_migration(&m, state.as_str(), state), None, "it stood there before");
    }
    assert_eq!(of_migration(&m, "PENDING", MigrationState::Running), None);
}

#[test]
fn a_retirement_tells_what_keeps_it_and_how_it_ends() {
    let retirement = retirement();
    let finding = |code: Code, blocks: bool| Finding {
        code,
        object: "Namespace/shop".to_owned(),
        message: "it leads there".to_owned(),
        remedy: "move it".to_owned(),
        blocks,
        allowed: None,
    };
    let used = Code::UsedByNamespace;
    for (state, findings, expected) in [
        (
            RetirementState::Blocked(Resume::Checking),
            vec![finding(used, true), finding(Code::UsedByPods, true), finding(used, false)],
            Some((true, "Blocked", "RS6003 Namespace/shop: it leads there; move it (and 1 more)")),
        ),
        (RetirementState::Deleting, vec![], Some((false, "Deleting", "is deleted now"))),
        (RetirementState::Retired, vec![], Some((false, "Retired", "is gone"))),
        (RetirementState::Cancelled, vec![], Some((false, "Cancelled", "is given up"))),
        (RetirementState::Proving, vec![], None),
        (RetirementState::Checking, vec![], None),
    ] {
        let after = Record { state, findings, ..retirement.record.clone() };
        let told = of_retirement(&retirement, &after);
        let found = told.as_ref().map(|it| (it.warning, it.reason));
        assert_eq!(found, expected.map(|(warning, reason, _)| (warning, reason)), "{state:?}");
        let words = expected.map_or("", |(.., words)| words);
        assert!(told.is_none_or(|it| it.message.contains(words)), "{state:?}");
    }
}
