//! The committed mixes: what the namespaces hold, always the same.

use std::time::Duration;

use revshift_sandbox::{Sandbox, fixtures};
use serde_json::{Value, json};

use crate::simulation::{NEW, OLD};

/// What the namespaces of a cluster hold.
#[derive(Debug)]
pub(crate) struct Mix {
    pub(crate) name: &'static str,
    pub(crate) namespaces: Vec<Namespace>,
}

/// A namespace.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) name: String,
    pub(crate) workloads: Vec<Workload>,
}

/// A workload of a namespace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Workload {
    pub(crate) kind: Kind,
    pub(crate) replicas: u32,
    /// Seconds from a pod's start until it is ready.
    pub(crate) start: u32,
    /// Whether its pods never become ready on the new plane.
    pub(crate) fails: bool,
}

/// How a workload rolls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A quarter more and a quarter less than asked for at a time.
    Deployment,
    /// One pod after the other.
    StatefulSet,
}

/// What is given to a rollout that makes no progress.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

impl Mix {
    /// All of them, each with so many namespaces.
    pub(crate) fn all(size: usize) -> [Self; 4] {
        [Self::uniform(size), Self::zipf(size), Self::tail(size), Self::failing(size)]
    }

    fn of(name: &'static str, size: usize, hold: impl Fn(usize) -> Vec<Workload>) -> Self {
        let namespace =
            |index| Namespace { name: format!("{name}-{index:04}"), workloads: hold(index) };
        Self { name, namespaces: (0..size).map(namespace).collect() }
    }

    /// Every namespace alike.
    fn uniform(size: usize) -> Self {
        Self::of("uniform", size, |_| vec![deployment(4, 10)])
    }

    /// A few large ones and many small ones, by Zipf's law, in no order.
    fn zipf(size: usize) -> Self {
        Self::of("zipf", size, |index| {
            let rank = scattered(index, size) + 1;
            let pods = u32::try_from(64 / rank).unwrap_or(1).max(1);
            let start = 5 + u32::try_from(scattered(index, 11)).unwrap_or(0);
            match rank {
                1..=8 => vec![deployment(pods, start), deployment(pods / 2, 5)],
                _ => vec![deployment(pods, start)],
            }
        })
    }

    /// The last ones take four times as long as all others: whoever begins them last waits for them.
    fn tail(size: usize) -> Self {
        Self::of("tail", size, |index| {
            if index + size.div_ceil(50) >= size {
                vec![Workload { kind: Kind::StatefulSet, ..deployment(8, 10) }]
            } else {
                vec![deployment(4, 10)]
            }
        })
    }

    /// One in a hundred never becomes ready on the new plane.
    fn failing(size: usize) -> Self {
        Self::of("failing", size, |index| {
            vec![Workload { fails: index % 100 == 50, ..deployment(4, 10) }]
        })
    }

    /// Puts the namespaces, on the old plane, into a cluster.
    pub(crate) fn create_namespaces(&self, sandbox: &Sandbox) {
        for namespace in &self.namespaces {
            sandbox.apply(fixtures::namespace(&namespace.name, &[("istio.io/rev", OLD)]));
        }
    }

    /// Puts what they hold into them.
    pub(crate) fn create_workloads(&self, sandbox: &Sandbox) {
        for namespace in &self.namespaces {
            for (index, workload) in namespace.workloads.iter().enumerate() {
                sandbox.apply(workload.object(&namespace.name, &format!("app-{index}")));
            }
        }
    }

    /// The names of its namespaces.
    pub(crate) fn names(&self) -> Vec<String> {
        self.namespaces.iter().map(|namespace| namespace.name.clone()).collect()
    }

    /// How many namespaces cannot become ready.
    pub(crate) fn failures(&self) -> usize {
        let fails = |namespace: &&Namespace| namespace.workloads.iter().any(|one| one.fails);
        self.namespaces.iter().filter(fails).count()
    }
}

impl Workload {
    fn object(&self, namespace: &str, name: &str) -> Value {
        let mut object = match self.kind {
            Kind::Deployment => fixtures::deployment(namespace, name, self.replicas),
            Kind::StatefulSet => fixtures::stateful_set(namespace, name, self.replicas),
        };
        let labels = &mut object["spec"]["template"]["metadata"]["labels"];
        labels["bed.revshift.dev/ready-after"] = json!(self.start.to_string());
        if self.fails {
            labels["bed.revshift.dev/fails"] = json!("never-ready");
            labels["bed.revshift.dev/fails-on"] = json!(NEW);
        }
        object
    }
}

fn deployment(replicas: u32, start: u32) -> Workload {
    Workload { kind: Kind::Deployment, replicas, start, fails: false }
}

/// Another place below `size` for each place, in no order that anybody would find.
fn scattered(index: usize, size: usize) -> usize {
    // 7919 is prime, and divides no size that is used here.
    index * 7919 % size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mixes_are_what_they_are_called() {
        let [uniform, zipf, tail, failing] = Mix::all(400);
        assert!(uniform.namespaces.iter().all(|one| one.workloads[0].replicas == 4));
        let mut pods: Vec<u32> =
            zipf.namespaces.iter().map(|one| one.workloads[0].replicas).collect();
        pods.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!((pods[0], pods[1], pods[63], pods[399]), (64, 32, 1, 1));
        let sets = |one: &&Namespace| one.workloads[0].kind == Kind::StatefulSet;
        assert_eq!(tail.namespaces.iter().filter(sets).count(), 8);
        assert_eq!((uniform.failures(), failing.failures()), (0, 4));
    }
}
