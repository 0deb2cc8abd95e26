//! Jobs and CronJobs: how they end, and when they begin.

use revshift_sandbox::{ChangeKind, Sandbox, fixtures};
use serde_json::{Value, json};

use crate::{condition, merge, pods, run, sandbox};

const JOB: &str = "/apis/batch/v1/namespaces/batch/jobs/import";
const CRON: &str = "/apis/batch/v1/namespaces/batch/cronjobs/tick";

fn batch() -> Sandbox {
    let sandbox = sandbox();
    sandbox.apply(fixtures::namespace("batch", &[]));
    sandbox
}

/// A Job with these fields, whose pods end with that code after three seconds.
fn job(spec: &Value, code: &str) -> Value {
    let mut job = fixtures::job("batch", "import", 3);
    for (field, value) in spec.as_object().unwrap() {
        job["spec"][field] = value.clone();
    }
    job["spec"]["template"]["metadata"]["annotations"]["sandbox.revshift.dev/exit-code"] =
        json!(code);
    job
}

#[tokio::test(start_paused = true)]
async fn jobs_end_as_their_pods_do() {
    // Fields, exit code, seconds; condition and reason; pods that succeeded and failed.
    let cases = [
        (json!({}), "0", 10, "Complete", "CompletionsReached", 1, 0),
        (
            json!({ "completions": 5, "parallelism": 2 }),
            "0",
            20,
            "Complete",
            "CompletionsReached",
            5,
            0,
        ),
        (
            json!({ "completions": null, "parallelism": 3 }),
            "0",
            20,
            "Complete",
            "CompletionsReached",
            3,
            0,
        ),
        (json!({ "backoffLimit": 0 }), "1", 10, "Failed", "BackoffLimitExceeded", 0, 1),
        // Three pods, after 10 and 20 seconds of back-off.
        (json!({ "backoffLimit": 2 }), "1", 60, "Failed", "BackoffLimitExceeded", 0, 3),
        (json!({ "activeDeadlineSeconds": 2 }), "0", 10, "Failed", "DeadlineExceeded", 0, 1),
    ];
    for (spec, code, seconds, kind, reason, succeeded, failed) in cases {
        let sandbox = batch();
        sandbox.apply(job(&spec, code));
        run(&sandbox, seconds).await;
        let job = sandbox.object(JOB).unwrap();
        assert_eq!(condition(&job, kind)["reason"], reason, "{spec} {job:#}");
        let count = |field: &str| job["status"][field].as_i64().unwrap_or_default();
        assert_eq!((count("succeeded"), count("failed")), (succeeded, failed), "{spec}");
        assert_eq!(count("active"), 0, "{spec}");
        assert_eq!(job["status"]["completionTime"].is_string(), kind == "Complete", "{spec}");
        let interim = if kind == "Complete" { "SuccessCriteriaMet" } else { "FailureTarget" };
        assert_eq!(condition(&job, interim)["status"], "True", "{spec}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_job_backs_off_longer_and_longer() {
    let sandbox = batch();
    sandbox.apply(job(&json!({}), "1"));
    run(&sandbox, 100).await;
    let starts: Vec<_> = sandbox
        .changes()
        .into_iter()
        .filter(|one| one.reference.resource == "pods" && one.reference.namespace == "batch")
        .filter(|one| one.change == ChangeKind::Added)
        .map(|one| one.time)
        .collect();
    let gaps: Vec<_> =
        starts.windows(2).map(|pair| pair[1].duration_since(pair[0]).as_secs()).collect();
    // Four seconds of life, and a back-off of 10, 20 and 40, give or take the second of stamps.
    assert_eq!(gaps.len(), 3, "{gaps:?}");
    for (gap, expected) in gaps.iter().zip([14, 24, 44]) {
        assert!((expected - 1..=expected).contains(gap), "{gaps:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_is_suspended_resumed_and_forgotten() {
    let sandbox = batch();
    sandbox.apply(job(
        &json!({ "parallelism": 2, "completions": 2, "ttlSecondsAfterFinished": 30 }),
        "0",
    ));
    run(&sandbox, 2).await;
    assert_eq!(pods(&sandbox, "batch").len(), 2);
    merge(&sandbox, JOB, &json!({ "spec": { "suspend": true } })).await;
    run(&sandbox, 5).await;
    assert!(pods(&sandbox, "batch").is_empty());
    let held = sandbox.object(JOB).unwrap();
    assert_eq!(condition(&held, "Suspended")["status"], "True");
    assert_eq!(held["status"]["startTime"], Value::Null);
    assert_eq!(held["status"]["failed"], Value::Null, "{held:#}");
    merge(&sandbox, JOB, &json!({ "spec": { "suspend": false } })).await;
    run(&sandbox, 10).await;
    let done = sandbox.object(JOB).unwrap();
    assert_eq!(condition(&done, "Complete")["status"], "True", "{done:#}");
    run(&sandbox, 40).await;
    assert_eq!(sandbox.object(JOB), None);
    assert!(pods(&sandbox, "batch").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_cron_job_starts_jobs_and_keeps_a_history() {
    let sandbox = batch();
    sandbox.apply(fixtures::cron_job("batch", "tick", "* * * * *"));
    run(&sandbox, 62).await;
    let tick = sandbox.object(CRON).unwrap();
    assert_eq!(tick["status"]["lastScheduleTime"], "2026-01-01T00:01:00Z", "{tick:#}");
    let active = &tick["status"]["active"][0]["name"];
    let jobs = sandbox.objects("/apis/batch/v1/namespaces/batch/jobs");
    assert_eq!((jobs.len(), &jobs[0]["metadata"]["name"]), (1, active));
    assert_eq!(jobs[0]["metadata"]["ownerReferences"][0]["kind"], "CronJob");
    run(&sandbox, 360).await;
    let tick = sandbox.object(CRON).unwrap();
    let jobs = sandbox.objects("/apis/batch/v1/namespaces/batch/jobs");
    let done = jobs.iter().filter(|one| one["status"]["completionTime"].is_string()).count();
    assert_eq!(done, 3, "{tick:#}");
    assert!(tick["status"]["lastSuccessfulTime"].is_string());
    merge(&sandbox, CRON, &json!({ "spec": { "suspend": true } })).await;
    let before = sandbox.object(CRON).unwrap()["status"]["lastScheduleTime"].clone();
    run(&sandbox, 200).await;
    let tick = sandbox.object(CRON).unwrap();
    assert_eq!(
        (&tick["status"]["lastScheduleTime"], &tick["status"]["active"]),
        (&before, &Value::Null)
    );
}

#[tokio::test(start_paused = true)]
async fn the_concurrency_policy_decides_about_overlap() {
    // How many Jobs began in five minutes, and how many run at the end.
    for (policy, began, active) in [("Allow", 5, 5), ("Forbid", 1, 1), ("Replace", 5, 1)] {
        let sandbox = batch();
        let mut tick = fixtures::cron_job("batch", "tick", "* * * * *");
        tick["spec"]["concurrencyPolicy"] = json!(policy);
        tick["spec"]["jobTemplate"]["spec"]["template"]["metadata"]["annotations"]["sandbox.revshift.dev/run-for"] =
            json!("3600");
        sandbox.apply(tick);
        run(&sandbox, 320).await;
        let tick = sandbox.object(CRON).unwrap();
        assert_eq!(tick["status"]["active"].as_array().unwrap().len(), active, "{policy}");
        let added = sandbox
            .changes()
            .iter()
            .filter(|one| one.reference.resource == "jobs.batch" && one.change == ChangeKind::Added)
            .count();
        assert_eq!(added, began, "{policy}");
        assert_eq!(pods(&sandbox, "batch").len(), active, "{policy}");
    }
}
