//! The moves of a migration, with what is asked of all of them kept as they change: a migration of
//! thousands of namespaces is looked at after every change.

use super::{Move, MoveCounts, MoveState, Skip};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::sync::Arc;

/// Moves in the order of the plan. Copies share them until one of them changes.
#[derive(Clone, Default)]
pub struct Moves {
    all: Arc<Vec<Move>>,
    index: Arc<Index>,
}

/// What follows from the moves; each set holds places in the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Index {
    counts: MoveCounts,
    /// Moves that have begun an attempt.
    begun: usize,
    /// How many moves each wave has.
    waves: BTreeMap<u32, usize>,
    /// Moves of each wave that have moved their namespaces, by when they had.
    moved: BTreeMap<u32, BTreeSet<(Timestamp, usize)>>,
    by_namespace: BTreeMap<String, usize>,
    by_number: BTreeSet<(u64, usize)>,
    /// Pending ones by wave.
    pending: BTreeMap<u32, BTreeSet<usize>>,
    active: BTreeSet<usize>,
    /// Failed or blocked ones.
    failed: BTreeSet<usize>,
    superseded: BTreeSet<usize>,
}

impl Moves {
    /// Replaces the move at a place in the plan, or adds one behind the last; none beyond that.
    pub fn set(&mut self, place: usize, m: Move) {
        let all = Arc::make_mut(&mut self.all);
        let index = Arc::make_mut(&mut self.index);
        if let Some(known) = all.get_mut(place) {
            index.forget(place, known);
            index.learn(place, &m);
            *known = m;
        } else if place == all.len() {
            index.learn(place, &m);
            all.push(m);
        }
    }

    /// Changes the move at a place in the plan.
    pub fn edit(&mut self, place: usize, change: impl FnOnce(&mut Move)) {
        if let Some(mut m) = self.get(place).cloned() {
            change(&mut m);
            self.set(place, m);
        }
    }

    /// How many are in which state.
    pub fn counts(&self) -> MoveCounts {
        self.index.counts
    }

    /// How many waves there are.
    pub fn waves(&self) -> u32 {
        self.index.waves.keys().next_back().map_or(0, |last| last.saturating_add(1))
    }

    /// Whether an attempt of any of them has begun.
    pub fn begun(&self) -> bool {
        self.index.begun > 0
    }

    /// The highest number of a record.
    pub fn highest(&self) -> u64 {
        self.index.by_number.last().map_or(0, |(number, _)| *number)
    }

    /// Numbers above `number` with the places of their moves, by rising number.
    pub fn after(&self, number: u64) -> impl Iterator<Item = (u64, usize)> {
        self.index.by_number.range((number.saturating_add(1), 0)..).copied()
    }

    /// The place in the plan of a namespace.
    pub fn place(&self, namespace: &str) -> Option<usize> {
        self.index.by_namespace.get(namespace).copied()
    }

    /// Those under way, with their places.
    pub fn active(&self) -> impl Iterator<Item = (usize, &Move)> {
        self.at(&self.index.active)
    }

    /// Those that failed or are blocked, with their places.
    pub fn failed(&self) -> impl Iterator<Item = (usize, &Move)> {
        self.at(&self.index.failed)
    }

    /// Those that a rollback took over, with their places.
    pub fn superseded(&self) -> impl Iterator<Item = (usize, &Move)> {
        self.at(&self.index.superseded)
    }

    /// The pending ones, wave by wave, with their places.
    pub fn pending(&self) -> impl Iterator<Item = (usize, &Move)> {
        self.index.pending.values().flat_map(|wave| self.at(wave))
    }

    /// The pending ones of a wave, with their places.
    pub fn pending_of(&self, wave: u32) -> impl Iterator<Item = (usize, &Move)> {
        self.index.pending.get(&wave).into_iter().flat_map(|wave| self.at(wave))
    }

    /// The first wave with a pending move.
    pub fn first_pending(&self) -> Option<u32> {
        self.index.pending.keys().next().copied()
    }

    /// The waves that have moved anything and come before `wave`; all of them without one.
    pub fn moved_before(&self, wave: Option<u32>) -> impl Iterator<Item = u32> {
        self.index.moved.range(..wave.unwrap_or(u32::MAX)).map(|(wave, _)| *wave)
    }

    /// When a wave has moved a namespace last; none where it has moved none.
    pub fn last_moved(&self, wave: u32) -> Option<Timestamp> {
        self.index.moved.get(&wave)?.last().map(|(at, _)| *at)
    }

    /// What a wave has moved.
    pub fn moved_in(&self, wave: u32) -> impl Iterator<Item = &Move> {
        let places = self.index.moved.get(&wave).into_iter().flatten();
        places.filter_map(|(_, place)| self.all.get(*place))
    }

    fn at<'a>(&'a self, places: &'a BTreeSet<usize>) -> impl Iterator<Item = (usize, &'a Move)> {
        places.iter().filter_map(|place| Some((*place, self.all.get(*place)?)))
    }
}

impl Index {
    fn learn(&mut self, place: usize, m: &Move) {
        *self.count(m) += 1;
        self.begun += usize::from(m.attempt > 0);
        *self.waves.entry(m.wave).or_default() += 1;
        if matches!(m.state, MoveState::Moved(_)) {
            self.moved.entry(m.wave).or_default().insert((m.since, place));
        }
        self.by_namespace.entry(m.namespace.clone()).or_insert(place);
        self.by_number.insert((m.sequence, place));
        if m.state == MoveState::Pending {
            self.pending.entry(m.wave).or_default().insert(place);
        } else if let Some(places) = self.places(m) {
            places.insert(place);
        }
    }

    fn forget(&mut self, place: usize, m: &Move) {
        *self.count(m) -= 1;
        self.begun -= usize::from(m.attempt > 0);
        if let Some(count) = self.waves.get_mut(&m.wave) {
            *count -= 1;
            if *count == 0 {
                self.waves.remove(&m.wave);
            }
        }
        if let Some(moved) = self.moved.get_mut(&m.wave) {
            moved.remove(&(m.since, place));
            if moved.is_empty() {
                self.moved.remove(&m.wave);
            }
        }
        if self.by_namespace.get(&m.namespace) == Some(&place) {
            self.by_namespace.remove(&m.namespace);
        }
        self.by_number.remove(&(m.sequence, place));
        if let Some(places) = self.places(m) {
            places.remove(&place);
        } else if let Some(wave) = self.pending.get_mut(&m.wave) {
            wave.remove(&place);
            if wave.is_empty() {
                self.pending.remove(&m.wave);
            }
        }
    }

    fn count(&mut self, m: &Move) -> &mut u32 {
        let counts = &mut self.counts;
        match m.state {
            MoveState::Pending => &mut counts.pending,
            MoveState::Checking
            | MoveState::Relabeling
            | MoveState::Restarting
            | MoveState::Verifying => &mut counts.active,
            MoveState::AwaitingLabel(_) => &mut counts.awaiting,
            MoveState::Moved(_) | MoveState::Skipped(Skip::Unneeded) => &mut counts.moved,
            MoveState::Failed(_) => &mut counts.failed,
            MoveState::Blocked(_) => &mut counts.blocked,
            MoveState::Skipped(Skip::Asked)
            | MoveState::Cancelled
            | MoveState::Gone
            | MoveState::Superseded => &mut counts.other,
        }
    }

    /// The set that a move of this state is in; pending ones are kept by wave.
    fn places(&mut self, m: &Move) -> Option<&mut BTreeSet<usize>> {
        match m.state {
            MoveState::Failed(_) | MoveState::Blocked(_) => Some(&mut self.failed),
            MoveState::Superseded => Some(&mut self.superseded),
            _ if m.state.is_active() => Some(&mut self.active),
            _ => None,
        }
    }
}

impl Deref for Moves {
    type Target = [Move];

    fn deref(&self) -> &[Move] {
        &self.all
    }
}

impl From<Vec<Move>> for Moves {
    fn from(all: Vec<Move>) -> Self {
        let mut index = Index::default();
        for (place, m) in all.iter().enumerate() {
            index.learn(place, m);
        }
        Self { all: Arc::new(all), index: Arc::new(index) }
    }
}

impl FromIterator<Move> for Moves {
    fn from_iter<I: IntoIterator<Item = Move>>(moves: I) -> Self {
        moves.into_iter().collect::<Vec<_>>().into()
    }
}

impl<'a> IntoIterator for &'a Moves {
    type Item = &'a Move;
    type IntoIter = std::slice::Iter<'a, Move>;

    fn into_iter(self) -> Self::IntoIter {
        self.all.iter()
    }
}

impl PartialEq for Moves {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.all, &other.all) || self.all == other.all
    }
}

impl Eq for Moves {}

impl std::fmt::Debug for Moves {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.all.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::InjectionLabels;
    use crate::problem::{Code, Problem};
    use jiff::Timestamp;
    use proptest::prelude::*;

    fn state(number: u8) -> MoveState {
        let problem = || Problem {
            code: Code::ImagePull,
            object: String::new(),
            message: String::new(),
            manager: None,
            since: Timestamp::UNIX_EPOCH,
        };
        match number % 13 {
            0 => MoveState::Pending,
            1 => MoveState::Checking,
            2 => MoveState::Relabeling,
            3 => MoveState::Restarting,
            4 => MoveState::Verifying,
            5 => MoveState::Moved(Vec::new()),
            6 => MoveState::Blocked(problem()),
            7 => MoveState::Failed(problem()),
            8 => MoveState::Skipped(Skip::Unneeded),
            9 => MoveState::Skipped(Skip::Asked),
            10 => MoveState::Cancelled,
            11 => MoveState::AwaitingLabel(String::new()),
            _ => MoveState::Superseded,
        }
    }

    fn m(place: usize, wave: u32, state: MoveState, sequence: u64) -> Move {
        let labels = InjectionLabels::default;
        let name = format!("n-{place}");
        let m = Move::pending(&name, "uid", labels(), labels(), Timestamp::UNIX_EPOCH);
        Move { wave, attempt: u32::from(state != MoveState::Pending), state, sequence, ..m }
    }

    proptest! {
        #[test]
        fn what_is_kept_is_what_would_be_found(
            changes in prop::collection::vec((0usize..12, 0u32..4, any::<u8>(), 0u64..99), 0..60)
        ) {
            let mut moves = Moves::default();
            for (place, wave, number, sequence) in changes {
                let before = moves.clone();
                moves.set(place, m(place, wave, state(number), sequence));
                let more = usize::from(place == before.len());
                prop_assert_eq!(moves.len(), before.len() + more);
                let anew = Moves::from(moves.to_vec());
                prop_assert_eq!(&moves.index, &anew.index);
                prop_assert_eq!(&moves, &anew);
            }
        }
    }

    #[test]
    fn moves_are_found_by_name_number_and_state() {
        let mut moves: Moves =
            (0..4).map(|place| m(place, u32::from(place > 1), MoveState::Pending, 1)).collect();
        assert_eq!((moves.waves(), moves.first_pending(), moves.begun()), (2, Some(0), false));
        for (place, to) in [(0, MoveState::Restarting), (1, MoveState::Moved(Vec::new()))] {
            moves.edit(place, |m| {
                m.state = to;
                m.attempt = 1;
                m.sequence = 7;
            });
        }
        assert_eq!((moves.place("n-3"), moves.place("n-4")), (Some(3), None));
        assert_eq!((moves.first_pending(), moves.begun(), moves.highest()), (Some(1), true, 7));
        assert_eq!(moves.after(1).collect::<Vec<_>>(), [(7, 0), (7, 1)]);
        assert_eq!(moves.pending_of(1).count(), 2);
        assert_eq!(moves.active().map(|(place, _)| place).collect::<Vec<_>>(), [0]);
        let counts = MoveCounts { pending: 2, active: 1, moved: 1, ..MoveCounts::default() };
        assert_eq!(moves.counts(), counts);
    }
}
