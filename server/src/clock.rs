//! The server's clock: one monotonic time for decisions, wall time for records only.

use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use tokio::time::Instant;

/// Tells the time. Tests pause it with tokio's clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    wall: Wall,
}

#[derive(Clone, Copy, Debug)]
enum Wall {
    System,
    Fixed(Timestamp),
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self { start: Instant::now(), wall: Wall::System }
    }

    /// A clock whose wall time is `wall` now, and goes with tokio's.
    pub fn starting_at(wall: Timestamp) -> Self {
        Self { start: Instant::now(), wall: Wall::Fixed(wall) }
    }

    /// Time since the clock was made: never goes back.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The moment at which [`Self::elapsed`] is `elapsed`.
    pub fn instant(&self, elapsed: Duration) -> Instant {
        self.start + elapsed
    }

    /// Wall time.
    pub fn now(&self) -> Timestamp {
        match self.wall {
            #[expect(clippy::disallowed_methods, reason = "this is the server's clock")]
            Wall::System => Timestamp::now(),
            Wall::Fixed(start) => SignedDuration::try_from(self.start.elapsed())
                .ok()
                .and_then(|elapsed| start.checked_add(elapsed).ok())
                .unwrap_or(Timestamp::MAX),
        }
    }
}
