//! What only the holder of the Lease does: adopts, admits, steps, commits, concludes.

mod pace;
mod removal;
mod storing;

use crate::clock::Clock;
use crate::engine::Parts;
use crate::engine::records::Records;
use crate::kube::call::Reply;
use crate::kube::crd::{Migration as MigrationObject, MigrationShard};
use crate::kube::watch;
use crate::published::State;
use pace::Pace;
use revshift_core::migration::{Migration, Move, MoveState};
use revshift_core::step::{self, Facts, Next, Order, Scratch, Withheld};
use revshift_core::{admission, estimate};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::task::JoinSet;
use tracing::warn;

/// How long after a write without a clear reply the object is read again.
const PAUSE: Duration = Duration::from_millis(500);
/// Calls in flight for one namespace.
const CALLS: usize = 32;
/// So many moves under way make a load: their records are stored together.
const MANY: usize = 8;
/// How often the records of a migration under load are stored.
const COMMIT_EVERY: Duration = Duration::from_millis(500);
/// A move passes through no more states than these without a call.
const PASSAGES: usize = 8;

/// A leader's memory; a new leader starts without it.
#[derive(Debug)]
pub(crate) struct Acting {
    epoch: u32,
    /// Set when another leader's writes were met: nothing is done any more.
    deposed: bool,
    scratch: BTreeMap<Place, Scratch>,
    /// Calls in flight.
    calls: BTreeMap<Place, usize>,
    /// Records decided on and not stored yet, by position in the plan.
    queued: BTreeMap<String, BTreeMap<usize, Move>>,
    /// Migrations with a write to their own objects in flight.
    writing: BTreeSet<String>,
    /// When the records of a migration were stored last.
    committed: BTreeMap<String, Duration>,
    pace: Pace,
}

/// A migration and one of its namespaces.
type Place = (String, String);

/// The end of a task.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A call was made.
    Call(Place, Box<Reply>),
    /// A shard was written, or read again after a write whose outcome is unknown.
    Shard(String, Option<Box<MigrationShard>>),
    /// The same for a migration's own object.
    Migration(String, Option<Box<MigrationObject>>),
    /// A migration is gone.
    Removed(String),
}

impl Answer {
    /// Takes the answer in; what it says of objects counts even when nobody leads any more.
    pub(crate) fn take_in(
        self,
        state: &mut State,
        records: &mut Records,
        acting: Option<&mut Acting>,
        clock: &Clock,
    ) {
        match self {
            Self::Call(place, reply) => {
                let mut nobody = Scratch::default();
                let scratch = match acting {
                    Some(acting) => {
                        if let Reply::Seen(change) = &*reply {
                            acting.pace.seen(&place, change);
                        }
                        acting.answered(&place)
                    }
                    None => &mut nobody,
                };
                match *reply {
                    Reply::Seen(change) => state.cluster.apply_reply(change),
                    Reply::Inspected(inspection) => scratch.inspection = Some(*inspection),
                    Reply::Evicted { namespace, controller, pod, uid } => {
                        state.cluster.evicted(&namespace, &pod, &uid);
                        scratch.withheld.remove(&controller);
                        scratch.failing = None;
                    }
                    // An answer, and a clear one: nothing about the API server is amiss.
                    Reply::Withheld { controller, pod, message } => {
                        let until = clock.elapsed() + step::WITHHELD;
                        scratch.withheld.insert(controller, Withheld { pod, message, until });
                        scratch.failing = None;
                    }
                    Reply::Refused(code, object, message) => {
                        scratch.refusal = Some((code, object, message));
                    }
                    Reply::Unknown { pause, object, message } => {
                        let now = clock.elapsed();
                        let since = scratch.failing.as_ref().map_or(now, |(since, ..)| *since);
                        scratch.failing = Some((since, object, message));
                        scratch.back_off = Some(now + pause);
                    }
                }
            }
            Self::Shard(id, shard) => {
                if let Some(acting) = acting {
                    acting.written(&id, shard.as_deref());
                }
                if let Some(shard) = shard {
                    records.take_shard(state, *shard);
                }
            }
            Self::Migration(id, object) => {
                if let Some(acting) = acting {
                    acting.writing.remove(&id);
                }
                if let Some(object) = object {
                    records.take_migration(state, *object);
                }
            }
            Self::Removed(id) => {
                if let Some(acting) = acting {
                    acting.writing.remove(&id);
                }
                records.take_migrations(state, watch::Records::Gone(id));
            }
        }
    }
}

impl Acting {
    /// The memory of a leader that has just begun.
    pub(crate) fn new(epoch: u32, now: Duration) -> Self {
        Self {
            epoch,
            deposed: false,
            scratch: BTreeMap::new(),
            calls: BTreeMap::new(),
            queued: BTreeMap::new(),
            writing: BTreeSet::new(),
            committed: BTreeMap::new(),
            pace: Pace::new(now),
        }
    }

    /// The number of this leadership.
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Does what follows from the facts; answers when to look again without a change.
    pub(crate) fn act(
        &mut self,
        state: &State,
        records: &Records,
        parts: &Parts,
        tasks: &mut JoinSet<Answer>,
    ) -> Option<Duration> {
        if self.deposed {
            return None;
        }
        self.tidy(state);
        if !self.adopt(state, records, parts, tasks) {
            return None;
        }
        self.admit(state, parts);
        let wake = self.step(state, records, parts, tasks);
        let due = self.commit(state, records, parts, tasks);
        self.conclude(state, records, parts, tasks);
        self.discard(state, records, parts, tasks);
        [wake, due].into_iter().flatten().min()
    }

    fn answered(&mut self, place: &Place) -> &mut Scratch {
        if let Some(calls) = self.calls.get_mut(place) {
            *calls -= 1;
            if *calls == 0 {
                self.calls.remove(place);
            }
        }
        self.scratch.entry(place.clone()).or_default()
    }

    fn written(&mut self, id: &str, shard: Option<&MigrationShard>) {
        self.writing.remove(id);
        // Whatever was decided is decided again, from what is stored now.
        self.queued.remove(id);
        let epoch = shard.and_then(|shard| shard.status.as_ref()).map(|status| status.epoch);
        if epoch.is_some_and(|epoch| epoch > self.epoch) {
            warn!(epoch = self.epoch, newer = epoch, "another replica has taken over");
            self.deposed = true;
        }
    }

    /// Forgets moves that are not under way.
    fn tidy(&mut self, state: &State) {
        let active = |(id, namespace): &Place| {
            let m = state.migrations.get(id).and_then(|migration| migration.find(namespace));
            m.is_some_and(|m| m.state.is_active())
        };
        self.scratch.retain(|place, _| active(place));
        self.pace.retain(active);
    }

    fn admit(&mut self, state: &State, parts: &Parts) {
        let busy = |id: &str, namespace: &str| {
            self.calls.contains_key(&(id.to_owned(), namespace.to_owned()))
        };
        let length = |m: &Move| {
            let namespace = state.cluster.namespace(&m.namespace);
            namespace.map_or(0, |(_, content)| u64::from(estimate::rounds(content)))
        };
        let budgets = parts.config.borrow().budgets();
        let now = parts.clock.now();
        let decisions = admission::admit(&state.migrations, &budgets, busy, length, now);
        for decision in decisions {
            if self.writing.contains(&decision.migration) {
                continue;
            }
            let migration = state.migrations.get(&decision.migration);
            let index = migration.and_then(|migration| {
                migration.moves.iter().position(|m| m.namespace == decision.m.namespace)
            });
            if let Some(index) = index {
                self.queued.entry(decision.migration).or_default().insert(index, decision.m);
            }
        }
    }

    fn step(
        &mut self,
        state: &State,
        records: &Records,
        parts: &Parts,
        tasks: &mut JoinSet<Answer>,
    ) -> Option<Duration> {
        let unfinished = records.unfinished();
        let facts = Facts {
            cluster: &state.cluster,
            unfinished: &unfinished,
            elapsed: parts.clock.elapsed(),
            wall: parts.clock.now(),
        };
        let moves = state
            .migrations
            .values()
            .filter(|migration| migration.ended.is_none())
            .flat_map(|migration| migration.active().map(move |(_, m)| (migration, m)));
        let budgets = parts.config.borrow().budgets();
        let mut traffic = self.pace.traffic(&state.cluster, budgets, moves, facts.elapsed);
        let mut wake: Option<Duration> = None;
        for id in &unfinished {
            let Some(migration) = state.migrations.get(id) else {
                continue;
            };
            if self.writing.contains(id) {
                continue;
            }
            for (index, stored) in self.to_step(migration) {
                let place = (id.clone(), stored.namespace.clone());
                let target = &migration.spec.target;
                let order = Order {
                    migration: id,
                    spec: &migration.spec,
                    paused: migration.control.paused,
                    cancelled: migration.control.cancelled,
                    force: migration.forces(&stored),
                    room: self.pace.room(&mut traffic, &place, &state.cluster, target),
                };
                let scratch = self.scratch.entry(place.clone()).or_default();
                let (decided, next) = pass(order, &stored, scratch, facts);
                if let Some(m) = decided {
                    self.queued.entry(id.clone()).or_default().insert(index, m);
                    continue;
                }
                match next {
                    // What is queued is decided on again once it is stored.
                    _ if self.is_queued(id, index) => {}
                    Next::Commit(_) => {}
                    Next::Calls(calls) => {
                        for call in calls.into_iter().take(CALLS) {
                            self.pace.begin(&mut traffic, &place, target, &call);
                            *self.calls.entry(place.clone()).or_default() += 1;
                            let (caller, place) = (parts.caller.clone(), place.clone());
                            let elapsed = facts.elapsed;
                            tasks.spawn(async move {
                                let reply = caller.call(call, elapsed).await;
                                Answer::Call(place, Box::new(reply))
                            });
                        }
                    }
                    Next::Wait(until) => {
                        wake = [wake, until].into_iter().flatten().min();
                    }
                }
            }
        }
        [wake, traffic.wake].into_iter().flatten().min()
    }

    /// The moves to decide on: those under way without a call in flight, and those that were just
    /// admitted and not stored yet.
    fn to_step(&self, migration: &Migration) -> Vec<(usize, Move)> {
        let id = &migration.id;
        let queued = self.queued.get(id);
        let idle = |m: &Move| !self.calls.contains_key(&(id.clone(), m.namespace.clone()));
        let stored = migration.active().filter(|(index, m)| {
            queued.is_none_or(|queued| !queued.contains_key(index)) && idle(m)
        });
        let admitted = queued.into_iter().flatten();
        let admitted = admitted.filter(|(_, m)| m.state == MoveState::Checking && idle(m));
        stored
            .map(|(index, m)| (index, m.clone()))
            .chain(admitted.map(|(index, m)| (*index, m.clone())))
            .collect()
    }

    fn is_queued(&self, id: &str, index: usize) -> bool {
        self.queued.get(id).is_some_and(|queued| queued.contains_key(&index))
    }
}

/// Takes a move through every state that it passes without a call: the record to store, if it came
/// anywhere, and what comes next.
fn pass(
    order: Order<'_>,
    m: &Move,
    scratch: &mut Scratch,
    facts: Facts<'_>,
) -> (Option<Move>, Next) {
    let mut decided: Option<Move> = None;
    for _ in 0..PASSAGES {
        match step::step(order, decided.as_ref().unwrap_or(m), scratch, facts) {
            Next::Commit(next) => decided = Some(*next),
            next => return (decided, next),
        }
    }
    (decided, Next::Wait(None))
}
