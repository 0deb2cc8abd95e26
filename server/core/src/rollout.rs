//! What a workload still needs to be on the target.
//!
//! Decided from pods, not from intentions: a pod carries the restart that created it, so pods that
//! a running rollout will still replace can be told from pods that it created on the wrong plane.

use crate::cluster::{Cluster, Controller, Namespace};
use crate::injection::Injection;
use crate::label::Labels;
use crate::migration::{Leftover, LeftoverReason, Move, parse_restart_id, restart_id};
use crate::plane::Revision;
use crate::pod::Pod;
use crate::problem::Code;
use crate::workload::{Obstacle, Workload, WorkloadKey};
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
    /// Nothing: its pods are not to be injected, or its owner wants it left alone.
    OptedOut,
    /// Nothing now: it has no replicas.
    ScaledToZero,
    /// A change of its pod template.
    Restart,
    /// Time: a rollout is under way.
    Rolling,
    /// The eviction of its pods that are off the target, as a change of its template does not
    /// replace them.
    Evict(Why),
    /// The eviction of the pods that this attempt made and that are off the target nevertheless.
    Straggling,
    /// Help: a restart cannot bring it to the target.
    Stuck(Code, String),
}

/// Why pods are evicted instead of being replaced by a change of their template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// The controller would not act on it.
    Obstacle(Obstacle),
    /// Somebody took the change back.
    Reverted,
    /// The template of this controller, by its kind, is not known.
    Unknown(String),
}

impl Why {
    /// The code under which a plan tells of it.
    pub fn code(&self) -> Code {
        match self {
            Self::Obstacle(Obstacle::Paused) => Code::WorkloadPaused,
            Self::Obstacle(Obstacle::OnDelete) => Code::WorkloadOnDelete,
            Self::Obstacle(Obstacle::Partition) => Code::WorkloadPartitioned,
            Self::Obstacle(Obstacle::Skipped) => Code::LeftoverSkipped,
            Self::Obstacle(Obstacle::Owned(_)) => Code::WorkloadOwned,
            Self::Reverted => Code::RestartReverted,
            Self::Unknown(kind) if ["ReplicaSet", "ReplicationController"].contains(&&**kind) => {
                Code::WorkloadBare
            }
            Self::Unknown(_) => Code::WorkloadUnknown,
        }
    }

    /// The reason, for people.
    pub fn tell(&self) -> String {
        match self {
            Self::Obstacle(Obstacle::Paused) => "its rollouts are paused".to_owned(),
            Self::Obstacle(Obstacle::OnDelete) => "its update strategy is OnDelete".to_owned(),
            Self::Obstacle(Obstacle::Partition) => "its update strategy has a partition".to_owned(),
            Self::Obstacle(Obstacle::Skipped) => "its owner wants it left alone".to_owned(),
            Self::Obstacle(Obstacle::Owned(owner)) => format!("`{owner}` writes its pod template"),
            Self::Reverted => "somebody took the restart out of its pod template again".to_owned(),
            Self::Unknown(kind) if self.code() == Code::WorkloadBare => {
                format!("a {kind} does not replace pods when its template changes")
            }
            Self::Unknown(kind) => format!("revshift does not know how a {kind} is restarted"),
        }
    }
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
        pod.make.injected.revision() == Some(self.target)
    }

    /// What `workload` needs in the present attempt of `m`.
    pub fn judge(
        &self,
        workload: &Workload,
        m: &Move,
        migration: &str,
        rollback_of: Option<&str>,
    ) -> Verdict {
        if workload.skipped() {
            return Verdict::OptedOut;
        }
        let pods: Vec<&Pod> = self.pods_of(workload).collect();
        let template = self.namespace.template(workload);
        match self.cluster.injection(self.labels, template) {
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
            // One that does not roll may have pods of several templates for ever.
            let rolled = match &workload.obstacle {
                None => workload.rolled_out(),
                Some(_) => workload.observed && workload.available >= workload.desired,
            };
            // Its controller would go on evicting pods, though they are where they should be.
            let asked = workload.restart.as_deref() == Some(&*restart_id(migration, m.attempt));
            let restarting = asked && workload.restart_pending();
            let complete = rolled && !restarting && there >= workload.desired;
            return if complete { Verdict::Done } else { Verdict::Rolling };
        }
        if template.baked_in {
            let message = "its pod template carries a sidecar of its own".to_owned();
            return Verdict::Stuck(Code::WorkloadBakedIn, message);
        }
        judge_off_target(workload, &off, m, migration, rollback_of)
    }

    /// What stays off the target until it ends by itself or is replaced.
    pub fn leftovers(&self) -> Vec<Leftover> {
        let mut leftovers: BTreeMap<(LeftoverReason, String, String), u32> = BTreeMap::new();
        for pod in self.off_target_pods() {
            let (reason, kind, name) = match self.namespace.controller(pod) {
                Controller::Job(name) => (LeftoverReason::Job, "Job", name),
                Controller::CronJob(name) => (LeftoverReason::CronJob, "CronJob", name),
                Controller::Nobody => (LeftoverReason::BarePod, "Pod", pod.name.clone()),
                Controller::Workload(key) if self.skips(&key) => {
                    (LeftoverReason::Skipped, key.kind.as_str(), key.name)
                }
                Controller::Workload(_) | Controller::Other { .. } => continue,
            };
            *leftovers.entry((reason, kind.to_owned(), name)).or_default() += 1;
        }
        for workload in self.namespace.workloads.values() {
            let template = self.namespace.template(workload);
            let injected = self.cluster.injection(self.labels, template) != Injection::None;
            let lent = self.namespace.lends_template(workload);
            let wanted = injected && !workload.skipped() && !lent;
            if workload.desired == 0 && wanted && self.pods_of(workload).next().is_none() {
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

    /// Controllers whose template is not known, with pods off the target, and what they need.
    pub fn strangers(&self) -> BTreeMap<Controller, Verdict> {
        let mut found = BTreeMap::new();
        for pod in self.off_target_pods() {
            let controller = self.namespace.controller(pod);
            let Controller::Other { kind, .. } = &controller else {
                continue;
            };
            let verdict = match self.injection_of(pod) {
                Injection::By(revision) if revision == *self.target => {
                    Verdict::Evict(Why::Unknown(kind.clone()))
                }
                other => {
                    let message = format!("new pods would be {}", describe(&other));
                    Verdict::Stuck(Code::InjectorMismatch, message)
                }
            };
            found.insert(controller, verdict);
        }
        found
    }

    /// Pods of a controller that are to be on the target and are not.
    pub fn displaced_of(&self, controller: &Controller) -> impl Iterator<Item = &Pod> {
        self.off_target_pods().filter(|pod| self.namespace.controller(pod) == *controller)
    }

    /// Whether `pod` is to be on the target and is not.
    pub fn displaced(&self, pod: &Pod) -> bool {
        !self.on_target(pod) && self.injection_of(pod) != Injection::None
    }

    fn skips(&self, key: &WorkloadKey) -> bool {
        self.namespace.workloads.get(key).is_some_and(Workload::skipped)
    }

    fn injection_of(&self, pod: &Pod) -> Injection {
        self.cluster.injection_of_pod(self.labels, self.namespace, pod)
    }

    fn off_target_pods(&self) -> impl Iterator<Item = &Pod> {
        let pods = self.namespace.pods.values();
        pods.filter(|pod| !pod.terminating).filter(|pod| self.displaced(pod))
    }
}

/// What a workload needs that has pods off the target.
fn judge_off_target(
    workload: &Workload,
    off: &[&Pod],
    m: &Move,
    migration: &str,
    rollback_of: Option<&str>,
) -> Verdict {
    match &workload.obstacle {
        // Whoever owns the template may be about to change it.
        Some(Obstacle::Owned(_)) if workload.rolling() && rollback_of.is_none() => {
            return Verdict::Rolling;
        }
        Some(obstacle) => return Verdict::Evict(Why::Obstacle(obstacle.clone())),
        None => {}
    }
    let asked = workload.restart.as_deref();
    if asked == Some(restart_id(migration, m.attempt).as_str()) {
        let made = if workload.restarts_in_place() {
            !workload.restart_pending()
        } else {
            off.iter().any(|pod| pod.make.restart.as_deref() == asked)
        };
        return if made { Verdict::Straggling } else { Verdict::Rolling };
    }
    // It is not written again in this attempt: whoever took it back would do so again.
    if m.restarts.get(&workload.key) == Some(&m.attempt) {
        let rolling = workload.rolling();
        return if rolling { Verdict::Rolling } else { Verdict::Evict(Why::Reverted) };
    }
    let by = asked.and_then(parse_restart_id).map(|(migration, _)| migration);
    let replaced_anyway = if workload.restarts_in_place() {
        workload.restart_pending()
    } else {
        !off.iter().any(|pod| pod.make.restart.as_deref() == asked)
    };
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
