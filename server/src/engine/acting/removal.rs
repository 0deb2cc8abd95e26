//! The end of stored migrations: those that somebody deletes, and those that were never whole.

use super::storing::pause_after;
use super::{Acting, Answer, PAUSE};
use crate::engine::Parts;
use crate::engine::records::Records;
use crate::kube::crd::Migration as MigrationObject;
use crate::kube::store::Store;
use crate::published::State;
use jiff::SignedDuration;
use kube::{Error, ResourceExt};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::warn;

/// An unsealed migration of this age was never finished by whoever began it.
const ABANDONED: SignedDuration = SignedDuration::from_hours(1);

impl Acting {
    /// Lets an ended migration go that somebody deletes.
    pub(super) fn let_go(
        &mut self,
        id: &str,
        object: &MigrationObject,
        parts: &Parts,
        tasks: &mut JoinSet<Answer>,
    ) {
        let held = object.metadata.finalizers.as_ref().is_some_and(|held| !held.is_empty());
        if object.metadata.deletion_timestamp.is_none() || !held {
            return;
        }
        self.writing.insert(id.to_owned());
        let (store, id, object) = (parts.store.clone(), id.to_owned(), object.clone());
        tasks.spawn(async move {
            match store.let_go(&object).await {
                Ok(_) => Answer::Removed(id),
                Err(error) => read_again(&store, id, &error).await,
            }
        });
    }

    /// Removes what a creation or an extension that never ended left behind.
    pub(super) fn discard(
        &mut self,
        state: &State,
        records: &Records,
        parts: &Parts,
        tasks: &mut JoinSet<Answer>,
    ) {
        let now = parts.clock.now();
        for (id, object) in records.migrations() {
            let deleted = object.metadata.deletion_timestamp.is_some();
            let age = now.duration_since(object.spec.created);
            // One that is deleted while its shards are gone can never end by itself.
            let lost = object.spec.sealed && deleted && !state.migrations.contains_key(id);
            let unsealed = !object.spec.sealed && (deleted || age > ABANDONED);
            if !(lost || unsealed) || !self.writing.insert(id.clone()) {
                continue;
            }
            let (store, id, object) = (parts.store.clone(), id.clone(), object.clone());
            tasks.spawn(async move {
                // This replica may only not have seen all of a lost one yet.
                let live = if lost { store.read(&id).await } else { Ok(None) };
                match live {
                    Ok(Some(live)) if live.is_whole() => {
                        return Answer::Migration(id, Some(Box::new(live.object)));
                    }
                    Ok(_) => {}
                    Err(error) => {
                        warn!(migration = id, %error, "cannot read whether it is whole");
                        sleep(PAUSE).await;
                        return Answer::Migration(id, None);
                    }
                }
                match store.discard(&object).await {
                    Ok(()) => {
                        warn!(
                            migration = id,
                            sealed = object.spec.sealed,
                            "removed an incomplete migration"
                        );
                        Answer::Removed(id)
                    }
                    Err(error) => read_again(&store, id, &error).await,
                }
            });
        }
        for shard in records.strays() {
            let Some(made) = shard.creation_timestamp() else {
                continue;
            };
            let (name, old) = (shard.name_any(), now.duration_since(made.0) > ABANDONED);
            if !old || !self.writing.insert(name.clone()) {
                continue;
            }
            let (store, shard) = (parts.store.clone(), shard.clone());
            tasks.spawn(async move {
                match store.sweep(&shard).await {
                    Ok(true) => warn!(shard = name, "removed a shard that no migration has"),
                    Ok(false) => {}
                    Err(error) => pause_after(&name, &error).await,
                }
                Answer::Swept(name)
            });
        }
    }
}

/// What a migration's object is after a write that failed.
async fn read_again(store: &Store, id: String, error: &Error) -> Answer {
    pause_after(&id, error).await;
    match store.migration(&id).await {
        Ok(None) => Answer::Removed(id),
        Ok(Some(object)) => Answer::Migration(id, Some(Box::new(object))),
        Err(_) => Answer::Migration(id, None),
    }
}
