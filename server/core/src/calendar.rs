//! When migrations may begin moves: weekly maintenance windows, and freezes.

mod window;

pub use window::{Window, moment};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A time in which no migration begins anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// When it begins.
    pub from: Timestamp,
    /// When it is over.
    pub to: Timestamp,
    /// Why, for people.
    pub reason: String,
}

/// What keeps a migration from beginning moves for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// What does.
    pub cause: Cause,
    /// When that is over; none when that is too far away to tell.
    pub until: Option<Timestamp>,
}

/// Why nothing begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// None of the migration's windows is open.
    Window,
    /// Everything is frozen, for this reason.
    Freeze(String),
}

impl Cause {
    /// The cause's name.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Window => "WINDOW",
            Self::Freeze(_) => "FREEZE",
        }
    }
}

/// What holds at `now` whoever has these windows; without any, only freezes do.
///
/// A freeze is over when no other one follows at once. A window counts as opening only where no freeze
/// covers it.
pub fn hold(windows: &[Window], freezes: &[Freeze], now: Timestamp) -> Option<Hold> {
    if let Some(freeze) = freezes.iter().filter(|freeze| freeze.covers(now)).max_by_key(|it| it.to)
    {
        let cause = Cause::Freeze(freeze.reason.clone());
        return Some(Hold { cause, until: Some(thaw(freezes, now)) });
    }
    if is_open(windows, now) {
        return None;
    }
    Some(Hold { cause: Cause::Window, until: opening(windows, freezes, now) })
}

/// When something opens, closes, freezes or thaws next, after `now`.
pub fn next_change(windows: &[Window], freezes: &[Freeze], now: Timestamp) -> Option<Timestamp> {
    let windows = windows.iter().filter_map(|window| window.next_change(now));
    let freezes = freezes.iter().flat_map(|freeze| [freeze.from, freeze.to]);
    windows.chain(freezes).filter(|at| *at > now).min()
}

/// A moment for people, in the time zone of the window that is open then; else of the first one, or UTC.
pub fn local(windows: &[Window], at: Timestamp) -> String {
    let window = windows.iter().find(|window| window.is_open(at)).or_else(|| windows.first());
    let zone = window.map_or(TimeZone::UTC, |window| window.zone().clone());
    let name = zone.iana_name().unwrap_or("UTC").to_owned();
    format!("{} {name}", at.to_zoned(zone).strftime("%a %Y-%m-%d %H:%M"))
}

impl Freeze {
    fn covers(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }
}

fn is_open(windows: &[Window], at: Timestamp) -> bool {
    windows.is_empty() || windows.iter().any(|window| window.is_open(at))
}

/// The first moment from `at` on that no freeze covers.
fn thaw(freezes: &[Freeze], mut at: Timestamp) -> Timestamp {
    while let Some(to) = freezes.iter().filter(|freeze| freeze.covers(at)).map(|it| it.to).max() {
        at = to;
    }
    at
}

/// The first moment after `now` that is in a window and in no freeze.
fn opening(windows: &[Window], freezes: &[Freeze], now: Timestamp) -> Option<Timestamp> {
    let mut at = now;
    // Each freeze is passed at most once.
    for _ in 0..=freezes.len() {
        if !is_open(windows, at) {
            at = windows.iter().filter_map(|window| window.next_opening(at)).min()?;
        }
        let thawed = thaw(freezes, at);
        if thawed == at {
            return Some(at);
        }
        at = thawed;
    }
    is_open(windows, at).then_some(at)
}
