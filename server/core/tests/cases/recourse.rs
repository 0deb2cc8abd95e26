//! What a migration does by itself about its failures.

use super::world::{NEW, OLD, all, at, migration, problem, with_state};
use revshift_core::admission::{self, Waits};
use revshift_core::label::InjectionLabels;
use revshift_core::migration::{
    Ended, Migration, MigrationState, MoveState, OnFailure, PauseReason, Stage, TakenBack,
};
use revshift_core::problem::{Code, Problem};
use revshift_core::recourse::{self, decide, wanted};
use std::collections::BTreeSet;

fn failed() -> MoveState {
    MoveState::Failed(problem())
}

/// `a`, `b` and `c`, each in a wave of its own; `a` has failed after it was relabelled.
fn one_failed(on_failure: OnFailure) -> Migration {
    let mut m = with_state(migration("m", &["a", "b", "c"]), "a", failed());
    m.spec.on_failure = on_failure;
    m.moves.edit(0, |m| m.relabelled = true);
    m
}

fn state(migration: &Migration) -> MigrationState {
    migration.state(&BTreeSet::new())
}

/// The migration after everything that is decided was stored.
fn noted(m: &Migration) -> Migration {
    let mut noted = m.clone();
    for decision in decide(&all(std::slice::from_ref(m))) {
        let place = noted.moves.place(&decision.m.namespace).unwrap();
        noted.moves.set(place, decision.m);
    }
    noted
}

/// The rollback that a migration wants, as it would be stored.
fn made(m: &Migration) -> Migration {
    let migrations = all(std::slice::from_ref(m));
    let wanted = wanted(&migrations);
    let mut rollback = migration(wanted[0].id, &["a"]);
    rollback.spec.rollback_of = Some("m".to_owned());
    rollback.moves.edit(0, |m| {
        m.before = InjectionLabels::of_revision(NEW);
        m.after = InjectionLabels::of_revision(OLD);
    });
    rollback
}

#[test]
fn it_is_noted_then_made_once_and_then_never_again() {
    let failed = one_failed(OnFailure::RollBackNamespace);
    assert!(wanted(&all(std::slice::from_ref(&failed))).is_empty(), "nothing was stored yet");
    let noted = noted(&failed);
    let taken = noted.moves[0].taken_back.clone().unwrap();
    assert_eq!((taken.attempt, &taken.stage, &taken.problem), (1, &Stage::Wanted, &problem()));
    // The same facts again change nothing, and name the same rollback.
    assert_eq!(decide(&all(std::slice::from_ref(&noted))), []);
    let rollback = made(&noted);
    assert_eq!(rollback.id, taken.rollback);
    let migrations = all(std::slice::from_ref(&noted));
    let wanted = wanted(&migrations);
    assert_eq!(wanted[0].request.namespaces, ["a"]);
    let reason = &wanted[0].request.reason;
    assert_eq!(reason, "`a` failed: RS3001 Deployment/x/web: nothing happens");
    assert_eq!(recourse::requester(&noted), "revshift, for test");
    // Once it is there, that is noted, too; then it may go again.
    let both = all(&[noted.clone(), rollback]);
    assert!(recourse::wanted(&both).is_empty());
    let decision = decide(&both).remove(0);
    assert_eq!(decision.m.taken_back.as_ref().unwrap().stage, Stage::Made);
    let after = Migration { moves: vec![decision.m].into(), ..noted };
    let alone = all(&[after]);
    assert!(decide(&alone).is_empty() && recourse::wanted(&alone).is_empty());
}

#[test]
fn what_somebody_has_in_hand_or_cannot_go_back_is_left_alone() {
    let nothing = |edit: &dyn Fn(&mut Migration)| {
        let mut m = one_failed(OnFailure::RollBackNamespace);
        edit(&mut m);
        assert!(decide(&all(std::slice::from_ref(&m))).is_empty(), "{m:?}");
        // Nor is made what was noted before.
        let mut late = noted(&one_failed(OnFailure::RollBackNamespace));
        edit(&mut late);
        late
    };
    let in_vain = |m: Migration| assert!(wanted(&all(&[m])).is_empty());
    nothing(&|m| m.spec.on_failure = OnFailure::Pause);
    in_vain(nothing(&|m| m.control.cancelled = true));
    in_vain(nothing(&|m| m.control.paused = true));
    in_vain(nothing(&|m| m.spec.rollback_of = Some("other".to_owned())));
    in_vain(nothing(&|m| {
        m.control.retries.insert("a".to_owned(), 2);
    }));
    in_vain(nothing(&|m| m.moves.edit(0, |m| m.state = MoveState::Superseded)));
    in_vain(nothing(&|m| {
        m.ended = Some(Ended { state: MigrationState::Cancelled, at: at(1), sequence: 1 });
    }));
    nothing(&|m| m.moves.edit(0, |m| m.relabelled = false));
    nothing(&|m| m.moves.edit(0, |m| m.after = m.before.clone()));
    nothing(&|m| {
        let drift = Problem { code: Code::LabelDrift, ..problem() };
        m.moves.edit(0, |m| m.state = MoveState::Blocked(drift.clone()));
    });
    // A resume only lets the others go on.
    let mut resumed = one_failed(OnFailure::RollBackNamespace);
    resumed.control.tolerated.insert("a".to_owned(), 1);
    assert_eq!(decide(&all(&[resumed])).len(), 1);
    // The next attempt is another failure.
    let mut again = noted(&one_failed(OnFailure::RollBackNamespace));
    again.moves.edit(0, |m| m.attempt = 2);
    let first = again.moves[0].taken_back.clone().unwrap().rollback;
    let next = decide(&all(&[again])).remove(0).m.taken_back.unwrap();
    assert!(next.attempt == 2 && next.rollback != first);
}

#[test]
fn a_wave_goes_back_when_the_budget_is_exceeded_and_nothing_of_it_runs() {
    let mut m = one_failed(OnFailure::RollBackWave);
    for place in 0..3 {
        m.moves.edit(place, |m| m.wave = 0);
    }
    m.moves.edit(1, |m| {
        (m.state, m.attempt, m.relabelled) = (MoveState::Verifying, 1, true);
    });
    assert!(decide(&all(std::slice::from_ref(&m))).is_empty(), "b is under way");
    m.moves.edit(1, |m| m.state = failed());
    let mut within = m.clone();
    within.spec.failure_budget = 2;
    assert!(decide(&all(&[within])).is_empty());
    let decisions = decide(&all(std::slice::from_ref(&m)));
    let names: Vec<&str> = decisions.iter().map(|it| it.m.namespace.as_str()).collect();
    assert_eq!(names, ["a"], "one failure answers for the wave");
    let noted = noted(&m);
    let migrations = all(std::slice::from_ref(&noted));
    let request = &wanted(&migrations)[0].request;
    assert_eq!((request.wave, request.namespaces.len()), (Some(0), 0));
    assert!(decide(&migrations).is_empty());
}

#[test]
fn the_last_wave_that_failed_goes_back() {
    let mut m = one_failed(OnFailure::RollBackWave);
    m.spec.failure_budget = 1;
    m.moves.edit(1, |m| (m.state, m.attempt, m.relabelled) = (failed(), 1, true));
    let decisions = decide(&all(&[m]));
    let waves: Vec<u32> = decisions.iter().map(|it| it.m.wave).collect();
    assert_eq!(waves, [1]);
}

#[test]
fn a_failure_counts_though_it_was_rolled_back() {
    let mut m = one_failed(OnFailure::RollBackNamespace);
    m = noted(&m);
    m.moves.edit(0, |m| m.state = MoveState::Superseded);
    assert_eq!(state(&m), MigrationState::Paused(PauseReason::FailureBudget));
    assert_eq!(m.moves[0].problem(), Some(&problem()));
    let mut resumed = m.clone();
    resumed.control.tolerated.insert("a".to_owned(), 1);
    assert_eq!(state(&resumed), MigrationState::Running);
    let mut within = m.clone();
    within.spec.failure_budget = 1;
    assert_eq!(state(&within), MigrationState::Running);
    // Nobody has taken it back by hand, so nobody wants to look first.
    assert_eq!(within.paused(), None);
    for place in 1..3 {
        m.moves.edit(place, |m| m.state = MoveState::Moved(Vec::new()));
    }
    assert_eq!(state(&m), MigrationState::CompletedWithExceptions);
}

#[test]
fn the_rollback_takes_the_failed_move_over() {
    let noted = noted(&one_failed(OnFailure::RollBackNamespace));
    let both = all(&[noted.clone(), made(&noted)]);
    let mut waits = Waits::default();
    waits.refresh(&both);
    let conditions =
        admission::Conditions { freezes: &[], measuring: &BTreeSet::new(), now: at(1) };
    let decisions = admission::admit(&both, &waits, 32, |_, _| false, |_| 0, conditions);
    let taken = decisions.iter().find(|it| it.migration == "m").unwrap();
    assert_eq!((taken.m.namespace.as_str(), &taken.m.state), ("a", &MoveState::Superseded));
    assert!(taken.m.was_taken_back());
}

#[test]
fn what_cannot_be_made_is_noted_and_left_to_people() {
    let noted = noted(&one_failed(OnFailure::RollBackNamespace));
    let m = recourse::refused(&noted.moves[0], "the plane is gone");
    let TakenBack { stage, .. } = m.taken_back.clone().unwrap();
    assert_eq!(stage, Stage::Refused("the plane is gone".to_owned()));
    let mut refused = noted;
    refused.moves.set(0, m);
    let migrations = all(std::slice::from_ref(&refused));
    assert!(decide(&migrations).is_empty() && wanted(&migrations).is_empty());
    assert_eq!(state(&refused), MigrationState::Paused(PauseReason::FailureBudget));
}
