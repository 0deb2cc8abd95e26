//! What no scheduler can undercut, from the model of the cluster alone: how long each workload rolls
//! when nothing is in its way, how many namespaces may move at once, and how many new proxies the plane
//! admits. It knows nothing of revshift but what was asked of it: the settling time of a label, the
//! patience with a rollout, and the concurrency.

use std::time::Duration;

use super::mix::{Kind, Mix, Namespace, Workload};

/// The cluster, as far as it limits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Model {
    /// From a label's change until pods are sure to be injected by it.
    pub(crate) settle: Duration,
    /// From a pod's deletion until it is gone.
    pub(crate) termination: Duration,
    /// How long a rollout that makes no progress is given.
    pub(crate) patience: Duration,
    /// How many namespaces may move at once.
    pub(crate) concurrency: usize,
    /// New proxies that the plane admits in a second.
    pub(crate) streams_per_second: f64,
}

impl Model {
    /// The least time in which the mix can be moved.
    pub(crate) fn bound(&self, mix: &Mix) -> Duration {
        let mut jobs: Vec<Duration> = mix.namespaces.iter().map(|one| self.alone(one)).collect();
        jobs.sort_unstable_by(|a, b| b.cmp(a));
        // The longest takes as long as it takes.
        let longest = jobs.first().copied().unwrap_or_default();
        let bounds = [longest, self.work(&jobs), self.crowd(&jobs), self.proxies(mix)];
        bounds.into_iter().max().unwrap_or_default()
    }

    /// A namespace that moves alone: its workloads roll side by side.
    pub(crate) fn alone(&self, namespace: &Namespace) -> Duration {
        let rollout = |workload: &Workload| self.rollout(*workload);
        self.settle + namespace.workloads.iter().map(rollout).max().unwrap_or_default()
    }

    fn rollout(&self, workload: Workload) -> Duration {
        if workload.fails {
            return self.patience;
        }
        let start = Duration::from_secs(workload.start.into());
        match workload.kind {
            Kind::Deployment => {
                // A quarter more, rounded up, and a quarter less, rounded down.
                let step = workload.replicas.div_ceil(4) + workload.replicas / 4;
                start * workload.replicas.div_ceil(step.max(1))
            }
            Kind::StatefulSet => (self.termination + start) * workload.replicas,
        }
    }

    /// All the work, spread evenly.
    fn work(&self, jobs: &[Duration]) -> Duration {
        let places = u32::try_from(self.concurrency).unwrap_or(u32::MAX);
        jobs.iter().sum::<Duration>() / places.max(1)
    }

    /// Of the longest k·C + 1, k + 1 have to share a place: at best the shortest of them.
    fn crowd(&self, jobs: &[Duration]) -> Duration {
        let shared = (1..).map(|k| (k, k * self.concurrency));
        shared
            .take_while(|(_, last)| *last < jobs.len())
            .map(|(k, last)| jobs[last - k..=last].iter().sum())
            .max()
            .unwrap_or_default()
    }

    /// The first proxy cannot come before a label has settled and a pod has started; the others come
    /// after it, one by one.
    fn proxies(&self, mix: &Mix) -> Duration {
        let workloads = mix.namespaces.iter().flat_map(|one| &one.workloads);
        let healthy: Vec<&Workload> = workloads.filter(|one| !one.fails).collect();
        let pods: u32 = healthy.iter().map(|one| one.replicas).sum();
        let first = healthy.iter().map(|one| one.start).min().unwrap_or_default();
        let others = f64::from(pods.saturating_sub(1)) / self.streams_per_second;
        self.settle + Duration::from_secs(first.into()) + Duration::from_secs_f64(others)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(concurrency: usize) -> Model {
        Model {
            settle: Duration::from_secs(2),
            termination: Duration::from_secs(1),
            patience: Duration::from_mins(1),
            concurrency,
            streams_per_second: 1e9,
        }
    }

    fn mix(workloads: &[Workload]) -> Mix {
        let namespaces = workloads
            .iter()
            .map(|one| Namespace { name: String::new(), workloads: vec![*one] })
            .collect();
        Mix { name: "test", namespaces }
    }

    fn workload(kind: Kind, replicas: u32, start: u32) -> Workload {
        Workload { kind, replicas, start, fails: false }
    }

    #[test]
    fn each_kind_rolls_as_kubernetes_rolls_it() {
        let seconds = |one| model(1).rollout(one).as_secs();
        assert_eq!(seconds(workload(Kind::Deployment, 1, 10)), 10);
        assert_eq!(seconds(workload(Kind::Deployment, 4, 10)), 20);
        assert_eq!(seconds(workload(Kind::Deployment, 10, 10)), 20);
        assert_eq!(seconds(workload(Kind::StatefulSet, 3, 10)), 33);
        let failing = Workload { fails: true, ..workload(Kind::Deployment, 4, 10) };
        assert_eq!(seconds(failing), 60);
    }

    #[test]
    fn the_largest_bound_counts() {
        let long = workload(Kind::StatefulSet, 8, 10);
        let short = workload(Kind::Deployment, 1, 8);
        // Alone it takes 2 + 8 · 11.
        assert_eq!(model(8).bound(&mix(&[long, short, short])).as_secs(), 90);
        // Ten of 10 s each: two places have 5 each, and three have to share one of three places' four.
        let ten = mix(&[short; 10]);
        assert_eq!(model(2).bound(&ten).as_secs(), 50);
        assert_eq!(model(3).bound(&ten).as_secs(), 40);
        let slow = Model { streams_per_second: 0.1, ..model(10) };
        assert_eq!(slow.bound(&ten).as_secs(), 2 + 8 + 90);
    }
}
