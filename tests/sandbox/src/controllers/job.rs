//! Jobs: pods run until enough of them have succeeded.

use serde_json::{Value, json};

use super::progress::set_count;
use super::{Outcome, pods};
use crate::cluster::Cluster;
use crate::object;
use crate::refusal::Refusal;
use crate::store::Reference;

const SOURCE: &str = "job-controller";

pub(super) fn reconcile(cluster: &mut Cluster, target: &Reference) -> Outcome {
    let Some(job) = cluster.store.get(target).cloned() else { return Outcome::Done };
    if object::deleting(&job) || object::condition_holds(&job, "Complete") {
        return Outcome::Done;
    }
    let started = fill(cluster, &job);
    let all = pods::of(cluster, &job);
    let active = pods::count(&all, pods::active);
    let ready = pods::count(&all, |pod| pods::active(pod) && pods::ready(pod));
    let succeeded = pods::count(&all, |pod| object::text(pod, "/status/phase") == "Succeeded");
    let complete = succeeded >= completions(&job);
    let now = cluster.stamp();
    cluster.update_status(target, "kube-controller-manager", |job| {
        object::default(job, "/status/startTime", now.as_str());
        set_count(job, "active", active);
        set_count(job, "succeeded", succeeded);
        object::set(job, "/status/ready", ready);
        if complete {
            for kind in ["SuccessCriteriaMet", "Complete"] {
                let condition = json!({
                    "type": kind,
                    "status": "True",
                    "reason": "CompletionsReached",
                    "message": "Reached expected number of succeeded pods",
                    "lastProbeTime": now,
                });
                object::set_condition(job, condition, &now);
            }
            object::set(job, "/status/completionTime", now.as_str());
        }
    });
    if started.is_err() { Outcome::Retry } else { Outcome::Done }
}

fn completions(job: &Value) -> i64 {
    object::integer(job, "/spec/completions").unwrap_or(1)
}

fn fill(cluster: &mut Cluster, job: &Value) -> Result<(), Refusal> {
    if object::flag(job, "/spec/suspend") {
        return Ok(());
    }
    let all = pods::of(cluster, job);
    let active = pods::count(&all, pods::active);
    let succeeded = pods::count(&all, |pod| object::text(pod, "/status/phase") == "Succeeded");
    let parallelism = object::integer(job, "/spec/parallelism").unwrap_or(1);
    let wanted = parallelism.min(completions(job) - succeeded);
    let Some(template) = object::at(job, "/spec/template") else { return Ok(()) };
    for _ in active..wanted {
        let mut pod = pods::from_template(job, template);
        if object::text(&pod, "/spec/restartPolicy") == "Always" {
            object::set(&mut pod, "/spec/restartPolicy", "Never");
        }
        pods::create(cluster, job, pod, SOURCE)?;
    }
    Ok(())
}
