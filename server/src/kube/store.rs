//! Migrations as stored objects: creation, commands, and live reads.
//!
//! Every write is a compare-and-swap; a lost reply is settled by reading again.

mod shards;

pub use shards::{is_of, range};

use crate::failure::Failure;
use crate::kube::client::FIELD_MANAGER;
use crate::kube::crd::{
    ExtensionRecord, FINALIZER, MIGRATION_LABEL, MOVES_PER_SHARD, Migration, MigrationShard,
    MigrationShardStatus, MigrationSpec, MigrationStatus,
};
use crate::kube::record;
use crate::kube::retirements::{Retirements, retiring};
use jiff::{SignedDuration, Timestamp};
use kube::api::{Api, DeleteParams, ListParams, PostParams, Preconditions};
use kube::{Client, Error, ResourceExt};
use revshift_core::migration::{Control, Move};
use revshift_core::plan::{PLAN_VERSION, Plan};
use revshift_core::plane::Revision;
use revshift_core::refusal::{Refusal, Violation};
use std::fmt::Debug;
use tracing::debug;

/// How often a shard is tried against what another migration left.
const TRIES: usize = 5;

/// What was begun so long ago is not gone on with; much later it is swept.
const STALE: SignedDuration = SignedDuration::from_mins(30);

/// Reads and writes stored migrations.
#[derive(Clone)]
pub struct Store {
    migrations: Api<Migration>,
    shards: Api<MigrationShard>,
    retirements: Retirements,
}

impl Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").finish_non_exhaustive()
    }
}

impl Store {
    /// The client by which it reads and writes.
    pub fn client(&self) -> Client {
        self.migrations.clone().into_client()
    }
}

/// A migration with its shards, read live.
#[derive(Clone, Debug)]
pub struct Live {
    /// The migration's object.
    pub object: Migration,
    /// Its shards.
    pub shards: Vec<MigrationShard>,
}

/// A migration to store.
#[derive(Clone, Copy, Debug)]
pub struct NewMigration<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its plan.
    pub plan: &'a Plan,
    /// Who asked for it.
    pub requester: &'a str,
    /// Why.
    pub reason: &'a str,
    /// When.
    pub created: Timestamp,
}

/// What a migration is to take in.
#[derive(Clone, Copy, Debug)]
pub struct Extension<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its plan.
    pub plan: &'a Plan,
    /// The control record with a note of it.
    pub control: &'a Control,
    /// When.
    pub now: Timestamp,
}

impl Live {
    /// Whether all its shards are there.
    pub fn is_whole(&self) -> bool {
        u32::try_from(self.shards.len()).is_ok_and(|shards| shards == self.object.spec.shards)
    }
}

impl Store {
    /// Over `client`, whose writes have a deadline.
    pub fn new(client: &Client) -> Self {
        Self {
            migrations: Api::all(client.clone()),
            shards: Api::all(client.clone()),
            retirements: Retirements::new(client),
        }
    }

    /// Stores a migration: unsealed, then its shards, then sealed. It exists once it is sealed.
    /// What a crashed or parallel creation of the same migration left is taken over.
    pub async fn create(&self, new: NewMigration<'_>) -> Result<Live, Failure> {
        let action = || format!("store migration `{}`", new.id);
        let object = self.create_unsealed(new).await.map_err(|error| fail(action(), error))?;
        if object.spec.plan_hash != new.plan.hash() {
            // Two creations under one request id, of different plans, at the same time.
            return Err(Failure::ConcurrentWrite(new.id.to_owned()));
        }
        if object.spec.sealed {
            return self.live(object).await;
        }
        let mut shards = Vec::new();
        for shard in shards::shards_of(&object, new.plan, 0, None) {
            let made = self.place(&object, &shard).await.map_err(|error| fail(action(), error))?;
            shards.push(made.ok_or_else(|| Failure::ConcurrentWrite(new.id.to_owned()))?);
        }
        self.spare(&object).await?;
        let mut sealed = object;
        sealed.spec.sealed = true;
        match self.migrations.replace(new.id, &post(), &sealed).await {
            Ok(object) => Ok(Live { object, shards }),
            // Another replica sealed it, or the reply to our own try was lost.
            Err(error) => match self.read(new.id).await? {
                Some(live) if live.object.spec.sealed => Ok(live),
                _ => Err(fail(action(), error)),
            },
        }
    }

    /// Removes what is about to be sealed if a retirement of one of its planes is stored: a census that
    /// begins after that either finds this migration, sealed or not, or is found here.
    async fn spare(&self, migration: &Migration) -> Result<(), Failure> {
        let planes =
            [&migration.spec.source, &migration.spec.target].map(|it| Revision(it.clone()));
        let unfinished = self.retirements.unfinished(&planes.each_ref()).await?;
        let violations: Vec<Violation> =
            unfinished.iter().map(|(id, revision)| retiring(id, revision)).collect();
        if violations.is_empty() {
            return Ok(());
        }
        // What cannot be removed now is removed later, as it was never sealed.
        if let Err(error) = self.discard(migration).await {
            debug!(migration = migration.name_any(), %error, "left unsealed");
        }
        Err(Refusal::Plan(violations).into())
    }

    /// A sealed or unsealed migration, read live; none when there is none.
    pub async fn read(&self, id: &str) -> Result<Option<Live>, Failure> {
        let action = || format!("read migration `{id}`");
        match self.migrations.get_opt(id).await.map_err(|error| fail(action(), error))? {
            Some(object) => self.live(object).await.map(Some),
            None => Ok(None),
        }
    }

    /// Replaces the control record of the migration that was read as `live`. None: somebody else
    /// was faster.
    pub async fn control(&self, live: &Live, control: &Control) -> Result<Option<Live>, Failure> {
        let mut wanted = live.object.clone();
        wanted.spec.control = record::control_record(control);
        let id = wanted.name_any();
        match self.migrations.replace(&id, &post(), &wanted).await {
            Ok(object) => Ok(Some(Live { object, shards: live.shards.clone() })),
            Err(Error::Api(status)) if status.is_conflict() => Ok(None),
            Err(error) => Err(fail(format!("command migration `{id}`"), error)),
        }
    }

    /// Has the migration that was read as `live` take more in: its shards, then the note of it in the
    /// migration itself, before which they do not count. None: somebody else was faster.
    pub async fn extend(&self, live: &Live, new: Extension<'_>) -> Result<Option<Live>, Failure> {
        let Extension { id, plan, control, now } = new;
        let name = live.object.name_any();
        let action = || format!("extend migration `{name}`");
        let spec = &live.object.spec;
        let (first, mut shards) = (spec.moves, live.shards.clone());
        let mut wanted = live.object.clone();
        for shard in shards::shards_of(&live.object, plan, first, Some(id)) {
            self.renew(&shard, now).await.map_err(|error| fail(action(), error))?;
            let made = self.place(&live.object, &shard).await;
            let made = made.map_err(|error| fail(action(), error))?;
            shards.push(made.ok_or_else(|| Failure::ConcurrentWrite(name.clone()))?);
            wanted.spec.shards = wanted.spec.shards.saturating_add(1);
        }
        let moves = u32::try_from(plan.entries.len()).unwrap_or(u32::MAX);
        let (id, plan_hash) = (id.to_owned(), plan.hash());
        wanted.spec.moves = first.saturating_add(moves);
        wanted.spec.approval_waves.extend(&plan.approvals);
        wanted.spec.tags = record::tags_record(&plan.tags);
        wanted.spec.extensions.push(ExtensionRecord { id: id.clone(), first, moves, plan_hash });
        // Whoever does not know what an extension is must not act on it.
        wanted.spec.plan_version = PLAN_VERSION;
        wanted.spec.control = record::control_record(control);
        match self.migrations.replace(&name, &post(), &wanted).await {
            Ok(object) => Ok(Some(Live { object, shards })),
            Err(Error::Api(status)) if status.is_conflict() => Ok(None),
            // The reply to our own try was lost, or there was none.
            Err(error) => match self.read(&name).await? {
                Some(live) if live.object.spec.extensions.iter().any(|it| it.id == id) => {
                    Ok(Some(live))
                }
                _ => Err(fail(action(), error)),
            },
        }
    }

    /// Removes what an earlier try has left of a shard, where it is so old that somebody may be about to
    /// sweep it: what is made anew is safe from that.
    async fn renew(&self, shard: &MigrationShard, now: Timestamp) -> Result<(), Error> {
        let Some(found) = self.shards.get_opt(&shard.name_any()).await? else {
            return Ok(());
        };
        let age = found.creation_timestamp().map(|made| now.duration_since(made.0));
        if age.is_none_or(|age| age < STALE) {
            return Ok(());
        }
        self.remove(&found).await
    }

    /// Removes a shard that no migration has, if that is still so; whether it did.
    pub async fn sweep(&self, shard: &MigrationShard) -> Result<bool, Error> {
        let name = shard.name_any();
        let migration = self.migrations.get_opt(&shard.spec.migration).await?;
        let Some(found) = self.shards.get_opt(&name).await? else {
            return Ok(false);
        };
        if migration.is_some_and(|migration| is_of(&found, &migration)) {
            return Ok(false);
        }
        self.remove(&found).await.map(|()| true)
    }

    /// Writes a shard's status, if the shard is still the one decided on.
    pub async fn commit(
        &self,
        shard: &MigrationShard,
        epoch: u32,
        moves: &[Move],
    ) -> Result<MigrationShard, Error> {
        let status: MigrationShardStatus = record::shard_status(epoch, moves);
        let wanted = MigrationShard { status: Some(status), ..shard.clone() };
        self.shards.replace_status(&shard.name_any(), &post(), &wanted).await
    }

    /// Writes a migration's status, if the migration is still the one decided on.
    pub async fn conclude(
        &self,
        migration: &Migration,
        status: MigrationStatus,
    ) -> Result<Migration, Error> {
        let wanted = Migration { status: Some(status), ..migration.clone() };
        self.migrations.replace_status(&migration.name_any(), &post(), &wanted).await
    }

    /// Reads one shard.
    pub async fn shard(&self, name: &str) -> Result<Option<MigrationShard>, Error> {
        self.shards.get_opt(name).await
    }

    /// Reads one migration's object.
    pub async fn migration(&self, id: &str) -> Result<Option<Migration>, Error> {
        self.migrations.get_opt(id).await
    }

    /// Lets a migration that is being deleted go, its shards first: they must not go before it.
    pub async fn let_go(&self, migration: &Migration) -> Result<Migration, Error> {
        let id = migration.name_any();
        let mine = ListParams::default().labels(&format!("{MIGRATION_LABEL}={id}"));
        for shard in self.shards.list(&mine).await?.items {
            if shards::belongs_to(&shard, migration) {
                self.unlock(&shard).await?;
            }
        }
        let mut wanted = migration.clone();
        wanted.finalizers_mut().retain(|finalizer| finalizer != FINALIZER);
        self.migrations.replace(&migration.name_any(), &post(), &wanted).await
    }

    /// Removes a migration that was never sealed, if it is still the one decided on.
    pub async fn discard(&self, migration: &Migration) -> Result<(), Error> {
        let unlocked = self.let_go(migration).await?;
        if unlocked.metadata.deletion_timestamp.is_some() {
            return Ok(());
        }
        let params = DeleteParams {
            preconditions: Some(Preconditions {
                uid: unlocked.uid(),
                resource_version: unlocked.resource_version(),
            }),
            ..DeleteParams::background()
        };
        self.migrations.delete(&migration.name_any(), &params).await.map(|_| ())
    }

    /// Stores a shard of `migration`. One that is there already is its own, or was left behind by a
    /// migration of the same name that is gone: that one is removed. None: it does not go away.
    async fn place(
        &self,
        migration: &Migration,
        shard: &MigrationShard,
    ) -> Result<Option<MigrationShard>, Error> {
        let name = shard.name_any();
        for _ in 0..TRIES {
            match self.shards.create(&post(), shard).await {
                Err(Error::Api(status)) if status.is_already_exists() => {}
                made => return made.map(Some),
            }
            let Some(found) = self.shards.get_opt(&name).await? else {
                continue;
            };
            if shards::belongs_to(&found, migration) && found.spec == shard.spec {
                return Ok(Some(found));
            }
            self.remove(&found).await?;
        }
        Ok(None)
    }

    /// Removes exactly this shard, and no other of its name.
    async fn remove(&self, shard: &MigrationShard) -> Result<(), Error> {
        self.unlock(shard).await?;
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: shard.uid(), ..Preconditions::default() }),
            ..DeleteParams::default()
        };
        match self.shards.delete(&shard.name_any(), &params).await {
            Err(Error::Api(status)) if status.is_not_found() => Ok(()),
            removed => removed.map(|_| ()),
        }
    }

    /// Takes the finalizer off a shard.
    async fn unlock(&self, shard: &MigrationShard) -> Result<(), Error> {
        if shard.finalizers().is_empty() {
            return Ok(());
        }
        let mut wanted = shard.clone();
        wanted.finalizers_mut().retain(|finalizer| finalizer != FINALIZER);
        match self.shards.replace(&shard.name_any(), &post(), &wanted).await {
            Err(Error::Api(status)) if status.is_not_found() => Ok(()),
            answer => answer.map(|_| ()),
        }
    }

    async fn create_unsealed(&self, new: NewMigration<'_>) -> Result<Migration, Error> {
        let moves = new.plan.entries.len();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let millis = new.plan.rollout_timeout.as_millis();
        let mut object = Migration::new(
            new.id,
            MigrationSpec {
                source: new.plan.source.0.clone(),
                target: new.plan.target.0.clone(),
                moves: count(moves),
                shards: count(moves.div_ceil(MOVES_PER_SHARD)),
                rollout_timeout_ms: u64::try_from(millis).unwrap_or(u64::MAX),
                failure_budget: new.plan.failure_budget,
                approval_waves: new.plan.approvals.clone(),
                allow_downtime: new.plan.allow_downtime,
                force: new.plan.force,
                on_failure: new.plan.on_failure.as_str().to_owned(),
                verification: new.plan.verification.as_str().to_owned(),
                rollback_of: new.plan.rollback_of.clone(),
                rule: new.plan.rule.as_ref().map(record::rule_record),
                windows: new.plan.windows.iter().map(ToString::to_string).collect(),
                gates: record::gate_records(&new.plan.gates),
                allowed_findings: new
                    .plan
                    .allowances
                    .iter()
                    .map(record::allowance_record)
                    .collect(),
                tags: record::tags_record(&new.plan.tags),
                extensions: Vec::new(),
                requester: new.requester.to_owned(),
                reason: new.reason.to_owned(),
                plan_hash: new.plan.hash(),
                plan_version: PLAN_VERSION,
                created: new.created,
                sealed: false,
                control: crate::kube::crd::ControlRecord::default(),
            },
        );
        object.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        match self.migrations.create(&post(), &object).await {
            Err(Error::Api(status)) if status.is_already_exists() => {
                self.migrations.get(new.id).await
            }
            made => made,
        }
    }

    async fn live(&self, object: Migration) -> Result<Live, Failure> {
        let id = object.name_any();
        let mine = ListParams::default().labels(&format!("{MIGRATION_LABEL}={id}"));
        let shards = self
            .shards
            .list(&mine)
            .await
            .map_err(|error| fail(format!("read the shards of migration `{id}`"), error))?;
        let shards = shards.items.into_iter().filter(|shard| is_of(shard, &object)).collect();
        Ok(Live { object, shards })
    }
}

fn post() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}

/// What an error of the Kubernetes API means to whoever asked for `action`.
pub fn fail(action: String, error: Error) -> Failure {
    match error {
        Error::Api(status) if status.is_forbidden() => Failure::Denied { action },
        Error::Api(status) if status.code == 404 && status.details.is_none() => {
            Failure::CrdsMissing
        }
        Error::Api(status) if status.code < 500 && status.code != 429 => {
            Failure::Kubernetes { action, source: Error::Api(status) }
        }
        source => Failure::Unavailable { action, source },
    }
}
