//! Which moves may start: over all migrations, by their records alone.

use crate::calendar::{self, Freeze, Hold};
use crate::migration::{Migration, MigrationState, Move, MoveState, PauseReason, Skip};
use crate::problem::Code;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// What the time and the configuration in force say of what may begin.
#[derive(Clone, Copy, Debug)]
pub struct Conditions<'a> {
    /// When no migration begins anything.
    pub freezes: &'a [Freeze],
    /// Names of checks that measure something before a wave begins.
    pub measuring: &'a BTreeSet<String>,
    /// The time.
    pub now: Timestamp,
}

/// What is to be changed in the records before anything else is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The migration.
    pub migration: String,
    /// The move as it becomes.
    pub m: Move,
}

/// What each unfinished migration waits for, found anew only when that may have changed.
#[derive(Clone, Debug, Default)]
pub struct Waits {
    /// What the order and the overlaps of unfinished migrations depend on.
    basis: Vec<Basis>,
    found: BTreeMap<String, BTreeSet<String>>,
}

/// Of an unfinished migration: id, when it was created, whether it has begun, how many namespaces it
/// has, and how many of them were taken over.
type Basis = (String, Timestamp, bool, usize, usize);

impl Waits {
    /// Takes in what has changed.
    pub fn refresh(&mut self, migrations: &BTreeMap<String, Migration>) {
        let unfinished = migrations.values().filter(|migration| migration.ended.is_none());
        let basis = unfinished.map(|migration| {
            let moves = &migration.moves;
            let taken = moves.superseded().count();
            (migration.id.clone(), migration.spec.created, moves.begun(), moves.len(), taken)
        });
        let basis: Vec<Basis> = basis.collect();
        if basis != self.basis {
            self.found = waits(migrations);
            self.basis = basis;
        }
    }

    /// The unfinished migrations that one waits for.
    pub fn of(&self, id: &str) -> BTreeSet<String> {
        self.found.get(id).cloned().unwrap_or_default()
    }

    /// Whether it waits for any.
    pub fn any(&self, id: &str) -> bool {
        self.found.get(id).is_some_and(|waits| !waits.is_empty())
    }
}

/// The unfinished migrations that each unfinished one waits for.
///
/// A namespace is in one unfinished migration at a time: one that has begun keeps it; then
/// rollbacks come before what would move it on, and the older before the younger. A rollback does
/// not wait for the migration that it undoes.
pub fn waits(migrations: &BTreeMap<String, Migration>) -> BTreeMap<String, BTreeSet<String>> {
    let unfinished = in_order(migrations);
    let mut waits: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    // Who holds each namespace, those that come first before the others.
    let mut holders: BTreeMap<&str, Vec<&Migration>> = BTreeMap::new();
    for migration in &unfinished {
        let mut found = BTreeSet::new();
        for namespace in open_namespaces(migration) {
            let before = holders.entry(namespace).or_default();
            let undone =
                |older: &&Migration| migration.spec.rollback_of.as_ref() == Some(&older.id);
            found.extend(before.iter().filter(|it| !undone(it)).map(|older| older.id.clone()));
            before.push(migration);
        }
        waits.insert(migration.id.clone(), found);
    }
    waits
}

/// What may change now: at most `room` more moves begin, over all migrations. `busy` tells whether a
/// call is in flight for a move of a migration, or a decision on it waits to be stored; `length` how
/// long a move may take, in any unit: within a wave the longest start first. Outside of a migration's
/// windows, in freezes and while something is measured none of its moves begins; what is under way goes
/// on.
pub fn admit(
    migrations: &BTreeMap<String, Migration>,
    waits: &Waits,
    mut room: u32,
    busy: impl Fn(&str, &str) -> bool,
    length: impl Fn(&Move) -> u64,
    conditions: Conditions<'_>,
) -> Vec<Decision> {
    let Conditions { freezes, measuring, now } = conditions;
    let mut decisions = Vec::new();
    for migration in in_order(migrations) {
        if migration.control.cancelled {
            let pending = migration.moves.pending();
            decisions.extend(
                pending.map(|(_, m)| decide(migration, m.enter(MoveState::Cancelled, now))),
            );
            continue;
        }
        if waits.any(&migration.id) {
            continue;
        }
        if let Some(undone) = migration.spec.rollback_of.as_ref().and_then(|id| migrations.get(id))
        {
            decisions.extend(supersede(migration, undone, &busy, now));
        }
        let free = |m: &&Move| !busy(&migration.id, &m.namespace);
        decisions.extend(
            skipped(migration)
                .filter(free)
                .map(|m| decide(migration, m.enter(MoveState::Skipped(Skip::Asked), now))),
        );
        if room == 0 || held(migration, freezes, now).is_some() {
            continue;
        }
        let mut startable: Vec<&Move> = startable(migration, measuring)
            .into_iter()
            .filter(|m| !busy(&migration.id, &m.namespace))
            .filter(|m| !contested(migration, m, migrations))
            .collect();
        // The sort is stable: what takes equally long keeps the order of the plan.
        startable.sort_by_cached_key(|m| std::cmp::Reverse(length(m)));
        for m in startable.into_iter().take(usize::try_from(room).unwrap_or(usize::MAX)) {
            room -= 1;
            decisions.push(decide(migration, start(migration, m, now)));
        }
    }
    decisions
}

/// What keeps a migration from beginning moves for a while. A rollback is never kept: whoever goes back
/// wants to be back.
fn held(migration: &Migration, freezes: &[Freeze], now: Timestamp) -> Option<Hold> {
    if migration.spec.rollback_of.is_some() {
        return None;
    }
    calendar::hold(&migration.spec.windows, freezes, now)
}

/// What keeps an unfinished migration from beginning what is left of it; none where nothing is left, or
/// where it waits for something else anyway.
pub fn hold(
    migration: &Migration,
    waits: &Waits,
    freezes: &[Freeze],
    now: Timestamp,
) -> Option<Hold> {
    let left = migration.moves.first_pending().is_some() || migration.retried().next().is_some();
    let running = migration.state(&waits.of(&migration.id)) == MigrationState::Running;
    let goes_on = running && migration.gating().is_none();
    held(migration, freezes, now).filter(|_| left && goes_on)
}

fn start(migration: &Migration, m: &Move, now: Timestamp) -> Move {
    let problem = m.problem().map(|problem| problem.code);
    let mut m = m.enter(MoveState::Checking, now);
    m.attempt = match migration.control.retries.get(&m.namespace) {
        Some(attempt) => (m.attempt + 1).max(*attempt),
        None => m.attempt + 1,
    };
    m.started.get_or_insert(now);
    if problem == Some(Code::EndpointsMissing) {
        // Whoever retries says that what is there is enough.
        m.headcount = None;
    }
    m
}

/// The moves that may start: of the first wave that is not over, once it is approved, and what came
/// before it has held. While a failure waits for an answer, only what was asked to be tried again.
fn startable<'a>(migration: &'a Migration, measuring: &BTreeSet<String>) -> Vec<&'a Move> {
    let paused = migration.paused();
    if matches!(paused, Some(PauseReason::User | PauseReason::Drift)) {
        return Vec::new();
    }
    let mut startable: Vec<(usize, &Move)> =
        migration.moves.failed().filter(|(_, m)| migration.retry_wanted(m)).collect();
    let wave = migration.wave().filter(|wave| migration.wave_to_approve() != Some(*wave));
    let waits = migration.gating().is_some() || migration.unmeasured(measuring).is_some();
    if let Some(wave) = wave.filter(|_| paused.is_none() && !waits) {
        let pending = migration.moves.pending_of(wave);
        startable
            .extend(pending.filter(|(_, m)| !migration.control.skipped.contains(&m.namespace)));
    }
    startable.sort_unstable_by_key(|(place, _)| *place);
    startable.into_iter().map(|(_, m)| m).collect()
}

/// Moves that are not to be made after all. One that has been relabelled is no longer skipped.
fn skipped(migration: &Migration) -> impl Iterator<Item = &Move> {
    migration
        .control
        .skipped
        .iter()
        .filter_map(|namespace| migration.find(namespace))
        .filter(|m| m.may_be_skipped())
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
        .pending()
        .filter(|_| undone.ended.is_none())
        .filter_map(|(_, m)| undone.find(&m.namespace))
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
        let begun = migration.moves.begun();
        let rollback = migration.spec.rollback_of.is_some();
        (!begun, !rollback, migration.spec.created, &migration.id)
    });
    unfinished
}

fn decide(migration: &Migration, m: Move) -> Decision {
    Decision { migration: migration.id.clone(), m }
}
