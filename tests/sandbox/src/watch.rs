//! Watches: the log of changes seen through selectors, as lines of JSON.
//!
//! An object that starts or stops matching appears as ADDED or DELETED. A version older than
//! the last compaction answers 410 inside the stream, as the watch cache does.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::{Filter, Shape, Table, parse_version, write};
use crate::cluster::Cluster;
use crate::exchange::WatchFault;
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
    shape: Shape,
    /// The tables that are wanted, and whether their columns are still to be told.
    table: Option<(Table, bool)>,
    bookmarks: bool,
    /// Lines to send before anything from the log.
    initial: Vec<u8>,
    /// The next entry of the log.
    position: usize,
    /// Changes up to this version are known to the client, also where versions went back.
    known: u64,
    fault: Option<WatchFault>,
    opened: Instant,
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
            shape: if request.metadata_only() { Shape::Metadata } else { Shape::Whole },
            table: Table::asked(request).map(|table| (table, true)),
            bookmarks: request.holds("allowWatchBookmarks"),
            initial: Vec::new(),
            position: cluster.store.log().end(),
            known: 0,
            fault: None,
            opened: now,
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
            "0" if request.stale.is_some() => {
                let version = cluster.version_before(request.stale);
                watch.send_objects(cluster.store.list_at(version, kind), cluster.now());
                watch.position = cluster.store.log().position_after(version);
            }
            "" | "0" => watch.send_state(cluster),
            _ if streams_list => watch.send_state(cluster),
            text => {
                let version = parse_version(text)?;
                let oldest = cluster.store.too_old(&kind.resource);
                if version < oldest {
                    let refusal =
                        Refusal::expired(format!("too old resource version: {version} ({oldest})"));
                    watch.initial = line("ERROR", &refusal.status());
                    watch.over = true;
                } else {
                    watch.position = cluster.store.log().position_after(version);
                    watch.known = version;
                }
            }
        }
        if streams_list && watch.bookmarks {
            let bookmark = watch.bookmark(cluster.store.version(), true);
            watch.initial.extend(bookmark);
        }
        Ok(watch)
    }

    /// Misbehaves from now on.
    pub(crate) fn suffer(&mut self, fault: WatchFault, cluster: &Cluster) {
        self.fault = Some(fault);
        match fault {
            WatchFault::Silent(_) => self.initial = Vec::new(),
            WatchFault::NoBookmarks => self.bookmarks = false,
            WatchFault::Repeated(time) => {
                let oldest = cluster.store.too_old(&self.kind.resource);
                let version = cluster.version_before(Some(time)).max(oldest);
                self.position = self.position.min(cluster.store.log().position_after(version));
                self.known = self.known.min(version);
            }
            WatchFault::Closed
            | WatchFault::Late(_)
            | WatchFault::Merged(_)
            | WatchFault::Reordered(_) => {}
        }
    }

    /// The stream of the response's body.
    pub(crate) fn stream(
        self,
        cluster: Arc<std::sync::Mutex<Cluster>>,
    ) -> impl Stream<Item = Bytes> + Send {
        let changed = crate::locked(&cluster).store.subscribe_to(&self.kind.resource);
        futures::stream::unfold(
            (self, cluster, changed),
            |(mut watch, cluster, mut changed)| async {
                if !watch.initial.is_empty() {
                    let lines = std::mem::take(&mut watch.initial);
                    watch.over |= watch.fault == Some(WatchFault::Closed);
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
        if let Some(WatchFault::Silent(time)) = self.fault.filter(|_| !self.over) {
            let end = time.map(|time| self.opened + time);
            if end.is_some_and(|end| now >= end) {
                self.over = true;
                let refusal = Refusal::expired("too old resource version");
                return Look::Lines(line("ERROR", &refusal.status()));
            }
            // A connection of which nothing is left but the client's end tells nothing.
            return Look::Wait(end.unwrap_or(now + Self::LIFETIME));
        }
        if self.over || now >= self.ends || self.epoch != cluster.watch_epoch {
            return Look::Over;
        }
        if self.position < cluster.store.log().trimmed(&self.kind.resource) {
            self.over = true;
            let refusal = Refusal::expired("the watch is too far behind");
            return Look::Lines(line("ERROR", &refusal.status()));
        }
        let (mut lines, until) = self.catch_up(cluster, now);
        if cluster.store.kind(&self.kind.resource).is_none() {
            // Its definition was deleted: nothing will come any more.
            self.over = until == self.ends;
        }
        if self.bookmarks && now >= self.next_bookmark {
            self.next_bookmark = now + cluster.options.bookmark_every;
            // What the stream has passed, which may lag behind the newest.
            let mut coming = cluster.store.log().of(&self.kind.resource, self.position);
            let next = coming.next().map(|(_, change)| change.version - 1);
            let version = next.unwrap_or_else(|| cluster.store.version());
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

    /// What has become due, and when the next change is.
    fn catch_up(&mut self, cluster: &Cluster, now: Instant) -> (Vec<u8>, Instant) {
        let mut lag = cluster.options.watch_lag;
        let mut due = Vec::new();
        // Changes that are put together come when the first of them has waited long enough.
        let together = match self.fault {
            Some(WatchFault::Late(time)) => {
                lag += time;
                Duration::ZERO
            }
            Some(WatchFault::Merged(time) | WatchFault::Reordered(time)) => time,
            _ => Duration::ZERO,
        };
        let resource = self.kind.resource.clone();
        let mut coming = cluster.store.log().of(&resource, self.position).peekable();
        let first = coming.peek().map(|(_, change)| change.at + lag + together);
        if let Some(first) = first.filter(|first| *first > now) {
            return (Vec::new(), self.ends.min(first));
        }
        let mut until = self.ends;
        for (position, change) in coming {
            if change.at + lag > now {
                until = until.min(change.at + lag + together);
                break;
            }
            self.position = position + 1;
            if change.version > self.known {
                due.push(change);
            }
        }
        let mut lines = Vec::new();
        for change in self.disorder(due) {
            self.translate(&change, cluster.now(), &mut lines);
        }
        self.over |= self.fault == Some(WatchFault::Closed) && !lines.is_empty();
        (lines, until)
    }

    /// The changes as this watch tells them, if it does not tell them as they were.
    fn disorder<'a>(&self, changes: Vec<&'a Change>) -> Vec<Cow<'a, Change>> {
        let mut by_object: BTreeMap<_, Vec<&Change>> = BTreeMap::new();
        match self.fault {
            Some(WatchFault::Merged(_) | WatchFault::Reordered(_)) => {
                for change in changes {
                    by_object.entry(&change.reference).or_default().push(change);
                }
            }
            _ => return changes.into_iter().map(Cow::Borrowed).collect(),
        }
        if let Some(WatchFault::Reordered(_)) = self.fault {
            return by_object.into_values().rev().flatten().map(Cow::Borrowed).collect();
        }
        let mut merged: Vec<_> = by_object
            .into_values()
            .filter_map(|mut changes| {
                let previous = changes.first()?.previous.clone();
                let mut last = changes.pop()?.clone();
                last.previous = previous;
                Some(Cow::Owned(last))
            })
            .collect();
        merged.sort_by_key(|change: &Cow<'_, Change>| change.version);
        merged
    }

    /// Adds the line that tells of a change, if the watch tells of it.
    fn translate(&mut self, change: &Change, now: Timestamp, lines: &mut Vec<u8>) {
        let about = &change.reference;
        if self.namespace.as_ref().is_some_and(|wanted| *wanted != about.namespace) {
            return;
        }
        let before = change.previous.as_ref().is_some_and(|one| self.filter.matches(one));
        let after = change.change != ChangeKind::Deleted && self.filter.matches(&change.object);
        match (before, after) {
            (false, false) => {}
            (false, true) => self.tell("ADDED", &change.object, now, lines),
            (true, true) => self.tell("MODIFIED", &change.object, now, lines),
            (true, false) => {
                // The last state that matched, under the version of the change.
                let last = change.previous.as_ref().unwrap_or(&change.object);
                let mut last = Value::clone(last);
                object::set(&mut last, "/metadata/resourceVersion", change.version.to_string());
                self.tell("DELETED", &last, now, lines);
            }
        }
    }

    fn tell(&mut self, event: &str, object: &Value, now: Timestamp, lines: &mut Vec<u8>) {
        let Some((table, headed)) = &mut self.table else {
            return add_line(event, &self.shape.of(object), lines);
        };
        let headed = std::mem::take(headed);
        let table = table.of(&self.kind, [object], object::version(object), now, headed);
        add_line(event, &table, lines);
    }

    fn send_state(&mut self, cluster: &Cluster) {
        let all = cluster.store.list(&self.kind.resource, None).cloned().collect();
        self.send_objects(all, cluster.now());
    }

    fn send_objects(&mut self, objects: Vec<Arc<Value>>, now: Timestamp) {
        let mut lines = Vec::new();
        for object in objects {
            let elsewhere =
                self.namespace.as_ref().is_some_and(|wanted| wanted != object::namespace(&object));
            if !elsewhere && self.filter.matches(&object) {
                self.tell("ADDED", &object, now, &mut lines);
            }
        }
        self.initial = lines;
    }

    fn bookmark(&self, version: u64, ends_initial: bool) -> Vec<u8> {
        let (kind, api_version) = if self.shape == Shape::Metadata {
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

fn line(event: &str, object: &impl Serialize) -> Vec<u8> {
    let mut line = Vec::new();
    add_line(event, object, &mut line);
    line
}

/// The type comes first: clients then need not keep the object until they know it.
fn add_line(event: &str, object: &impl Serialize, lines: &mut Vec<u8>) {
    lines.extend(b"{\"type\":\"");
    lines.extend(event.as_bytes());
    lines.extend(b"\",\"object\":");
    write(object, lines);
    lines.extend(b"}\n");
}
