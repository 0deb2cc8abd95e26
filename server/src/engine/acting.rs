//! What only the holder of the Lease does: adopts, admits, steps, commits, concludes.

mod calendar;
mod drift;
mod due;
mod gates;
mod notice;
mod pace;
mod recourse;
mod removal;
mod retiring;
mod stepping;
mod storing;

use crate::clock::Clock;
use crate::engine::Parts;
use crate::engine::records::Records;
use crate::engine::retirements::Retirements;
use crate::kube::call::Reply;
use crate::kube::crd::{Migration as MigrationObject, MigrationShard};
use crate::kube::store::Live;
use crate::kube::watch;
use crate::published::State;
use calendar::Calendar;
use drift::Drifts;
use due::Due;
use gates::{Finding, Gates, Question};
use notice::Looked;
use pace::Pace;
use retiring::Retiring;
pub(crate) use retiring::Told;
use revshift_core::cluster::{Change, Kind};
use revshift_core::connection::Heard;
use revshift_core::limiter::{Limiter, Slowed};
use revshift_core::migration::Move;
use revshift_core::step::{self, Scratch, Withheld};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tracing::warn;

/// How long after a write without a clear reply the object is read again.
const PAUSE: Duration = Duration::from_millis(500);
/// So many moves under way make a load: their records are stored together.
const MANY: usize = 8;
/// How often at least abandoned migrations are looked for.
const DISCARD_EVERY: Duration = Duration::from_mins(1);
/// How often the records of a migration under load are stored.
const COMMIT_EVERY: Duration = Duration::from_millis(500);

/// A leader's memory; a new leader starts without it.
#[derive(Debug)]
pub(crate) struct Acting {
    epoch: u32,
    numbers: Numbers,
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
    limiter: Limiter,
    due: Due,
    calendar: Calendar,
    gates: Gates,
    retiring: Retiring,
    drifts: Drifts,
    /// Moves whose call was answered since the last look.
    answered: BTreeSet<Place>,
    /// Whether more than the cluster may have changed since the last look.
    stirred: bool,
    /// Whether every unfinished shard has this leader's epoch.
    adopted: bool,
    /// When abandoned migrations were looked for last.
    discarded: Duration,
    looked: Option<Looked>,
    /// Migrations that have not ended.
    unfinished: Arc<BTreeSet<String>>,
}

/// The numbers of records that a new leader takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// As they are.
    Kept,
    /// New ones: clients may hold later ones, which a restored backup has undone.
    Renewed,
}

/// A migration and one of its namespaces.
type Place = (String, String);

/// The end of a task.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A call was made, at this time.
    Call(Place, Duration, Box<Reply>),
    /// Istiods have told who is connected to them.
    Heard(Place, Box<Heard>),
    /// A shard was written, or read again after a write whose outcome is unknown.
    Shard(String, Option<Box<MigrationShard>>),
    /// The same for a migration's own object.
    Migration(String, Option<Box<MigrationObject>>),
    /// A migration is gone.
    Removed(String),
    /// A question about a migration's gate was answered.
    Checked(String, Question, Box<Finding>),
    /// A shard that no migration has was removed, or is looked at again later.
    Swept(String),
    /// A rollback was made, or is to be tried again.
    Made(String, Option<Box<Live>>),
    /// A call for a retirement was answered.
    Retiring(String, Box<Told>),
}

impl Answer {
    /// Takes the answer in; what it says of objects counts even when nobody leads any more.
    pub(crate) fn take_in(
        self,
        state: &mut State,
        (records, retirements): (&mut Records, &mut Retirements),
        acting: Option<&mut Acting>,
        clock: &Clock,
    ) {
        match self {
            Self::Call(place, begun, reply) => {
                let mut nobody = Scratch::default();
                let scratch = match acting {
                    Some(acting) => {
                        let too_many = matches!(*reply, Reply::Unknown { too_many: true, .. });
                        acting.limiter.answered(begun, too_many, clock.elapsed());
                        match &*reply {
                            Reply::Seen(change) => acting.pace.seen(&place, change),
                            Reply::Evicted { controller, .. }
                            | Reply::Withheld { controller, .. } => {
                                acting.pace.settled(&place, controller);
                            }
                            Reply::Inspected(_) | Reply::Refused(..) | Reply::Unknown { .. } => {}
                        }
                        acting.answered(&place)
                    }
                    None => &mut nobody,
                };
                match *reply {
                    Reply::Seen(change) => {
                        let of_namespace = matches!(
                            change,
                            Change::Set(Kind::Namespace, ..) | Change::Gone(Kind::Namespace, _)
                        );
                        state.cluster.apply_reply(change);
                        if of_namespace {
                            let known = state.cluster.namespace(&place.1);
                            scratch.read =
                                Some(known.map(|(meta, _)| meta.resource_version.clone()));
                        }
                    }
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
                    Reply::Unknown { pause, object, message, .. } => {
                        let now = clock.elapsed();
                        let since = scratch.failing.as_ref().map_or(now, |(since, ..)| *since);
                        scratch.failing = Some((since, object, message));
                        scratch.back_off = Some(now + pause);
                    }
                }
            }
            // Istiods are not the API server, so this tells nothing of the load of that.
            Self::Heard(place, heard) => {
                if let Some(acting) = acting {
                    acting.answered(&place).heard = Some(*heard);
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
                    acting.stirred = true;
                }
                if let Some(object) = object {
                    records.take_migration(state, *object);
                }
            }
            Self::Checked(id, question, finding) => {
                if let Some(acting) = acting {
                    acting.gates.answered(id, question, *finding);
                    acting.stirred = true;
                }
            }
            Self::Swept(name) => {
                if let Some(acting) = acting {
                    acting.writing.remove(&name);
                }
            }
            Self::Made(id, live) => {
                if let Some(acting) = acting {
                    acting.writing.remove(&id);
                    acting.stirred = true;
                }
                if let Some(live) = live {
                    records.take_migration(state, live.object);
                    for shard in live.shards {
                        records.take_shard(state, shard);
                    }
                }
            }
            Self::Retiring(id, told) => {
                if let Some(acting) = acting {
                    acting.retiring.answered(&id, &told, clock.elapsed());
                }
                retirements.told(state, id, *told);
            }
            Self::Removed(id) => {
                if let Some(acting) = acting {
                    acting.writing.remove(&id);
                    acting.stirred = true;
                }
                records.take_migrations(state, watch::Records::Gone(id));
            }
        }
    }
}

impl Acting {
    /// The memory of a leader that has just begun.
    pub(crate) fn new(epoch: u32, numbers: Numbers, now: Duration) -> Self {
        Self {
            epoch,
            numbers,
            deposed: false,
            scratch: BTreeMap::new(),
            calls: BTreeMap::new(),
            queued: BTreeMap::new(),
            writing: BTreeSet::new(),
            committed: BTreeMap::new(),
            pace: Pace::new(now),
            limiter: Limiter::default(),
            due: Due::default(),
            calendar: Calendar::default(),
            gates: Gates::default(),
            retiring: Retiring::default(),
            drifts: Drifts::default(),
            answered: BTreeSet::new(),
            stirred: true,
            adopted: false,
            discarded: now,
            looked: None,
            unfinished: Arc::default(),
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
        (records, retirements): (&Records, &Retirements),
        parts: &Parts,
        tasks: &mut JoinSet<Answer>,
    ) -> Option<Duration> {
        if self.deposed {
            return None;
        }
        let budgets = parts.config.borrow().budgets();
        let now = parts.clock.elapsed();
        self.pace.look(budgets, now);
        self.limiter.recover(now);
        self.notice(state, records, budgets);
        self.stirred |= self.calendar.turn(parts.config.borrow().freezes(), parts.clock.now());
        let stirred = std::mem::take(&mut self.stirred);
        if stirred {
            self.adopted = self.adopt(state, records, parts, tasks);
        }
        if !self.adopted {
            return None;
        }
        let stirred = self.watch_tags(state, parts, stirred) || stirred;
        let stirred = self.watch_gates(state, parts, tasks) || stirred;
        if stirred {
            self.admit(state, parts);
            self.take_back(state, parts, tasks);
        }
        self.due.wake(now);
        self.step(state, parts, tasks);
        let due = self.commit(state, records, parts, tasks);
        if stirred {
            self.conclude(state, records, parts, tasks);
            self.calendar.look(&state.migrations, parts.clock.now());
        }
        if stirred || now >= self.discarded + DISCARD_EVERY {
            self.discarded = now;
            self.discard(state, records, parts, tasks);
        }
        let retiring = self.retire(state, retirements, parts, tasks);
        let change = self.calendar.due(now, parts.clock.now());
        let (steps, gates) = (self.due.next(), self.gates.next());
        let wakes = [steps, gates, self.room_at(state), self.call_at(), due, change, retiring];
        wakes.into_iter().flatten().min()
    }

    /// Why calls are held back; none while they are not.
    pub(crate) fn slowed(&self) -> Option<&Slowed> {
        self.limiter.slowed()
    }

    fn answered(&mut self, place: &Place) -> &mut Scratch {
        if let Some(calls) = self.calls.get_mut(place) {
            *calls -= 1;
            if *calls == 0 {
                self.calls.remove(place);
            }
        }
        self.answered.insert(place.clone());
        self.stirred = true;
        self.scratch.entry(place.clone()).or_default()
    }

    fn written(&mut self, id: &str, shard: Option<&MigrationShard>) {
        self.writing.remove(id);
        self.stirred = true;
        // Whatever was decided is decided again, from what is stored now.
        for place in self.queued.remove(id).unwrap_or_default().into_keys() {
            self.due.add(id, place);
        }
        let epoch = shard.and_then(|shard| shard.status.as_ref()).map(|status| status.epoch);
        if epoch.is_some_and(|epoch| epoch > self.epoch) {
            warn!(epoch = self.epoch, newer = epoch, "another replica has taken over");
            self.deposed = true;
        }
    }
}
