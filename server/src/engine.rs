//! The engine: one task that takes in what is observed, decides by core, and has calls made.
//!
//! Every replica runs the same loop; only the holder of the Lease acts. Whatever is decided becomes
//! durable before a call is made for it, and what is published is only what is stored.

mod acting;
mod records;
mod retirements;
mod status;

use crate::clock::Clock;
use crate::config::Config;
use crate::definitions::Definitions;
use crate::engine::acting::{Acting, Answer, Numbers};
use crate::engine::records::Records;
use crate::engine::retirements::Retirements;
use crate::kube::announcer::Announcer;
use crate::kube::call::Caller;
use crate::kube::census::Counter;
use crate::kube::lease::{Eligibility, Holder, Leadership};
use crate::kube::retirements::Retirements as RetirementStore;
use crate::kube::store::Store;
use crate::kube::watch::{Observed, WATCHED};
use crate::prober::Prober;
use crate::proxies::Proxies;
use crate::published::{Published, State};
use revshift_core::cluster::{Change, Kind};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

/// At most so many changes are taken in before the engine looks at what follows from them.
const BATCH: usize = 1024;
/// So long may calls that are in flight at shutdown still take.
const LAST_CALLS: Duration = Duration::from_secs(5);

/// What an engine works with.
#[derive(Debug)]
pub struct Parts {
    /// Where it publishes.
    pub published: Arc<Published>,
    /// What the watches tell.
    pub observed: mpsc::Receiver<Observed>,
    /// Whether this replica leads.
    pub leadership: watch::Receiver<Option<Leadership>>,
    /// Who leads.
    pub holder: watch::Receiver<Holder>,
    /// Tells whether this replica may lead.
    pub eligible: watch::Sender<Eligibility>,
    /// Makes calls.
    pub caller: Caller,
    /// Tells people what has happened.
    pub announcer: Announcer,
    /// Makes the checks that gates name.
    pub prober: Prober,
    /// Asks istiods who is connected to them.
    pub proxies: Proxies,
    /// Stores records; its writes end before the lease does.
    pub store: Store,
    /// Stores how retirements stand, likewise.
    pub retirements: RetirementStore,
    /// Counts who uses planes, and deletes planes, likewise.
    pub counter: Counter,
    /// The configuration; the leader's is in force.
    pub config: watch::Receiver<Config>,
    /// Tells the time.
    pub clock: Clock,
}

/// The one task that owns the view and the records.
#[derive(Debug)]
pub struct Engine {
    parts: Parts,
    records: Records,
    retirements: Retirements,
    missing: BTreeSet<Kind>,
    /// Whether migrations, shards and retirements were listed.
    records_listed: [bool; 3],
    /// How often etcd was restored from a backup.
    restored: u64,
    acting: Option<Acting>,
    tasks: JoinSet<Answer>,
    wake: Option<Duration>,
}

impl Engine {
    /// An engine that has seen nothing yet.
    pub fn new(parts: Parts) -> Self {
        Self {
            parts,
            records: Records::default(),
            retirements: Retirements::default(),
            missing: WATCHED.into(),
            records_listed: [false; 3],
            restored: 0,
            acting: None,
            tasks: JoinSet::new(),
            wake: None,
        }
    }

    /// Runs until `shutdown`, then until the calls in flight are over.
    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            let wake = self.wake.map(|wake| self.parts.clock.instant(wake));
            let mut observed = Vec::new();
            let mut answers = Vec::new();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                changed = self.parts.leadership.changed() => if changed.is_err() { break },
                changed = self.parts.holder.changed() => if changed.is_err() { break },
                // Whoever gives the configuration may be gone: then it stays as it is.
                Ok(()) = self.parts.config.changed() => {}
                Some(answer) = self.tasks.join_next() => answers.push(answer),
                count = self.parts.observed.recv_many(&mut observed, BATCH) => if count == 0 { break },
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
            while let Some(answer) = self.tasks.try_join_next() {
                answers.push(answer);
            }
            let published = Arc::clone(&self.parts.published);
            published.update(|state| {
                // Answers are never of a later time than a restored backup that is told with them.
                for answer in answers {
                    self.answered(state, answer);
                }
                for observed in observed {
                    self.take_in(state, observed);
                }
                self.follow(state);
            });
        }
        self.acting = None;
        let last = async { while self.tasks.join_next().await.is_some() {} };
        // What is cut off here has an unknown outcome, as after a crash.
        let _ = timeout(LAST_CALLS, last).await;
    }

    fn take_in(&mut self, state: &mut State, observed: Observed) {
        match observed {
            Observed::Cluster(change) => {
                match &change {
                    Change::Listed(kind, _) => _ = self.missing.remove(kind),
                    Change::ListedPods => _ = self.missing.remove(&Kind::Pod),
                    Change::ListingPods | Change::Set(..) | Change::Gone(..) => {}
                }
                state.cluster.apply(change);
            }
            Observed::Migrations(change) => {
                self.records_listed[0] |= change.is_list();
                self.records.take_migrations(state, change);
            }
            Observed::Shards(change) => {
                self.records_listed[1] |= change.is_list();
                self.records.take_shards(state, change);
            }
            Observed::Retirements(change) => {
                self.records_listed[2] |= change.is_list();
                self.retirements.take(state, change);
            }
            Observed::Definitions(definitions) => state.definitions = definitions,
            Observed::Restored(times) => {
                self.restored = times;
                self.missing = WATCHED.into();
                self.records_listed = [false; 3];
                self.acting = None;
                self.tasks = JoinSet::new();
                state.cluster.restored();
            }
        }
        state.ready = self.missing.is_empty() && self.records_listed == [true; 3];
    }

    fn answered(&mut self, state: &mut State, answer: Result<Answer, tokio::task::JoinError>) {
        match answer {
            Ok(answer) => {
                let acting = self.acting.as_mut();
                let stored = (&mut self.records, &mut self.retirements);
                answer.take_in(state, stored, acting, &self.parts.clock);
            }
            Err(error) if error.is_cancelled() => {}
            // A panic in a call is a defect of this program: better no server than a wrong one.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    /// Looks at what follows from the facts and the records as they are now.
    fn follow(&mut self, state: &mut State) {
        state.settle();
        state.leader = self.parts.holder.borrow().0.clone();
        // What older CRDs cannot store would be lost, and be done again.
        let outdated = matches!(state.definitions, Definitions::Outdated(_));
        let eligible = Eligibility {
            able: state.ready
                && !outdated
                && self.records.understood()
                && self.retirements.understood(),
            floor: self.records.epoch().max(self.retirements.epoch()),
            restored: self.restored,
        };
        self.parts
            .eligible
            .send_if_modified(|known| std::mem::replace(known, eligible) != eligible);
        let leadership = self.parts.leadership.borrow().clone();
        self.wake = None;
        let Some(leadership) = leadership.filter(|l| Instant::now() < l.valid_until) else {
            state.slowed = None;
            if self.acting.take().is_some() {
                self.tasks.abort_all();
            }
            return;
        };
        if self.acting.as_ref().is_none_or(|acting| acting.epoch() != leadership.epoch) {
            self.tasks.abort_all();
            let numbers = if self.restored > 0 { Numbers::Renewed } else { Numbers::Kept };
            self.acting = Some(Acting::new(leadership.epoch, numbers, self.parts.clock.elapsed()));
        }
        if !state.ready || state.definitions != Definitions::Current {
            return;
        }
        if let Some(acting) = &mut self.acting {
            self.wake =
                acting.act(state, (&self.records, &self.retirements), &self.parts, &mut self.tasks);
            state.slowed = acting.slowed().cloned();
        }
    }
}
