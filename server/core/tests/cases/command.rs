//! What each command makes of each state.

use super::world::{migration, problem, with_state};
use jiff::Timestamp;
use revshift_core::command::{Command, Force, command, half_moved, issue};
use revshift_core::migration::{
    Approval, Ended, MOST_COMMANDS, Migration, MigrationState, MoveState, PauseReason, Skip, Verb,
};
use revshift_core::refusal::Refusal;
use std::collections::BTreeSet;

fn state(migration: &Migration) -> MigrationState {
    migration.state(&BTreeSet::new())
}

#[track_caller]
fn done(migration: &Migration, wanted: &Command) -> Migration {
    let control = command(migration, &BTreeSet::new(), wanted, Timestamp::UNIX_EPOCH).unwrap();
    let commanded = Migration { control, ..migration.clone() };
    // The same command again changes nothing.
    let again = command(&commanded, &BTreeSet::new(), wanted, Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(again, commanded.control);
    commanded
}

fn refused(migration: &Migration, wanted: &Command) -> bool {
    matches!(
        command(migration, &BTreeSet::new(), wanted, Timestamp::UNIX_EPOCH),
        Err(Refusal::State { .. })
    )
}

#[test]
fn pause_and_resume() {
    let running = migration("m", &["a"]);
    let paused = done(&running, &Command::Pause);
    assert_eq!(state(&paused), MigrationState::Paused(PauseReason::User));
    assert_eq!(state(&done(&paused, &Command::Resume)), MigrationState::Running);
}

#[test]
fn who_commanded_what_is_kept_once_for_each_change() {
    let mut m = with_state(migration("m", &["a", "b", "c"]), "a", MoveState::Failed(problem()));
    m.spec.approvals = [0].into();
    let (by, at) = ("alice".to_owned(), Timestamp::UNIX_EPOCH);
    let commands = [
        Command::Retry(vec!["a".to_owned()], Force::Yes),
        Command::Skip(vec!["b".to_owned()]),
        Command::Approve(Some(0), Approval { by: by.clone(), at }),
        Command::Pause,
        Command::Cancel,
    ];
    for wanted in commands {
        for _ in 0..2 {
            m.control = issue(&m, &BTreeSet::new(), &wanted, &by, at).unwrap();
        }
    }
    let kept = &m.control.commands;
    let verbs: Vec<Verb> = kept.iter().map(|issued| issued.verb).collect();
    assert_eq!(verbs, [Verb::Retry, Verb::Skip, Verb::Approve, Verb::Pause, Verb::Cancel]);
    assert!(kept.iter().all(|issued| issued.by == "alice" && issued.at == at));
    assert_eq!((&kept[0].namespaces[..], kept[0].force), (&["a".to_owned()][..], true));
    assert_eq!((kept[1].named, kept[2].wave), (1, Some(0)));
}

#[test]
fn of_very_many_commands_and_names_the_bounds_hold() {
    let names: Vec<String> = (0..50).map(|i| format!("n-{i}")).collect();
    let mut m = migration("m", &names.iter().map(String::as_str).collect::<Vec<_>>());
    for _ in 0..MOST_COMMANDS {
        for wanted in [Command::Pause, Command::Resume] {
            m.control = issue(&m, &BTreeSet::new(), &wanted, "x", Timestamp::UNIX_EPOCH).unwrap();
        }
    }
    let wanted = Command::Skip(names);
    m.control = issue(&m, &BTreeSet::new(), &wanted, "x", Timestamp::UNIX_EPOCH).unwrap();
    let kept = &m.control.commands;
    assert_eq!((kept.len(), kept[0].verb), (MOST_COMMANDS, Verb::Resume));
    let last = kept.last().unwrap();
    assert_eq!((last.verb, last.named, last.namespaces.len()), (Verb::Skip, 50, 20));
}

#[test]
fn resume_goes_on_without_what_failed_and_retries_nothing() {
    let failed = with_state(migration("m", &["a", "b"]), "a", MoveState::Failed(problem()));
    assert_eq!(state(&failed), MigrationState::Paused(PauseReason::FailureBudget));
    let resumed = done(&failed, &Command::Resume);
    assert_eq!(state(&resumed), MigrationState::Running);
    let rest = with_state(resumed, "b", MoveState::Moved(Vec::new()));
    // With only failures left it stays paused, and says what else can be done.
    assert_eq!(state(&rest), MigrationState::Paused(PauseReason::FailureBudget));
    assert!(refused(&rest, &Command::Resume));
}

#[test]
fn retry_is_for_failed_and_blocked_moves() {
    let failed = with_state(migration("m", &["a", "b"]), "a", MoveState::Failed(problem()));
    let retried = done(&failed, &Command::Retry(vec!["a".to_owned()], Force::No));
    assert_eq!(retried.control.retries["a"], 2);
    assert_eq!(state(&retried), MigrationState::Running);
    assert!(refused(&failed, &Command::Retry(vec!["b".to_owned()], Force::No)));
    let unknown = command(
        &failed,
        &BTreeSet::new(),
        &Command::Retry(vec!["x".to_owned()], Force::No),
        Timestamp::UNIX_EPOCH,
    );
    assert!(matches!(unknown, Err(Refusal::MoveNotFound { .. })));
    let empty = command(
        &failed,
        &BTreeSet::new(),
        &Command::Retry(Vec::new(), Force::No),
        Timestamp::UNIX_EPOCH,
    );
    assert!(matches!(empty, Err(Refusal::InvalidFields(_))));
}

#[test]
fn one_of_several_failures_is_retried_alone() {
    let mut failed = migration("m", &["a", "b", "c"]);
    failed = with_state(failed, "a", MoveState::Failed(problem()));
    failed = with_state(failed, "b", MoveState::Failed(problem()));
    failed = with_state(failed, "c", MoveState::Superseded);
    assert!(refused(&failed, &Command::Resume));
    let retried = done(&failed, &Command::Retry(vec!["a".to_owned()], Force::No));
    assert_eq!(state(&retried), MigrationState::Running);
    // Neither before nor after its start do the others hold it back; nor are they answered by it.
    let started = with_state(retried, "a", MoveState::Checking);
    assert_eq!(state(&started), MigrationState::Running);
    assert_eq!(started.paused(), Some(PauseReason::FailureBudget));
    let moved = with_state(started, "a", MoveState::Moved(Vec::new()));
    assert_eq!(state(&moved), MigrationState::Paused(PauseReason::FailureBudget));
}

#[test]
fn cancel_lets_failures_stand() {
    let failed = with_state(migration("m", &["a", "b"]), "a", MoveState::Failed(problem()));
    let cancelled = done(&failed, &Command::Cancel);
    assert_eq!(state(&cancelled), MigrationState::Cancelling);
    let ended = with_state(cancelled, "b", MoveState::Cancelled);
    assert_eq!(state(&ended), MigrationState::Cancelled);
    for verb in [Command::Pause, Command::Resume, Command::Retry(vec!["a".to_owned()], Force::No)] {
        assert!(refused(&ended, &verb), "{verb:?}");
    }
}

#[test]
fn a_final_state_stands_whatever_is_commanded() {
    let mut over = with_state(migration("m", &["a"]), "a", MoveState::Moved(Vec::new()));
    assert_eq!(state(&over), MigrationState::Succeeded);
    over.ended =
        Some(Ended { state: MigrationState::Succeeded, at: super::world::at(1), sequence: 1 });
    for verb in [Command::Pause, Command::Resume, Command::Cancel] {
        assert!(refused(&over, &verb), "{verb:?}");
    }
}

#[test]
fn exceptions_are_named_by_the_final_state() {
    for m in [MoveState::Gone, MoveState::Superseded, MoveState::Cancelled] {
        let over = with_state(migration("m", &["a"]), "a", m);
        assert_eq!(state(&over), MigrationState::CompletedWithExceptions);
    }
    let there = with_state(migration("m", &["a"]), "a", MoveState::Skipped(Skip::Unneeded));
    assert_eq!(state(&there), MigrationState::Succeeded);
}

#[test]
fn a_namespace_taken_back_pauses_the_others() {
    let taken = with_state(migration("m", &["a", "b"]), "a", MoveState::Superseded);
    assert_eq!(state(&taken), MigrationState::Paused(PauseReason::User));
    assert_eq!(state(&done(&taken, &Command::Resume)), MigrationState::Running);
}

#[test]
fn waiting_for_another_migration_is_pending() {
    let waits = BTreeSet::from(["m-1".to_owned()]);
    assert_eq!(migration("m", &["a"]).state(&waits), MigrationState::Pending);
}

#[test]
fn half_moved_namespaces_are_those_relabelled_and_not_done() {
    let mut m = with_state(migration("m", &["a", "b", "c"]), "a", MoveState::Restarting);
    m = with_state(m, "b", MoveState::Failed(problem()));
    assert_eq!(half_moved(&m), ["a"]);
    m.moves.edit(1, |m| m.relabelled = true);
    assert_eq!(half_moved(&m), ["a", "b"]);
}
