//! What tests see of requests, and what they can do to them.

use std::collections::VecDeque;
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
    /// The program that the user agent names; empty without one.
    pub agent: String,
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

/// The log of requests.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    latest: VecDeque<Exchange>,
    /// How many came before those.
    forgotten: u64,
}

/// What happens to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is handled.
    Pass,
    /// It is refused and not applied.
    Refuse { code: u16, reason: &'static str, message: String },
    /// It is refused with 429, and told when to come again, or not.
    Throttle { retry_after: Option<u64> },
    /// It is applied, and the client gets a 504.
    LoseReply,
    /// It is not applied, and the connection breaks.
    ResetBefore,
    /// It is applied, and the connection breaks before the answer.
    ResetAfter,
    /// It is applied, and the connection breaks in the middle of the answer.
    Truncate,
    /// It is applied, and answered with one byte a second.
    Trickle,
    /// It is not applied and never answered.
    HangBefore,
    /// It is applied and never answered.
    HangAfter,
    /// It is handled after this time, or answered 504 if the client's `timeout` is shorter.
    Delay(Duration),
    /// It is answered with the cluster as it was so long ago, if it says `resourceVersion=0`;
    /// any other read is consistent.
    Stale(Duration),
    /// The watch that it opens misbehaves.
    Watch(WatchFault),
}

/// How a watch misbehaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchFault {
    /// Nothing comes; after the given time an ERROR of code 410 and the end, without one never.
    Silent(Option<Duration>),
    /// It ends after the first events.
    Closed,
    /// It has no bookmarks.
    NoBookmarks,
    /// Events come so much later.
    Late(Duration),
    /// Of an object's changes within this time only the last is told, as if they were one.
    Merged(Duration),
    /// Changes within this time are told object by object, the last name first.
    Reordered(Duration),
    /// It begins so much earlier than asked for, so that known changes come again.
    Repeated(Duration),
}

impl Requests {
    /// Logs a request under the next number, and forgets the oldest beyond `kept`.
    pub(crate) fn add(&mut self, mut exchange: Exchange, kept: Option<usize>) -> u64 {
        exchange.number = self.forgotten + self.latest.len() as u64 + 1;
        let number = exchange.number;
        self.latest.push_back(exchange);
        while kept.is_some_and(|kept| self.latest.len() > kept) {
            self.latest.pop_front();
            self.forgotten += 1;
        }
        number
    }

    pub(crate) fn get(&mut self, number: u64) -> Option<&mut Exchange> {
        let index = number.checked_sub(self.forgotten + 1)?;
        self.latest.get_mut(usize::try_from(index).ok()?)
    }

    pub(crate) fn all(&self) -> Vec<Exchange> {
        self.latest.iter().cloned().collect()
    }
}

impl Exchange {
    /// Whether the request writes.
    pub fn writes(&self) -> bool {
        let asks = self.path.ends_with("/selfsubjectaccessreviews");
        !asks && !matches!(self.verb, "get" | "list" | "watch" | "other")
    }

    /// Whether the request is to be judged and not done; a deletion says so in its body.
    pub fn dry(&self) -> bool {
        let deletes = matches!(self.verb, "delete" | "deletecollection");
        self.query.contains("dryRun")
            || deletes && String::from_utf8_lossy(&self.body).contains("\"dryRun\"")
    }
}
