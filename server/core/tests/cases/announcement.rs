//! What is told as Kubernetes Events, and what is not.

use super::world::{NEW, at, migration, problem};
use revshift_core::announcement::{Subject, of_migration, of_move};
use revshift_core::migration::{Leftover, LeftoverReason, MigrationState, MoveState, PauseReason};

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
