//! What tests see of requests, and what they can do to them.

use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

/// One request, and what became of it.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// Counts all requests of a sandbox from 1.
    pub number: u64,
    /// The tag of the service that it came through.
    pub tag: String,
    /// get, list, watch, create, update, patch, delete or deletecollection.
    pub verb: &'static str,
    pub path: String,
    /// The query string as sent, still encoded.
    pub query: String,
    pub content_type: String,
    pub body: Bytes,
    /// The status answered; None while there is no answer, and for ever if none was given.
    pub status: Option<u16>,
    /// The cluster's time when the request arrived.
    pub time: Timestamp,
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is handled.
    Pass,
    /// It is refused and not applied.
    Refuse { code: u16, reason: &'static str, message: String },
    /// It is applied, and the client gets a 504.
    LoseReply,
    /// It is not applied and never answered.
    HangBefore,
    /// It is applied and never answered.
    HangAfter,
    /// It is handled after this time, or answered 504 if the client's `timeout` is shorter.
    Delay(Duration),
}

impl Exchange {
    /// Whether the request writes.
    pub fn writes(&self) -> bool {
        !matches!(self.verb, "get" | "list" | "watch" | "other")
    }
}
