//! CronJobs: a Job at every moment of the schedule.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::schedule::Plan;
use super::{Outcome, job};
use crate::cluster::{Author, Cluster, DeleteOptions, Propagation, stamp};
use crate::kind;
use crate::object;
use crate::refusal::Refusal;
use crate::store::Reference;

const MANAGER: &str = "kube-controller-manager";
const SOURCE: &str = "cronjob-controller";
/// After the minute, so that no clock is still before it.
const MARGIN: Duration = Duration::from_millis(100);

pub(super) fn reconcile(cluster: &mut Cluster, target: &Reference) -> Outcome {
    let Some(cron) = cluster.store.get(target).cloned() else { return Outcome::Done };
    let jobs = cluster.store.controlled(kind::JOBS, object::uid(&cron));
    follow(cluster, target, &cron, &jobs);
    if object::deleting(&cron) {
        return Outcome::Done;
    }
    forget(cluster, &cron, &jobs);
    if object::flag(&cron, "/spec/suspend") {
        return Outcome::Done;
    }
    let text = object::text(&cron, "/spec/schedule");
    let plan = zone(&cron).and_then(|zone| {
        Plan::parse(text, zone).map_err(|why| {
            ("UnparseableSchedule", format!("unparseable schedule: \"{text}\" : {why}"))
        })
    });
    let plan = match plan {
        Ok(plan) => plan,
        Err((reason, message)) => {
            cluster.event(&cron, "Warning", reason, &message, SOURCE);
            return Outcome::Done;
        }
    };
    let Some(cron) = cluster.store.get(target).cloned() else { return Outcome::Done };
    let now = cluster.now();
    if let Some(due) = due(&cron, &plan, now)
        && run(cluster, target, &cron, due).is_err()
    {
        return Outcome::Retry;
    }
    match plan.next(now) {
        Some(next) => {
            let wait = Duration::try_from(next.duration_since(now)).unwrap_or_default();
            Outcome::After(wait + MARGIN)
        }
        None => Outcome::Done,
    }
}

fn zone(cron: &Value) -> Result<TimeZone, (&'static str, String)> {
    match object::text(cron, "/spec/timeZone") {
        "" => Ok(TimeZone::UTC),
        name => TimeZone::get(name)
            .map_err(|error| ("UnknownTimeZone", format!("invalid timeZone: \"{name}\": {error}"))),
    }
}

/// The latest moment of the schedule that has no Job yet.
fn due(cron: &Value, plan: &Plan, now: Timestamp) -> Option<Timestamp> {
    let moment = |pointer: &str| object::text(cron, pointer).parse::<Timestamp>().ok();
    let mut from =
        moment("/status/lastScheduleTime").or_else(|| moment("/metadata/creationTimestamp"))?;
    if let Some(seconds) = object::integer(cron, "/spec/startingDeadlineSeconds") {
        let deadline = Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
        from = from.max(now.checked_sub(deadline).ok()?);
    }
    let mut latest = None;
    while let Some(next) = plan.next(latest.unwrap_or(from)).filter(|next| *next <= now) {
        latest = Some(next);
    }
    latest
}

/// Brings `status.active` and the last success up to date.
fn follow(cluster: &mut Cluster, target: &Reference, cron: &Value, jobs: &[Arc<Value>]) {
    let mut active = Vec::new();
    for known in object::list(cron, "/status/active") {
        let found = jobs.iter().find(|one| object::uid(one) == object::text(known, "/uid"));
        let name = object::text(known, "/name");
        match found {
            Some(one) if job::finished(one) => {
                let how = if job::succeeded(one) { "Complete" } else { "Failed" };
                let message = format!("Saw completed job: {name}, condition: {how}");
                cluster.event(cron, "Normal", "SawCompletedJob", &message, SOURCE);
            }
            Some(_) => active.push(known.clone()),
            None => {
                let message = format!("Active job went missing: {name}");
                cluster.event(cron, "Normal", "MissingJob", &message, SOURCE);
            }
        }
    }
    let last = jobs
        .iter()
        .filter(|one| job::succeeded(one))
        .map(|one| object::text(one, "/status/completionTime"))
        .chain([object::text(cron, "/status/lastSuccessfulTime")])
        .max()
        .unwrap_or_default()
        .to_owned();
    cluster.update_status(target, MANAGER, |cron| {
        set_active(cron, active);
        if !last.is_empty() {
            object::set(cron, "/status/lastSuccessfulTime", last);
        }
    });
}

fn set_active(cron: &mut Value, active: Vec<Value>) {
    if active.is_empty() {
        object::remove(cron, "/status/active");
    } else {
        object::set(cron, "/status/active", active);
    }
}

/// Deletes the oldest finished Jobs beyond the limits of history.
fn forget(cluster: &mut Cluster, cron: &Value, jobs: &[Arc<Value>]) {
    let started = |job: &Value| object::text(job, "/status/startTime").to_owned();
    for (limit, good) in [("successfulJobsHistoryLimit", true), ("failedJobsHistoryLimit", false)] {
        let limit = object::integer(cron, &format!("/spec/{limit}")).unwrap_or_default();
        let mut ended: Vec<_> =
            jobs.iter().filter(|one| job::finished(one) && job::succeeded(one) == good).collect();
        ended.sort_by_key(|one| (started(one), object::uid(one).to_owned()));
        let kept = usize::try_from(limit).unwrap_or_default();
        for one in &ended[..ended.len().saturating_sub(kept)] {
            delete(cluster, cron, one);
        }
    }
}

fn delete(cluster: &mut Cluster, cron: &Value, job: &Value) {
    let Some(kind) = cluster.store.kind(kind::JOBS) else { return };
    let reference = Reference::new(kind::JOBS, object::namespace(job), object::name(job));
    let options =
        DeleteOptions { propagation: Propagation::Background, ..DeleteOptions::default() };
    if cluster.delete(&kind, &reference, &options, Author::controller(MANAGER)).is_ok() {
        let message = format!("Deleted job {}", object::name(job));
        cluster.event(cron, "Normal", "SuccessfulDelete", &message, SOURCE);
    }
}

/// Starts the Job of a moment, as the concurrency policy allows.
fn run(
    cluster: &mut Cluster,
    target: &Reference,
    cron: &Value,
    due: Timestamp,
) -> Result<(), Refusal> {
    let mut active = object::list(cron, "/status/active").to_vec();
    match object::text(cron, "/spec/concurrencyPolicy") {
        "Forbid" if !active.is_empty() => {
            let message = "Not starting job because prior execution is running and concurrency \
                           policy is Forbid";
            cluster.event(cron, "Normal", "JobAlreadyActive", message, SOURCE);
            return Ok(());
        }
        "Replace" => {
            for one in active.drain(..) {
                let name = object::text(&one, "/name");
                let reference = Reference::new(kind::JOBS, &target.namespace, name);
                if let Some(job) = cluster.store.get(&reference).cloned() {
                    delete(cluster, cron, &job);
                }
            }
        }
        _ => {}
    }
    let kind = cluster.store.kind(kind::JOBS).ok_or_else(|| Refusal::internal("no jobs"))?;
    let job = from_template(cron, due);
    let author = Author::controller(MANAGER);
    let job = match cluster.create(&kind, &target.namespace, job, author) {
        Ok(job) => job,
        Err(refusal) => {
            let message = format!("Error creating job: {}", refusal.message);
            cluster.event(cron, "Warning", "FailedCreate", &message, SOURCE);
            return Err(refusal);
        }
    };
    let name = object::name(&job);
    cluster.event(cron, "Normal", "SuccessfulCreate", &format!("Created job {name}"), SOURCE);
    active.push(json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "namespace": target.namespace,
        "name": name,
        "uid": object::uid(&job),
        "resourceVersion": object::version(&job),
    }));
    cluster.update_status(target, MANAGER, |cron| {
        set_active(cron, active);
        object::set(cron, "/status/lastScheduleTime", stamp(due));
    });
    Ok(())
}

/// The Job is named by the minute, which keeps a moment from running twice.
fn from_template(cron: &Value, due: Timestamp) -> Value {
    let template = |pointer: &str| {
        object::at(cron, &format!("/spec/jobTemplate{pointer}")).cloned().unwrap_or_default()
    };
    let map = |pointer: &str| match template(pointer) {
        Value::Null => json!({}),
        map => map,
    };
    let mut job = json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": format!("{}-{}", object::name(cron), due.as_second() / 60),
            "namespace": object::namespace(cron),
            "labels": map("/metadata/labels"),
            "annotations": map("/metadata/annotations"),
            "ownerReferences": object::controlled_by(cron),
        },
        "spec": template("/spec"),
    });
    object::set_annotation(
        &mut job,
        "batch.kubernetes.io/cronjob-scheduled-timestamp",
        &stamp(due),
    );
    job
}
