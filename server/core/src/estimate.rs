//! How long things may take: a namespace, to let the longest begin first, and a whole plan.
//!
//! Coarse, and it says what it assumes.

use crate::budget::Budgets;
use crate::cluster::Namespace;
use crate::gate;
use crate::plan::{Entry, Method, Plan, PlannedWorkload};
use crate::step::SETTLE;
use crate::workload::{Workload, WorkloadKind};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

/// Rounds of pods that a Deployment of the default strategy needs: a quarter more and a quarter less
/// than asked for at a time.
const DEPLOYMENT_ROUNDS: u32 = 3;
/// From the creation of a pod until it is ready and the one that it replaces is gone.
const START: Duration = Duration::from_secs(20);
/// Calls, records and the verification of a namespace.
const CALLS: Duration = Duration::from_secs(2);

/// How long a plan may take, once everything that it waits for is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// With the waves one after the other, and the soaks between them.
    pub expected: Duration,
    /// What budgets, soaks and the longest namespace alone need, were there no waves.
    pub lower_bound: Duration,
    /// What both rest on and what they leave out, a sentence each.
    pub assumptions: Vec<String>,
}

/// How many pods must start one after the other until everything in `namespace` was restarted.
pub fn rounds(namespace: &Namespace) -> u32 {
    let of = |workload: &Workload| rounds_of(workload.key.kind, workload.desired);
    namespace.workloads.values().map(of).max().unwrap_or_default()
}

/// How long `plan` may take, with so many pods a second that may begin towards its target.
pub fn estimate(plan: &Plan, budgets: &Budgets, rate: u32) -> Estimate {
    let mut waves: BTreeMap<u32, Work> = BTreeMap::new();
    let mut all = Work::default();
    for entry in &plan.entries {
        waves.entry(entry.wave).or_default().add(entry);
        all.add(entry);
    }
    let expected: Duration = waves.values().map(|wave| wave.makespan(budgets, rate)).sum();
    let soaks = waves.keys().map(|wave| gate::soak_after(&plan.gates, *wave));
    let soaks = soaks.fold(Duration::ZERO, Duration::saturating_add);
    let mut assumptions = vec![
        format!("each pod takes {} s from its creation until it is ready", START.as_secs()),
        format!(
            "each namespace takes {} s beside its rollouts: {} s until admission sees its new label, the rest \
             for calls and the verification",
            (SETTLE + CALLS).as_secs(),
            SETTLE.as_secs()
        ),
        "nothing fails, no PodDisruptionBudget holds an eviction up, and no other migration takes room"
            .to_owned(),
    ];
    if !plan.approvals.is_empty() {
        let waves = match plan.approvals.len() {
            1 => "1 wave".to_owned(),
            many => format!("{many} waves"),
        };
        assumptions.push(format!(
            "not counted, as nobody knows it: how long {waves} waits for an approval"
        ));
    }
    if !plan.windows.is_empty() {
        assumptions.push("not counted either: how long it waits for its windows".to_owned());
    }
    if plan.gates.iter().any(|gate| !gate.checks.is_empty()) {
        assumptions.push("not counted either: how long checks take".to_owned());
    }
    let expected = expected.saturating_add(soaks);
    let lower_bound = all.bound(budgets, rate).saturating_add(soaks);
    Estimate { expected, lower_bound, assumptions }
}

/// What is to be done, in sums that the budgets bound.
#[derive(Debug, Default)]
struct Work {
    /// Of each namespace, how long it takes alone.
    namespaces: Vec<Duration>,
    /// Over all workloads, how long each is under way.
    workloads: Duration,
    /// The same times its pods.
    pods: Duration,
    /// Pods whose restart begins.
    starts: u64,
}

impl Work {
    fn add(&mut self, entry: &Entry) {
        let mut longest = 0;
        for workload in &entry.workloads {
            let rounds = planned_rounds(workload);
            longest = longest.max(rounds);
            self.workloads += START * rounds;
            self.pods += START.saturating_mul(rounds.saturating_mul(workload.replicas));
            self.starts += u64::from(if rounds > 0 { workload.replicas } else { 0 });
        }
        self.namespaces.push(SETTLE + START * longest);
    }

    /// What cannot be undercut, however the namespaces are ordered.
    fn bound(&self, budgets: &Budgets, rate: u32) -> Duration {
        let starts =
            Duration::from_millis(self.starts.saturating_mul(1000) / u64::from(rate.max(1)));
        let longest = self.namespaces.iter().max().copied().unwrap_or_default();
        let namespaces = self.namespaces.iter().sum::<Duration>() / budgets.namespaces.max(1);
        let workloads = self.workloads / budgets.workloads.max(1);
        let pods = self.pods / budgets.pods.max(1);
        [longest, namespaces, workloads, pods, starts].into_iter().max().unwrap_or_default()
    }

    /// Longest first onto as many places as there are; and no sooner than what bounds it.
    fn makespan(&self, budgets: &Budgets, rate: u32) -> Duration {
        let mut longest_first = self.namespaces.clone();
        longest_first.sort_unstable_by(|a, b| b.cmp(a));
        let places = usize::try_from(budgets.namespaces).unwrap_or(usize::MAX);
        let places = places.min(longest_first.len()).max(1);
        let mut free: BinaryHeap<Reverse<Duration>> =
            std::iter::repeat_n(Reverse(Duration::ZERO), places).collect();
        let mut end = Duration::ZERO;
        for length in longest_first {
            let Reverse(start) = free.pop().unwrap_or_default();
            end = end.max(start + length + CALLS);
            free.push(Reverse(start + length + CALLS));
        }
        end.max(self.bound(budgets, rate) + CALLS)
    }
}

fn planned_rounds(workload: &PlannedWorkload) -> u32 {
    match workload.method {
        None => 0,
        Some(Method::Evict) => workload.pods_to_move,
        Some(Method::Roll | Method::Restart) => {
            // A kind that is not watched has no template to roll.
            let kind = WorkloadKind::of(&workload.kind);
            kind.map_or(workload.replicas, |kind| rounds_of(kind, workload.replicas))
        }
    }
}

fn rounds_of(kind: WorkloadKind, pods: u32) -> u32 {
    match kind {
        WorkloadKind::Deployment | WorkloadKind::Rollout => pods.min(DEPLOYMENT_ROUNDS),
        // One pod after the other.
        WorkloadKind::StatefulSet | WorkloadKind::DaemonSet => pods,
    }
}
