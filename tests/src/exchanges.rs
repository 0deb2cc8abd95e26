//! Exchanges with an API server, as files: what is sent, and what a real one answered.
//!
//! A file is a list of requests with the answers that were recorded on the real bed, those fields
//! aside that differ from run to run. Recording anew keeps the requests and writes the answers;
//! the tests send the same requests to the sandbox and compare.

mod normal;

use self::normal::Normal;
use crate::session::until_within;
use anyhow::{Context, Result, ensure};
use http::{Method, Request, header};
use http_body_util::BodyExt;
use kube::Client;
use kube::client::Body;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::timeout;

/// So long a watch is listened to that has nothing more to say.
const SILENCE: Duration = Duration::from_secs(5);

/// Exchanges about one theme, in their order; each may build on those before.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Theme {
    /// What they are about.
    pub about: String,
    /// Each with its answer, once recorded.
    pub exchanges: Vec<Exchange>,
}

/// One request and what was answered.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Exchange {
    /// Unique within its theme.
    pub name: String,
    /// Method and path, with the query. `${name}` stands for what an earlier exchange took.
    pub send: String,
    /// The header of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accept: Option<String>,
    /// The header Content-Type; of JSON unless told.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// What is sent; a string as it is, all else as JSON.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub body: Value,
    /// Names for parts of the answer's body, by JSON pointer.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub take: BTreeMap<String, String>,
    /// Sends again until these parts of the answer have these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub until: BTreeMap<String, Value>,
    /// How many events of a watch are read; none for an answer that is not a stream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<usize>,
    /// The parts of the body that count, by JSON pointer; all unless told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub only: Vec<String>,
    /// What the real API server answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
}

/// An answer without what differs from run to run.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The header Content-Type.
    #[serde(default, rename = "type")]
    pub content_type: String,
    /// The body, text as a string.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub body: Value,
    /// The events of a watch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<Value>,
}

/// A conversation with one API server.
pub struct Conversation {
    client: Client,
    patience: Duration,
    taken: BTreeMap<String, String>,
}

impl std::fmt::Debug for Conversation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conversation").field("taken", &self.taken).finish_non_exhaustive()
    }
}

impl Conversation {
    /// Begins one in which a condition may take `patience` to hold.
    pub fn new(client: Client, patience: Duration) -> Self {
        Self { client, patience, taken: BTreeMap::new() }
    }

    /// Sends a request and gives the answer, normalised.
    pub async fn send(&mut self, exchange: &Exchange) -> Result<Answer> {
        let what = format!("`{}` is as expected", exchange.name);
        let answer = until_within(self.patience, what, async || {
            let answer = self.send_once(exchange).await?;
            for (pointer, expected) in &exchange.until {
                let found = answer.body.pointer(pointer).unwrap_or(&Value::Null);
                ensure!(found == expected, "{pointer} is {found}, not {expected}");
            }
            Ok(answer)
        })
        .await?;
        for (name, pointer) in &exchange.take {
            let found = answer.body.pointer(pointer).and_then(Value::as_str);
            let found = found.with_context(|| format!("no {pointer} in {}", answer.body))?;
            self.taken.insert(name.clone(), found.to_owned());
        }
        let managers = exchange.send.contains("fieldManager=");
        let normal = Normal { taken: &self.taken, managers };
        let mut body = normal.of(answer.body);
        if !exchange.only.is_empty() {
            let part = |pointer: &String| (pointer.clone(), body.pointer(pointer).cloned());
            body =
                exchange.only.iter().map(part).map(|(k, v)| (k, v.unwrap_or_default())).collect();
        }
        let events = answer.events.into_iter().map(|event| normal.of(event)).collect();
        Ok(Answer { body, events, ..answer })
    }

    async fn send_once(&self, exchange: &Exchange) -> Result<Answer> {
        let (method, path) = exchange.send.split_once(' ').context("no method and path")?;
        let accept = exchange.accept.as_deref().unwrap_or("application/json");
        let mut request = Request::builder()
            .method(Method::try_from(method)?)
            .uri(self.filled(path))
            .header(header::USER_AGENT, "exchanges")
            .header(header::ACCEPT, accept);
        let body = match &exchange.body {
            Value::Null => Vec::new(),
            Value::String(text) => self.filled(text).into_bytes(),
            value => self.filled(&value.to_string()).into_bytes(),
        };
        if !body.is_empty() {
            let content_type = exchange.content_type.as_deref().unwrap_or("application/json");
            request = request.header(header::CONTENT_TYPE, content_type);
        }
        let response = self.client.send(request.body(Body::from(body))?).await?;
        let (head, mut body) = response.into_parts();
        let content_type = head.headers.get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut answer = Answer {
            status: head.status.as_u16(),
            content_type: content_type.to_owned(),
            ..Answer::default()
        };
        if let (Some(wanted), true) = (exchange.events, head.status.is_success()) {
            answer.events = events(&mut body, wanted).await?;
            return Ok(answer);
        }
        let text = String::from_utf8(body.collect().await?.to_bytes().to_vec())?;
        answer.body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(answer)
    }

    /// `text` with what was taken.
    fn filled(&self, text: &str) -> String {
        self.taken.iter().fold(text.to_owned(), |text, (name, value)| {
            text.replace(&format!("${{{name}}}"), value)
        })
    }
}

/// The first `wanted` lines of a stream, fewer if it ends or falls silent.
async fn events(body: &mut Body, wanted: usize) -> Result<Vec<Value>> {
    let (mut text, mut events) = (Vec::new(), Vec::new());
    while events.len() < wanted {
        match timeout(SILENCE, body.frame()).await {
            Ok(Some(frame)) => text.extend(frame?.into_data().unwrap_or_default()),
            Ok(None) | Err(_) => break,
        }
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            events.push(serde_json::from_slice(&line)?);
        }
    }
    events.truncate(wanted);
    Ok(events)
}
