//! Queries to Prometheus, and what of their values passes.

use super::{Prober, Result as Checked, Subject};
use crate::config::PrometheusConfig;
use form_urlencoded::Serializer;
use http::header::CONTENT_TYPE;
use http::{Method, Request};
use revshift_core::gate::{Baseline, Outcome};
use serde::Deserialize;
use serde_json::Value;

/// An answer of the query API.
#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(default)]
    data: Data,
    #[serde(default)]
    error: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Data {
    result_type: String,
    result: Value,
}

impl Prober {
    /// The one value of a query now, or why there is none.
    pub(super) async fn value(
        &self,
        config: &PrometheusConfig,
        subject: &Subject,
    ) -> Result<f64, String> {
        let url = format!("{}/api/v1/query", config.url.trim_end_matches('/'));
        let query = expand(&config.query, subject);
        let body = Serializer::new(String::new()).append_pair("query", &query).finish();
        let request = Request::builder()
            .method(Method::POST)
            .uri(&url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(body)
            .map_err(|error| format!("{url}: {error}"))?;
        let answer = self.web.send(request, config.tries.timeout).await;
        let answer = answer.map_err(|why| format!("{url}: {why}"))?;
        let read: Result<Answer, _> = serde_json::from_slice(&answer.body);
        match read {
            Ok(read) if answer.status.is_success() => value_of(&read.data),
            Ok(read) if !read.error.is_empty() => {
                Err(format!("{url} answers {}: {}", answer.status, read.error))
            }
            _ => Err(format!("{url} answers {}, and not as Prometheus does", answer.status)),
        }
    }
}

/// The query with what it is about filled in. Names of namespaces mean nothing but themselves in a regular
/// expression; the dot of a revision also fits any other character there, which does no harm.
fn expand(query: &str, subject: &Subject) -> String {
    query
        .replace("{{namespaces}}", &subject.namespaces.join("|"))
        .replace("{{source}}", &subject.source)
        .replace("{{target}}", &subject.target)
}

fn value_of(data: &Data) -> Result<f64, String> {
    let sample = match (data.result_type.as_str(), &data.result) {
        ("scalar", sample) => sample,
        ("vector", Value::Array(series)) => match &series[..] {
            [one] => &one["value"],
            [] => return Err("the query has no result".to_owned()),
            many => {
                let count = many.len();
                return Err(format!("the query has {count} results, and must have one"));
            }
        },
        (other, _) => return Err(format!("the query gives a {other}, and must give one number")),
    };
    let text = sample.get(1).and_then(Value::as_str).unwrap_or_default();
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(format!("the query gives `{text}`, which is no number to compare")),
    }
}

/// What a value means by the thresholds of its check; it is compared only with what `question` has measured.
pub(super) fn judge(
    config: &PrometheusConfig,
    value: f64,
    question: &str,
    baseline: Option<&Baseline>,
) -> Checked {
    if let Some(most) = config.at_most.filter(|most| value > *most) {
        return (Outcome::Fail, format!("it is {value}, and may be at most {most}"));
    }
    if let Some(least) = config.at_least.filter(|least| value < *least) {
        return (Outcome::Fail, format!("it is {value}, and must be at least {least}"));
    }
    let (above, below) = (config.at_most_above_baseline, config.at_most_below_baseline);
    if above.is_none() && below.is_none() {
        return (Outcome::Pass, format!("it is {value}"));
    }
    let before = match baseline {
        Some(baseline) if baseline.question != question => {
            let why = format!("it is {value}; another query was measured before the wave");
            return (Outcome::Inconclusive, why);
        }
        Some(Baseline { value: Some(text), .. }) => text.parse::<f64>(),
        Some(Baseline { message, .. }) => {
            let why = format!("it is {value}; before the wave nothing was measured: {message}");
            return (Outcome::Inconclusive, why);
        }
        None => {
            let why = format!("it is {value}; nothing was measured before the wave");
            return (Outcome::Inconclusive, why);
        }
    };
    let Ok(before) = before else {
        return (Outcome::Inconclusive, format!("it is {value}; what was before is no number"));
    };
    let part = |part: f64| before.abs() * part;
    if let Some(above) = above.filter(|above| value > before + part(*above)) {
        let most = before + part(above);
        let why = format!("it is {value}; it was {before} before the wave, and may be {most}");
        return (Outcome::Fail, why);
    }
    if let Some(below) = below.filter(|below| value < before - part(*below)) {
        let least = before - part(below);
        let why = format!("it is {value}; it was {before} before the wave, and must be {least}");
        return (Outcome::Fail, why);
    }
    (Outcome::Pass, format!("it is {value}; it was {before} before the wave"))
}
