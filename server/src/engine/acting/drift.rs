//! Tags and injector webhooks that plans rest on, and that lead elsewhere by now.

use super::Acting;
use crate::engine::Parts;
use crate::published::State;
use revshift_core::drift;
use revshift_core::migration::Migration;
use revshift_core::tag::Drift;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What a leader knows of drifts; a new leader looks anew.
#[derive(Debug, Default)]
pub(super) struct Drifts {
    /// What leads elsewhere now, by migration.
    now: BTreeMap<String, Drift>,
    /// The change of the cluster up to which that is known.
    looked: Option<u64>,
}

impl Drifts {
    /// What of a migration's labels leads elsewhere now.
    pub(super) fn of(&self, id: &str) -> Option<&Drift> {
        self.now.get(id)
    }

    /// The migration with what leads elsewhere now and is not stored yet.
    pub(super) fn with_drift<'a>(&self, migration: Cow<'a, Migration>) -> Cow<'a, Migration> {
        let Some(drift) = self.now.get(&migration.id) else {
            return migration;
        };
        let mut migration = migration.into_owned();
        migration.drift = Some(drift.clone());
        Cow::Owned(migration)
    }
}

impl Acting {
    /// Finds what leads elsewhere, where that may have changed; whether it has.
    pub(super) fn watch_tags(&mut self, state: &State, parts: &Parts, stirred: bool) -> bool {
        let change = Some(state.cluster.wide_number());
        if !stirred && self.drifts.looked == change {
            return false;
        }
        let now = parts.clock.now();
        let found = drift::all(&state.cluster, &state.migrations, &self.drifts.now, now);
        let before = std::mem::replace(&mut self.drifts.now, found);
        self.drifts.looked = change;
        before != self.drifts.now
    }
}
