//! The status of Deployments: counts, availability, and whether the rollout progresses.

use std::time::Duration;

use serde_json::{Value, json};

use super::deployment::{Sets, replicas, slack};
use crate::cluster::Cluster;
use crate::object;
use crate::store::Reference;

const MANAGER: &str = "kube-controller-manager";

/// The counts of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) replicas: i64,
    pub(super) updated: i64,
    pub(super) ready: i64,
    pub(super) available: i64,
    unavailable: i64,
}

impl Counts {
    pub(super) fn of_sets(sets: &Sets) -> Self {
        let status = |set: &Value, field: &str| {
            object::integer(set, &format!("/status/{field}")).unwrap_or_default()
        };
        let sum = |field: &str| sets.all().map(|set| status(set, field)).sum::<i64>();
        let wanted: i64 = sets.all().map(|set| replicas(set)).sum();
        let available = sum("availableReplicas");
        Self {
            replicas: sum("replicas"),
            updated: sets.new.as_ref().map_or(0, |set| status(set, "replicas")),
            ready: sum("readyReplicas"),
            available,
            unavailable: (wanted - available).max(0),
        }
    }

    fn stored(deployment: &Value) -> Self {
        let status = |field: &str| {
            object::integer(deployment, &format!("/status/{field}")).unwrap_or_default()
        };
        Self {
            replicas: status("replicas"),
            updated: status("updatedReplicas"),
            ready: status("readyReplicas"),
            available: status("availableReplicas"),
            unavailable: status("unavailableReplicas"),
        }
    }

    pub(super) fn complete(self, wanted: i64) -> bool {
        self.updated == wanted && self.replicas == wanted && self.available == wanted
    }

    fn further_than(self, before: Self) -> bool {
        self.updated > before.updated
            || self.replicas - self.updated < before.replicas - before.updated
            || self.ready > before.ready
            || self.available > before.available
    }
}

/// Writes a status count as Go does: zero is left out.
pub(super) fn set_count(object: &mut Value, field: &str, count: i64) {
    if count == 0 {
        object::remove(object, &format!("/status/{field}"));
    } else {
        object::set(object, &format!("/status/{field}"), count);
    }
}

/// Records progress of another kind than counts.
pub(super) fn note(cluster: &mut Cluster, target: &Reference, reason: &str, message: &str) {
    let now = cluster.stamp();
    cluster.update_status(target, MANAGER, |deployment| {
        set_progressing(deployment, "True", reason, message, &now);
    });
}

/// Brings the status up to date; tells when to look at the deadline again.
pub(super) fn report(cluster: &mut Cluster, target: &Reference) -> Option<Duration> {
    let deployment = cluster.store.get(target)?.clone();
    let sets = Sets::of(cluster, &deployment);
    let counts = Counts::of_sets(&sets);
    let before = Counts::stored(&deployment);
    let wanted = replicas(&deployment);
    let generation = object::integer(&deployment, "/metadata/generation").unwrap_or_default();
    let name = match &sets.new {
        Some(set) => format!("ReplicaSet \"{}\"", object::name(set)),
        None => format!("Deployment \"{}\"", target.name),
    };
    let paused = object::flag(&deployment, "/spec/paused");
    let deadline = object::integer(&deployment, "/spec/progressDeadlineSeconds").unwrap_or(600);
    let deadline = Duration::from_secs(u64::try_from(deadline).unwrap_or_default());
    let condition = object::condition(&deployment, "Progressing").cloned().unwrap_or_default();
    let reason = object::text(&condition, "/reason");
    let idle = cluster.since(object::text(&condition, "/lastUpdateTime")).unwrap_or_default();
    let settled = counts.replicas == counts.updated && reason == "NewReplicaSetAvailable";
    let complete = counts.complete(wanted);
    let verdict = if paused {
        (reason != "DeploymentPaused")
            .then(|| ("Unknown", "DeploymentPaused", "Deployment is paused".to_owned()))
    } else if reason == "DeploymentPaused" {
        Some(("Unknown", "DeploymentResumed", "Deployment is resumed".to_owned()))
    } else if settled {
        None
    } else if complete {
        Some(("True", "NewReplicaSetAvailable", format!("{name} has successfully progressed.")))
    } else if counts.further_than(before) {
        Some(("True", "ReplicaSetUpdated", format!("{name} is progressing.")))
    } else if idle > deadline && !matches!(reason, "" | "NewReplicaSetAvailable") {
        (reason != "ProgressDeadlineExceeded").then(|| {
            ("False", "ProgressDeadlineExceeded", format!("{name} has timed out progressing."))
        })
    } else {
        None
    };
    let (unavailable, _) = slack(&deployment);
    let enough = counts.available >= wanted - unavailable;
    let failure = sets.all().find_map(|set| object::condition(set, "ReplicaFailure").cloned());
    let now = cluster.stamp();
    cluster.update_status(target, MANAGER, |deployment| {
        object::set(deployment, "/status/observedGeneration", generation);
        for (field, count) in [
            ("replicas", counts.replicas),
            ("updatedReplicas", counts.updated),
            ("readyReplicas", counts.ready),
            ("availableReplicas", counts.available),
            ("unavailableReplicas", counts.unavailable),
        ] {
            set_count(deployment, field, count);
        }
        set_available(deployment, enough, &now);
        if let Some((status, reason, message)) = &verdict {
            set_progressing(deployment, status, reason, message, &now);
        }
        match failure {
            Some(mut failure) => {
                if !object::condition_holds(deployment, "ReplicaFailure") {
                    object::set(&mut failure, "/lastUpdateTime", now.as_str());
                    object::set_condition(deployment, failure, &now);
                }
            }
            None => object::clear_condition(deployment, "ReplicaFailure"),
        }
    });
    let timed_out = reason == "ProgressDeadlineExceeded";
    let watched = !paused && !settled && !complete && !timed_out;
    let slow = counts.ready > counts.available;
    match (watched, slow) {
        (_, true) => Some(Duration::from_secs(1)),
        (true, false) => Some(deadline.saturating_sub(idle) + Duration::from_secs(1)),
        (false, false) => None,
    }
}

fn set_available(deployment: &mut Value, enough: bool, now: &str) {
    let (status, reason, message) = if enough {
        ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    } else {
        ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    };
    let present = object::condition(deployment, "Available");
    if present.is_none_or(|present| object::text(present, "/status") != status) {
        let condition = json!({
            "type": "Available",
            "status": status,
            "reason": reason,
            "message": message,
            "lastUpdateTime": now,
        });
        object::set_condition(deployment, condition, now);
    }
}

fn set_progressing(deployment: &mut Value, status: &str, reason: &str, message: &str, now: &str) {
    let condition = json!({
        "type": "Progressing",
        "status": status,
        "reason": reason,
        "message": message,
        "lastUpdateTime": now,
    });
    object::set_condition(deployment, condition, now);
}
