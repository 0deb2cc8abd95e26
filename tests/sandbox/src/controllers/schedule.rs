//! Cron schedules: five fields, or one of the usual names.
//!
//! As in the library that Kubernetes uses: when both days are restricted, either suffices.

use std::time::Duration;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

/// When a CronJob runs.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Both kinds of days are restricted.
    either_day: bool,
    zone: TimeZone,
}

/// `@every`, counted from the last run.
#[derive(Debug, Clone)]
pub(super) enum Plan {
    Fields(Schedule),
    Every(Duration),
}

const MONTHS: &[&str] =
    &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

impl Plan {
    /// Reads a schedule, or says what is wrong with it.
    pub(super) fn parse(text: &str, zone: TimeZone) -> Result<Self, String> {
        let text = text.trim();
        if let Some(every) = text.strip_prefix("@every ") {
            let span: jiff::SignedDuration =
                every.trim().parse().map_err(|error| format!("{error}"))?;
            let every = Duration::try_from(span).map_err(|error| format!("{error}"))?;
            return Ok(Self::Every(every.max(Duration::from_secs(1))));
        }
        let text = match text {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            text => text,
        };
        let fields: Vec<_> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = fields.as_slice() else {
            return Err(format!("expected exactly 5 fields, found {}: [{text}]", fields.len()));
        };
        let weekday_bits = field(weekdays, 0, 7, WEEKDAYS)?;
        Ok(Self::Fields(Schedule {
            minutes: field(minutes, 0, 59, &[])?,
            hours: field(hours, 0, 23, &[])?,
            days: field(days, 1, 31, &[])?,
            months: field(months, 1, 12, MONTHS)?,
            // Seven is Sunday too.
            weekdays: (weekday_bits | weekday_bits >> 7) & 0x7f,
            either_day: !days.starts_with(['*', '?']) && !weekdays.starts_with(['*', '?']),
            zone,
        }))
    }

    /// The first run after a moment; None if there is none within five years.
    pub(super) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every(every) => after.checked_add(*every).ok(),
            Self::Fields(schedule) => schedule.next(after),
        }
    }
}

impl Schedule {
    fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let local = after.to_zoned(self.zone.clone()).datetime();
        let mut at = local.with().second(0).subsec_nanosecond(0).build().ok()?;
        at = at.checked_add(1.minute()).ok()?;
        let last = at.checked_add(5.years()).ok()?;
        while at < last {
            let bit = |set: u64, value: i8| set >> value & 1 == 1;
            let midnight = |at: DateTime| at.with().hour(0).minute(0).build().ok();
            if !bit(self.months, at.month()) {
                at = midnight(at.first_of_month())?.checked_add(1.month()).ok()?;
            } else if !self.runs_on(at) {
                at = midnight(at)?.checked_add(1.day()).ok()?;
            } else if !bit(self.hours, at.hour()) {
                at = at.with().minute(0).build().ok()?.checked_add(1.hour()).ok()?;
            } else if !bit(self.minutes, at.minute()) {
                at = at.checked_add(1.minute()).ok()?;
            } else {
                return at.to_zoned(self.zone.clone()).ok().map(|at| at.timestamp());
            }
        }
        None
    }

    fn runs_on(&self, at: DateTime) -> bool {
        let day = self.days >> at.day() & 1 == 1;
        let weekday = self.weekdays >> at.weekday().to_sunday_zero_offset() & 1 == 1;
        if self.either_day { day || weekday } else { day && weekday }
    }
}

/// One field as a set of bits: lists of values, ranges and steps.
fn field(text: &str, least: u32, most: u32, names: &[&str]) -> Result<u64, String> {
    let mut bits = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, number(step, &[], 0)?),
            None => (part, 1),
        };
        let base = u32::from(names.len() == 12);
        let (from, until) = match range {
            "*" | "?" => (least, most.min(if names.len() == 7 { 6 } else { most })),
            range => match range.split_once('-') {
                Some((from, until)) => (number(from, names, base)?, number(until, names, base)?),
                // `5/15` goes on to the end.
                None if part.contains('/') => (number(range, names, base)?, most),
                None => (number(range, names, base)?, number(range, names, base)?),
            },
        };
        if from < least || until > most || from > until || step == 0 {
            return Err(format!("not within {least}-{most}: {part}"));
        }
        let step = usize::try_from(step).unwrap_or(usize::MAX);
        bits |= (from..=until).step_by(step).fold(0, |bits, value| bits | 1_u64 << value);
    }
    Ok(bits)
}

fn number(text: &str, names: &[&str], base: u32) -> Result<u32, String> {
    let lower = text.to_lowercase();
    if let Some(index) = names.iter().position(|name| *name == lower) {
        return Ok(base + u32::try_from(index).unwrap_or_default());
    }
    text.parse().map_err(|_| format!("failed to parse int from {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_run_follows_the_fields() {
        for (text, after, next) in [
            ("* * * * *", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z"),
            ("* * * * *", "2026-01-01T00:00:59Z", "2026-01-01T00:01:00Z"),
            ("*/15 * * * *", "2026-01-01T00:46:00Z", "2026-01-01T01:00:00Z"),
            ("5/20 3 * * *", "2026-01-01T03:26:00Z", "2026-01-01T03:45:00Z"),
            ("30 6-16/4 * * 1-5", "2026-01-02T14:30:00Z", "2026-01-05T06:30:00Z"),
            ("0 0 31 * *", "2026-01-31T00:00:00Z", "2026-03-31T00:00:00Z"),
            ("0 0 29 2 *", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("0 12 1 * MON", "2026-01-01T12:00:00Z", "2026-01-05T12:00:00Z"),
            ("0 0 * DEC 7", "2026-01-01T00:00:00Z", "2026-12-06T00:00:00Z"),
            ("@daily", "2026-01-01T10:00:00Z", "2026-01-02T00:00:00Z"),
            ("@every 90s", "2026-01-01T10:00:00Z", "2026-01-01T10:01:30Z"),
        ] {
            let plan = Plan::parse(text, TimeZone::UTC).unwrap();
            let after: Timestamp = after.parse().unwrap();
            assert_eq!(plan.next(after).unwrap().to_string(), next, "{text}");
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in
            ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "a * * * *", "*/0 * * * *"]
        {
            assert!(Plan::parse(text, TimeZone::UTC).is_err(), "{text}");
        }
        let never = Plan::parse("0 0 31 2 *", TimeZone::UTC).unwrap();
        assert_eq!(never.next(Timestamp::UNIX_EPOCH), None);
    }
}
