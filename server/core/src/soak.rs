//! The soak: what a wave has moved stays healthy for a time.

mod health;

use crate::cluster::Cluster;
use crate::gate::soak_after;
use crate::migration::Migration;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

pub use health::ailment;

/// So long something may be amiss without a break before a soak fails: pods are moved between nodes,
/// and people roll out their applications, at any time.
pub const LASTING: Duration = Duration::from_mins(1);
/// How often a soak is looked at.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What a leader has seen of a soak; a new leader begins without it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Soaking {
    /// Since when something has been amiss in a namespace.
    ailing: BTreeMap<String, Duration>,
}

/// Where a soak stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Soak {
    /// All was well for long enough.
    Passed,
    /// Something was amiss for too long.
    Failed(String),
    /// It goes on; to be looked at again after so long.
    Lasts(Duration),
}

impl Soaking {
    /// Looks at what the wave `wave` of `migration` has moved. `elapsed` is the engine's clock, which
    /// never goes back, and `now` the time of records, by which a soak is measured.
    pub fn look(
        &mut self,
        cluster: &Cluster,
        migration: &Migration,
        wave: u32,
        elapsed: Duration,
        now: Timestamp,
    ) -> Soak {
        let before = std::mem::take(&mut self.ailing);
        let mut count = 0_u32;
        for m in migration.moves.moved_in(wave) {
            count += 1;
            let Some(what) = ailment(cluster, migration, m) else {
                continue;
            };
            let since = before.get(&m.namespace).copied().unwrap_or(elapsed);
            if elapsed.saturating_sub(since) >= LASTING {
                let long = LASTING.as_secs();
                return Soak::Failed(format!("for {long} s {what}"));
            }
            self.ailing.insert(m.namespace.clone(), since);
        }
        let soak = soak_after(&migration.spec.gates, wave);
        let begun = migration.soak_begun(wave);
        let passed = begun.map_or(Duration::ZERO, |begun| {
            Duration::try_from(now.duration_since(begun)).unwrap_or_default()
        });
        match soak.checked_sub(passed).filter(|left| !left.is_zero()) {
            None if self.ailing.is_empty() => Soak::Passed,
            // A large wave takes long to look at.
            left => {
                let pause = LOOK_EVERY * (1 + count / 100);
                Soak::Lasts(left.map_or(pause, |left| left.min(pause)))
            }
        }
    }
}
