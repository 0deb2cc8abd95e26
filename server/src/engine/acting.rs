//! What only the holder of the Lease does: adopts, admits, steps, commits, concludes.

mod pace;
mod removal;

use crate::clock::Clock;
use crate::engine::Parts;
use crate::engine::records::Records;
use crate::engine::status;
use crate::kube::call::Reply;
use crate::kube::crd::{Migration as MigrationObject, MigrationShard};
use crate::kube::watch;
use crate::published::State;
use kube::{Error, ResourceExt};
use pace::Pace;
use revshift_core::migration::{Migration, Move, MoveState};
use revshift_core::problem::Code;
use revshift_core::step::{self, Facts, Next, Order, Scratch, Withheld};
use revshift_core::{admission, estimate};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{debug, info, warn};

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

    /// Writes this leader's epoch into every unfinished shard that another leader wrote: a stale
    /// leader's commits then fail, and its last ones are known. False while one is left.
    fn adopt(
        &mut self,
        state: &State,
        records: &Records,
        parts: &Parts,
        tasks: &mut JoinSet<Answer>,
    ) -> bool {
        if records.epoch() > self.epoch {
            warn!(epoch = self.epoch, newer = records.epoch(), "another replica has taken over");
            self.deposed = true;
            return false;
        }
        let mut adopted = true;
        for (id, migration) in &state.migrations {
            if migration.ended.is_some() {
                continue;
            }
            let foreign = records.shards_of(id).into_iter().find(|shard| {
                shard.status.as_ref().is_none_or(|status| status.epoch != self.epoch)
            });
            if let Some(shard) = foreign {
                adopted = false;
                if self.writing.insert(id.clone()) {
                    info!(shard = shard.name_any(), epoch = self.epoch, "taking over");
                    let moves = moves_of(shard, migration);
                    self.write_shard(shard, moves, parts, tasks);
                }
            }
        }
        adopted
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

    /// Stores what was decided: one shard of a migration at a time, its records numbered here.
    fn commit(
        &mut self,
        state: &State,
        records: &Records,
        parts: &Parts,
        tasks: &mut JoinSet<Answer>,
    ) -> Option<Duration> {
        let now = parts.clock.elapsed();
        let mut wake: Option<Duration> = None;
        let ids: Vec<String> = self.queued.keys().cloned().collect();
        for id in ids {
            let Some(migration) = state.migrations.get(&id) else {
                self.queued.remove(&id);
                continue;
            };
            if self.writing.contains(&id) {
                continue;
            }
            let Some(queued) = self.queued.get(&id) else {
                continue;
            };
            // Under load one write stores what many moves have come to.
            let due = self.committed.get(&id).map(|last| *last + COMMIT_EVERY);
            if let Some(due) = due.filter(|due| *due > now)
                && migration.active().nth(MANY).is_some()
            {
                wake = Some(wake.map_or(due, |wake| wake.min(due)));
                continue;
            }
            let shard = records.shards_of(&id).into_iter().find(|shard| {
                let range = range_of(shard);
                queued.keys().any(|index| range.contains(index))
            });
            let Some(shard) = shard else {
                warn!(migration = id, "its shards are gone: nothing can be stored for it");
                self.queued.remove(&id);
                continue;
            };
            let range = range_of(shard);
            let last = migration.moves.iter().map(|m| m.sequence).max().unwrap_or_default();
            let mut number = last.max(u64::from(self.epoch) << 32);
            let mut moves = moves_of(shard, migration);
            for (index, m) in queued.range(range.clone()) {
                number += 1;
                let m = Move { sequence: number, ..m.clone() };
                debug!(migration = id, namespace = m.namespace, state = m.state.as_str(), number);
                moves[index - range.start] = m;
            }
            self.committed.insert(id.clone(), now);
            self.writing.insert(id);
            self.write_shard(shard, moves, parts, tasks);
        }
        wake
    }

    fn write_shard(
        &self,
        shard: &MigrationShard,
        moves: Vec<Move>,
        parts: &Parts,
        tasks: &mut JoinSet<Answer>,
    ) {
        let (store, shard, epoch) = (parts.store.clone(), shard.clone(), self.epoch);
        tasks.spawn(async move {
            let (id, name) = (shard.spec.migration.clone(), shard.name_any());
            let written = match store.commit(&shard, epoch, &moves).await {
                Ok(written) => Some(written),
                // Until it is known what is stored, nothing else may be numbered.
                Err(error) => loop {
                    pause_after(&name, &error).await;
                    match store.shard(&name).await {
                        Ok(shard) => break shard,
                        Err(error) => warn!(name, %error, "cannot read what is stored"),
                    }
                    sleep(PAUSE).await;
                },
            };
            Answer::Shard(id, written.map(Box::new))
        });
    }

    /// Brings the migrations' own status up to date, the final state last of all.
    fn conclude(
        &mut self,
        state: &State,
        records: &Records,
        parts: &Parts,
        tasks: &mut JoinSet<Answer>,
    ) {
        let waits = admission::waits(&state.migrations);
        for (id, migration) in &state.migrations {
            if self.writing.contains(id) || self.queued.contains_key(id) {
                continue;
            }
            let Some(object) = records.migration(id) else {
                continue;
            };
            if migration.ended.is_some() {
                self.let_go(id, object, parts, tasks);
                continue;
            }
            let waiting = waits.get(id).cloned().unwrap_or_default();
            let wanted = status::status(migration, &waiting, object, parts.clock.now());
            if object.status.as_ref() == Some(&wanted) {
                continue;
            }
            self.writing.insert(id.clone());
            let (store, id, object) = (parts.store.clone(), id.clone(), object.clone());
            tasks.spawn(async move {
                let written = match store.conclude(&object, wanted).await {
                    Ok(written) => Some(written),
                    Err(error) => {
                        pause_after(&id, &error).await;
                        store.migration(&id).await.ok().flatten()
                    }
                };
                Answer::Migration(id, written.map(Box::new))
            });
        }
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

/// A conflict says at once what to do; any other failure had better be given some time.
async fn pause_after(object: &str, error: &Error) {
    match error {
        Error::Api(status) if status.is_conflict() || status.is_not_found() => {
            debug!(object, "lost a race; reading again");
        }
        Error::Api(status) if status.is_forbidden() => {
            warn!(
                object,
                code = Code::PermissionDenied.as_str(),
                message = status.message,
                "may not write"
            );
            sleep(PAUSE * 10).await;
        }
        error => {
            warn!(object, %error, "a write had no clear reply");
            sleep(PAUSE).await;
        }
    }
}

fn range_of(shard: &MigrationShard) -> std::ops::Range<usize> {
    let first = usize::try_from(shard.spec.first).unwrap_or(usize::MAX);
    first..first.saturating_add(shard.spec.moves.len())
}

fn moves_of(shard: &MigrationShard, migration: &Migration) -> Vec<Move> {
    migration.moves.get(range_of(shard)).unwrap_or_default().to_vec()
}
