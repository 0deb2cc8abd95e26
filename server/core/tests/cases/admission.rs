//! One namespace at a time, one unfinished migration a namespace, rollbacks first.

use super::world::{all, at, migration, problem, with_state};
use revshift_core::admission::{Conditions, Decision, Waits, admit, waits};
use revshift_core::budget::namespaces_under_way;
use revshift_core::migration::{Migration, MoveState, Skip};
use std::collections::{BTreeMap, BTreeSet};

/// What is decided while 32 more moves may begin.
fn admitted(
    migrations: &BTreeMap<String, Migration>,
    busy: impl Fn(&str, &str) -> bool,
) -> Vec<Decision> {
    let mut waits = Waits::default();
    waits.refresh(migrations);
    let conditions = Conditions { freezes: &[], measuring: &BTreeSet::new(), now: at(1) };
    admit(migrations, &waits, 32, busy, |_| 0, conditions)
}

fn decisions(migrations: &[Migration]) -> Vec<(String, String, MoveState)> {
    admitted(&all(migrations), |_, _| false)
        .into_iter()
        .map(|decision| (decision.migration, decision.m.namespace, decision.m.state))
        .collect()
}

fn one(id: &str, namespace: &str, state: MoveState) -> (String, String, MoveState) {
    (id.to_owned(), namespace.to_owned(), state)
}

#[test]
fn namespaces_move_one_after_the_other_in_order() {
    let fresh = migration("m", &["b", "a"]);
    assert_eq!(decisions(std::slice::from_ref(&fresh)), [one("m", "b", MoveState::Checking)]);
    let busy = with_state(fresh.clone(), "b", MoveState::Restarting);
    assert_eq!(decisions(&[busy]), []);
    let moved = with_state(fresh, "b", MoveState::Moved(Vec::new()));
    assert_eq!(decisions(&[moved]), [one("m", "a", MoveState::Checking)]);
}

#[test]
fn what_waits_for_a_label_takes_no_place_and_holds_its_wave() {
    let awaiting = MoveState::AwaitingLabel("Argo CD".to_owned());
    let mut m = with_state(migration("m", &["a", "b", "c"]), "a", awaiting);
    m.moves.edit(1, |m| m.wave = 0);
    let all = all(&[m.clone()]);
    assert_eq!(namespaces_under_way(&all), 0);
    assert_eq!(decisions(std::slice::from_ref(&m)), [one("m", "b", MoveState::Checking)]);
    let rest = with_state(m, "b", MoveState::Moved(Vec::new()));
    assert_eq!((rest.wave(), decisions(std::slice::from_ref(&rest))), (Some(0), vec![]));
    let mut spared = rest;
    spared.control.skipped.insert("a".to_owned());
    let skipped = MoveState::Skipped(Skip::Asked);
    assert_eq!(decisions(std::slice::from_ref(&spared)), [one("m", "a", skipped.clone())]);
    let over = with_state(spared, "a", skipped);
    assert_eq!(decisions(&[over]), [one("m", "c", MoveState::Checking)]);
}

#[test]
fn a_failure_pauses_until_it_is_answered() {
    let failed = with_state(migration("m", &["a", "b"]), "a", MoveState::Failed(problem()));
    assert_eq!(decisions(std::slice::from_ref(&failed)), []);
    let mut resumed = failed.clone();
    resumed.control.tolerated.insert("a".to_owned(), 1);
    assert_eq!(decisions(&[resumed]), [one("m", "b", MoveState::Checking)]);
    let mut retried = failed;
    retried.control.retries.insert("a".to_owned(), 2);
    let decision = admitted(&all(&[retried]), |_, _| false).remove(0);
    assert_eq!((decision.m.state, decision.m.attempt), (MoveState::Checking, 2));
}

#[test]
fn a_younger_migration_waits_for_an_older_one_of_the_same_namespace() {
    let older = migration("m-z", &["a", "b"]);
    let mut younger = migration("m-a", &["b", "c"]);
    younger.spec.created = at(10);
    let mut third = migration("m-b", &["d"]);
    third.spec.created = at(20);
    let all = [older, younger, third];
    let waits = waits(&super::world::all(&all));
    assert_eq!(waits["m-a"], BTreeSet::from(["m-z".to_owned()]));
    assert!(waits["m-z"].is_empty() && waits["m-b"].is_empty());
    let starts = [one("m-z", "a", MoveState::Checking), one("m-b", "d", MoveState::Checking)];
    assert_eq!(decisions(&all), starts);
}

#[test]
fn cancelling_ends_what_has_not_started() {
    let mut cancelled = with_state(migration("m", &["a", "b", "c"]), "a", MoveState::Restarting);
    cancelled.control.cancelled = true;
    assert_eq!(
        decisions(&[cancelled]),
        [one("m", "b", MoveState::Cancelled), one("m", "c", MoveState::Cancelled)]
    );
}

#[test]
fn a_rollback_takes_its_namespaces_over_before_it_starts() {
    let undone = with_state(migration("m", &["a", "b"]), "a", MoveState::Failed(problem()));
    let mut rollback = migration("r", &["a"]);
    rollback.spec.rollback_of = Some("m".to_owned());
    rollback.spec.created = at(10);
    let both = [undone.clone(), rollback.clone()];
    assert_eq!(decisions(&both), [one("m", "a", MoveState::Superseded)]);
    // Not while a call for it is in flight.
    assert!(admitted(&all(&both), |id, ns| (id, ns) == ("m", "a")).is_empty());
    let taken = with_state(undone, "a", MoveState::Superseded);
    // The other namespaces of the migration wait for an answer.
    assert_eq!(decisions(&[taken, rollback]), [one("r", "a", MoveState::Checking)]);
}

#[test]
fn what_has_begun_comes_before_what_claims_to_be_older() {
    let mut begun = with_state(migration("m-1", &["a"]), "a", MoveState::Restarting);
    begun.spec.created = at(10);
    let late = migration("m-2", &["a"]);
    let waits = waits(&all(&[begun, late]));
    assert!(waits["m-1"].is_empty());
    assert_eq!(waits["m-2"], BTreeSet::from(["m-1".to_owned()]));
}

#[test]
fn a_rollback_comes_before_what_would_move_its_namespaces_on() {
    let undone = with_state(migration("m", &["a"]), "a", MoveState::Failed(problem()));
    let mut onward = migration("x", &["a"]);
    onward.spec.created = at(10);
    let mut rollback = migration("r", &["a"]);
    rollback.spec.rollback_of = Some("m".to_owned());
    rollback.spec.created = at(20);
    let three = [undone.clone(), onward.clone(), rollback.clone()];
    assert_eq!(decisions(&three), [one("m", "a", MoveState::Superseded)]);
    let taken = with_state(undone, "a", MoveState::Superseded);
    assert_eq!(decisions(&[taken, onward, rollback]), [one("r", "a", MoveState::Checking)]);
}

#[test]
fn a_retry_goes_on_beside_another_failure() {
    let mut m = migration("m", &["a", "b", "c"]);
    m = with_state(m, "a", MoveState::Failed(problem()));
    m = with_state(m, "b", MoveState::Failed(problem()));
    m.control.retries.insert("b".to_owned(), 2);
    assert_eq!(decisions(std::slice::from_ref(&m)), [one("m", "b", MoveState::Checking)]);
    m.control.paused = true;
    assert_eq!(decisions(&[m]), []);
}
