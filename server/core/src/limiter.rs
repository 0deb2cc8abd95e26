//! How fast calls are made: unhindered, until the API server says that it is too much or becomes slow.
//! Then less by a factor at once, and more again by equal steps.
//!
//! What a PodDisruptionBudget forbids is no sign of load and never gets here.

use std::collections::VecDeque;
use std::time::Duration;

/// Calls without an answer, at most: what is begun before anything is known of the load.
const IN_FLIGHT: u32 = 64;
/// At a sign of load, what the rate becomes of itself: so many hundredths.
const CUT: u64 = 80;
/// Calls that a second adds to the rate, in thousandths.
const STEP: u64 = 1_000;
/// The rate is never below so many thousandths of a call a second.
const LEAST: u64 = 1_000;
/// From so many thousandths of a call a second on, nothing is held back any more.
const ENOUGH: u64 = 100_000;
/// Over so many answers the usual latency is found.
const WINDOW: usize = 16;
/// So many times the best latency is a sign of load.
const SLOW: u32 = 4;
/// A latency below this never is.
const QUICK: Duration = Duration::from_millis(200);

/// How many calls may be made, by what has become of those before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limiter {
    in_flight: u32,
    /// When calls of the last second were begun.
    begun: VecDeque<Duration>,
    /// What the last calls took.
    took: VecDeque<Duration>,
    /// The best usual latency so far.
    best: Option<Duration>,
    slowed: Option<Slowed>,
}

/// Calls are held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slowed {
    /// Thousandths of a call a second.
    pub rate: u64,
    /// What was the last sign of load.
    pub sign: Sign,
    /// When the next call may be made.
    next: Duration,
    /// When the rate was cut last: calls from before tell nothing of the new one.
    cut: Duration,
    /// Up to when the rate has been raised.
    raised: Duration,
}

/// A sign of load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// The API server refused a call as too many (429).
    TooMany,
    /// Half of the last calls took longer than this, and it was this at best.
    Slow {
        /// The usual latency of late.
        now: Duration,
        /// The best usual latency.
        best: Duration,
    },
}

impl Limiter {
    /// Whether a call may be made now.
    pub fn open(&mut self, now: Duration) -> bool {
        self.recover(now);
        self.in_flight < IN_FLIGHT && self.slowed.as_ref().is_none_or(|slowed| now >= slowed.next)
    }

    /// When a call may be made, if only time is missing.
    pub fn ready(&self) -> Option<Duration> {
        let slowed = self.slowed.as_ref().filter(|_| self.in_flight < IN_FLIGHT)?;
        Some(slowed.next)
    }

    /// Why calls are held back; none while they are not.
    pub fn slowed(&self) -> Option<&Slowed> {
        self.slowed.as_ref()
    }

    /// A call is made.
    pub fn begin(&mut self, now: Duration) {
        self.in_flight += 1;
        self.begun.push_back(now);
        while self.begun.front().is_some_and(|at| now > *at + Duration::from_secs(1)) {
            self.begun.pop_front();
        }
        if let Some(slowed) = &mut self.slowed {
            slowed.next = slowed.next.max(now) + gap(slowed.rate);
        }
    }

    /// A call that was begun at `begun` was answered; `too_many` tells whether with a 429.
    pub fn answered(&mut self, begun: Duration, too_many: bool, now: Duration) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.recover(now);
        if too_many {
            self.cut(begun, Sign::TooMany, now);
            return;
        }
        self.took.push_back(now.saturating_sub(begun));
        if self.took.len() < WINDOW {
            return;
        }
        let mut window: Vec<Duration> = self.took.drain(..).collect();
        window.sort_unstable();
        let usual = window[WINDOW / 2];
        let best = *self.best.insert(self.best.map_or(usual, |best| best.min(usual)));
        if usual > QUICK && usual > best * SLOW {
            self.cut(begun, Sign::Slow { now: usual, best }, now);
        }
    }

    /// Raises the rate by what time has brought.
    pub fn recover(&mut self, now: Duration) {
        let Some(slowed) = &mut self.slowed else {
            return;
        };
        let seconds = now.saturating_sub(slowed.raised).as_secs();
        slowed.raised += Duration::from_secs(seconds);
        slowed.rate = slowed.rate.saturating_add(seconds.saturating_mul(STEP));
        if slowed.rate > ENOUGH {
            self.slowed = None;
        }
    }

    fn cut(&mut self, begun: Duration, sign: Sign, now: Duration) {
        let rate = match &self.slowed {
            Some(slowed) if begun < slowed.cut => return,
            Some(slowed) => slowed.rate * CUT / 100,
            // What was tried within the last second was too much.
            None => u64::try_from(self.begun.len()).unwrap_or(u64::MAX).saturating_mul(1000) / 2,
        };
        let rate = rate.clamp(LEAST, ENOUGH);
        let next = now + gap(rate);
        self.took.clear();
        self.slowed = Some(Slowed { rate, sign, next, cut: now, raised: now });
    }
}

impl Slowed {
    /// In words: at which rate, and because of what.
    pub fn tell(&self) -> String {
        let (whole, tenth) = (self.rate / 1000, self.rate % 1000 / 100);
        format!("{whole}.{tenth} calls a second, because {}", self.why())
    }

    /// Because of what; changes only with a new sign of load.
    pub fn why(&self) -> String {
        match self.sign {
            Sign::TooMany => "the API server refuses calls as too many (429)".to_owned(),
            Sign::Slow { now, best } => format!(
                "the API server has become slow: half of the calls take more than {} ms, at best {} ms",
                now.as_millis(),
                best.as_millis()
            ),
        }
    }
}

fn gap(rate: u64) -> Duration {
    Duration::from_micros(1_000_000_000 / rate.max(1))
}
