//! How fast restarts begin: what is under way is counted from what the cluster shows and from the
//! calls that it may not show yet; the rate is a bucket for each target plane.

use super::Place;
use revshift_core::budget::{Bucket, Budgets, Load, Room};
use revshift_core::cluster::{Change, Cluster, Kind};
use revshift_core::plane::Revision;
use revshift_core::step::Call;
use revshift_core::workload::WorkloadKey;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a leader knows of the restarts that are under way.
#[derive(Debug)]
pub(super) struct Pace {
    /// When this leader began: whatever an earlier one spent is not refunded.
    began: Duration,
    budgets: Budgets,
    now: Duration,
    buckets: BTreeMap<Revision, Bucket>,
    restarts: BTreeMap<Place, Restarts>,
    /// What they come to.
    load: Load,
}

/// The restarts and evictions of a move, by controller as `kind/name`, each with its pods.
#[derive(Debug, Default)]
struct Restarts {
    /// By what the cluster shows.
    shown: BTreeMap<String, u32>,
    /// Asked for, and what became of them may not be seen yet.
    asked: BTreeMap<String, u32>,
}

impl Pace {
    pub(super) fn new(now: Duration) -> Self {
        let (buckets, restarts) = (BTreeMap::new(), BTreeMap::new());
        let (budgets, load) = (Budgets::default(), Load::default());
        Self { began: now, budgets, now, buckets, restarts, load }
    }

    /// What holds from here on.
    pub(super) fn look(&mut self, budgets: Budgets, now: Duration) {
        self.budgets = budgets;
        self.now = now;
    }

    /// Takes in which restarts of a move the cluster shows under way.
    pub(super) fn show(&mut self, place: &Place, shown: BTreeMap<String, u32>) {
        if !shown.is_empty() || self.restarts.contains_key(place) {
            self.change(place, |restarts| restarts.shown = shown);
        }
    }

    /// What a move may begin. Its own restarts without a clear reply are asked for again, so they do
    /// not stand in their own way.
    pub(super) fn room(&mut self, place: &Place, cluster: &Cluster, target: &Revision) -> Room {
        let doubtful = self.restarts.get(place).map(Restarts::doubtful).unwrap_or_default();
        let load = self.load.less(doubtful);
        let rate = self.budgets.rate(cluster, target);
        let began = self.began;
        let bucket = self.buckets.entry(target.clone()).or_insert_with(|| Bucket::empty(began));
        let level = bucket.refill(rate, self.now);
        self.budgets.room(load, level)
    }

    /// When the rate of a plane lets something begin again, if it does not now.
    pub(super) fn ready(&self, cluster: &Cluster, target: &Revision) -> Option<Duration> {
        let rate = self.budgets.rate(cluster, target);
        let ready = self.buckets.get(target)?.ready(rate);
        (ready > self.now).then_some(ready)
    }

    /// Notes a call that is about to be made.
    pub(super) fn begin(&mut self, place: &Place, target: &Revision, call: &Call) {
        let (controller, pods) = match call {
            Call::Restart { workload, pods, .. } => (workload.to_string(), *pods),
            Call::Evict { controller, .. } | Call::Delete { controller, .. } => {
                (controller.clone(), 1)
            }
            Call::Relabel { .. } | Call::Read { .. } | Call::Inspect { .. } => return,
        };
        let mut first = false;
        self.change(place, |restarts| {
            first = restarts.asked.insert(controller, pods).is_none();
        });
        if let Some(bucket) = self.buckets.get_mut(target).filter(|_| first) {
            bucket.spend(pods);
        }
    }

    /// From here on the view shows what became of a controller's pod, if anything did.
    pub(super) fn settled(&mut self, place: &Place, controller: &str) {
        if self.restarts.contains_key(place) {
            self.change(place, |restarts| {
                restarts.asked.remove(controller);
            });
        }
    }

    /// From here on the view shows what became of a workload.
    pub(super) fn seen(&mut self, place: &Place, change: &Change) {
        if let Change::Set(Kind::Workload(kind), key, _) | Change::Gone(Kind::Workload(kind), key) =
            change
        {
            self.settled(place, &WorkloadKey { kind: *kind, name: key.name.clone() }.to_string());
        }
    }

    /// Forgets a move that is not under way.
    pub(super) fn forget(&mut self, place: &Place) {
        self.change(place, |restarts| *restarts = Restarts::default());
    }

    /// Forgets every move.
    pub(super) fn retain(&mut self, keep: impl Fn(&Place) -> bool) {
        let over: Vec<Place> = self.restarts.keys().filter(|place| !keep(place)).cloned().collect();
        for place in &over {
            self.forget(place);
        }
    }

    fn change(&mut self, place: &Place, change: impl FnOnce(&mut Restarts)) {
        let restarts = self.restarts.entry(place.clone()).or_default();
        let before = restarts.load();
        change(restarts);
        self.load = self.load.less(before).plus(restarts.load());
        if restarts.shown.is_empty() && restarts.asked.is_empty() {
            self.restarts.remove(place);
        }
    }
}

impl Restarts {
    fn load(&self) -> Load {
        let asked = self.asked.iter().filter(|(key, _)| !self.shown.contains_key(*key));
        Load::of(self.shown.values().chain(asked.map(|(_, pods)| pods)))
    }

    /// Those without a clear reply.
    fn doubtful(&self) -> Load {
        Load::of(self.asked.iter().map(|(key, pods)| self.shown.get(key).unwrap_or(pods)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use revshift_core::workload::WorkloadKind;

    fn key(name: &str) -> WorkloadKey {
        WorkloadKey { kind: WorkloadKind::Deployment, name: name.to_owned() }
    }

    fn place(namespace: &str) -> Place {
        ("m".to_owned(), namespace.to_owned())
    }

    fn ask(name: &str, pods: u32) -> Call {
        Call::Restart {
            namespace: "shop".to_owned(),
            workload: key(name),
            resource_version: "1".to_owned(),
            restart: "m.1".to_owned(),
            at: jiff::Timestamp::UNIX_EPOCH,
            pods,
        }
    }

    #[test]
    fn what_is_asked_for_and_shown_counts_once_and_not_against_itself() {
        let (mut pace, cluster) = (Pace::new(Duration::ZERO), Cluster::default());
        let target = Revision("1-31".to_owned());
        let budgets = Budgets { workloads: 10, pods: 100, ..Budgets::default() };
        pace.look(budgets, Duration::from_mins(1));
        let left = |pace: &mut Pace, of: &str| {
            let room = pace.room(&place(of), &cluster, &target);
            (room.workloads, room.pods, room.idle)
        };
        assert_eq!(left(&mut pace, "shop"), (10, 100, true));
        pace.begin(&place("shop"), &target, &ask("web", 5));
        assert_eq!(left(&mut pace, "shop"), (10, 100, true));
        assert_eq!(left(&mut pace, "cart"), (9, 95, false));
        // It is scaled up meanwhile, and something else rolls beside it.
        pace.show(
            &place("shop"),
            BTreeMap::from([(key("web").to_string(), 7), (key("db").to_string(), 1)]),
        );
        assert_eq!(left(&mut pace, "cart"), (8, 92, false));
        assert_eq!(left(&mut pace, "shop"), (9, 99, false));
        pace.seen(
            &place("shop"),
            &Change::Gone(Kind::Workload(WorkloadKind::Deployment), {
                revshift_core::cluster::Key { namespace: "shop".to_owned(), name: "web".to_owned() }
            }),
        );
        assert_eq!(left(&mut pace, "shop"), (8, 92, false));
        pace.forget(&place("shop"));
        assert_eq!(left(&mut pace, "cart"), (10, 100, true));

        // An eviction takes one pod's room until its outcome is known.
        let (namespace, controller) = ("shop".to_owned(), "ReplicaSet/bare".to_owned());
        let (pod, uid) = ("bare-1".to_owned(), "u".to_owned());
        let evict = Call::Evict { namespace, controller: controller.clone(), pod, uid };
        pace.begin(&place("shop"), &target, &evict);
        assert_eq!(left(&mut pace, "cart"), (9, 99, false));
        pace.settled(&place("shop"), &controller);
        assert_eq!(left(&mut pace, "cart"), (10, 100, true));
    }
}
