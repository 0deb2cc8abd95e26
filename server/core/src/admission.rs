//! Which moves may start: over all migrations, by their records alone.

use crate::budget::{self, Budgets};
use crate::migration::{Migration, Move, MoveState, PauseReason, Skip};
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

/// What may change now: at most `budgets.namespaces` moves are under way over all migrations. `busy`
/// tells whether a call is in flight for a move of a migration; `length` how long a move may take,
/// in any unit: within a wave the longest start first.
pub fn admit(
    migrations: &BTreeMap<String, Migration>,
    budgets: &Budgets,
    busy: impl Fn(&str, &str) -> bool,
    length: impl Fn(&Move) -> u64,
    now: Timestamp,
) -> Vec<Decision> {
    let waits = waits(migrations);
    let mut room = budgets.namespaces.saturating_sub(budget::namespaces_under_way(migrations));
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
        decisions.extend(skipped(migration, now));
        if room == 0 {
            continue;
        }
        let mut startable: Vec<&Move> =
            startable(migration).filter(|m| !contested(migration, m, migrations)).collect();
        // The sort is stable: what takes equally long keeps the order of the plan.
        startable.sort_by_cached_key(|m| std::cmp::Reverse(length(m)));
        for m in startable.into_iter().take(usize::try_from(room).unwrap_or(usize::MAX)) {
            room -= 1;
            decisions.push(decide(migration, start(migration, m, now)));
        }
    }
    decisions
}

fn start(migration: &Migration, m: &Move, now: Timestamp) -> Move {
    let mut m = m.enter(MoveState::Checking, now);
    m.attempt = match migration.control.retries.get(&m.namespace) {
        Some(attempt) => (m.attempt + 1).max(*attempt),
        None => m.attempt + 1,
    };
    m.started.get_or_insert(now);
    m
}

/// The moves that may start: of the first wave that is not over, once it is approved. While a failure
/// waits for an answer, only what was asked to be tried again.
fn startable(migration: &Migration) -> impl Iterator<Item = &Move> {
    let paused = migration.paused();
    let wave = migration.wave().filter(|wave| migration.wave_to_approve() != Some(*wave));
    migration.moves.iter().filter(move |m| match paused {
        None => {
            migration.retry_wanted(m)
                || m.state == MoveState::Pending
                    && Some(m.wave) == wave
                    && !migration.control.skipped.contains(&m.namespace)
        }
        Some(PauseReason::FailureBudget) => migration.retry_wanted(m),
        Some(PauseReason::User) => false,
    })
}

/// Moves that are not to be made after all. One that has been relabelled is no longer skipped.
fn skipped(migration: &Migration, now: Timestamp) -> impl Iterator<Item = Decision> + '_ {
    migration
        .control
        .skipped
        .iter()
        .filter_map(|namespace| migration.find(namespace))
        .filter(|m| m.may_be_skipped())
        .map(move |m| decide(migration, m.enter(MoveState::Skipped(Skip::Asked), now)))
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
