//! Budgets: how much may be under way at once, over all migrations together.
//!
//! They belong to the server, not to a migration, and are counted from what the cluster shows, so
//! they hold across fail-over.

use crate::cluster::{Cluster, Istiod};
use crate::eviction;
use crate::migration::{Migration, Move, MoveState};
use crate::plane::Revision;
use crate::rollout::{Goal, Verdict};
use std::collections::BTreeMap;
use std::time::Duration;

/// The most that may be under way at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budgets {
    /// Namespaces whose move is under way.
    pub namespaces: u32,
    /// Workloads whose restart or eviction is under way.
    pub workloads: u32,
    /// Pods of those workloads, one of each that is evicted. A workload with more pods than this moves alone.
    pub pods: u32,
    /// Pods a second whose restart or eviction begins, per target plane; none: by the size of its istiod.
    pub pods_per_second: Option<u32>,
}

/// New proxies that one replica of istiod takes a second, and how many more for each of its cores, up
/// to the most: istiod's own limit for new streams (`PILOT_MAX_REQUESTS_PER_SECOND`).
const PODS_PER_ISTIOD: u32 = 15;
const PODS_PER_CORE: u32 = 5;
const MOST_PER_ISTIOD: u32 = 100;

impl Default for Budgets {
    fn default() -> Self {
        Self { namespaces: 32, workloads: 64, pods: 500, pods_per_second: None }
    }
}

/// What is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Workloads whose restart has begun and has not ended.
    pub workloads: u32,
    /// Their pods.
    pub pods: u64,
}

/// What may still begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// So many workloads.
    pub workloads: u32,
    /// With so many pods together.
    pub pods: u32,
    /// So many pods by the rate of the target plane, the first workload excepted: one that is larger
    /// than the rate begins all the same, and what follows waits for it.
    pub rate: u32,
    /// Whether nothing is under way: then even the largest workload may begin.
    pub idle: bool,
}

impl Budgets {
    /// What may begin beside `load`.
    pub fn room(&self, load: Load, rate: u32) -> Room {
        Room {
            workloads: self.workloads.saturating_sub(load.workloads),
            pods: self.pods.saturating_sub(u32::try_from(load.pods).unwrap_or(u32::MAX)),
            rate,
            idle: load == Load::default(),
        }
    }

    /// Pods a second whose restart may begin towards a plane: as configured, or what its available
    /// istiods take; a plane without any in this cluster counts as one replica of unknown size.
    pub fn rate(&self, cluster: &Cluster, target: &Revision) -> u32 {
        self.pods_per_second.unwrap_or_else(|| {
            let taken =
                cluster.istiods_of(target).map(|it| it.available.saturating_mul(intake(it)));
            taken.fold(0, u32::saturating_add).max(PODS_PER_ISTIOD)
        })
    }

    /// How that rate comes about, in words.
    pub fn rate_rule(&self, cluster: &Cluster, target: &Revision) -> String {
        if self.pods_per_second.is_some() {
            return "as configured".to_owned();
        }
        let available = cluster.istiods_of(target).filter(|istiod| istiod.available > 0);
        let told: Vec<String> = available
            .map(|istiod| {
                let (replicas, cores, intake) = (istiod.available, istiod.cores, intake(istiod));
                let of = match cores {
                    0 => "less than a core or unknown size".to_owned(),
                    1 => "1 core".to_owned(),
                    cores => format!("{cores} cores"),
                };
                let plural = if replicas == 1 { "" } else { "s" };
                format!("{intake} for each of {replicas} istiod replica{plural} of {of}")
            })
            .collect();
        if told.is_empty() {
            return "as for one istiod of unknown size, since none is available in this cluster"
                .to_owned();
        }
        told.join(", ")
    }
}

/// What one replica takes a second.
fn intake(istiod: &Istiod) -> u32 {
    let more = istiod.cores.saturating_mul(PODS_PER_CORE);
    PODS_PER_ISTIOD.saturating_add(more).min(MOST_PER_ISTIOD)
}

impl Room {
    /// No bounds: for whoever only wants to know what would be done.
    pub const ALL: Self = Self { workloads: u32::MAX, pods: u32::MAX, rate: u32::MAX, idle: true };

    /// Whether a workload of so many pods may begin.
    pub fn fits(&self, pods: u32) -> bool {
        self.workloads > 0 && self.rate > 0 && (self.idle || pods <= self.pods)
    }

    /// Takes the room for a workload with so many pods, if there is enough.
    pub fn take(&mut self, pods: u32) -> bool {
        let fits = self.fits(pods);
        if fits {
            self.workloads -= 1;
            self.pods = self.pods.saturating_sub(pods);
            self.rate = self.rate.saturating_sub(pods);
            self.idle = false;
        }
        fits
    }
}

impl Load {
    /// Of workloads with so many pods each.
    pub fn of<'a>(pods: impl IntoIterator<Item = &'a u32>) -> Self {
        pods.into_iter().fold(Self::default(), |load, pods| {
            load.plus(Self { workloads: 1, pods: u64::from(*pods) })
        })
    }

    /// The sum of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        let (workloads, pods) = (self.workloads + other.workloads, self.pods + other.pods);
        Self { workloads, pods }
    }

    /// What is left without the other, which is part of it.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Self {
            workloads: self.workloads.saturating_sub(other.workloads),
            pods: self.pods.saturating_sub(other.pods),
        }
    }
}

/// Namespaces whose moves are under way.
pub fn namespaces_under_way(migrations: &BTreeMap<String, Migration>) -> u32 {
    let unfinished = migrations.values().filter(|migration| migration.ended.is_none());
    unfinished.map(|migration| migration.counts().active).fold(0, u32::saturating_add)
}

/// What of a move is under way, by what the cluster shows: each controller as `kind/name`, with its pods.
/// One whose pods are evicted counts with one, as no more go at a time.
pub fn under_way(cluster: &Cluster, migration: &Migration, m: &Move) -> BTreeMap<String, u32> {
    let restarting = matches!(m.state, MoveState::Restarting | MoveState::Verifying);
    let Some((meta, namespace)) = cluster.namespace(&m.namespace).filter(|_| restarting) else {
        return BTreeMap::new();
    };
    let goal = Goal { cluster, namespace, labels: &meta.labels, target: &migration.spec.target };
    let restart = m.restart_id(&migration.id);
    let rollback_of = migration.spec.rollback_of.as_deref();
    let rolling = namespace
        .workloads
        .values()
        .filter(|workload| workload.restart.as_deref() == Some(restart.as_str()))
        .filter(|workload| goal.judge(workload, m, &migration.id, rollback_of) == Verdict::Rolling)
        .map(|workload| (workload.key.to_string(), workload.desired));
    let evicted = m.evictions.keys().filter(|label| eviction::under_way(&goal, m, label));
    let mut found: BTreeMap<String, u32> = evicted.map(|label| (label.clone(), 1)).collect();
    found.extend(rolling);
    found
}

/// A token bucket of two seconds' worth: empty at the start, so that two leaders never spend the
/// same second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Pods that may begin, in thousandths; below 0 when a large workload has begun.
    level: i64,
    /// When the level was right.
    at: Duration,
}

impl Bucket {
    /// An empty one.
    pub fn empty(now: Duration) -> Self {
        Self { level: 0, at: now }
    }

    /// How many pods may begin now.
    pub fn refill(&mut self, rate: u32, now: Duration) -> u32 {
        let most = i64::from(rate) * 2000;
        let elapsed = now.saturating_sub(self.at);
        let millis = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
        self.level = self.level.saturating_add(millis.saturating_mul(i64::from(rate))).min(most);
        // What is less than a millisecond counts next time: looks may come more often than that.
        let rest = Duration::from_nanos(u64::from(elapsed.subsec_nanos() % 1_000_000));
        self.at = now.saturating_sub(rest).max(self.at);
        u32::try_from(self.level / 1000).unwrap_or(0)
    }

    /// Takes what has begun.
    pub fn spend(&mut self, pods: u32) {
        self.level = self.level.saturating_sub(i64::from(pods) * 1000);
    }

    /// When at least one pod may begin again.
    pub fn ready(&self, rate: u32) -> Duration {
        let missing = (1000 - self.level).max(0);
        let millis = u64::try_from(missing).unwrap_or(0).div_ceil(u64::from(rate.max(1)));
        self.at + Duration::from_millis(millis)
    }
}
