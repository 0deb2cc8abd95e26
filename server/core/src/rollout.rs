//! What a workload still needs to be on the target.
//!
//! Decided from pods, not from intentions: a pod carries the restart that created it, so pods that
//! a running rollout will still replace can be told from pods that it created on the wrong plane.

use crate::cluster::{Cluster, Controller, Namespace};
use crate::injection::Injection;
use crate::label::Labels;
use crate::migration::{Leftover, LeftoverReason, Move, parse_restart_id, restart_id};
use crate::plane::Revision;
use crate::pod::{Injected, Pod};
use crate::problem::Code;
use crate::workload::{Obstacle, Workload};
use std::collections::BTreeMap;

/// Which namespace is to be on which plane, by whom.
#[derive(Clone, Copy, Debug)]
pub struct Goal<'a> {
    /// What is known of the cluster.
    pub cluster: &'a Cluster,
    /// The namespace's content.
    pub namespace: &'a Namespace,
    /// The labels by which pods are injected.
    pub labels: &'a Labels,
    /// The plane to be on.
    pub target: &'a Revision,
}

/// What a workload needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: every pod is on the target and rolled out.
    Done,
    /// Nothing: its pods are not to be injected.
    OptedOut,
    /// Nothing now: it has no replicas.
    ScaledToZero,
    /// A change of its pod template.
    Restart,
    /// Time: a rollout is under way.
    Rolling,
    /// Help: a restart cannot bring it to the target.
    Stuck(Code, String),
}

impl Goal<'_> {
    /// Pods of `workload` that are not terminating.
    pub fn pods_of(&self, workload: &Workload) -> impl Iterator<Item = &Pod> {
        let controller = Controller::Workload(workload.key.clone());
        self.namespace
            .pods
            .values()
            .filter(|pod| !pod.terminating)
            .filter(move |pod| self.namespace.controller(pod) == controller)
    }

    /// Whether `pod` was injected by the target.
    pub fn on_target(&self, pod: &Pod) -> bool {
        pod.injected.revision() == Some(self.target)
    }

    /// What `workload` needs in the present attempt of `m`.
    pub fn judge(
        &self,
        workload: &Workload,
        m: &Move,
        migration: &str,
        rollback_of: Option<&str>,
    ) -> Verdict {
        let pods: Vec<&Pod> = self.pods_of(workload).collect();
        match self.cluster.injection(self.labels, workload) {
            Injection::By(revision) if revision == *self.target => {}
            Injection::None => return Verdict::OptedOut,
            other => {
                let message = format!("new pods would be {}", describe(&other));
                return Verdict::Stuck(Code::InjectorMismatch, message);
            }
        }
        if workload.desired == 0 && pods.is_empty() {
            return Verdict::ScaledToZero;
        }
        let off: Vec<&Pod> = pods.iter().copied().filter(|pod| !self.on_target(pod)).collect();
        if off.is_empty() {
            let there = u32::try_from(pods.len()).unwrap_or(u32::MAX);
            let complete = workload.rolled_out() && there >= workload.desired;
            return if complete { Verdict::Done } else { Verdict::Rolling };
        }
        if workload.baked_in {
            let message = "its pod template carries a sidecar of its own".to_owned();
            return Verdict::Stuck(Code::WorkloadBakedIn, message);
        }
        self.judge_off_target(workload, &off, m, migration, rollback_of)
    }

    fn judge_off_target(
        &self,
        workload: &Workload,
        off: &[&Pod],
        m: &Move,
        migration: &str,
        rollback_of: Option<&str>,
    ) -> Verdict {
        let asked = workload.restart.as_deref();
        if asked == Some(restart_id(migration, m.attempt).as_str()) {
            return match off.iter().find(|pod| pod.restart.as_deref() == asked) {
                Some(pod) => self.straggler(pod),
                None => Verdict::Rolling,
            };
        }
        if m.restarts.get(&workload.key) == Some(&m.attempt) {
            let message = "somebody took the restart out of its pod template again".to_owned();
            return Verdict::Stuck(Code::RestartReverted, message);
        }
        if let Some(obstacle) = workload.obstacle {
            let (code, message) = describe_obstacle(obstacle);
            return Verdict::Stuck(code, message.to_owned());
        }
        let by = asked.and_then(parse_restart_id).map(|(migration, _)| migration);
        let replaced_anyway = !off.iter().any(|pod| pod.restart.as_deref() == asked);
        match by {
            // A rollout of an earlier attempt is still on its way.
            Some(by) if by == migration && replaced_anyway => Verdict::Rolling,
            Some(by) if by == migration => Verdict::Restart,
            // What a rollback undoes need not end first: it may never end.
            Some(_) | None if rollback_of.is_some() => Verdict::Restart,
            // Somebody else's rollout is awaited before the workload is judged.
            Some(_) | None if workload.rolling() => Verdict::Rolling,
            Some(_) | None => Verdict::Restart,
        }
    }

    /// A pod that this attempt created, and that is not on the target.
    pub fn straggler(&self, pod: &Pod) -> Verdict {
        let name = &pod.name;
        match &pod.injected {
            Injected::By(revision) => Verdict::Stuck(
                Code::InjectedByOther,
                format!("pod `{name}` was injected by `{revision}`, not by `{}`", self.target),
            ),
            Injected::No | Injected::Unknown => Verdict::Stuck(
                Code::InjectionMissing,
                format!("pod `{name}` has no sidecar of `{}`", self.target),
            ),
        }
    }

    /// What stays off the target until it ends by itself or is replaced.
    pub fn leftovers(&self) -> Vec<Leftover> {
        let mut leftovers: BTreeMap<(LeftoverReason, String, String), u32> = BTreeMap::new();
        for pod in self.off_target_pods() {
            let (reason, kind, name) = match self.namespace.controller(pod) {
                Controller::Job(name) => (LeftoverReason::Job, "Job", name),
                Controller::CronJob(name) => (LeftoverReason::CronJob, "CronJob", name),
                Controller::Nobody => (LeftoverReason::BarePod, "Pod", pod.name.clone()),
                Controller::Workload(_) | Controller::Other { .. } => continue,
            };
            *leftovers.entry((reason, kind.to_owned(), name)).or_default() += 1;
        }
        for workload in self.namespace.workloads.values() {
            let injected = self.cluster.injection(self.labels, workload) != Injection::None;
            if workload.desired == 0 && injected && self.pods_of(workload).next().is_none() {
                let kind = workload.key.kind.as_str().to_owned();
                let key = (LeftoverReason::ScaledToZero, kind, workload.key.name.clone());
                leftovers.insert(key, 0);
            }
        }
        leftovers
            .into_iter()
            .map(|((reason, kind, name), pods)| Leftover { reason, kind, name, pods })
            .collect()
    }

    /// Controllers with pods off the target that a rolling restart does not reach, and why.
    pub fn unreachable(&self) -> BTreeMap<String, (Code, String)> {
        let mut found = BTreeMap::new();
        for pod in self.off_target_pods() {
            let Controller::Other { kind, name } = self.namespace.controller(pod) else {
                continue;
            };
            let (code, message) = match kind.as_str() {
                "ReplicaSet" => (Code::WorkloadBare, "a ReplicaSet without a Deployment"),
                "ReplicationController" => (Code::WorkloadBare, "a ReplicationController"),
                "Rollout" => (Code::WorkloadUnknown, "an Argo Rollout"),
                _ => (Code::WorkloadUnknown, "a controller that revshift does not know"),
            };
            found.insert(format!("{kind}/{name}"), (code, format!("its pods belong to {message}")));
        }
        found
    }

    fn off_target_pods(&self) -> impl Iterator<Item = &Pod> {
        self.namespace.pods.values().filter(|pod| !pod.terminating).filter(|pod| {
            !self.on_target(pod)
                && self.cluster.injection_of_pod(self.labels, self.namespace, pod)
                    != Injection::None
        })
    }
}

/// Why a template cannot simply be rolled, for people.
pub fn describe_obstacle(obstacle: Obstacle) -> (Code, &'static str) {
    match obstacle {
        Obstacle::Paused => (Code::WorkloadPaused, "its rollouts are paused"),
        Obstacle::OnDelete => (Code::WorkloadOnDelete, "its update strategy is OnDelete"),
        Obstacle::Partition => (Code::WorkloadPartitioned, "its update strategy has a partition"),
    }
}

/// What an injection means, for people.
pub fn describe(injection: &Injection) -> String {
    match injection {
        Injection::By(revision) => format!("injected by `{revision}`"),
        Injection::None => "not injected".to_owned(),
        Injection::Dangling(revision) => {
            format!("not injected, as no webhook serves `{revision}`")
        }
        Injection::Conflict(revisions) => {
            let names: Vec<&str> = revisions.iter().map(Revision::as_str).collect();
            format!("injected by several planes at once: {}", names.join(", "))
        }
    }
}
