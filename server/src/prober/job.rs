//! Jobs that tests of other people run in, to be waited for.

use super::{Result as Checked, Subject};
use crate::config::JobConfig;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, PostParams};
use kube::{Client, Error};
use revshift_core::gate::Outcome;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::fmt::{self, Write as _};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// How often a Job is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How long a Job that is over stays, unless it says otherwise.
const KEPT_SECONDS: u64 = 24 * 60 * 60;
/// The label by which a Job names its migration.
const MIGRATION: &str = "revshift.dev/migration";

/// Makes Jobs in revshift's own namespace.
#[derive(Clone)]
pub(super) struct Jobs {
    api: Api<Job>,
    home: String,
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs").field("home", &self.home).finish_non_exhaustive()
    }
}

impl Jobs {
    pub(super) fn new(client: Client, home: &str) -> Self {
        Self { api: Api::namespaced(client, home), home: home.to_owned() }
    }

    /// Makes the Job of a check and waits for its end. Whoever leads next finds the same one.
    pub(super) async fn check(
        &self,
        config: &JobConfig,
        check: &str,
        subject: &Subject,
    ) -> Checked {
        let name = name(check, subject);
        let object = format!("Job/{}/{name}", self.home);
        let job = match serde_json::from_value(job(config, &name, subject)) {
            Ok(job) => job,
            Err(error) => {
                let why = format!("{object}: job.spec is no spec of a Job: {error}");
                return (Outcome::Inconclusive, why);
            }
        };
        let deadline = Instant::now() + config.timeout;
        let ended = timeout_at(deadline, async {
            match self.make(&job).await {
                Ok(()) => self.end_of(&name).await,
                Err(why) => (Outcome::Inconclusive, why),
            }
        });
        let ended = ended.await;
        let (outcome, what) = ended.unwrap_or_else(|_| {
            let what = format!("not over after {} s", config.timeout.as_secs());
            (Outcome::Inconclusive, what)
        });
        (outcome, format!("{object}: {what}"))
    }

    async fn make(&self, job: &Job) -> Result<(), String> {
        loop {
            match self.api.create(&PostParams::default(), job).await {
                Ok(_) => return Ok(()),
                Err(Error::Api(status)) if status.is_already_exists() => return Ok(()),
                Err(Error::Api(status)) if status.code < 500 && status.code != 429 => {
                    return Err(format!("it cannot be made: {}", status.message));
                }
                // It is tried again until its time is over.
                Err(_) => sleep(LOOK).await,
            }
        }
    }

    async fn end_of(&self, name: &str) -> Checked {
        loop {
            match self.api.get_opt(name).await {
                Ok(Some(job)) => {
                    if let Some(end) = end(&job) {
                        return end;
                    }
                }
                Ok(None) => return (Outcome::Inconclusive, "somebody has deleted it".to_owned()),
                Err(Error::Api(status)) if status.is_forbidden() => {
                    return (Outcome::Inconclusive, status.message);
                }
                // It is asked again until its time is over.
                Err(_) => {}
            }
            sleep(LOOK).await;
        }
    }
}

/// What a Job that is over has come to.
fn end(job: &Job) -> Option<Checked> {
    let conditions = job.status.as_ref()?.conditions.as_ref()?;
    let mut met = conditions.iter().filter(|condition| condition.status == "True");
    met.find_map(|condition| {
        let message = condition.message.clone().unwrap_or_default();
        match condition.type_.as_str() {
            "Complete" => Some((Outcome::Pass, "completed".to_owned())),
            "Failed" => Some((Outcome::Fail, format!("failed: {message}"))),
            _ => None,
        }
    })
}

/// The same for the same run of a check on the same namespaces.
fn name(check: &str, subject: &Subject) -> String {
    let Subject { migration, wave, run, since, .. } = subject;
    let digest = Sha256::digest(format!("{since}\n{check}").as_bytes());
    let mut name = format!("revshift-{migration}-{wave}-{run}-");
    for byte in digest.iter().take(4) {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

/// The Job to make: its spec as configured, with what it is about in its containers' environment.
fn job(config: &JobConfig, name: &str, subject: &Subject) -> Value {
    let mut spec = config.spec.clone();
    let environment = [
        ("REVSHIFT_MIGRATION", subject.migration.clone()),
        ("REVSHIFT_WAVE", subject.wave.to_string()),
        ("REVSHIFT_SOURCE", subject.source.clone()),
        ("REVSHIFT_TARGET", subject.target.clone()),
        ("REVSHIFT_NAMESPACES", subject.namespaces.join(" ")),
    ];
    let containers = spec.pointer_mut("/template/spec/containers").and_then(Value::as_array_mut);
    for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
        let variables = container.entry("env").or_insert_with(|| json!([]));
        if let Some(variables) = variables.as_array_mut() {
            let told = environment.iter();
            variables.extend(told.map(|(name, value)| json!({"name": name, "value": value})));
        }
    }
    if let Some(spec) = spec.as_object_mut() {
        // What nobody waits for any more must not go on.
        spec.entry("activeDeadlineSeconds")
            .or_insert_with(|| config.timeout.as_secs().max(1).into());
        spec.entry("ttlSecondsAfterFinished").or_insert_with(|| KEPT_SECONDS.into());
    }
    json!({
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": {MIGRATION: subject.migration}},
        "spec": spec,
    })
}
