//! What a caller can ask for: reads what is published, writes specifications.
//!
//! Any replica does this; none needs the leader for it.

mod checking;
mod connecting;
pub mod explaining;
mod extending;
mod retiring;

pub use retiring::{RetirementPlan, RetirementRequest};

pub use checking::Checked;

use crate::clock::Clock;
use crate::config::{Config, Istiods};
use crate::failure::Failure;
use crate::kube::census::Counter;
use crate::kube::record;
use crate::kube::retirements::Retirements;
use crate::kube::store::{self, Live, NewMigration, Store};
use crate::kube::surroundings::Look;
use crate::proxies::Proxies;
use crate::published::{Published, State, Stored};
use kube::{Client, Error, ResourceExt};
use revshift_core::admission;
use revshift_core::budget::Budgets;
use revshift_core::calendar::{self, Freeze, Hold};
use revshift_core::command::{self, Command};
use revshift_core::drift;
use revshift_core::gate::Gate;
use revshift_core::migration::{Approval, Migration};
use revshift_core::plan::extension;
use revshift_core::plan::{self, PLAN_VERSION, Plan};
use revshift_core::refusal::{FieldViolation, Refusal};
use revshift_core::rollback;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, RwLockReadGuard};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

/// How long an answer may wait for this replica's own watch.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often a command is tried against other writers.
const TRIES: usize = 5;

/// Carries out what callers ask for.
#[derive(Clone, Debug)]
pub struct Control {
    published: Arc<Published>,
    store: Store,
    retirements: Retirements,
    counter: Counter,
    proxies: Proxies,
    look: Look,
    /// Lets few checks run at the same time.
    checking: Arc<Semaphore>,
    config: watch::Receiver<Config>,
    /// revshift's own namespace, which no rule selects.
    home: String,
    clock: Clock,
}

/// So many checks run at the same time; others wait.
const CHECKS: usize = 4;

/// Where a control reads and writes.
#[derive(Clone, Debug)]
pub struct Stores {
    /// Stored migrations.
    pub migrations: Store,
    /// Stored retirements.
    pub retirements: Retirements,
    /// Counts who uses planes.
    pub counter: Counter,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller(pub String);

/// A plan, and the unfinished migrations that it would wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// Ids of unfinished migrations of its namespaces.
    pub waits_for: BTreeSet<String>,
    /// What this replica would let be under way at once.
    pub budgets: Budgets,
    /// Pods a second that may begin towards its target, and how that comes about.
    pub rate: (u32, String),
    /// What would keep it from beginning now when this replica acts.
    pub hold: Option<Hold>,
}

/// What identifies a creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Chosen by the caller: the same id gives the same migration.
    pub request_id: String,
    /// The hash of the plan that the caller has seen.
    pub plan_hash: String,
}

impl Stores {
    /// Through `client`, whose writes have a deadline.
    pub fn new(client: &Client) -> Self {
        Self {
            migrations: Store::new(client),
            retirements: Retirements::new(client),
            counter: Counter::new(client.clone()),
        }
    }
}

impl Control {
    /// Over what is published and what is stored.
    pub fn new(
        published: Arc<Published>,
        stores: Stores,
        proxies: Proxies,
        look: Look,
        config: watch::Receiver<Config>,
        home: &str,
        clock: Clock,
    ) -> Self {
        let Stores { migrations: store, retirements, counter } = stores;
        let home = home.to_owned();
        let checking = Arc::new(Semaphore::new(CHECKS));
        Self {
            published,
            store,
            retirements,
            counter,
            proxies,
            look,
            checking,
            config,
            home,
            clock,
        }
    }

    /// How much may be under way at once when this replica acts.
    pub fn budgets(&self) -> Budgets {
        self.config.borrow().budgets()
    }

    /// When nothing begins while this replica acts.
    pub fn freezes(&self) -> Vec<Freeze> {
        self.config.borrow().freezes()
    }

    /// The names of the checks that gates may name.
    pub fn checks(&self) -> Vec<String> {
        self.config.borrow().checks.iter().map(|check| check.name.clone()).collect()
    }

    /// Where istiods are asked, by revision, as far as that is configured.
    pub fn istiods(&self) -> Istiods {
        self.config.borrow().istiods.clone()
    }

    /// Asks istiods who is connected to them.
    pub fn proxies(&self) -> &Proxies {
        &self.proxies
    }

    /// What is published.
    pub fn published(&self) -> &Arc<Published> {
        &self.published
    }

    /// The plan for `request`, with the findings of its check; stores nothing.
    pub async fn plan(&self, request: &plan::Request) -> Result<Planned, Failure> {
        self.known(&request.gates)?;
        let planned = {
            let state = self.ready()?;
            let request = request.sparing(&self.home);
            retiring::spare(&state, [&request.source, &request.target])?;
            let plan = plan::plan(&state.cluster, &request)?;
            self.planned(&state, plan)
        };
        self.checked(planned).await
    }

    /// Refuses gates that name checks which are not configured here.
    fn known(&self, gates: &[Gate]) -> Result<(), Failure> {
        let names = self.checks();
        let known = match names.len() {
            0 => "it has none".to_owned(),
            _ => format!("it has {}", names.join(", ")),
        };
        let mut violations = Vec::new();
        for (index, gate) in gates.iter().enumerate() {
            for (place, name) in gate.checks.iter().enumerate() {
                if !name.is_empty() && !names.contains(name) {
                    let field = format!("spec.gates[{index}].checks[{place}]");
                    let why =
                        format!("`{name}` is no check of the server's configuration; {known}");
                    violations.push(FieldViolation::new(&field, why));
                }
            }
        }
        if violations.is_empty() { Ok(()) } else { Err(Refusal::InvalidFields(violations).into()) }
    }

    fn planned(&self, state: &State, plan: Plan) -> Planned {
        let waits_for = waits_for(&state.migrations, &plan);
        let budgets = self.budgets();
        let (cluster, target) = (&state.cluster, &plan.target);
        let rate = (budgets.rate(cluster, target), budgets.rate_rule(cluster, target));
        let (windows, freezes) = (&plan.windows, self.freezes());
        let hold = calendar::hold(windows, &freezes, self.clock.now());
        let hold = hold.filter(|_| plan.rollback_of.is_none());
        Planned { plan, waits_for, budgets, rate, hold }
    }

    /// Stores the migration for `request`, if its plan still has the hash on the ticket.
    pub async fn create(
        &self,
        request: &plan::Request,
        ticket: &Ticket,
        caller: &Caller,
    ) -> Result<Stored, Failure> {
        self.storable()?;
        let id = plan::migration_id(&caller.0, &ticket.request_id);
        if let Some(stored) = self.repeated(&id, ticket).await? {
            let moves = stored.migration.moves.iter().map(|m| &m.namespace);
            let named = request.selection.names();
            return if named.is_none_or(|named| moves.eq(named)) {
                Ok(stored)
            } else {
                Err(Refusal::RequestIdReused(id).into())
            };
        }
        let plan = self.plan(request).await?.plan;
        refuse_changed(&plan, ticket)?;
        Self::refuse_forbidden(&plan)?;
        self.store(&id, &plan, "", caller).await
    }

    /// One migration: as published, or read live where this replica does not know it yet.
    pub async fn get(&self, id: &str) -> Result<Stored, Failure> {
        self.installed()?;
        let found = self.published.read().find(id);
        match found {
            Some(stored) => Ok(stored),
            None => self.stored(&self.read(id).await?),
        }
    }

    /// Namespaces that a migration's rule would take by now and its plan does not have.
    pub fn unplanned(&self, stored: &Stored) -> Vec<String> {
        extension::unplanned(&self.published.read().cluster, &stored.migration)
    }

    /// An approval by `caller`, given now.
    pub fn approval(&self, caller: &Caller) -> Approval {
        Approval { by: caller.0.clone(), at: self.clock.now() }
    }

    /// Carries out a command of `caller`, and notes who gave it; durable when it returns.
    pub async fn command(
        &self,
        id: &str,
        command: &Command,
        caller: &Caller,
    ) -> Result<Stored, Failure> {
        self.storable()?;
        for _ in 0..TRIES {
            let live = self.read(id).await?;
            understood(&live)?;
            let stored = self.stored(&live)?;
            let Stored { migration, waiting_for, .. } = &stored;
            if *command == Command::Resume {
                drift::resumable(&self.ready()?.cluster, migration)?;
            }
            let now = self.clock.now();
            let control = command::issue(migration, waiting_for, command, &caller.0, now)?;
            if control == stored.migration.control {
                return Ok(stored);
            }
            if let Some(live) = self.store.control(&live, &control).await? {
                return Ok(self.seen(self.stored(&live)?).await);
            }
        }
        Err(Failure::ConcurrentWrite(id.to_owned()))
    }

    /// The plan that rolls back what is asked for of migration `id`; stores nothing.
    pub async fn plan_rollback(
        &self,
        id: &str,
        request: &rollback::Request,
    ) -> Result<Planned, Failure> {
        self.installed()?;
        // Its records are read live: what is restored depends on them.
        let live = self.read(id).await?;
        understood(&live)?;
        let stored = self.stored(&live)?;
        let state = self.ready()?;
        let plan = rollback::rollback(&state.cluster, &stored.migration, request)?;
        retiring::spare(&state, [plan.source.as_str(), plan.target.as_str()])?;
        Ok(self.planned(&state, plan))
    }

    /// Stores that rollback, if its plan still has the hash on the ticket.
    pub async fn rollback(
        &self,
        id: &str,
        request: &rollback::Request,
        ticket: &Ticket,
        caller: &Caller,
    ) -> Result<Stored, Failure> {
        self.storable()?;
        let new = plan::migration_id(&caller.0, &ticket.request_id);
        if let Some(stored) = self.repeated(&new, ticket).await? {
            return Ok(stored);
        }
        let plan = self.plan_rollback(id, request).await?.plan;
        refuse_changed(&plan, ticket)?;
        self.store(&new, &plan, &request.reason, caller).await
    }

    /// The migration that an earlier call with the same ticket stored.
    async fn repeated(&self, id: &str, ticket: &Ticket) -> Result<Option<Stored>, Failure> {
        let Some(live) = self.store.read(id).await? else {
            return Ok(None);
        };
        let same = live.object.spec.plan_hash == ticket.plan_hash;
        match (live.object.spec.sealed, same) {
            (true, true) => self.stored(&live).map(Some),
            (true, false) => Err(Refusal::RequestIdReused(id.to_owned()).into()),
            (false, true) => Ok(None),
            // A creation that never ended, of a plan that does not hold any more.
            (false, false) => {
                match self.store.discard(&live.object).await {
                    // The leader tidies up at the same time.
                    Err(Error::Api(status)) if status.is_not_found() => {}
                    Err(Error::Api(status)) if status.is_conflict() => {
                        return Err(Failure::ConcurrentWrite(id.to_owned()));
                    }
                    removed => removed
                        .map_err(|error| store::fail(format!("discard migration `{id}`"), error))?,
                }
                Ok(None)
            }
        }
    }

    async fn store(
        &self,
        id: &str,
        plan: &Plan,
        reason: &str,
        caller: &Caller,
    ) -> Result<Stored, Failure> {
        let created = self.clock.now();
        let new = NewMigration { id, plan, requester: &caller.0, reason, created };
        let stored = self.stored(&self.store.create(new).await?)?;
        Ok(self.seen(stored).await)
    }

    /// Waits, though not for long, until this replica publishes what it has just stored: whoever
    /// asks it next should find what it was told.
    async fn seen(&self, stored: Stored) -> Stored {
        let mut versions = self.published.subscribe();
        let published = async {
            while !self
                .published
                .read()
                .migrations
                .get(&stored.migration.id)
                .is_some_and(|known| known.control == stored.migration.control)
            {
                if versions.changed().await.is_err() {
                    break;
                }
            }
        };
        // It is stored, whether this replica's watch is quick or not.
        let _ = timeout(PATIENCE, published).await;
        stored
    }

    async fn read(&self, id: &str) -> Result<Live, Failure> {
        let live = self.store.read(id).await?;
        live.filter(|live| live.object.spec.sealed)
            .ok_or_else(|| Refusal::MigrationNotFound(id.to_owned()).into())
    }

    /// What was read live, with what the other migrations make it wait for.
    fn stored(&self, live: &Live) -> Result<Stored, Failure> {
        let shards: Vec<_> = live.shards.iter().collect();
        let Some(migration) = record::migration(&live.object, &shards)? else {
            return Err(Failure::Malformed {
                object: format!("migration `{}`", live.object.name_any()),
                why: "shards are missing".to_owned(),
            });
        };
        let mut all = self.published.read().migrations.clone();
        all.insert(migration.id.clone(), migration.clone());
        let waiting_for = admission::waits(&all).remove(&migration.id).unwrap_or_default();
        let (uid, slowed) = (live.object.uid().unwrap_or_default(), None);
        Ok(Stored { uid, migration, waiting_for, slowed })
    }

    fn ready(&self) -> Result<RwLockReadGuard<'_, State>, Failure> {
        let state = self.published.read();
        if state.ready { Ok(state) } else { Err(Failure::NotReady) }
    }

    fn installed(&self) -> Result<(), Failure> {
        self.ready()?.definitions.installed()
    }

    fn storable(&self) -> Result<(), Failure> {
        self.ready()?.definitions.storable()
    }
}

/// Refuses a plan that is not the one that the caller has seen.
fn refuse_changed(plan: &Plan, ticket: &Ticket) -> Result<(), Failure> {
    let (sent, now) = (ticket.plan_hash.clone(), plan.hash());
    if sent == now { Ok(()) } else { Err(Refusal::PlanChanged { sent, now }.into()) }
}

/// Refuses to change what a newer version has accepted: this one does not know all of its rules, and
/// writes back only what it knows.
fn understood(live: &Live) -> Result<(), Failure> {
    let version = live.object.spec.plan_version;
    if version <= PLAN_VERSION {
        return Ok(());
    }
    Err(Failure::PlanNewer { migration: live.object.name_any(), version })
}

/// The unfinished migrations that a new one with this plan would wait for.
fn waits_for(migrations: &BTreeMap<String, Migration>, plan: &Plan) -> BTreeSet<String> {
    let chosen: BTreeSet<&str> = plan.entries.iter().map(|e| e.namespace.as_str()).collect();
    migrations
        .values()
        .filter(|other| other.ended.is_none() && plan.rollback_of.as_ref() != Some(&other.id))
        .filter(|other| other.moves.iter().any(|m| chosen.contains(m.namespace.as_str())))
        .map(|other| other.id.clone())
        .collect()
}
