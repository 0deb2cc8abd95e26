//! What a leader stores: its epoch, what was decided, and how each migration stands.

use super::{Acting, Answer, COMMIT_EVERY, MANY, Numbers, PAUSE};
use crate::engine::records::Records;
use crate::engine::{Parts, status};
use crate::kube::crd::MigrationShard;
use crate::kube::store;
use crate::published::State;
use kube::{Error, ResourceExt};
use revshift_core::admission;
use revshift_core::announcement::{self, Announcement};
use revshift_core::migration::{Migration, Move};
use revshift_core::problem::Code;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{debug, info, warn};

impl Acting {
    /// Writes this leader's epoch into every unfinished shard that another leader wrote: a stale
    /// leader's commits then fail, and its last ones are known. False while one is left.
    pub(super) fn adopt(
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
                // Those of an extension whose other shards have not all arrived wait for them.
                store::range(shard).end <= migration.moves.len()
                    && shard.status.as_ref().is_none_or(|status| status.epoch != self.epoch)
            });
            if let Some(shard) = foreign {
                adopted = false;
                if self.writing.insert(id.clone()) {
                    info!(shard = shard.name_any(), epoch = self.epoch, "taking over");
                    let mut moves = moves_of(shard, migration);
                    // What was taken in has to be told to those who have been told of later records.
                    let new = shard.spec.extension.is_some() && shard.status.is_none();
                    if new || self.numbers == Numbers::Renewed {
                        for (m, number) in moves.iter_mut().zip(self.next_number(migration)..) {
                            m.sequence = number;
                        }
                    }
                    self.write_shard(shard, moves, Vec::new(), parts, tasks);
                }
            }
        }
        adopted
    }

    /// Stores what was decided: one shard of a migration at a time, its records numbered here.
    pub(super) fn commit(
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
                let range = store::range(shard);
                queued.keys().any(|index| range.contains(index))
            });
            let Some(shard) = shard else {
                warn!(migration = id, "its shards are gone: nothing can be stored for it");
                self.queued.remove(&id);
                continue;
            };
            let range = store::range(shard);
            let mut moves = moves_of(shard, migration);
            let mut announcements = Vec::new();
            let numbers = self.next_number(migration)..;
            for ((index, m), number) in queued.range(range.clone()).zip(numbers) {
                let m = Move { sequence: number, ..m.clone() };
                debug!(migration = id, namespace = m.namespace, state = m.state.as_str(), number);
                let place = &mut moves[index - range.start];
                announcements.extend(announcement::of_move(migration, place, &m));
                *place = m;
            }
            self.committed.insert(id.clone(), now);
            self.writing.insert(id);
            self.write_shard(shard, moves, announcements, parts, tasks);
        }
        wake
    }

    /// The number of the next record of a migration.
    fn next_number(&self, migration: &Migration) -> u64 {
        migration.moves.highest().max(u64::from(self.epoch) << 32) + 1
    }

    fn write_shard(
        &self,
        shard: &MigrationShard,
        moves: Vec<Move>,
        announcements: Vec<Announcement>,
        parts: &Parts,
        tasks: &mut JoinSet<Answer>,
    ) {
        let (announcer, now) = (parts.announcer.clone(), parts.clock.now());
        let (store, shard, epoch) = (parts.store.clone(), shard.clone(), self.epoch);
        tasks.spawn(async move {
            let (id, name) = (shard.spec.migration.clone(), shard.name_any());
            let written = match store.commit(&shard, epoch, &moves).await {
                Ok(written) => {
                    for announcement in announcements {
                        announcer.tell(announcement, "", now);
                    }
                    Some(written)
                }
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
    pub(super) fn conclude(
        &mut self,
        state: &State,
        records: &Records,
        parts: &Parts,
        tasks: &mut JoinSet<Answer>,
    ) {
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
            // It has taken more in than has arrived here: how it stands is not known.
            if usize::try_from(object.spec.moves) != Ok(migration.moves.len()) {
                continue;
            }
            let migration = &*self.drifts.with_drift(self.gates.with_findings(migration));
            let waiting = state.waits.of(id);
            let now = parts.clock.now();
            let hold = admission::hold(migration, &state.waits, self.calendar.freezes(), now);
            let wanted = status::status(migration, &waiting, hold.as_ref(), object, now);
            if object.status.as_ref() == Some(&wanted) {
                continue;
            }
            self.writing.insert(id.clone());
            let before = object.status.as_ref().map_or("", |status| status.state.as_str());
            let announcement =
                announcement::of_migration(migration, before, migration.state(&waiting));
            let (announcer, now) = (parts.announcer.clone(), parts.clock.now());
            let (store, id, object) = (parts.store.clone(), id.clone(), object.clone());
            tasks.spawn(async move {
                let written = match store.conclude(&object, wanted).await {
                    Ok(written) => {
                        let uid = object.uid().unwrap_or_default();
                        if let Some(announcement) = announcement {
                            announcer.tell(announcement, &uid, now);
                        }
                        Some(written)
                    }
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

/// A conflict says at once what to do; any other failure had better be given some time.
pub(super) async fn pause_after(object: &str, error: &Error) {
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

fn moves_of(shard: &MigrationShard, migration: &Migration) -> Vec<Move> {
    migration.moves.get(store::range(shard)).unwrap_or_default().to_vec()
}
