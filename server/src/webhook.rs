//! Asks istiods: what their webhooks would answer, without anything being created.

use crate::web::{Trust, Web};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Method, Request};
use serde_json::Value;
use std::time::Duration;

/// How long a webhook may take; the API server waits no longer for istiod's by default.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks istiods.
#[derive(Clone, Debug)]
pub struct Webhooks {
    web: Web,
}

/// Where a webhook answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Its URL.
    pub url: String,
    /// The CA bundle by which it has to be known, as PEM; none where this machine's certificates count.
    pub trust: Option<Bytes>,
}

impl Webhooks {
    /// Over `web`.
    pub fn new(web: Web) -> Self {
        Self { web }
    }

    /// What `webhook` answers to an AdmissionReview, or why it cannot be asked.
    pub async fn review(&self, webhook: &Webhook, review: &Value) -> Result<Value, String> {
        let Webhook { url, trust } = webhook;
        // The API server calls no other, and pod templates go to nobody in the open.
        if !url.starts_with("https://") {
            return Err(format!("{url} is no https URL"));
        }
        let mut request = Request::builder().method(Method::POST).uri(url);
        request = request.header(CONTENT_TYPE, "application/json");
        if let Some(trust) = trust {
            request = request.extension(Trust(trust.clone()));
        }
        let request =
            request.body(review.to_string()).map_err(|error| format!("{url}: {error}"))?;
        let answer = self.web.send(request, PATIENCE).await;
        let answer = answer.map_err(|why| format!("{url}: {why}"))?;
        if !answer.status.is_success() {
            return Err(format!("{url} answers {}", answer.status));
        }
        let review: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if review["response"]["allowed"].is_boolean() {
            Ok(review)
        } else {
            Err(format!("{url} answers what is no AdmissionReview"))
        }
    }
}
