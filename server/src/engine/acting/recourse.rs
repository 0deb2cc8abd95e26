//! The rollbacks by which migrations answer their own failures.

use super::storing::pause_after;
use super::{Acting, Answer};
use crate::engine::Parts;
use crate::failure::Failure;
use crate::kube::store::{Live, NewMigration, Store};
use crate::published::State;
use revshift_core::migration::Move;
use revshift_core::plan::Plan;
use revshift_core::recourse::{self, Wanted};
use revshift_core::rollback;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{info, warn};

impl Acting {
    /// Notes which rollbacks are to be made, and makes those that are noted.
    pub(super) fn take_back(&mut self, state: &State, parts: &Parts, tasks: &mut JoinSet<Answer>) {
        for decision in recourse::decide(&state.migrations) {
            self.note(state, &decision.migration, decision.m);
        }
        for wanted in recourse::wanted(&state.migrations) {
            let Wanted { migration, m, id, request } = wanted;
            if self.writing.contains(id) {
                continue;
            }
            let plan = match rollback::rollback(&state.cluster, migration, &request) {
                Ok(plan) => plan,
                Err(refusal) => {
                    let why = refusal.to_string();
                    warn!(migration = migration.id, namespace = m.namespace, why, "no rollback");
                    self.note(state, &migration.id, recourse::refused(m, &why));
                    continue;
                }
            };
            info!(migration = migration.id, namespace = m.namespace, rollback = id, "rolling back");
            self.writing.insert(id.to_owned());
            let (store, id) = (parts.store.clone(), id.to_owned());
            let (requester, created) = (recourse::requester(migration), parts.clock.now());
            tasks.spawn(async move {
                let new = NewMigration {
                    id: &id,
                    plan: &plan,
                    requester: &requester,
                    reason: &request.reason,
                    created,
                };
                let made = make(&store, new, &plan).await;
                Answer::Made(id, made.map(Box::new))
            });
        }
    }

    /// Queues a record, unless another one is decided on for that move.
    fn note(&mut self, state: &State, id: &str, m: Move) {
        let migration = state.migrations.get(id).filter(|_| !self.writing.contains(id));
        let index = migration.and_then(|it| it.moves.place(&m.namespace));
        if let Some(index) = index {
            self.queued.entry(id.to_owned()).or_default().entry(index).or_insert(m);
        }
    }
}

/// Stores a rollback; none when that is to be tried again.
async fn make(store: &Store, new: NewMigration<'_>, plan: &Plan) -> Option<Live> {
    let error = match store.create(new).await {
        Ok(live) => return Some(live),
        Err(error) => error,
    };
    warn!(rollback = new.id, %error, "cannot store a rollback yet");
    // What a leader before began by another plan makes room.
    if let (Failure::ConcurrentWrite(_), Ok(Some(object))) = (&error, store.migration(new.id).await)
        && !object.spec.sealed
        && object.spec.plan_hash != plan.hash()
        && let Err(error) = store.discard(&object).await
    {
        pause_after(new.id, &error).await;
    }
    sleep(super::PAUSE).await;
    None
}
