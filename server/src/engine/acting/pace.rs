//! How fast restarts begin: what is under way is counted from what the cluster shows and from the
//! calls that it may not show yet; the rate is a bucket for each target plane.

use super::Place;
use revshift_core::budget::{Bucket, Budgets, Load, Room, under_way};
use revshift_core::cluster::{Change, Cluster};
use revshift_core::migration::{Migration, Move};
use revshift_core::plane::Revision;
use revshift_core::step::Call;
use revshift_core::workload::{WorkloadKey, WorkloadKind};
use std::collections::BTreeMap;
use std::time::Duration;

/// What a leader remembers of the restarts that it has begun.
#[derive(Debug)]
pub(super) struct Pace {
    /// When this leader began: whatever an earlier one spent is not refunded.
    began: Duration,
    buckets: BTreeMap<Revision, Bucket>,
    /// Restarts that were asked for and that the view may not show yet, with their pods.
    asked: BTreeMap<(Place, WorkloadKey), u32>,
}

/// What is under way in one look at everything.
pub(super) struct Traffic {
    budgets: Budgets,
    now: Duration,
    restarts: BTreeMap<(Place, WorkloadKey), u32>,
    /// When the rate of some plane lets something begin again.
    pub(super) wake: Option<Duration>,
}

impl Pace {
    pub(super) fn new(now: Duration) -> Self {
        Self { began: now, buckets: BTreeMap::new(), asked: BTreeMap::new() }
    }

    /// Counts what is under way in `moves`.
    pub(super) fn traffic<'a>(
        &self,
        cluster: &Cluster,
        budgets: Budgets,
        moves: impl Iterator<Item = (&'a Migration, &'a Move)>,
        now: Duration,
    ) -> Traffic {
        let mut restarts = self.asked.clone();
        for (migration, m) in moves {
            for workload in under_way(cluster, migration, m) {
                let place = (migration.id.clone(), m.namespace.clone());
                restarts.insert((place, workload.key.clone()), workload.desired);
            }
        }
        Traffic { budgets, now, restarts, wake: None }
    }

    /// What a move may begin. Its own restarts without a clear reply are asked for again, so they do
    /// not stand in their own way.
    pub(super) fn room(
        &mut self,
        traffic: &mut Traffic,
        place: &Place,
        cluster: &Cluster,
        target: &Revision,
    ) -> Room {
        let doubtful = |key: &(Place, WorkloadKey)| key.0 == *place && self.asked.contains_key(key);
        let load = traffic
            .restarts
            .iter()
            .filter(|(key, _)| !doubtful(key))
            .map(|(_, pods)| Load { workloads: 1, pods: *pods })
            .fold(Load::default(), Load::plus);
        let rate = traffic.budgets.rate(cluster.istiod_replicas(target));
        let began = self.began;
        let bucket = self.buckets.entry(target.clone()).or_insert_with(|| Bucket::empty(began));
        let level = bucket.refill(rate, traffic.now);
        if level == 0 {
            let ready = bucket.ready(rate);
            traffic.wake = Some(traffic.wake.map_or(ready, |wake| wake.min(ready)));
        }
        traffic.budgets.room(load, level)
    }

    /// Notes a call that is about to be made.
    pub(super) fn begin(
        &mut self,
        traffic: &mut Traffic,
        place: &Place,
        target: &Revision,
        call: &Call,
    ) {
        if let Call::Restart { workload, pods, .. } = call {
            let key = (place.clone(), workload.clone());
            if self.asked.insert(key.clone(), *pods).is_none()
                && let Some(bucket) = self.buckets.get_mut(target)
            {
                bucket.spend(*pods);
            }
            traffic.restarts.insert(key, *pods);
        }
    }

    /// From here on the view shows what became of a workload.
    pub(super) fn seen(&mut self, place: &Place, change: &Change) {
        let name = match change {
            Change::Set(kind, key, _) | Change::Gone(kind, key) => {
                workload_kind(*kind).map(|kind| WorkloadKey { kind, name: key.name.clone() })
            }
            Change::Listed(..) => None,
        };
        if let Some(workload) = name {
            self.asked.remove(&(place.clone(), workload));
        }
    }

    /// Forgets what belongs to moves that are not under way.
    pub(super) fn retain(&mut self, active: impl Fn(&Place) -> bool) {
        self.asked.retain(|(place, _), _| active(place));
    }
}

fn workload_kind(kind: revshift_core::cluster::Kind) -> Option<WorkloadKind> {
    match kind {
        revshift_core::cluster::Kind::Workload(kind) => Some(kind),
        _ => None,
    }
}
