//! Stored objects as this replica holds them, and the migrations that they make.

use crate::kube::crd::{Migration, MigrationShard};
use crate::kube::watch::Records as Change;
use crate::kube::{record, store};
use crate::published::State;
use kube::{Resource, ResourceExt};
use revshift_core::cluster::older;
use revshift_core::plan::PLAN_VERSION;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use tracing::warn;

/// Stored objects by name.
#[derive(Debug, Default)]
pub(crate) struct Records {
    migrations: BTreeMap<String, Migration>,
    shards: BTreeMap<String, MigrationShard>,
    /// The names of the shards that name a migration.
    named: BTreeMap<String, BTreeSet<String>>,
    changes: Changes,
}

/// What has changed of the published migrations, on a counter: whoever remembers how far he has
/// looked asks for what came after.
#[derive(Debug, Default)]
struct Changes {
    revision: u64,
    /// The latest ones: a migration with the place of a move, or a migration as a whole.
    latest: VecDeque<(u64, String, Option<usize>)>,
    /// Those up to this one are forgotten.
    forgotten: u64,
}

impl<K> Change<K> {
    /// Whether this is a complete list.
    pub(crate) fn is_list(&self) -> bool {
        matches!(self, Self::Listed(_))
    }
}

impl Records {
    /// Rises whenever anything stored has changed.
    pub(crate) fn revision(&self) -> u64 {
        self.changes.revision
    }

    /// The migrations that have changed after a revision, each with the place of a move or as a whole;
    /// none where that is not known any more.
    pub(crate) fn changed_after(
        &self,
        revision: u64,
    ) -> Option<impl Iterator<Item = (&str, Option<usize>)>> {
        let Changes { latest, forgotten, .. } = &self.changes;
        let first = latest.partition_point(|(of, ..)| *of <= revision);
        let after = latest.range(first..).map(|(_, id, place)| (id.as_str(), *place));
        (revision >= *forgotten).then_some(after)
    }

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

    /// Shards that count for no migration.
    pub(crate) fn strays(&self) -> impl Iterator<Item = &MigrationShard> {
        self.shards.values().filter(|shard| {
            let migration = self.migrations.get(&shard.spec.migration);
            migration.is_none_or(|migration| !store::is_of(shard, migration))
        })
    }

    /// The shards of a migration, in the order of the plan.
    pub(crate) fn shards_of(&self, id: &str) -> Vec<&MigrationShard> {
        let Some(migration) = self.migrations.get(id) else {
            return Vec::new();
        };
        let named = self.named.get(id).into_iter().flatten();
        let mut shards: Vec<_> = named
            .filter_map(|name| self.shards.get(name))
            .filter(|shard| store::is_of(shard, migration))
            .collect();
        shards.sort_by_key(|shard| shard.spec.first);
        shards
    }

    /// Takes in what was learnt about migrations.
    pub(crate) fn take_migrations(&mut self, state: &mut State, change: Change<Migration>) {
        match change {
            Change::Listed(objects) => {
                self.changes.note(None);
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
                self.changes.note(None);
                self.migrations.remove(&name);
                self.assemble(state, &name);
            }
        }
    }

    /// Takes in a migration's object as read or written.
    pub(crate) fn take_migration(&mut self, state: &mut State, object: Migration) {
        let name = object.name_any();
        let known = self.migrations.get(&name);
        if known.is_some_and(|known| outdated(&object, known) || *known == object) {
            return;
        }
        let same = known.is_some_and(|known| {
            let (old, new) = (&known.spec, &object.spec);
            known.meta().uid == object.meta().uid
                && (old.sealed, old.shards, old.moves) == (new.sealed, new.shards, new.moves)
        });
        self.changes.note(None);
        self.migrations.insert(name.clone(), object);
        if !same || !self.renew(state, &name) {
            self.assemble(state, &name);
        }
    }

    /// Takes in what was learnt about shards.
    pub(crate) fn take_shards(&mut self, state: &mut State, change: Change<MigrationShard>) {
        match change {
            Change::Listed(objects) => {
                let mut touched: BTreeSet<String> = self.named.keys().cloned().collect();
                self.shards.clear();
                self.named.clear();
                for object in objects {
                    self.insert(object);
                }
                touched.extend(self.named.keys().cloned());
                for id in touched {
                    self.assemble(state, &id);
                }
            }
            Change::Set(object) => self.take_shard(state, *object),
            Change::Gone(name) => {
                if let Some(shard) = self.shards.remove(&name) {
                    self.changes.note(None);
                    if let Some(named) = self.named.get_mut(&shard.spec.migration) {
                        named.remove(&name);
                        if named.is_empty() {
                            self.named.remove(&shard.spec.migration);
                        }
                    }
                    self.assemble(state, &shard.spec.migration);
                }
            }
        }
    }

    /// Takes in a shard as read or written.
    pub(crate) fn take_shard(&mut self, state: &mut State, object: MigrationShard) {
        let name = object.name_any();
        let known = self.shards.get(&name);
        if known.is_some_and(|known| outdated(&object, known) || *known == object) {
            return;
        }
        let same = known.is_some_and(|known| {
            known.meta().uid == object.meta().uid && known.spec == object.spec
        });
        let id = object.spec.migration.clone();
        self.insert(object);
        if !same || !self.renew_moves(state, &id, &name) {
            self.assemble(state, &id);
        }
    }

    fn insert(&mut self, shard: MigrationShard) {
        self.changes.note(None);
        let name = shard.name_any();
        self.named.entry(shard.spec.migration.clone()).or_default().insert(name.clone());
        self.shards.insert(name, shard);
    }

    /// Brings a published migration up to date with its own object; false where that needs a look at
    /// everything.
    fn renew(&mut self, state: &mut State, id: &str) -> bool {
        let (Some(object), Some(migration)) =
            (self.migrations.get(id), state.migrations.get_mut(id))
        else {
            return false;
        };
        if !object.spec.sealed || object.uid().as_ref() != state.uids.get(id) {
            return false;
        }
        let before = (migration.control.clone(), migration.ended.clone());
        let renewed = record::renew(migration, object).is_ok();
        if before != (migration.control.clone(), migration.ended.clone()) {
            self.changes.note(Some((id, None)));
        }
        renewed
    }

    /// Brings a published migration up to date with one of its shards, whose plan is as it was; false
    /// where that needs a look at everything.
    fn renew_moves(&mut self, state: &mut State, id: &str, shard: &str) -> bool {
        let (Some(object), Some(shard)) = (self.migrations.get(id), self.shards.get(shard)) else {
            return false;
        };
        let published = object.uid().as_ref() == state.uids.get(id) && store::is_of(shard, object);
        let Some(migration) = state.migrations.get_mut(id).filter(|_| published) else {
            return false;
        };
        let Ok(moves) = record::moves(shard, &object.spec) else {
            return false;
        };
        for (place, m) in store::range(shard).zip(moves) {
            if migration.moves.get(place).is_some_and(|known| *known != m) {
                migration.moves.set(place, m);
                self.changes.note(Some((id, Some(place))));
            }
        }
        true
    }

    /// Publishes the migration that its objects make now; an unsealed one does not exist.
    fn assemble(&mut self, state: &mut State, id: &str) {
        self.changes.note(Some((id, None)));
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
                } else {
                    // What it is told meanwhile counts at once.
                    self.renew(state, id);
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

impl Changes {
    /// So many are told apart.
    const KEPT: usize = 4096;

    /// Something stored has changed, and so have a published migration or one of its moves.
    fn note(&mut self, what: Option<(&str, Option<usize>)>) {
        self.revision += 1;
        let Some((id, place)) = what else {
            return;
        };
        self.latest.push_back((self.revision, id.to_owned(), place));
        if self.latest.len() > Self::KEPT
            && let Some((oldest, ..)) = self.latest.pop_front()
        {
            self.forgotten = oldest;
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
