//! What a replica holds of a migration at one moment, made once for all who watch it.

use super::super::convert::migration;
use crate::published::{Published, State, Stored};
use revshift_core::limiter::Slowed;
use revshift_core::migration::{Migration, Move};
use revshift_core::progress::{self, LiveProgress};
use revshift_proto::v1 as proto;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A migration's records, summary and live counts.
#[derive(Clone, Debug)]
pub(crate) struct Sight {
    /// The migration with what it waits for.
    pub(crate) stored: Arc<Stored>,
    /// The migration as clients see it.
    pub(crate) summary: Arc<proto::Migration>,
    /// Live counts of the moves that run, by namespace.
    pub(crate) live: BTreeMap<String, LiveProgress>,
    /// The last change of the cluster that the counts show.
    number: u64,
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
        let number = state.cluster.number();
        let before = before.filter(|before| before.holds(state, id));
        let changed =
            before.and_then(|before| Some((before, state.cluster.changed_after(before.number)?)));
        let (stored, summary) = if let Some(before) = before {
            (Arc::clone(&before.stored), Arc::clone(&before.summary))
        } else {
            let stored = state.find(id)?;
            let summary = migration::migration(&stored);
            (Arc::new(stored), Arc::new(summary))
        };
        let of = &stored.migration;
        let count = |m: &Move| {
            progress::live(&state.cluster, of, m).map(|live| (m.namespace.clone(), live))
        };
        let live = if let Some((before, changed)) = changed {
            let mut live = before.live.clone();
            for m in changed.filter_map(|namespace| of.find(namespace)) {
                live.remove(&m.namespace);
                live.extend(Some(m).filter(|m| m.state.is_active()).and_then(count));
            }
            live
        } else {
            of.active().filter_map(|(_, m)| count(m)).collect()
        };
        Some(Self { stored, summary, live, number })
    }

    /// A sight of these records and counts.
    #[cfg(test)]
    pub(crate) fn new(stored: Stored, live: BTreeMap<String, LiveProgress>) -> Self {
        let summary = Arc::new(migration::migration(&stored));
        Self { stored: Arc::new(stored), summary, live, number: 0 }
    }

    /// Whether its records are those that `state` has.
    fn holds(&self, state: &State, id: &str) -> bool {
        let Stored { uid, migration, waiting_for, slowed } = &*self.stored;
        let same = |now: &Migration| now == migration && state.uids.get(id) == Some(uid);
        state.migrations.get(id).is_some_and(same)
            && state.waits.of(id) == *waiting_for
            && state.slowed.as_ref().map(Slowed::why) == *slowed
    }

    /// The highest number of a record; 0 when there is none.
    pub(crate) fn highest(&self) -> u64 {
        self.stored.migration.moves.highest()
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
        assert!(Arc::ptr_eq(&first.stored, &second.stored));
        put(&published, 2);
        let third = sights.look(&published, 3, ID).unwrap();
        assert_eq!(third.highest(), 2);
    }

    #[test]
    fn what_nobody_watches_is_not_kept() {
        let (published, sights) = (Published::default(), Sights::default());
        put(&published, 1);
        drop(sights.look(&published, 1, ID));
        put(&published, 2);
        // The version is that of the first look, but nothing is left of it.
        assert_eq!(sights.look(&published, 1, ID).unwrap().highest(), 2);
    }
}
