//! What has changed since a leader looked last, and which moves that concerns.

use super::due::Due;
use super::{Acting, Place};
use crate::engine::records::Records;
use crate::published::State;
use revshift_core::budget::{self, Budgets};
use revshift_core::migration::Migration;
use std::sync::Arc;

/// How far a leader has looked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Looked {
    /// The last change of the cluster.
    cluster: u64,
    /// The last change of the records.
    records: u64,
    budgets: Budgets,
}

impl Acting {
    /// Finds the moves that something has changed for since the last look; at first, and where what has
    /// changed is not known, all of them.
    pub(super) fn notice(&mut self, state: &State, records: &Records, budgets: Budgets) {
        let now = Looked { cluster: state.cluster.number(), records: records.revision(), budgets };
        let before = self.looked.replace(now.clone());
        let answered = std::mem::take(&mut self.answered);
        if before.as_ref() == Some(&now) && answered.is_empty() {
            return;
        }
        let mut everything = before.is_none();
        if before.as_ref().is_none_or(|before| before.records != now.records) {
            let unfinished = records.unfinished();
            // Whose locks hold concerns every move.
            everything |= *self.unfinished != unfinished;
            self.unfinished = Arc::new(unfinished);
            self.stirred = true;
        }
        self.stirred |= before.as_ref().is_some_and(|before| before.budgets != budgets);
        let cluster = before.as_ref().and_then(|it| state.cluster.changed_after(it.cluster));
        let stored = before.as_ref().and_then(|it| records.changed_after(it.records));
        let (Some(cluster), Some(stored), false) = (cluster, stored, everything) else {
            self.look_at_everything(state);
            return;
        };
        for (id, place) in stored {
            match (state.migrations.get(id), place) {
                (Some(migration), Some(place)) => self.look_at(state, migration, place),
                (Some(migration), None) => {
                    (0..migration.moves.len()).for_each(|it| self.look_at(state, migration, it));
                }
                (None, _) => {
                    self.look_at_everything(state);
                    return;
                }
            }
        }
        let unfinished = Arc::clone(&self.unfinished);
        let known = || unfinished.iter().filter_map(|id| state.migrations.get(id));
        for namespace in cluster {
            for migration in known() {
                if let Some(place) = migration.moves.place(namespace) {
                    self.look_at(state, migration, place);
                }
            }
        }
        for (id, namespace) in &answered {
            let migration = state.migrations.get(id);
            let place = migration.and_then(|migration| migration.moves.place(namespace));
            match migration.zip(place) {
                Some((migration, place)) => self.look_at(state, migration, place),
                None => {
                    self.scratch.remove(&(id.clone(), namespace.clone()));
                }
            }
        }
    }

    fn look_at_everything(&mut self, state: &State) {
        let active = |(id, namespace): &Place| {
            let m = state.migrations.get(id).and_then(|migration| migration.find(namespace));
            m.is_some_and(|m| m.state.is_active())
        };
        self.scratch.retain(|place, _| active(place));
        self.pace.retain(active);
        self.due = Due::default();
        let unfinished = Arc::clone(&self.unfinished);
        for migration in unfinished.iter().filter_map(|id| state.migrations.get(id)) {
            migration.active().for_each(|(place, _)| self.look_at(state, migration, place));
            let queued = self.queued.get(&migration.id);
            queued.into_iter().flatten().for_each(|(place, _)| self.due.add(&migration.id, *place));
        }
    }

    /// A move is looked at again, if it is under way; otherwise nothing of it is remembered.
    fn look_at(&mut self, state: &State, migration: &Migration, index: usize) {
        let Some(m) = migration.moves.get(index) else {
            return;
        };
        let id = &migration.id;
        let place = (id.clone(), m.namespace.clone());
        if m.state.is_active() {
            self.pace.show(&place, budget::under_way(&state.cluster, migration, m));
            self.due.add(id, index);
        } else if !self.is_queued(id, index) {
            self.scratch.remove(&place);
            self.pace.forget(&place);
            self.due.forget(id, index);
        }
    }
}
