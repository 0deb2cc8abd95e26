//! The moves that begin, and the next step of each that something has changed for.

use super::{Acting, Answer};
use crate::engine::Parts;
use crate::proxies::Proxies;
use crate::published::State;
use revshift_core::admission::{self, Conditions, Decision};
use revshift_core::budget::{self, Room};
use revshift_core::connection::Heard;
use revshift_core::estimate;
use revshift_core::migration::{Migration, Move, MoveState};
use revshift_core::plane::Revision;
use revshift_core::step::{self, Facts, Next, Order, Scratch};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Calls in flight for one namespace.
const CALLS: usize = 32;
/// A move passes through no more states than these without a call.
const PASSAGES: usize = 8;

impl Acting {
    /// How many more namespaces may be under way.
    fn places(&self, state: &State, parts: &Parts) -> u32 {
        let stored = |id: &str, place: usize| {
            let m = state.migrations.get(id).and_then(|migration| migration.moves.get(place));
            m.is_some_and(|m| m.state.takes_place())
        };
        // What was let in and is not stored yet takes room like what is.
        let queued =
            self.queued.iter().flat_map(|(id, queued)| queued.iter().map(move |it| (id, it)));
        let begun =
            queued.filter(|(id, (place, m))| m.state.takes_place() && !stored(id, **place)).count();
        let places = parts.config.borrow().budgets().namespaces;
        places
            .saturating_sub(budget::namespaces_under_way(&state.migrations))
            .saturating_sub(u32::try_from(begun).unwrap_or(u32::MAX))
    }

    pub(super) fn admit(&mut self, state: &State, parts: &Parts) {
        let room = self.places(state, parts);
        let busy = |id: &str, namespace: &str| {
            let place = state.migrations.get(id).and_then(|it| it.moves.place(namespace));
            self.calls.contains_key(&(id.to_owned(), namespace.to_owned()))
                || place.is_some_and(|place| self.is_queued(id, place))
        };
        let length = |m: &Move| {
            let namespace = state.cluster.namespace(&m.namespace);
            namespace.map_or(0, |(_, content)| u64::from(estimate::rounds(content)))
        };
        let now = parts.clock.now();
        let measuring = parts.config.borrow().measuring();
        let conditions =
            Conditions { freezes: self.calendar.freezes(), measuring: &measuring, now };
        let decisions =
            admission::admit(&state.migrations, &state.waits, room, busy, length, conditions);
        for Decision { migration: id, m } in decisions {
            let migration = state.migrations.get(&id).filter(|_| !self.writing.contains(&id));
            let place = migration.and_then(|migration| migration.moves.place(&m.namespace));
            if let Some(place) = place {
                self.due.add(&id, place);
                self.queued.entry(id).or_default().insert(place, m);
            }
        }
    }

    pub(super) fn step(&mut self, state: &State, parts: &Parts, tasks: &mut JoinSet<Answer>) {
        let unfinished = Arc::clone(&self.unfinished);
        let facts = Facts {
            cluster: &state.cluster,
            unfinished: &unfinished,
            elapsed: parts.clock.elapsed(),
            wall: parts.clock.now(),
        };
        let room = |id: &str, index: usize| {
            let migration = state.migrations.get(id)?;
            let place = (id.to_owned(), migration.moves.get(index)?.namespace.clone());
            Some(self.pace.room(&place, &state.cluster, &migration.spec.target))
        };
        self.due.let_in(room);
        self.due.release();
        let mut left = self.places(state, parts);
        for id in self.due.migrations() {
            // While a write of its records is in flight, nothing is decided.
            if self.writing.contains(&id) {
                continue;
            }
            let places = self.due.take(&id);
            let migration = state.migrations.get(&id).filter(|_| unfinished.contains(&id));
            for (migration, index) in
                migration.into_iter().flat_map(|m| places.iter().map(move |p| (m, *p)))
            {
                left -= self.step_one(migration, index, facts, left, parts, tasks);
            }
        }
    }

    /// Takes the next step of a move; answers how many places that takes, at most 1.
    fn step_one(
        &mut self,
        migration: &Migration,
        index: usize,
        facts: Facts<'_>,
        places: u32,
        parts: &Parts,
        tasks: &mut JoinSet<Answer>,
    ) -> u32 {
        let id = &migration.id;
        // What was just admitted goes on at once; whatever else is queued is decided on again once it
        // is stored.
        let m = match self.queued.get(id).and_then(|queued| queued.get(&index)) {
            Some(admitted) if admitted.state == MoveState::Checking => admitted.clone(),
            Some(_) => return 0,
            None => match migration.moves.get(index).filter(|m| m.state.is_active()) {
                Some(m) => m.clone(),
                None => return 0,
            },
        };
        let place = (id.clone(), m.namespace.clone());
        if self.calls.contains_key(&place) {
            return 0;
        }
        // It is looked at once a call may be made again, whether it will make one or not.
        if m.state != MoveState::Checking && !self.limiter.open(facts.elapsed) {
            self.due.hold(id, index);
            return 0;
        }
        let target = &migration.spec.target;
        let restarting = m.state == MoveState::Restarting;
        let order = Order {
            migration: id,
            spec: &migration.spec,
            paused: migration.control.paused || migration.drifted().is_some(),
            cancelled: migration.control.cancelled,
            drift: self.drifts.of(id),
            places,
            force: migration.forces(&m),
            room: if restarting {
                self.pace.room(&place, facts.cluster, target)
            } else {
                Room::ALL
            },
        };
        let scratch = self.scratch.entry(place.clone()).or_default();
        let (decided, next) = pass(order, &m, scratch, facts);
        let crowded = scratch.crowded.filter(|_| decided.is_none());
        let wake = match &next {
            Next::Wait(until) if decided.is_none() => *until,
            _ => None,
        };
        self.due.looked(id, index, wake, crowded);
        let waited = !m.state.takes_place();
        let taken = decided.as_ref().is_some_and(|m| waited && m.state.takes_place());
        match (decided, next) {
            (Some(m), _) => {
                self.queued.entry(id.clone()).or_default().insert(index, m);
            }
            (None, Next::Calls(calls)) => {
                for call in calls.into_iter().take(CALLS) {
                    self.pace.begin(&place, target, &call);
                    self.limiter.begin(facts.elapsed);
                    *self.calls.entry(place.clone()).or_default() += 1;
                    let (caller, place) = (parts.caller.clone(), place.clone());
                    let elapsed = facts.elapsed;
                    tasks.spawn(async move {
                        let reply = caller.call(call, elapsed).await;
                        Answer::Call(place, elapsed, Box::new(reply))
                    });
                }
            }
            (None, Next::Ask { target, source }) => {
                *self.calls.entry(place.clone()).or_default() += 1;
                let (proxies, at) = (parts.proxies.clone(), facts.elapsed);
                tasks.spawn(async move {
                    let heard = hear(&proxies, &place.1, &target, source, at).await;
                    Answer::Heard(place, Box::new(heard))
                });
            }
            (None, Next::Wait(_) | Next::Commit(_)) => {}
        }
        u32::from(taken)
    }

    /// When the rate of a plane lets something begin that waits for it.
    pub(super) fn room_at(&self, state: &State) -> Option<Duration> {
        let migrations = self.due.crowded().filter_map(|id| state.migrations.get(id));
        let targets: BTreeSet<&Revision> = migrations.map(|it| &it.spec.target).collect();
        targets.into_iter().filter_map(|target| self.pace.ready(&state.cluster, target)).min()
    }

    /// When a call may be made again that was held back. One that waits for an answer to another needs
    /// no time.
    pub(super) fn call_at(&self) -> Option<Duration> {
        self.limiter.ready().filter(|_| self.due.holds())
    }

    pub(super) fn is_queued(&self, id: &str, index: usize) -> bool {
        self.queued.get(id).is_some_and(|queued| queued.contains_key(&index))
    }
}

/// What istiods say of a namespace when they are asked now.
async fn hear(
    proxies: &Proxies,
    namespace: &str,
    target: &Revision,
    source: Option<Revision>,
    at: Duration,
) -> Heard {
    let of = async |revision: &Revision| proxies.connections(revision).await.within(namespace);
    let asked = async {
        match &source {
            Some(source) => Some(of(source).await),
            None => None,
        }
    };
    let (target, source) = tokio::join!(of(target), asked);
    Heard { at, target, source }
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
