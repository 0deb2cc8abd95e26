//! What this replica knows, for every part of it to read; only the engine writes.
//!
//! gRPC handlers hold no state of their own: they read here, and watch the version.

use crate::definitions::Definitions;
use revshift_core::admission::Waits;
use revshift_core::cluster::Cluster;
use revshift_core::limiter::Slowed;
use revshift_core::migration::{Migration, MigrationState};
use revshift_core::retirement::Retirement;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::watch;

/// The view of the cluster and the stored records.
#[derive(Debug, Default)]
pub struct State {
    /// The cluster.
    pub cluster: Cluster,
    /// Sealed migrations by id, as stored.
    pub migrations: BTreeMap<String, Migration>,
    /// Retirements by id, as stored.
    pub retirements: BTreeMap<String, Retirement>,
    /// What each unfinished migration waits for.
    pub waits: Waits,
    /// The uid of each migration's object, by id.
    pub uids: BTreeMap<String, String>,
    /// Identity of the replica that acts; none while nobody does.
    pub leader: Option<String>,
    /// Why this replica makes its calls slower than it might; none while it does not, or does not act.
    pub slowed: Option<Slowed>,
    /// Whether everything that is watched was listed once.
    pub ready: bool,
    /// What the cluster's CRDs of revshift can store.
    pub definitions: Definitions,
}

/// The state with a version that rises with each change.
#[derive(Debug, Default)]
pub struct Published {
    state: RwLock<State>,
    version: watch::Sender<u64>,
}

/// A migration with what does not lie in its own records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The uid of its object.
    pub uid: String,
    /// The migration.
    pub migration: Migration,
    /// Unfinished migrations that it waits for.
    pub waiting_for: BTreeSet<String>,
    /// Why this replica makes its calls slower than it might; none while it does not.
    pub slowed: Option<String>,
}

impl Published {
    /// The state as it is now. Not to be held across an await.
    pub fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and tells those who watch.
    pub(crate) fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            let result = change(&mut state);
            state.settle();
            result
        };
        self.version.send_modify(|version| *version += 1);
        result
    }

    /// Changes when the state does.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }
}

impl State {
    /// Brings up to date what follows from the migrations.
    pub(crate) fn settle(&mut self) {
        self.waits.refresh(&self.migrations);
    }

    /// A sealed migration; none when this replica does not know it.
    pub fn find(&self, id: &str) -> Option<Stored> {
        let migration = self.migrations.get(id)?.clone();
        let waiting_for = self.waits.of(id);
        let uid = self.uids.get(id).cloned().unwrap_or_default();
        let slowed = self.slowed.as_ref().map(Slowed::why);
        Some(Stored { uid, migration, waiting_for, slowed })
    }
}

impl Stored {
    /// The state as clients see it: a final one only once it is stored.
    pub fn state(&self) -> MigrationState {
        let state = self.migration.state(&self.waiting_for);
        if state.is_final() && self.migration.ended.is_none() {
            return MigrationState::Running;
        }
        state
    }
}
