//! istiods that admit only so many new proxies a second, and proxies that try again.
//!
//! As in istiod, a request waits at most a second for its turn and is refused otherwise; as in
//! the agent beside a proxy, the next try comes after a back-off that doubles.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(1);
const FIRST_BACKOFF: Duration = Duration::from_millis(500);
const LONGEST_BACKOFF: Duration = Duration::from_secs(30);

/// The admission of new streams, by revision.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    planes: BTreeMap<String, Plane>,
}

#[derive(Debug, Default)]
struct Plane {
    /// When the next stream has its turn.
    free: Option<Instant>,
    rejects: u64,
}

/// Where a proxy is on its way to its plane.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Stream {
    #[default]
    New,
    /// It was refused so often, and tries again then.
    Refused { times: u32, again: Instant },
    /// It has its configuration from then on.
    Admitted(Instant),
}

impl Streams {
    /// How many requests the plane has refused.
    pub(crate) fn rejects(&self, revision: &str) -> u64 {
        self.planes.get(revision).map_or(0, |plane| plane.rejects)
    }

    /// Lets a proxy try; `salt` sets apart proxies that were refused together.
    pub(crate) fn connect(
        &mut self,
        revision: &str,
        per_second: f64,
        stream: Stream,
        salt: u64,
        now: Instant,
    ) -> Stream {
        let times = match stream {
            Stream::New => 0,
            Stream::Refused { times, again } if again <= now => times,
            settled => return settled,
        };
        let plane = self.planes.entry(revision.to_owned()).or_default();
        let turn = plane.free.map_or(now, |free| free.max(now));
        if turn - now <= PATIENCE {
            plane.free = Some(turn + Duration::from_secs_f64(1.0 / per_second));
            return Stream::Admitted(turn);
        }
        plane.rejects += 1;
        let longest = (FIRST_BACKOFF * 2_u32.pow(times.min(10))).min(LONGEST_BACKOFF);
        let half = longest / 2;
        let jitter = half.mul_f64(f64::from(u32::try_from(salt % 1000).unwrap_or_default()) / 1e3);
        Stream::Refused { times: times + 1, again: now + half + jitter }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_plane_admits_as_many_as_it_may() {
        let mut streams = Streams::default();
        let start = Instant::now();
        let mut waiting = vec![Stream::New; 100];
        let mut last = start;
        while waiting.iter().any(|stream| !matches!(stream, Stream::Admitted(_))) {
            for (salt, stream) in waiting.iter_mut().enumerate() {
                *stream = streams.connect("a", 10.0, *stream, salt as u64 * 37, Instant::now());
                if let Stream::Admitted(at) = stream {
                    last = last.max(*at);
                }
            }
            tokio::time::advance(Duration::from_millis(50)).await;
        }
        let took = last - start;
        assert!(took >= Duration::from_millis(9_890), "{took:?}");
        assert!(took < Duration::from_mins(1), "{took:?}");
        assert!(streams.rejects("a") >= 89);
        assert_eq!(streams.rejects("b"), 0);
    }
}
