//! When a window or a freeze changes what may begin.

use jiff::Timestamp;
use revshift_core::calendar::{self, Freeze};
use revshift_core::migration::Migration;
use std::collections::BTreeMap;
use std::time::Duration;

/// The freezes in force, and when they or a window change something next.
#[derive(Debug, Default)]
pub(super) struct Calendar {
    freezes: Vec<Freeze>,
    next: Option<Timestamp>,
}

impl Calendar {
    /// Takes in the freezes that are configured now; whether that, or the time, changes anything.
    pub(super) fn turn(&mut self, freezes: Vec<Freeze>, now: Timestamp) -> bool {
        let changed = self.freezes != freezes;
        self.freezes = freezes;
        changed || self.next.is_some_and(|next| next <= now)
    }

    /// The freezes in force.
    pub(super) fn freezes(&self) -> &[Freeze] {
        &self.freezes
    }

    /// Finds out when something changes next for what has not ended.
    pub(super) fn look(&mut self, migrations: &BTreeMap<String, Migration>, now: Timestamp) {
        let unfinished = migrations.values().filter(|migration| migration.ended.is_none());
        let changes = unfinished.filter_map(|migration| {
            calendar::next_change(&migration.spec.windows, &self.freezes, now)
        });
        self.next = changes.min();
    }

    /// When that is, in the time that never goes back.
    pub(super) fn due(&self, elapsed: Duration, now: Timestamp) -> Option<Duration> {
        let wait = Duration::try_from(self.next?.duration_since(now)).unwrap_or_default();
        Some(elapsed.saturating_add(wait))
    }
}
