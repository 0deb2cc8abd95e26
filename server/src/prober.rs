//! Makes the checks that gates name: asks what the configuration says, and tells what came of it.

mod istiod;
mod job;
mod prometheus;

use crate::config::{CheckConfig, HttpConfig, Tries};
use crate::proxies::Proxies;
use crate::published::Published;
use crate::web::Web;
use http::{Method, Request};
use jiff::Timestamp;
use job::Jobs;
use kube::Client;
use revshift_core::gate::{Baseline, Outcome};
use std::sync::Arc;
use tokio::time::sleep;

/// Makes checks.
#[derive(Clone, Debug)]
pub struct Prober {
    web: Web,
    jobs: Jobs,
    proxies: Proxies,
    published: Arc<Published>,
}

/// What a check is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The migration's id.
    pub migration: String,
    /// The wave, from 0.
    pub wave: u32,
    /// The run, from 0.
    pub run: u32,
    /// When what it is about was complete: another time, another question.
    pub since: Timestamp,
    /// Revision of the plane that is left.
    pub source: String,
    /// Revision of the plane that is moved to.
    pub target: String,
    /// The namespaces of the wave: those that were moved, or before it those that are to be.
    pub namespaces: Vec<String>,
}

/// What has come of a check, and why, for people.
pub type Result = (Outcome, String);

impl Prober {
    /// Makes requests by `web`, and Jobs in revshift's own namespace `home`; asks istiods by `proxies` for
    /// the pods that are published.
    pub fn new(
        web: Web,
        client: Client,
        home: &str,
        proxies: Proxies,
        published: Arc<Published>,
    ) -> Self {
        Self { web, jobs: Jobs::new(client, home), proxies, published }
    }

    /// Makes a check, as often as it may be tried; the last answer counts.
    pub async fn check(
        &self,
        check: &CheckConfig,
        subject: &Subject,
        baseline: Option<&Baseline>,
    ) -> Result {
        if let Some(job) = &check.job {
            return self.jobs.check(job, &check.name, subject).await;
        }
        let Tries { retries, interval, .. } = check.tries();
        let mut last = self.ask(check, subject, baseline).await;
        for _ in 0..retries {
            if last.0 == Outcome::Pass {
                break;
            }
            sleep(interval).await;
            last = self.ask(check, subject, baseline).await;
        }
        last
    }

    /// What `check` measures before a wave, or why it cannot.
    pub async fn measure(
        &self,
        check: &CheckConfig,
        subject: &Subject,
    ) -> std::result::Result<String, String> {
        let tries = check.tries();
        let mut last = String::new();
        for attempt in 0..=tries.retries {
            if attempt > 0 {
                sleep(tries.interval).await;
            }
            let measured = match (&check.prometheus, &check.istiod) {
                (Some(prometheus), _) => {
                    self.value(prometheus, subject).await.map(|value| value.to_string())
                }
                (None, Some(_)) => self.rejects(subject).await,
                (None, None) => return Err("it measures nothing".to_owned()),
            };
            match measured {
                Ok(value) => return Ok(value),
                Err(why) => last = why,
            }
        }
        Err(last)
    }

    async fn ask(
        &self,
        check: &CheckConfig,
        subject: &Subject,
        baseline: Option<&Baseline>,
    ) -> Result {
        match (&check.http, &check.prometheus, &check.istiod) {
            (Some(http), ..) => self.endpoint(http).await,
            (None, None, Some(istiod)) => {
                self.served(istiod, subject, &check.question(), baseline).await
            }
            (None, Some(prometheus), _) => match self.value(prometheus, subject).await {
                Ok(value) => prometheus::judge(prometheus, value, &check.question(), baseline),
                Err(why) => (Outcome::Inconclusive, why),
            },
            (None, None, None) => (Outcome::Inconclusive, "it does not say what to ask".to_owned()),
        }
    }

    async fn endpoint(&self, http: &HttpConfig) -> Result {
        let HttpConfig { url, tries } = http;
        let request = Request::builder().method(Method::GET).uri(url).body(String::new());
        let request = match request {
            Ok(request) => request,
            Err(error) => return (Outcome::Inconclusive, format!("{url}: {error}")),
        };
        match self.web.send(request, tries.timeout).await {
            Ok(answer) if answer.status.is_success() => {
                (Outcome::Pass, format!("{url} answers {}", answer.status))
            }
            Ok(answer) => (Outcome::Fail, format!("{url} answers {}", answer.status)),
            Err(why) => (Outcome::Inconclusive, format!("{url}: {why}")),
        }
    }
}

#[cfg(test)]
mod tests;
