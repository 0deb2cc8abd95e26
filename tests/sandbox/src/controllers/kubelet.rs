//! Scheduler and kubelet: pods are bound, start, become ready or fail as their labels say,
//! and go away.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::streams::{Stream, Streams};
use super::{Outcome, pods, scheduler};
use crate::cluster::{Author, Cluster, DeleteOptions, injected_by};
use crate::kind;
use crate::object;
use crate::store::Reference;

const FAILS: &str = "bed.revshift.dev/fails";
const FAILS_ON: &str = "bed.revshift.dev/fails-on";
const READY_AFTER: &str = "bed.revshift.dev/ready-after";
const RUN_FOR: &str = "sandbox.revshift.dev/run-for";
const EXIT_CODE: &str = "sandbox.revshift.dev/exit-code";
/// How soon the scheduler looks again at a pod that fits nowhere.
const SCHEDULER_RETRY: Duration = Duration::from_secs(1);

/// What the nodes know and the API server does not.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    lives: BTreeMap<Reference, Life>,
    /// How many pods the scheduler has placed.
    pub(super) bound: usize,
    pub(crate) streams: Streams,
}

#[derive(Debug, Clone)]
struct Life {
    uid: String,
    bound: Instant,
    stopping: Option<Instant>,
    stream: Stream,
}

/// What the containers of a pod do at a moment.
enum State {
    Creating,
    Waiting { reason: &'static str, message: String, restarts: i64 },
    Running { ready: bool },
    Succeeded,
    Failed { code: i64 },
}

pub(super) fn reconcile(cluster: &mut Cluster, target: &Reference) -> Outcome {
    let Some(pod) = cluster.store.get(target).cloned() else {
        cluster.nodes.lives.remove(target);
        return Outcome::Done;
    };
    let now = Instant::now();
    let known = cluster.nodes.lives.get(target).filter(|life| life.uid == object::uid(&pod));
    let mut life = match known {
        Some(life) => life.clone(),
        None => Life {
            uid: object::uid(&pod).to_owned(),
            bound: now,
            stopping: None,
            stream: Stream::New,
        },
    };
    let outcome = if object::deleting(&pod) {
        stop(cluster, target, &pod, &mut life)
    } else if pods::finished(&pod) {
        Outcome::Done
    } else {
        if !object::condition_holds(&pod, "PodScheduled") && !adopted(&pod) {
            if !scheduler::schedule(cluster, target, &pod) {
                return Outcome::After(SCHEDULER_RETRY);
            }
            life.bound = now;
        }
        advance(cluster, target, &pod, &mut life)
    };
    if cluster.store.get(target).is_some() {
        cluster.nodes.lives.insert(target.clone(), life);
    }
    outcome
}

/// A fixture that came with a status of its own stays as it was put.
fn adopted(pod: &Value) -> bool {
    object::text(pod, "/status/phase") == "Running"
}

fn stop(cluster: &mut Cluster, target: &Reference, pod: &Value, life: &mut Life) -> Outcome {
    let now = Instant::now();
    let stopping = *life.stopping.get_or_insert(now);
    let grace = object::integer(pod, "/metadata/deletionGracePeriodSeconds").unwrap_or_default();
    let grace = Duration::from_secs(u64::try_from(grace).unwrap_or_default());
    let gone = stopping + cluster.options.termination.min(grace);
    if now < gone {
        return Outcome::After(gone - now);
    }
    let Some(kind) = cluster.store.kind(kind::PODS) else { return Outcome::Done };
    let options =
        DeleteOptions { uid: Some(life.uid.clone()), grace: Some(0), ..DeleteOptions::default() };
    // It can only be gone already.
    let _ = cluster.delete(&kind, target, &options, Author::controller("kubelet"));
    Outcome::Done
}

fn advance(cluster: &mut Cluster, target: &Reference, pod: &Value, life: &mut Life) -> Outcome {
    if adopted(pod) && object::condition(pod, "PodScheduled").is_none() {
        return Outcome::Done;
    }
    let age = Instant::now().saturating_duration_since(life.bound);
    let (mut state, mut next) = behave(pod, age, cluster.options.pod_ready_after);
    if matches!(state, State::Running { ready: true })
        && let Some(at) = connect(cluster, pod, life)
    {
        // Without its configuration the sidecar is not ready, and neither is the pod.
        state = State::Running { ready: false };
        let at = at.saturating_duration_since(life.bound);
        next = Some(next.map_or(at, |next| next.min(at)));
    }
    let stamp = cluster.stamp();
    let address = serial(&life.uid);
    let address = format!("10.{}.{}.{}", 100 + address / 65536, address / 256 % 256, address % 256);
    let present = object::text(pod, "/status/phase").to_owned();
    cluster.update_status(target, "kubelet", |pod| show(pod, &state, &address, &stamp));
    if let State::Waiting { reason, message, .. } = &state {
        let warning = if *reason == "ImagePullBackOff" { "Failed" } else { "BackOff" };
        cluster.event(pod, "Warning", warning, message, "kubelet");
    } else if present == "Pending" && matches!(state, State::Running { .. }) {
        cluster.event(pod, "Normal", "Started", "Started container", "kubelet");
    }
    match next {
        Some(at) => Outcome::After(at.saturating_sub(age)),
        None => Outcome::Done,
    }
}

/// The number that a uid begins with.
fn serial(uid: &str) -> u64 {
    let first = uid.split('-').next().unwrap_or_default();
    u64::from_str_radix(first, 16).unwrap_or_default()
}

/// Brings a pod's sidecar to its plane; gives when to look again if it is not there yet.
fn connect(cluster: &mut Cluster, pod: &Value, life: &mut Life) -> Option<Instant> {
    let per_second = cluster.options.streams_per_second?;
    let revision = injected_by(pod)?;
    let now = Instant::now();
    let salt = serial(&life.uid).wrapping_mul(0x9e37);
    life.stream = cluster.nodes.streams.connect(&revision, per_second, life.stream, salt, now);
    match life.stream {
        Stream::Admitted(at) | Stream::Refused { again: at, .. } if at > now => Some(at),
        _ => None,
    }
}

/// What a pod of this age does, and at which age that changes.
fn behave(pod: &Value, age: Duration, start: Duration) -> (State, Option<Duration>) {
    if age < start {
        return (State::Creating, Some(start));
    }
    let image =
        object::list(pod, "/spec/containers").first().map(|one| object::text(one, "/image"));
    match failure(pod) {
        Some("image-pull") => {
            let image = image.unwrap_or_default();
            let message = format!(
                "Back-off pulling image \"{image}\": ErrImagePull: rpc error: code = NotFound \
                 desc = failed to pull and unpack image \"{image}\": not found"
            );
            (State::Waiting { reason: "ImagePullBackOff", message, restarts: 0 }, None)
        }
        Some("never-ready") => (State::Running { ready: false }, None),
        Some("crash-loop") => crash(pod, age, start),
        _ => run(pod, age, start),
    }
}

fn run(pod: &Value, age: Duration, start: Duration) -> (State, Option<Duration>) {
    let seconds = |text: Option<&str>| {
        text.and_then(|text| text.parse::<f64>().ok()).map(Duration::from_secs_f64)
    };
    if object::text(pod, "/spec/restartPolicy") != "Always" {
        let run_for = seconds(object::annotation(pod, RUN_FOR)).unwrap_or(Duration::from_secs(5));
        let end = start + run_for;
        let code = object::annotation(pod, EXIT_CODE).and_then(|code| code.parse().ok());
        let code: i64 = code.unwrap_or_default();
        if age >= end && code == 0 {
            return (State::Succeeded, None);
        }
        if age >= end {
            return if object::text(pod, "/spec/restartPolicy") == "OnFailure" {
                crash(pod, age, end)
            } else {
                (State::Failed { code }, None)
            };
        }
        return (State::Running { ready: true }, Some(end));
    }
    let ready_after = seconds(object::label(pod, READY_AFTER)).unwrap_or(start).max(start);
    if age < ready_after {
        return (State::Running { ready: false }, Some(ready_after));
    }
    (State::Running { ready: true }, None)
}

/// The back-off of restarts: 10 s, doubled up to 5 minutes.
fn crash(pod: &Value, age: Duration, start: Duration) -> (State, Option<Duration>) {
    let mut restarts = 0;
    let mut wait = Duration::from_secs(10);
    let mut next = start + wait;
    while age >= next {
        restarts += 1;
        wait = (wait * 2).min(Duration::from_mins(5));
        next += wait;
    }
    let container = container_names(pod).first().cloned().unwrap_or_default();
    let message = format!(
        "back-off {}s restarting failed container={container} pod={}_{}({})",
        wait.as_secs(),
        object::name(pod),
        object::namespace(pod),
        object::uid(pod)
    );
    (State::Waiting { reason: "CrashLoopBackOff", message, restarts }, Some(next))
}

pub(super) fn failure(pod: &Value) -> Option<&str> {
    let failure = object::label(pod, FAILS)?;
    match object::label(pod, FAILS_ON) {
        Some(revision) if injected_by(pod).as_deref() != Some(revision) => None,
        _ => Some(failure),
    }
}

fn container_names(pod: &Value) -> Vec<String> {
    let containers = object::list(pod, "/spec/containers").iter();
    containers.map(|one| object::text(one, "/name").to_owned()).collect()
}

fn show(pod: &mut Value, state: &State, address: &str, now: &str) {
    let (phase, ready) = match state {
        State::Waiting { reason: "CrashLoopBackOff", .. } => ("Running", false),
        State::Creating | State::Waiting { .. } => ("Pending", false),
        State::Running { ready } => ("Running", *ready),
        State::Succeeded => ("Succeeded", false),
        State::Failed { .. } => ("Failed", false),
    };
    object::set(pod, "/status/phase", phase);
    object::default(pod, "/status/startTime", now);
    object::default(pod, "/status/hostIP", "192.168.0.1");
    object::default(pod, "/status/hostIPs", json!([{ "ip": "192.168.0.1" }]));
    if !matches!(state, State::Creating) {
        object::default(pod, "/status/podIP", address);
        object::default(pod, "/status/podIPs", json!([{ "ip": address }]));
    }
    let ready_text = if ready { "True" } else { "False" };
    let why = match state {
        State::Succeeded => "PodCompleted",
        State::Failed { .. } => "PodFailed",
        _ => "ContainersNotReady",
    };
    object::set_condition(pod, json!({ "type": "Initialized", "status": "True" }), now);
    for kind in ["ContainersReady", "Ready"] {
        let mut condition = json!({ "type": kind, "status": ready_text });
        if !ready {
            condition["reason"] = json!(why);
        }
        object::set_condition(pod, condition, now);
    }
    let before = object::list(pod, "/status/containerStatuses").to_vec();
    let mut statuses = Vec::new();
    for (index, container) in object::list(pod, "/spec/containers").iter().enumerate() {
        // The sidecar is well even where the application is not.
        let sidecar = object::text(container, "/name") == "istio-proxy";
        let failing = !sidecar || !matches!(state, State::Waiting { .. } | State::Running { .. });
        let since = before
            .get(index)
            .map(|one| object::text(one, "/state/running/startedAt"))
            .filter(|since| !since.is_empty())
            .unwrap_or(now);
        let running = json!({ "running": { "startedAt": since } });
        let shown = match state {
            State::Creating => json!({ "waiting": { "reason": "ContainerCreating" } }),
            State::Waiting { reason, message, .. } if failing => {
                json!({ "waiting": { "reason": reason, "message": message } })
            }
            State::Waiting { .. } | State::Running { .. } => running,
            State::Failed { code } if !sidecar => ended(*code, "Error", since, now),
            State::Succeeded | State::Failed { .. } => ended(0, "Completed", since, now),
        };
        let restarts = match state {
            State::Waiting { restarts, .. } if failing => *restarts,
            _ => 0,
        };
        let is_ready = ready || (sidecar && !failing);
        let mut status = json!({
            "name": object::text(container, "/name"),
            "image": object::text(container, "/image"),
            "imageID": "",
            "ready": is_ready,
            "started": is_ready,
            "restartCount": restarts,
            "state": shown,
            "lastState": {},
        });
        if restarts > 0 {
            status["lastState"] = json!({ "terminated": { "exitCode": 1, "reason": "Error" } });
        }
        statuses.push(status);
    }
    object::set(pod, "/status/containerStatuses", statuses);
}

fn ended(code: i64, reason: &str, since: &str, now: &str) -> Value {
    json!({ "terminated": {
        "exitCode": code, "reason": reason, "startedAt": since, "finishedAt": now,
    } })
}
