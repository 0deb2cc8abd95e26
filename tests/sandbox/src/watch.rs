//! Watches: the log of changes seen through selectors, as lines of JSON.
//!
//! An object that starts or stops matching appears as ADDED or DELETED. A version older than
//! the last compaction answers 410 inside the stream, as the watch cache does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::{Filter, Table, parse_version, present};
use crate::cluster::Cluster;
use crate::kind::Kind;
use crate::object;
use crate::refusal::Refusal;
use crate::route::{Request, Route};
use crate::store::{Change, ChangeKind};

/// One open watch.
#[derive(Debug)]
pub(crate) struct Watch {
    kind: Arc<Kind>,
    namespace: Option<String>,
    filter: Filter,
    metadata_only: bool,
    /// The tables that are wanted, and whether their columns are still to be told.
    table: Option<(Table, bool)>,
    bookmarks: bool,
    /// Lines to send before anything from the log.
    initial: Vec<u8>,
    /// The next entry of the log.
    position: usize,
    ends: Instant,
    next_bookmark: Instant,
    epoch: u64,
    over: bool,
}

/// What a look at the log brought.
enum Look {
    Lines(Vec<u8>),
    /// Nothing to send before this moment, unless something changes.
    Wait(Instant),
    Over,
}

impl Watch {
    /// How long a watch lives if the client does not say; kube-apiserver picks at random
    /// from 30 to 60 minutes.
    const LIFETIME: Duration = Duration::from_mins(30);

    pub(crate) fn open(
        cluster: &Cluster,
        request: &Request,
        route: &Route,
        kind: &Arc<Kind>,
    ) -> Result<Self, Refusal> {
        let now = Instant::now();
        let lifetime = match request.parameter("timeoutSeconds").parse::<u64>() {
            Ok(seconds) if seconds > 0 => Duration::from_secs(seconds),
            _ => Self::LIFETIME,
        };
        let mut watch = Self {
            kind: kind.clone(),
            namespace: route.namespace.clone(),
            filter: Filter::of(kind, request)?,
            metadata_only: request.metadata_only(),
            table: Table::asked(request).map(|table| (table, true)),
            bookmarks: request.holds("allowWatchBookmarks"),
            initial: Vec::new(),
            position: cluster.store.log().len(),
            ends: now + lifetime,
            next_bookmark: now + cluster.options.bookmark_every,
            epoch: cluster.watch_epoch,
            over: false,
        };
        let streams_list = request.holds("sendInitialEvents");
        if streams_list && request.parameter("resourceVersionMatch") != "NotOlderThan" {
            let message = "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: \
                           Forbidden: sendInitialEvents requires setting resourceVersionMatch to \
                           NotOlderThan";
            return Err(Refusal::new(422, "Invalid", message));
        }
        match request.parameter("resourceVersion") {
            "" | "0" => watch.send_state(cluster),
            _ if streams_list => watch.send_state(cluster),
            text => {
                let version = parse_version(text)?;
                if version < cluster.store.compacted() {
                    let oldest = cluster.store.compacted();
                    let refusal =
                        Refusal::expired(format!("too old resource version: {version} ({oldest})"));
                    watch.initial = line("ERROR", &refusal.status());
                    watch.over = true;
                } else {
                    watch.position = cluster.store.position_after(version);
                }
            }
        }
        if streams_list && watch.bookmarks {
            let bookmark = watch.bookmark(cluster.store.version(), true);
            watch.initial.extend(bookmark);
        }
        Ok(watch)
    }

    /// The stream of the response's body.
    pub(crate) fn stream(
        self,
        cluster: Arc<std::sync::Mutex<Cluster>>,
    ) -> impl Stream<Item = Bytes> + Send {
        let changed = crate::locked(&cluster).store.subscribe();
        futures::stream::unfold(
            (self, cluster, changed),
            |(mut watch, cluster, mut changed)| async {
                if !watch.initial.is_empty() {
                    let lines = std::mem::take(&mut watch.initial);
                    return Some((Bytes::from(lines), (watch, cluster, changed)));
                }
                loop {
                    changed.mark_unchanged();
                    let look = watch.look(&crate::locked(&cluster));
                    match look {
                        Look::Lines(lines) => {
                            return Some((Bytes::from(lines), (watch, cluster, changed)));
                        }
                        Look::Over => return None,
                        Look::Wait(until) => {
                            tokio::select! {
                                biased;
                                _ = changed.changed() => {}
                                () = tokio::time::sleep_until(until) => {}
                            }
                        }
                    }
                }
            },
        )
    }

    fn look(&mut self, cluster: &Cluster) -> Look {
        let now = Instant::now();
        if self.over || now >= self.ends || self.epoch != cluster.watch_epoch {
            return Look::Over;
        }
        if self.position < cluster.store.trimmed() {
            self.over = true;
            let refusal = Refusal::expired("the watch is too far behind");
            return Look::Lines(line("ERROR", &refusal.status()));
        }
        let lag = cluster.options.watch_lag;
        let mut lines = Vec::new();
        let mut until = self.ends;
        while let Some(change) = cluster.store.log().get(self.position) {
            if change.at + lag > now {
                until = until.min(change.at + lag);
                break;
            }
            self.position += 1;
            lines.extend(self.translate(change, cluster.now()).unwrap_or_default());
        }
        if cluster.store.kind(&self.kind.resource).is_none() {
            // Its definition was deleted: nothing will come any more.
            self.over = until == self.ends;
        }
        if self.bookmarks && now >= self.next_bookmark {
            self.next_bookmark = now + cluster.options.bookmark_every;
            // What the stream has passed, which may lag behind the newest.
            let log = cluster.store.log();
            let version = match log.get(self.position) {
                Some(next) => next.version - 1,
                None => cluster.store.version(),
            };
            lines.extend(self.bookmark(version, false));
        }
        if !lines.is_empty() {
            return Look::Lines(lines);
        }
        if self.over {
            return Look::Over;
        }
        Look::Wait(if self.bookmarks { until.min(self.next_bookmark) } else { until })
    }

    fn translate(&mut self, change: &Change, now: Timestamp) -> Option<Vec<u8>> {
        let about = &change.reference;
        let elsewhere = self.namespace.as_ref().is_some_and(|wanted| *wanted != about.namespace);
        if about.resource != self.kind.resource || elsewhere {
            return None;
        }
        let before = change.previous.as_ref().is_some_and(|one| self.filter.matches(one));
        let after = change.change != ChangeKind::Deleted && self.filter.matches(&change.object);
        match (before, after) {
            (false, false) => None,
            (false, true) => Some(line("ADDED", &self.shown(&change.object, now))),
            (true, true) => Some(line("MODIFIED", &self.shown(&change.object, now))),
            (true, false) => {
                // The last state that matched, under the version of the change.
                let last = change.previous.as_ref().unwrap_or(&change.object);
                let mut last = Value::clone(last);
                object::set(&mut last, "/metadata/resourceVersion", change.version.to_string());
                Some(line("DELETED", &self.shown(&last, now)))
            }
        }
    }

    fn shown(&mut self, object: &Value, now: Timestamp) -> Value {
        let Some((table, headed)) = &mut self.table else {
            return present(&self.kind, object, self.metadata_only);
        };
        let headed = std::mem::take(headed);
        table.of(&self.kind, [object], object::version(object), now, headed)
    }

    fn send_state(&mut self, cluster: &Cluster) {
        let mut lines = Vec::new();
        let namespace = self.namespace.clone();
        for object in cluster.store.list(&self.kind.resource.clone(), namespace.as_deref()) {
            if self.filter.matches(object) {
                lines.extend(line("ADDED", &self.shown(object, cluster.now())));
            }
        }
        self.initial = lines;
    }

    fn bookmark(&self, version: u64, ends_initial: bool) -> Vec<u8> {
        let (kind, api_version) = if self.metadata_only {
            ("PartialObjectMetadata".to_owned(), "meta.k8s.io/v1".to_owned())
        } else {
            (self.kind.kind.clone(), self.kind.api_version())
        };
        if self.table.is_some() {
            let table = json!({
                "kind": "Table",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": { "resourceVersion": version.to_string() },
                "columnDefinitions": null,
                "rows": [],
            });
            return line("BOOKMARK", &table);
        }
        let mut bookmark = json!({
            "kind": kind,
            "apiVersion": api_version,
            "metadata": { "resourceVersion": version.to_string(), "creationTimestamp": null },
        });
        if ends_initial {
            object::set_annotation(&mut bookmark, "k8s.io/initial-events-end", "true");
        }
        line("BOOKMARK", &bookmark)
    }
}

fn line(event: &str, object: &Value) -> Vec<u8> {
    let mut line = json!({ "type": event, "object": object }).to_string().into_bytes();
    line.push(b'\n');
    line
}
