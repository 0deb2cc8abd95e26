//! Which moves may start: over all migrations, by their records alone.

use crate::migration::{Migration, Move, MoveState, PauseReason};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What is to be changed in the records before anything else is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The migration.
    pub migration: String,
    /// The move as it becomes.
    pub m: Move,
}

/// The unfinished migrations that each unfinished one waits for.
///
/// A namespace is in one unfinished migration at a time: one that has begun keeps it; then
/// rollbacks come before what would move it on, and the older before the younger. A rollback does
/// not wait for the migration that it undoes.
pub fn waits(migrations: &BTreeMap<String, Migration>) -> BTreeMap<String, BTreeSet<String>> {
    let unfinished = in_order(migrations);
    let mut waits = BTreeMap::new();
    for (index, migration) in unfinished.iter().enumerate() {
        let open: BTreeSet<&str> = open_namespaces(migration).collect();
        let older = unfinished[..index].iter().filter(|older| {
            migration.spec.rollback_of.as_ref() != Some(&older.id)
                && open_namespaces(older).any(|namespace| open.contains(namespace))
        });
        waits.insert(migration.id.clone(), older.map(|older| older.id.clone()).collect());
    }
    waits
}

/// What may change now. `busy` tells whether a call is in flight for a move of a migration.
pub fn admit(
    migrations: &BTreeMap<String, Migration>,
    busy: impl Fn(&str, &str) -> bool,
    now: Timestamp,
) -> Vec<Decision> {
    let waits = waits(migrations);
    let mut decisions = Vec::new();
    for migration in in_order(migrations) {
        let waiting = waits.get(&migration.id).is_some_and(|waits| !waits.is_empty());
        if migration.control.cancelled {
            let pending = migration.moves.iter().filter(|m| m.state == MoveState::Pending);
            decisions
                .extend(pending.map(|m| decide(migration, m.enter(MoveState::Cancelled, now))));
            continue;
        }
        if waiting {
            continue;
        }
        if let Some(undone) = migration.spec.rollback_of.as_ref().and_then(|id| migrations.get(id))
        {
            decisions.extend(supersede(migration, undone, &busy, now));
        }
        if migration.moves.iter().any(|m| m.state.is_active()) {
            continue;
        }
        if let Some(m) = next(migration).filter(|m| !contested(migration, m, migrations)) {
            let mut m = m.enter(MoveState::Checking, now);
            m.attempt = match migration.control.retries.get(&m.namespace) {
                Some(attempt) => (m.attempt + 1).max(*attempt),
                None => m.attempt + 1,
            };
            m.started.get_or_insert(now);
            decisions.push(decide(migration, m));
        }
    }
    decisions
}

/// The move to start next: one namespace after the other, in the order of the plan. While a
/// failure waits for an answer, only what was asked to be tried again.
fn next(migration: &Migration) -> Option<&Move> {
    let paused = migration.paused();
    migration.moves.iter().find(|m| match paused {
        None => m.state == MoveState::Pending || migration.retry_wanted(m),
        Some(PauseReason::FailureBudget) => migration.retry_wanted(m),
        Some(PauseReason::User) => false,
    })
}

/// Moves of `undone` that `rollback` takes over: not while a call for them is in flight.
fn supersede<'a>(
    rollback: &'a Migration,
    undone: &'a Migration,
    busy: &'a impl Fn(&str, &str) -> bool,
    now: Timestamp,
) -> impl Iterator<Item = Decision> + 'a {
    rollback
        .moves
        .iter()
        .filter(|_| undone.ended.is_none())
        .filter(|m| m.state == MoveState::Pending)
        .filter_map(|m| undone.find(&m.namespace))
        .filter(|m| m.state != MoveState::Superseded && !busy(&undone.id, &m.namespace))
        .map(move |m| decide(undone, m.enter(MoveState::Superseded, now)))
}

/// Whether the migration that is rolled back still holds the namespace.
fn contested(migration: &Migration, m: &Move, all: &BTreeMap<String, Migration>) -> bool {
    let undone = migration.spec.rollback_of.as_ref().and_then(|id| all.get(id));
    undone
        .filter(|undone| undone.ended.is_none())
        .and_then(|undone| undone.find(&m.namespace))
        .is_some_and(|m| m.state != MoveState::Superseded)
}

fn open_namespaces(migration: &Migration) -> impl Iterator<Item = &str> {
    migration
        .moves
        .iter()
        .filter(|m| m.state != MoveState::Superseded)
        .map(|m| m.namespace.as_str())
}

fn in_order(migrations: &BTreeMap<String, Migration>) -> Vec<&Migration> {
    let mut unfinished: Vec<&Migration> =
        migrations.values().filter(|migration| migration.ended.is_none()).collect();
    // The time of creation is another replica's clock: it orders what has not begun, no more.
    unfinished.sort_by_key(|migration| {
        let begun = migration.moves.iter().any(|m| m.attempt > 0);
        let rollback = migration.spec.rollback_of.is_some();
        (!begun, !rollback, migration.spec.created, &migration.id)
    });
    unfinished
}

fn decide(migration: &Migration, m: Move) -> Decision {
    Decision { migration: migration.id.clone(), m }
}
