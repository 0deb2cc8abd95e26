//! What happens in a run, and at which requests: schedules as text, and as samples from a seed.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use revshift_sandbox::Verdict;
use std::fmt;
use std::str::FromStr;

/// A run: how many replicas there are, and what happens at which of their requests, counted from 0
/// over all of them. Its text, such as `2 replicas: crash-after@31 freeze-before@40`, is parsed again.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Schedule {
    pub(crate) replicas: usize,
    pub(crate) events: Vec<(usize, Event)>,
}

/// What happens at a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Event {
    /// A 503.
    Unavailable,
    /// A 500.
    InternalError,
    /// A 429.
    TooManyRequests,
    /// A 409.
    Conflict,
    /// Carried out; the answer is a 504.
    ReplyLost,
    /// Never carried out, never answered.
    HangBefore,
    /// Carried out, never answered.
    HangAfter,
    /// kill -9 of the replica that sent it, before it is carried out.
    CrashBefore,
    /// kill -9 of the replica that sent it, after it was carried out and before its answer.
    CrashAfter,
    /// SIGSTOP of the replica after it was carried out and before its answer, for half a minute.
    FreezeAfter,
    /// SIGSTOP of the replica just before it is sent. It is sent first thing after the thaw, however
    /// old it is by then.
    FreezeBefore,
    /// The injector of the new plane goes down.
    InjectorDown,
    /// It is up again.
    InjectorUp,
    /// Somebody pauses the migration.
    Pause,
    /// Somebody resumes it.
    Resume,
    /// Somebody retries whatever failed in it.
    Retry,
    /// Somebody cancels it.
    Cancel,
    /// Somebody rolls back whatever it moved.
    Rollback,
}

impl Event {
    /// All of them, those that are easier to reason about first.
    pub(crate) const ALL: [(Self, &str); 18] = [
        (Self::Unavailable, "unavailable"),
        (Self::InternalError, "internal-error"),
        (Self::TooManyRequests, "too-many-requests"),
        (Self::Conflict, "conflict"),
        (Self::ReplyLost, "reply-lost"),
        (Self::HangBefore, "hang-before"),
        (Self::HangAfter, "hang-after"),
        (Self::CrashBefore, "crash-before"),
        (Self::CrashAfter, "crash-after"),
        (Self::FreezeAfter, "freeze-after"),
        (Self::FreezeBefore, "freeze-before"),
        (Self::InjectorDown, "injector-down"),
        (Self::InjectorUp, "injector-up"),
        (Self::Pause, "pause"),
        (Self::Resume, "resume"),
        (Self::Retry, "retry"),
        (Self::Cancel, "cancel"),
        (Self::Rollback, "rollback"),
    ];
    /// Faults of a request that writes.
    pub(crate) const WRITING: [Self; 9] = [
        Self::CrashBefore,
        Self::CrashAfter,
        Self::ReplyLost,
        Self::HangBefore,
        Self::HangAfter,
        Self::Conflict,
        Self::TooManyRequests,
        Self::InternalError,
        Self::Unavailable,
    ];
    /// Faults of a request that reads.
    pub(crate) const READING: [Self; 4] =
        [Self::CrashBefore, Self::CrashAfter, Self::HangBefore, Self::Unavailable];
    /// What befalls a whole replica.
    pub(crate) const REPLICA: [Self; 4] =
        [Self::CrashBefore, Self::CrashAfter, Self::FreezeBefore, Self::FreezeAfter];
    /// What people do, and what makes them do it.
    pub(crate) const STORY: [Self; 7] = [
        Self::Pause,
        Self::Resume,
        Self::Retry,
        Self::Cancel,
        Self::Rollback,
        Self::InjectorDown,
        Self::InjectorUp,
    ];

    /// What becomes of the request.
    pub(crate) fn verdict(self) -> Verdict {
        let refuse = |code, reason| Verdict::Refuse {
            code,
            reason,
            message: "injected by a test".to_owned(),
        };
        match self {
            Self::Unavailable => refuse(503, "ServiceUnavailable"),
            Self::InternalError => refuse(500, "InternalError"),
            Self::TooManyRequests => refuse(429, "TooManyRequests"),
            Self::Conflict => refuse(409, "Conflict"),
            Self::ReplyLost => Verdict::LoseReply,
            Self::HangBefore | Self::CrashBefore | Self::FreezeBefore => Verdict::HangBefore,
            Self::HangAfter | Self::CrashAfter => Verdict::HangAfter,
            Self::FreezeAfter
            | Self::InjectorDown
            | Self::InjectorUp
            | Self::Pause
            | Self::Resume
            | Self::Retry
            | Self::Cancel
            | Self::Rollback => Verdict::Pass,
        }
    }

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(event, _)| *event == self).map_or("", |(_, name)| name)
    }
}

impl Schedule {
    /// A run where nothing happens.
    pub(crate) fn calm(replicas: usize) -> Self {
        Self { replicas, events: Vec::new() }
    }

    /// One event.
    pub(crate) fn single(replicas: usize, at: usize, event: Event) -> Self {
        Self { replicas, events: vec![(at, event)] }
    }

    /// Whether somebody intervenes, so that the migration need not end as it would alone.
    pub(crate) fn is_story(&self) -> bool {
        self.events.iter().any(|(_, event)| Event::STORY.contains(event))
    }

    /// The sample of this number from a seed: some of `events` within the first `requests` requests.
    pub(crate) fn sample(
        (seed, number): (u64, u64),
        replicas: usize,
        requests: usize,
        count: std::ops::RangeInclusive<usize>,
        events: &[Event],
    ) -> Self {
        let mut random =
            StdRng::seed_from_u64(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(number));
        let count = random.random_range(count);
        let mut events: Vec<(usize, Event)> = (0..count)
            .filter_map(|_| Some((random.random_range(0..requests), *events.choose(&mut random)?)))
            .collect();
        events.sort_by_key(|(at, _)| *at);
        Self { replicas, events }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.replicas == 1 { "" } else { "s" };
        write!(f, "{} replica{s}:", self.replicas)?;
        self.events.iter().try_for_each(|(at, event)| write!(f, " {}@{at}", event.name()))
    }
}

impl FromStr for Schedule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (replicas, events) = text.split_once(':').ok_or("no `N replicas:`")?;
        let replicas = replicas.split(' ').next().and_then(|number| number.parse().ok());
        let replicas =
            replicas.filter(|number| (1..=2).contains(number)).ok_or("1 or 2 replicas")?;
        let event = |text: &str| {
            let (name, at) = text.split_once('@')?;
            let (event, _) = Event::ALL.iter().find(|(_, known)| *known == name)?;
            Some((at.parse().ok()?, *event))
        };
        let events = events
            .split_whitespace()
            .map(|text| event(text).ok_or_else(|| format!("`{text}` is no event")));
        Ok(Self { replicas, events: events.collect::<Result<_, _>>()? })
    }
}

#[test]
fn a_schedule_is_read_as_it_was_written() {
    let all: Vec<Event> = Event::ALL.iter().map(|(event, _)| *event).collect();
    for number in 0..100 {
        let schedule = Schedule::sample((7, number), 2, 150, 0..=5, &all);
        assert_eq!(schedule.to_string().parse(), Ok(schedule));
    }
    for malformed in ["", "3 replicas:", "1 replica: crash-before", "1 replica: nothing@1"] {
        assert!(malformed.parse::<Schedule>().is_err(), "{malformed}");
    }
}
