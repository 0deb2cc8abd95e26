//! What a replica holds of a migration at one moment, made once for all who watch it.

use super::super::convert::migration;
use crate::published::{Published, State, Stored};
use revshift_core::migration::Migration;
use revshift_core::progress::{self, LiveProgress};
use revshift_proto::v1 as proto;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A migration's records, summary and live counts.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    /// The records.
    pub(crate) records: Arc<Records>,
    /// The migration itself.
    pub(crate) summary: Arc<proto::Migration>,
    /// Live counts of the moves that run, by namespace.
    pub(crate) live: BTreeMap<String, LiveProgress>,
}

/// The records of a migration.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    /// The migration with what it waits for.
    pub(crate) stored: Stored,
    /// Number and place of each record, by rising number.
    pub(crate) order: Vec<(u64, usize)>,
}

/// The latest sights of what is watched.
#[derive(Debug, Default)]
pub(crate) struct Sights(Mutex<BTreeMap<String, (u64, Weak<Sight>)>>);

impl Sights {
    /// What is published of a migration, at `version` or later; none when it is not there.
    pub(crate) fn look(&self, published: &Published, version: u64, id: &str) -> Option<Arc<Sight>> {
        let mut sights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = sights.get(id).and_then(|(of, sight)| Some((*of, sight.upgrade()?)));
        if let Some((of, sight)) = &known
            && *of >= version
        {
            return Some(Arc::clone(sight));
        }
        let sight = {
            let state = published.read();
            Sight::of(&state, id, known.as_ref().map(|(_, sight)| sight.as_ref()))
        };
        let Some(sight) = sight.map(Arc::new) else {
            sights.remove(id);
            return None;
        };
        if known.is_none() {
            sights.retain(|_, (_, sight)| sight.strong_count() > 0);
        }
        sights.insert(id.to_owned(), (version, Arc::downgrade(&sight)));
        Some(sight)
    }
}

impl Sight {
    /// What is held of a migration; `before` lends what did not change.
    fn of(state: &State, id: &str, before: Option<&Self>) -> Option<Self> {
        let before = before.filter(|before| before.records.hold(state, id));
        let (records, summary) = if let Some(before) = before {
            (Arc::clone(&before.records), Arc::clone(&before.summary))
        } else {
            let stored = state.find(id)?;
            let summary = migration::migration(&stored);
            (Arc::new(Records::new(stored)), Arc::new(summary))
        };
        let of = &records.stored.migration;
        let running = of.moves.iter().filter(|m| m.state.is_active());
        let live = running
            .filter_map(|m| Some((m.namespace.clone(), progress::live(&state.cluster, of, m)?)))
            .collect();
        Some(Self { records, summary, live })
    }

    /// A sight of these records and counts.
    #[cfg(test)]
    pub(crate) fn new(stored: Stored, live: BTreeMap<String, LiveProgress>) -> Self {
        let summary = Arc::new(migration::migration(&stored));
        Self { records: Arc::new(Records::new(stored)), summary, live }
    }
}

impl Records {
    fn new(stored: Stored) -> Self {
        let moves = stored.migration.moves.iter().enumerate();
        let mut order: Vec<(u64, usize)> = moves.map(|(index, m)| (m.sequence, index)).collect();
        order.sort_unstable();
        Self { stored, order }
    }

    /// Whether these are the records that `state` has.
    fn hold(&self, state: &State, id: &str) -> bool {
        let Stored { uid, migration, waiting_for } = &self.stored;
        let same = |now: &Migration| now == migration && state.uids.get(id) == Some(uid);
        let waits = || revshift_core::admission::waits(&state.migrations).remove(id);
        state.migrations.get(id).is_some_and(same) && waits().unwrap_or_default() == *waiting_for
    }

    /// The highest number; 0 when there is no record.
    pub(crate) fn highest(&self) -> u64 {
        self.order.last().map_or(0, |(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::sample;
    use revshift_core::migration::MoveState;

    const ID: &str = "m-0123456789";

    fn put(published: &Published, sequence: u64) {
        let m = sample::movement("shop", sequence, MoveState::Restarting);
        published.update(|state| {
            state.migrations.insert(ID.to_owned(), sample::migration(ID, vec![m]));
            state.uids.insert(ID.to_owned(), "uid".to_owned());
        });
    }

    #[test]
    fn those_who_watch_the_same_migration_share_what_is_held_of_it() {
        let (published, sights) = (Published::default(), Sights::default());
        assert!(sights.look(&published, 0, ID).is_none());
        put(&published, 1);
        let first = sights.look(&published, 1, ID).unwrap();
        assert!(Arc::ptr_eq(&first, &sights.look(&published, 1, ID).unwrap()));
        // Something else changed.
        let second = sights.look(&published, 2, ID).unwrap();
        assert!(Arc::ptr_eq(&first.records, &second.records));
        put(&published, 2);
        let third = sights.look(&published, 3, ID).unwrap();
        assert_eq!(third.records.highest(), 2);
    }

    #[test]
    fn what_nobody_watches_is_not_kept() {
        let (published, sights) = (Published::default(), Sights::default());
        put(&published, 1);
        drop(sights.look(&published, 1, ID));
        put(&published, 2);
        // The version is that of the first look, but nothing is left of it.
        assert_eq!(sights.look(&published, 1, ID).unwrap().records.highest(), 2);
    }
}
