//! Jobs: pods run until enough of them have succeeded, or too many have failed.
//!
//! A finalizer keeps every pod until the Job has counted its end, as the real controller does,
//! so counts never go back when pods are deleted.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::progress::set_count;
use super::{Outcome, pods};
use crate::cluster::{Author, Cluster, DeleteOptions, Propagation};
use crate::kind;
use crate::object;
use crate::refusal::Refusal;
use crate::store::Reference;

const MANAGER: &str = "kube-controller-manager";
const SOURCE: &str = "job-controller";
const TRACKING: &str = "batch.kubernetes.io/job-tracking";
const FIRST_BACKOFF: Duration = Duration::from_secs(10);
const LONGEST_BACKOFF: Duration = Duration::from_mins(10);

/// Why a Job is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    /// What is said while pods still terminate, and then.
    conditions: [&'static str; 2],
    reason: &'static str,
    message: &'static str,
}

const COMPLETE: End = End {
    conditions: ["SuccessCriteriaMet", "Complete"],
    reason: "CompletionsReached",
    message: "Reached expected number of succeeded pods",
};
const EXCEEDED: End = End {
    conditions: ["FailureTarget", "Failed"],
    reason: "BackoffLimitExceeded",
    message: "Job has reached the specified backoff limit",
};
const LATE: End = End {
    conditions: ["FailureTarget", "Failed"],
    reason: "DeadlineExceeded",
    message: "Job was active longer than specified deadline",
};

pub(super) fn reconcile(cluster: &mut Cluster, target: &Reference) -> Outcome {
    let Some(job) = cluster.store.get(target).cloned() else {
        release_orphans(cluster, target);
        return Outcome::Done;
    };
    if object::deleting(&job) {
        for pod in pods::of(cluster, &job) {
            release(cluster, &pod);
        }
        return Outcome::Done;
    }
    if finished(&job) {
        return expire(cluster, target, &job);
    }
    start(cluster, target, &job);
    count_ends(cluster, target, &job);
    let Some(job) = cluster.store.get(target).cloned() else { return Outcome::Done };
    let all = pods::of(cluster, &job);
    let end = began_to_end(&job).or_else(|| failure(cluster, &job, &all));
    let (mut outcome, end) = match end {
        Some(end) => {
            remove(cluster, &job);
            (Outcome::Done, Some(end))
        }
        None => (fill(cluster, &job, &all), success(cluster, &job)),
    };
    report(cluster, target, end);
    if let (None, Some(left)) = (end, deadline(cluster, &job)) {
        let left = left.max(Duration::from_millis(1));
        outcome = match outcome {
            Outcome::After(delay) => Outcome::After(delay.min(left)),
            Outcome::Done => Outcome::After(left),
            Outcome::Retry => Outcome::Retry,
        };
    }
    outcome
}

/// Whether a Job is over for good.
pub(super) fn finished(job: &Value) -> bool {
    succeeded(job) || object::condition_holds(job, "Failed")
}

pub(super) fn succeeded(job: &Value) -> bool {
    object::condition_holds(job, "Complete")
}

fn status(job: &Value, field: &str) -> i64 {
    object::integer(job, &format!("/status/{field}")).unwrap_or_default()
}

fn suspended(job: &Value) -> bool {
    object::flag(job, "/spec/suspend")
}

/// Notes when the Job began, was suspended or resumed.
fn start(cluster: &mut Cluster, target: &Reference, job: &Value) {
    let now = cluster.stamp();
    let condition = |status: &str, reason: &str, message: &str| {
        json!({
            "type": "Suspended", "status": status, "reason": reason, "message": message,
            "lastProbeTime": now,
        })
    };
    let held = object::condition_holds(job, "Suspended");
    if suspended(job) && !held {
        cluster.event(job, "Normal", "Suspended", "Job suspended", SOURCE);
        cluster.update_status(target, MANAGER, |job| {
            object::remove(job, "/status/startTime");
            object::set_condition(job, condition("True", "JobSuspended", "Job suspended"), &now);
        });
    } else if !suspended(job) && held {
        cluster.event(job, "Normal", "Resumed", "Job resumed", SOURCE);
        cluster.update_status(target, MANAGER, |job| {
            object::set(job, "/status/startTime", now.as_str());
            object::set_condition(job, condition("False", "JobResumed", "Job resumed"), &now);
        });
    } else if !suspended(job) {
        cluster.update_status(target, MANAGER, |job| {
            object::default(job, "/status/startTime", now.as_str());
        });
    }
}

/// Counts pods that have ended, and lets them go.
fn count_ends(cluster: &mut Cluster, target: &Reference, job: &Value) {
    let mut all = pods::of(cluster, job);
    all.retain(|pod| tracked(pod) && !pods::active(pod));
    if all.is_empty() {
        return;
    }
    // A pod that is deleted while it runs counts as failed.
    let good = pods::count(&all, |pod| object::text(pod, "/status/phase") == "Succeeded");
    let bad = pods::count(&all, |_| true) - good;
    cluster.update_status(target, MANAGER, |job| {
        set_count(job, "succeeded", status(job, "succeeded") + good);
        set_count(job, "failed", status(job, "failed") + bad);
    });
    for pod in all {
        release(cluster, &pod);
    }
}

fn tracked(pod: &Value) -> bool {
    object::list(pod, "/metadata/finalizers").iter().any(|one| one == TRACKING)
}

fn release(cluster: &mut Cluster, pod: &Value) {
    if !tracked(pod) {
        return;
    }
    let reference = Reference::new(kind::PODS, object::namespace(pod), object::name(pod));
    cluster.update_main(&reference, MANAGER, |pod| {
        let mut all = object::list(pod, "/metadata/finalizers").to_vec();
        all.retain(|one| one != TRACKING);
        object::set(pod, "/metadata/finalizers", all);
    });
}

/// Pods must not wait for a Job that is gone.
fn release_orphans(cluster: &mut Cluster, target: &Reference) {
    let left: Vec<Arc<Value>> = cluster
        .store
        .list(kind::PODS, Some(&target.namespace))
        .filter(|pod| {
            tracked(pod)
                && object::controller(pod)
                    .is_some_and(|owner| !cluster.store.exists(object::text(owner, "/uid")))
        })
        .cloned()
        .collect();
    for pod in left {
        release(cluster, &pod);
    }
}

fn began_to_end(job: &Value) -> Option<End> {
    [COMPLETE, EXCEEDED, LATE].into_iter().find(|end| {
        object::condition(job, end.conditions[0])
            .is_some_and(|one| object::text(one, "/reason") == end.reason)
    })
}

fn failure(cluster: &Cluster, job: &Value, all: &[Arc<Value>]) -> Option<End> {
    let limit = object::integer(job, "/spec/backoffLimit").unwrap_or(6);
    let restarts: i64 = all
        .iter()
        .filter(|pod| object::text(pod, "/spec/restartPolicy") == "OnFailure")
        .flat_map(|pod| object::list(pod, "/status/containerStatuses"))
        .map(|container| object::integer(container, "/restartCount").unwrap_or_default())
        .sum();
    if status(job, "failed") > limit || (restarts > 0 && restarts >= limit) {
        return Some(EXCEEDED);
    }
    deadline(cluster, job).is_some_and(|left| left.is_zero()).then_some(LATE)
}

/// How long the Job may still be active.
fn deadline(cluster: &Cluster, job: &Value) -> Option<Duration> {
    let seconds = object::integer(job, "/spec/activeDeadlineSeconds")?;
    if suspended(job) {
        return None;
    }
    let since = cluster.since(object::text(job, "/status/startTime")).unwrap_or_default();
    Some(Duration::from_secs(u64::try_from(seconds).unwrap_or_default()).saturating_sub(since))
}

fn success(cluster: &Cluster, job: &Value) -> Option<End> {
    let active = pods::count(&pods::of(cluster, job), pods::active);
    let succeeded = status(job, "succeeded");
    let enough = match object::integer(job, "/spec/completions") {
        Some(completions) => succeeded >= completions,
        None => succeeded > 0,
    };
    (enough && active == 0).then_some(COMPLETE)
}

/// Starts pods that are missing, or deletes those that are too many.
fn fill(cluster: &mut Cluster, job: &Value, all: &[Arc<Value>]) -> Outcome {
    if suspended(job) {
        withdraw(cluster, job, usize::MAX);
        return Outcome::Done;
    }
    let active = pods::count(all, pods::active);
    let parallelism = object::integer(job, "/spec/parallelism").unwrap_or(1);
    let succeeded = status(job, "succeeded");
    let wanted = match object::integer(job, "/spec/completions") {
        Some(completions) => parallelism.min((completions - succeeded).max(0)),
        None if succeeded > 0 => active,
        None => parallelism,
    };
    if active > wanted {
        withdraw(cluster, job, usize::try_from(active - wanted).unwrap_or_default());
        return Outcome::Done;
    }
    if active < wanted {
        let wait = backoff(cluster, all);
        if !wait.is_zero() {
            return Outcome::After(wait);
        }
        if create(cluster, job, wanted - active).is_err() {
            return Outcome::Retry;
        }
    }
    Outcome::Done
}

fn create(cluster: &mut Cluster, job: &Value, number: i64) -> Result<(), Refusal> {
    let Some(template) = object::at(job, "/spec/template") else { return Ok(()) };
    for _ in 0..number {
        let mut pod = pods::from_template(job, template);
        if object::text(&pod, "/spec/restartPolicy") == "Always" {
            object::set(&mut pod, "/spec/restartPolicy", "Never");
        }
        let mut finalizers = object::list(&pod, "/metadata/finalizers").to_vec();
        finalizers.push(TRACKING.into());
        object::set(&mut pod, "/metadata/finalizers", finalizers);
        pods::create(cluster, job, pod, SOURCE)?;
    }
    Ok(())
}

/// How long no pod is started after failures: 10 s, doubled by each since the last success.
fn backoff(cluster: &Cluster, all: &[Arc<Value>]) -> Duration {
    let ended = |pod: &Value| -> Option<Timestamp> {
        let ready = object::condition(pod, "Ready")?;
        object::text(ready, "/lastTransitionTime").parse().ok()
    };
    let phase = |pod: &Value, wanted: &str| object::text(pod, "/status/phase") == wanted;
    let last_success =
        all.iter().filter(|pod| phase(pod, "Succeeded")).filter_map(|pod| ended(pod)).max();
    let failures: Vec<_> = all
        .iter()
        .filter(|pod| phase(pod, "Failed"))
        .filter_map(|pod| ended(pod))
        .filter(|at| last_success.is_none_or(|success| *at > success))
        .collect();
    let Some(last) = failures.iter().max() else { return Duration::ZERO };
    let doublings = u32::try_from(failures.len() - 1).unwrap_or(u32::MAX).min(10);
    let wait = (FIRST_BACKOFF * 2_u32.pow(doublings)).min(LONGEST_BACKOFF);
    let since = Duration::try_from(cluster.now().duration_since(*last)).unwrap_or_default();
    wait.saturating_sub(since)
}

/// Deletes active pods of a Job that has failed; they count as failures.
fn remove(cluster: &mut Cluster, job: &Value) {
    for pod in dispensable(cluster, job, usize::MAX) {
        pods::delete(cluster, job, &pod, SOURCE);
    }
}

/// Deletes active pods that are too many, which is no failure of theirs.
fn withdraw(cluster: &mut Cluster, job: &Value, number: usize) {
    for pod in dispensable(cluster, job, number) {
        release(cluster, &pod);
        pods::delete(cluster, job, &pod, SOURCE);
    }
}

/// Active pods, the least useful first.
fn dispensable(cluster: &Cluster, job: &Value, number: usize) -> Vec<Arc<Value>> {
    let mut active = pods::of(cluster, job);
    active.retain(|pod| pods::active(pod));
    active.sort_by_key(|pod| (pods::ready(pod), std::cmp::Reverse(object::uid(pod).to_owned())));
    active.truncate(number);
    active
}

fn report(cluster: &mut Cluster, target: &Reference, end: Option<End>) {
    let Some(job) = cluster.store.get(target).cloned() else { return };
    let all = pods::of(cluster, &job);
    let active = pods::count(&all, pods::active);
    let ready = pods::count(&all, |pod| pods::active(pod) && pods::ready(pod));
    let terminating = pods::count(&all, |pod| object::deleting(pod) && !pods::finished(pod));
    let now = cluster.stamp();
    cluster.update_status(target, MANAGER, |job| {
        set_count(job, "active", active);
        object::set(job, "/status/ready", ready);
        object::set(job, "/status/terminating", terminating);
        let Some(end) = end else { return };
        // The second condition comes when no pod terminates any more.
        for kind in &end.conditions[..if terminating == 0 { 2 } else { 1 }] {
            let condition = json!({
                "type": kind,
                "status": "True",
                "reason": end.reason,
                "message": end.message,
                "lastProbeTime": now,
            });
            object::set_condition(job, condition, &now);
        }
        if succeeded(job) {
            object::default(job, "/status/completionTime", now.as_str());
        }
    });
    if let (Some(end), 0) = (end, terminating) {
        let (severity, reason, message) = if end == COMPLETE {
            ("Normal", "Completed", "Job completed")
        } else {
            ("Warning", end.reason, end.message)
        };
        cluster.event(&job, severity, reason, message, SOURCE);
    }
}

/// Deletes a finished Job after its time to live.
fn expire(cluster: &mut Cluster, target: &Reference, job: &Value) -> Outcome {
    let Some(seconds) = object::integer(job, "/spec/ttlSecondsAfterFinished") else {
        return Outcome::Done;
    };
    let since = ["Complete", "Failed"]
        .into_iter()
        .filter_map(|kind| object::condition(job, kind))
        .find_map(|one| cluster.since(object::text(one, "/lastTransitionTime")));
    let left = Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
        .saturating_sub(since.unwrap_or_default());
    if !left.is_zero() {
        return Outcome::After(left);
    }
    let Some(kind) = cluster.store.kind(kind::JOBS) else { return Outcome::Done };
    let options = DeleteOptions {
        uid: Some(object::uid(job).to_owned()),
        propagation: Propagation::Foreground,
        ..DeleteOptions::default()
    };
    // It can only be gone already.
    let _ = cluster.delete(&kind, target, &options, Author::controller(MANAGER));
    Outcome::Done
}
