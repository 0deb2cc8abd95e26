//! Checks that gates name: what is asked of whom, and what of the answer passes.

use anyhow::{Context, Result, bail, ensure};
use http::Uri;
use jiff::SignedDuration;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::time::Duration;

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often more what has not passed is asked.
const RETRIES: u32 = 2;
/// How long lies between two attempts.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long a Job may take.
const JOB_TIMEOUT: Duration = Duration::from_mins(10);

/// A check under its name; it asks in exactly one way.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CheckConfig {
    /// By this name gates refer to it.
    pub name: String,
    /// An HTTP endpoint that answers with 2xx.
    pub http: Option<HttpConfig>,
    /// A query whose value keeps to thresholds.
    pub prometheus: Option<PrometheusConfig>,
    /// What the target's istiods say of what was moved.
    pub istiod: Option<IstiodConfig>,
    /// A Job that completes.
    pub job: Option<JobConfig>,
}

/// An HTTP endpoint: it passes when it answers with 2xx.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpConfig {
    /// Where: http or https.
    pub url: String,
    /// How often and how patiently it is asked.
    #[serde(flatten)]
    pub tries: Tries,
}

/// A PromQL query: it passes while its one value keeps to every threshold given.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrometheusConfig {
    /// Where Prometheus is; `/api/v1/query` is asked there.
    pub url: String,
    /// The query. `{{namespaces}}` becomes the names of what the wave has moved, joined by `|`;
    /// `{{source}}` and `{{target}}` become the planes' revisions.
    pub query: String,
    /// The highest value that passes.
    pub at_most: Option<f64>,
    /// The lowest value that passes.
    pub at_least: Option<f64>,
    /// So much above the value before the wave passes, as a part of that: 0.1 is a tenth more.
    pub at_most_above_baseline: Option<f64>,
    /// So much below the value before the wave passes, likewise.
    pub at_most_below_baseline: Option<f64>,
    /// How often and how patiently it is asked.
    #[serde(flatten)]
    pub tries: Tries,
}

/// The istiods of the target: it passes while they serve every pod that was moved, and pods reject no more
/// of what they are sent than before the wave.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IstiodConfig {
    /// So many more rejects than before the wave pass, over all proxies of the plane; none by default.
    #[serde(default)]
    pub rejects: u64,
    /// How often and how patiently it is asked.
    #[serde(flatten)]
    pub tries: Tries,
}

/// A Kubernetes Job in revshift's own namespace: it passes when it completes.
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobConfig {
    /// Its `spec`, as of batch/v1. Every container is told in its environment what it is about.
    pub spec: Value,
    /// How long it may take.
    #[serde(default = "job_timeout", deserialize_with = "span")]
    pub timeout: Duration,
}

/// How often and how patiently something is asked.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct Tries {
    /// How long an answer may take.
    #[serde(deserialize_with = "span")]
    pub timeout: Duration,
    /// How often more what has not passed is asked.
    pub retries: u32,
    /// How long lies between two attempts.
    #[serde(deserialize_with = "span")]
    pub interval: Duration,
}

impl Default for Tries {
    fn default() -> Self {
        Self { timeout: TIMEOUT, retries: RETRIES, interval: INTERVAL }
    }
}

impl CheckConfig {
    /// Whether it measures something before a wave begins, to compare with.
    pub fn measures(&self) -> bool {
        let relative = self.prometheus.as_ref().is_some_and(|it| {
            it.at_most_above_baseline.is_some() || it.at_most_below_baseline.is_some()
        });
        relative || self.istiod.is_some()
    }

    /// How often and how patiently it is asked.
    pub fn tries(&self) -> Tries {
        let http = self.http.as_ref().map(|it| it.tries);
        let prometheus = self.prometheus.as_ref().map(|it| it.tries);
        let istiod = self.istiod.as_ref().map(|it| it.tries);
        http.or(prometheus).or(istiod).unwrap_or_default()
    }

    /// What tells the question that it asks from another one: of those that measure, where and what.
    pub fn question(&self) -> String {
        let asked = self.prometheus.as_ref().map(|it| format!("{}\n{}", it.url, it.query));
        let asked = asked.or_else(|| self.istiod.as_ref().map(|_| "istiod".to_owned()));
        let digest = Sha256::digest(asked.unwrap_or_default().as_bytes());
        format!("{digest:x}").chars().take(16).collect()
    }

    /// Refuses what makes no sense, by the name of the field.
    pub(super) fn refuse_nonsense(&self) -> Result<()> {
        let Self { name, http, prometheus, istiod, job } = self;
        ensure!(!name.trim().is_empty(), "name must not be empty");
        let ways = [http.is_some(), prometheus.is_some(), istiod.is_some(), job.is_some()];
        let ways = ways.into_iter().filter(|it| *it).count();
        ensure!(ways == 1, "needs exactly one of http, prometheus, istiod and job");
        if let Some(http) = http {
            refuse_unreachable(&http.url).context("http.url")?;
        }
        if let Some(it) = prometheus {
            refuse_unreachable(&it.url).context("prometheus.url")?;
            ensure!(!it.query.trim().is_empty(), "prometheus.query must not be empty");
            let bounds =
                [it.at_most, it.at_least, it.at_most_above_baseline, it.at_most_below_baseline];
            ensure!(
                bounds.iter().any(Option::is_some),
                "prometheus needs a threshold: atMost, atLeast, atMostAboveBaseline or \
                 atMostBelowBaseline"
            );
            let finite = bounds.iter().flatten().all(|bound| bound.is_finite());
            ensure!(finite, "prometheus: thresholds must be numbers");
            let relative = [it.at_most_above_baseline, it.at_most_below_baseline];
            let positive = relative.iter().flatten().all(|bound| *bound >= 0.0);
            ensure!(positive, "prometheus: parts of the baseline must not be negative");
        }
        if let Some(job) = job {
            let containers =
                job.spec.pointer("/template/spec/containers").and_then(Value::as_array);
            let some = containers.is_some_and(|containers| !containers.is_empty());
            ensure!(some, "job.spec.template.spec.containers must name a container");
            let policy = job.spec.pointer("/template/spec/restartPolicy").and_then(Value::as_str);
            if !matches!(policy, Some("Never" | "OnFailure")) {
                bail!("job.spec.template.spec.restartPolicy must be Never or OnFailure");
            }
        }
        Ok(())
    }
}

pub(super) fn refuse_unreachable(url: &str) -> Result<()> {
    let uri: Uri = url.parse().with_context(|| format!("`{url}` is no URL"))?;
    let known = matches!(uri.scheme_str(), Some("http" | "https"));
    ensure!(
        known && uri.host().is_some(),
        "`{url}` must begin with http:// or https:// and a host"
    );
    Ok(())
}

fn job_timeout() -> Duration {
    JOB_TIMEOUT
}

fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let span: SignedDuration = text
        .parse()
        .map_err(|_| de::Error::custom(format!("`{text}` is no time such as 10s or 1m30s")))?;
    let span = Duration::try_from(span).ok().filter(|span| !span.is_zero());
    span.ok_or_else(|| de::Error::custom(format!("`{text}` must be more than nothing")))
}
