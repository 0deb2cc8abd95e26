//! Which moves are looked at next: those that something has changed for, those whose time has come,
//! and those that wait for room.

use revshift_core::budget::Room;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A migration, and the place of a move in its plan.
type Spot = (String, usize);

/// What is to be looked at, by migration.
#[derive(Debug, Default)]
pub(super) struct Due {
    now: BTreeMap<String, BTreeSet<usize>>,
    /// When a move is to be looked at though nothing changes.
    wakes: BTreeSet<(Duration, Spot)>,
    wake_of: BTreeMap<Spot, Duration>,
    /// Whether one of those to be looked at now waits until calls may be made.
    held: bool,
    /// Moves that wait for room, with the pods of the smallest workload that does.
    crowded: BTreeMap<Spot, u32>,
}

impl Due {
    /// A move is to be looked at.
    pub(super) fn add(&mut self, id: &str, place: usize) {
        match self.now.get_mut(id) {
            Some(places) => {
                places.insert(place);
            }
            None => {
                self.now.insert(id.to_owned(), BTreeSet::from([place]));
            }
        }
    }

    /// A move is to be looked at as soon as calls may be made.
    pub(super) fn hold(&mut self, id: &str, place: usize) {
        self.add(id, place);
        self.held = true;
    }

    /// All that were held are looked at now.
    pub(super) fn release(&mut self) {
        self.held = false;
    }

    /// Whether any is held.
    pub(super) fn holds(&self) -> bool {
        self.held
    }

    /// Adds those whose time has come.
    pub(super) fn wake(&mut self, now: Duration) {
        while self.wakes.first().is_some_and(|(at, _)| *at <= now)
            && let Some((_, spot)) = self.wakes.pop_first()
        {
            self.wake_of.remove(&spot);
            self.add(&spot.0, spot.1);
        }
    }

    /// Adds those that wait for room and find it; `room` tells what there is for a move.
    pub(super) fn let_in(&mut self, mut room: impl FnMut(&str, usize) -> Option<Room>) {
        let fits = |((id, place), pods): &(&Spot, &u32)| {
            room(id, *place).is_some_and(|room| room.fits(**pods))
        };
        let fitting: Vec<Spot> =
            self.crowded.iter().filter(fits).map(|(spot, _)| spot.clone()).collect();
        for (id, place) in fitting {
            self.add(&id, place);
        }
    }

    /// Migrations of which something is to be looked at.
    pub(super) fn migrations(&self) -> Vec<String> {
        self.now.keys().cloned().collect()
    }

    /// The places of a migration that are to be looked at; they count as looked at from here on.
    pub(super) fn take(&mut self, id: &str) -> BTreeSet<usize> {
        self.now.remove(id).unwrap_or_default()
    }

    /// A move was looked at: when to do so again, and what it needs room for.
    pub(super) fn looked(
        &mut self,
        id: &str,
        place: usize,
        wake: Option<Duration>,
        crowded: Option<u32>,
    ) {
        let spot = (id.to_owned(), place);
        if let Some(before) = self.wake_of.remove(&spot) {
            self.wakes.remove(&(before, spot.clone()));
        }
        if let Some(wake) = wake {
            self.wake_of.insert(spot.clone(), wake);
            self.wakes.insert((wake, spot.clone()));
        }
        match crowded {
            Some(pods) => self.crowded.insert(spot, pods),
            None => self.crowded.remove(&spot),
        };
    }

    /// A move is not under way any more.
    pub(super) fn forget(&mut self, id: &str, place: usize) {
        self.looked(id, place, None, None);
        if let Some(places) = self.now.get_mut(id) {
            places.remove(&place);
            if places.is_empty() {
                self.now.remove(id);
            }
        }
    }

    /// When the first of them is to be looked at.
    pub(super) fn next(&self) -> Option<Duration> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// Whether any move of these migrations waits for room.
    pub(super) fn crowded(&self) -> impl Iterator<Item = &str> {
        self.crowded.keys().map(|(id, _)| id.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn room(pods: u32) -> Room {
        Room { pods, idle: false, ..Room::ALL }
    }

    #[test]
    fn each_move_is_due_once_whatever_calls_for_it() {
        let mut due = Due::default();
        due.add("m", 2);
        due.looked("m", 1, Some(SECOND), None);
        due.looked("m", 2, Some(SECOND * 2), Some(5));
        assert_eq!(due.next(), Some(SECOND));
        due.wake(SECOND);
        due.let_in(|_, _| Some(room(4)));
        assert_eq!((due.migrations(), due.take("m")), (vec!["m".to_owned()], [1, 2].into()));
        assert_eq!((due.take("m"), due.next()), ([].into(), Some(SECOND * 2)));
        due.let_in(|_, _| Some(room(5)));
        assert_eq!(due.take("m"), [2].into());
    }

    #[test]
    fn a_later_look_replaces_what_an_earlier_one_has_said() {
        let mut due = Due::default();
        due.looked("m", 1, Some(SECOND), Some(1));
        due.looked("m", 1, None, None);
        assert_eq!((due.next(), due.crowded().count()), (None, 0));
        due.looked("m", 1, Some(SECOND), Some(1));
        due.add("m", 1);
        due.forget("m", 1);
        due.wake(SECOND);
        due.let_in(|_, _| Some(Room::ALL));
        assert!(due.migrations().is_empty());
    }
}
