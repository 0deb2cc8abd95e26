//! The limit that a controller's client keeps: a bucket of requests that fills steadily.

use std::time::Duration;

use tokio::time::Instant;

use crate::ControllerRate;

#[derive(Debug)]
pub(super) struct Pace {
    rate: ControllerRate,
    /// What may be written at once; below zero after a task that wrote more.
    tokens: f64,
    filled: Instant,
}

impl Pace {
    pub(super) fn new(rate: ControllerRate, now: Instant) -> Self {
        Self { rate, tokens: f64::from(rate.burst), filled: now }
    }

    /// How long until the next write; None if it may happen now.
    pub(super) fn wait(&mut self, now: Instant) -> Option<Duration> {
        let since = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = now;
        let most = f64::from(self.rate.burst);
        self.tokens = (self.tokens + since * self.rate.per_second).min(most);
        let lacking = 1.0 - self.tokens;
        // Rounded up, lest it come back a moment too early for ever.
        (lacking > 0.0).then(|| {
            Duration::from_secs_f64(lacking / self.rate.per_second) + Duration::from_millis(1)
        })
    }

    pub(super) fn spend(&mut self, writes: usize) {
        self.tokens -= f64::from(u32::try_from(writes).unwrap_or(u32::MAX));
    }
}
