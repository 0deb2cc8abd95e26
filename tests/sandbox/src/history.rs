//! The log of all changes. It knows which of them are of which resource, so that a watch passes over
//! none that are not its own, and it can forget the oldest.

use std::collections::{BTreeMap, VecDeque};

use tokio::sync::watch;

use crate::store::Change;

/// Changes in the order in which they were stored; the first has position 0, forgotten or not.
#[derive(Debug, Default)]
pub(crate) struct History {
    changes: VecDeque<Change>,
    /// How many are forgotten.
    first: usize,
    resources: BTreeMap<String, Resource>,
}

/// The changes of one resource.
#[derive(Debug, Default)]
struct Resource {
    positions: VecDeque<usize>,
    /// Position and version of the last one that is forgotten.
    forgotten: Option<(usize, u64)>,
    /// Wakes those who watch it.
    changed: watch::Sender<()>,
}

impl History {
    /// The position of the first change that is not forgotten.
    pub(crate) fn begin(&self) -> usize {
        self.first
    }

    /// The position of the next change.
    pub(crate) fn end(&self) -> usize {
        self.first + self.changes.len()
    }

    pub(crate) fn get(&self, position: usize) -> Option<&Change> {
        self.changes.get(position.checked_sub(self.first)?)
    }

    /// Where the first change after `version` is, of those that are not forgotten.
    pub(crate) fn position_after(&self, version: u64) -> usize {
        self.first + self.changes.partition_point(|change| change.version <= version)
    }

    /// The changes from a position on, of those that are not forgotten.
    pub(crate) fn from(&self, position: usize) -> impl DoubleEndedIterator<Item = &Change> {
        let from = position.saturating_sub(self.first).min(self.changes.len());
        self.changes.range(from..)
    }

    /// The changes of a resource from a position on, each with its own.
    pub(crate) fn of(
        &self,
        resource: &str,
        position: usize,
    ) -> impl Iterator<Item = (usize, &Change)> {
        let positions = self.resources.get(resource).map(|known| &known.positions);
        positions
            .into_iter()
            .flat_map(move |all| all.range(all.partition_point(|at| *at < position)..))
            .filter_map(|at| Some((*at, self.get(*at)?)))
    }

    /// Where the first change is that is newer than a test tells.
    pub(crate) fn partition_point(&self, older: impl FnMut(&Change) -> bool) -> usize {
        self.first + self.changes.partition_point(older)
    }

    pub(crate) fn push(&mut self, change: Change) {
        let position = self.end();
        let resource = self.resources.entry(change.reference.resource.clone()).or_default();
        resource.positions.push_back(position);
        resource.changed.send_replace(());
        self.changes.push_back(change);
    }

    /// Takes the newest change back.
    pub(crate) fn pop(&mut self) -> Option<Change> {
        let change = self.changes.pop_back()?;
        if let Some(resource) = self.resources.get_mut(&change.reference.resource) {
            resource.positions.pop_back();
        }
        Some(change)
    }

    /// Forgets what comes before a position.
    pub(crate) fn trim(&mut self, until: usize) {
        while self.first < until
            && let Some(change) = self.changes.pop_front()
        {
            if let Some(resource) = self.resources.get_mut(&change.reference.resource) {
                resource.positions.pop_front();
                resource.forgotten = Some((self.first, change.version));
            }
            self.first += 1;
        }
    }

    /// The position before which changes of a resource are forgotten.
    pub(crate) fn trimmed(&self, resource: &str) -> usize {
        self.forgotten(resource).map_or(0, |(position, _)| position + 1)
    }

    /// The newest version of a resource's changes that are forgotten.
    pub(crate) fn compacted(&self, resource: &str) -> u64 {
        self.forgotten(resource).map_or(0, |(_, version)| version)
    }

    fn forgotten(&self, resource: &str) -> Option<(usize, u64)> {
        self.resources.get(resource)?.forgotten
    }

    /// Wakes whenever the resource changes.
    pub(crate) fn subscribe(&mut self, resource: &str) -> watch::Receiver<()> {
        self.resources.entry(resource.to_owned()).or_default().changed.subscribe()
    }

    /// Wakes everybody.
    pub(crate) fn nudge(&self) {
        for resource in self.resources.values() {
            resource.changed.send_replace(());
        }
    }
}
