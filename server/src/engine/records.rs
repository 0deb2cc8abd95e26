//! Stored objects as this replica holds them, and the migrations that they make.

use crate::kube::crd::{Migration, MigrationShard};
use crate::kube::watch::Records as Change;
use crate::kube::{record, store};
use crate::published::State;
use kube::{Resource, ResourceExt};
use revshift_core::cluster::older;
use revshift_core::plan::PLAN_VERSION;
use std::collections::{BTreeMap, BTreeSet};
use tracing::warn;

/// Stored objects by name.
#[derive(Debug, Default)]
pub(crate) struct Records {
    migrations: BTreeMap<String, Migration>,
    shards: BTreeMap<String, MigrationShard>,
}

impl<K> Change<K> {
    /// Whether this is a complete list.
    pub(crate) fn is_list(&self) -> bool {
        matches!(self, Self::Listed(_))
    }
}

impl Records {
    /// The object of a migration.
    pub(crate) fn migration(&self, id: &str) -> Option<&Migration> {
        self.migrations.get(id)
    }

    /// Every migration's object.
    pub(crate) fn migrations(&self) -> impl Iterator<Item = (&String, &Migration)> {
        self.migrations.iter()
    }

    /// Ids of migrations that have not ended, also of those that cannot be understood: their locks
    /// hold.
    pub(crate) fn unfinished(&self) -> BTreeSet<String> {
        let sealed = self.migrations.iter().filter(|(_, object)| object.spec.sealed);
        sealed.filter(|(_, object)| !has_ended(object)).map(|(id, _)| id.clone()).collect()
    }

    /// The highest epoch that any shard was written in.
    pub(crate) fn epoch(&self) -> u32 {
        let statuses = self.shards.values().filter_map(|shard| shard.status.as_ref());
        statuses.map(|status| status.epoch).max().unwrap_or_default()
    }

    /// Whether this version knows the rules of every plan that is unfinished. One that does not must
    /// not lead: it would execute a plan by other rules than those that were shown.
    pub(crate) fn understood(&self) -> bool {
        let mut unfinished = self.migrations.values().filter(|object| !has_ended(object));
        unfinished.all(|object| object.spec.plan_version <= PLAN_VERSION)
    }

    /// The shards of a migration, in the order of the plan.
    pub(crate) fn shards_of(&self, id: &str) -> Vec<&MigrationShard> {
        let Some(migration) = self.migrations.get(id) else {
            return Vec::new();
        };
        let mut shards: Vec<_> =
            self.shards.values().filter(|shard| store::is_of(shard, migration)).collect();
        shards.sort_by_key(|shard| shard.spec.first);
        shards
    }

    /// Takes in what was learnt about migrations.
    pub(crate) fn take_migrations(&mut self, state: &mut State, change: Change<Migration>) {
        match change {
            Change::Listed(objects) => {
                let mut touched: BTreeSet<String> = self.migrations.keys().cloned().collect();
                self.migrations =
                    objects.into_iter().map(|object| (object.name_any(), object)).collect();
                touched.extend(self.migrations.keys().cloned());
                for id in touched {
                    self.assemble(state, &id);
                }
            }
            Change::Set(object) => self.take_migration(state, *object),
            Change::Gone(name) => {
                self.migrations.remove(&name);
                self.assemble(state, &name);
            }
        }
    }

    /// Takes in a migration's object as read or written.
    pub(crate) fn take_migration(&mut self, state: &mut State, object: Migration) {
        let name = object.name_any();
        let known = self.migrations.get(&name);
        if known.is_some_and(|known| outdated(&object, known)) {
            return;
        }
        self.migrations.insert(name.clone(), object);
        self.assemble(state, &name);
    }

    /// Takes in what was learnt about shards.
    pub(crate) fn take_shards(&mut self, state: &mut State, change: Change<MigrationShard>) {
        match change {
            Change::Listed(objects) => {
                let mut touched: BTreeSet<String> =
                    self.shards.values().map(|shard| shard.spec.migration.clone()).collect();
                self.shards =
                    objects.into_iter().map(|object| (object.name_any(), object)).collect();
                touched.extend(self.shards.values().map(|shard| shard.spec.migration.clone()));
                for id in touched {
                    self.assemble(state, &id);
                }
            }
            Change::Set(object) => self.take_shard(state, *object),
            Change::Gone(name) => {
                if let Some(shard) = self.shards.remove(&name) {
                    self.assemble(state, &shard.spec.migration);
                }
            }
        }
    }

    /// Takes in a shard as read or written.
    pub(crate) fn take_shard(&mut self, state: &mut State, object: MigrationShard) {
        let name = object.name_any();
        let known = self.shards.get(&name);
        if known.is_some_and(|known| outdated(&object, known)) {
            return;
        }
        let id = object.spec.migration.clone();
        self.shards.insert(name, object);
        self.assemble(state, &id);
    }

    /// Publishes the migration that its objects make now; an unsealed one does not exist.
    fn assemble(&self, state: &mut State, id: &str) {
        let sealed = self.migrations.get(id).filter(|object| object.spec.sealed);
        let made = sealed.map(|object| {
            (object.uid().unwrap_or_default(), record::migration(object, &self.shards_of(id)))
        });
        match made {
            Some((uid, Ok(Some(migration)))) => {
                state.uids.insert(id.to_owned(), uid);
                state.migrations.insert(id.to_owned(), migration);
            }
            // Its shards have not all arrived: what was known of it stays. Those of one that is being
            // deleted may be gone for good.
            Some((_, Ok(None))) => {
                let deleted =
                    sealed.is_some_and(|object| object.meta().deletion_timestamp.is_some());
                if deleted {
                    state.migrations.remove(id);
                }
            }
            Some((_, Err(error))) => {
                warn!(migration = id, %error, "a stored migration is malformed and left alone");
                state.migrations.remove(id);
            }
            None => {
                state.uids.remove(id);
                state.migrations.remove(id);
            }
        }
    }
}

fn has_ended(object: &Migration) -> bool {
    object.status.as_ref().is_some_and(|status| status.ended)
}

fn outdated<K: Resource>(object: &K, known: &K) -> bool {
    let version = |object: &K| object.meta().resource_version.clone().unwrap_or_default();
    object.meta().uid == known.meta().uid && older(&version(object), &version(known))
}
