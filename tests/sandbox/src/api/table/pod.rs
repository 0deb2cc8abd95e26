//! What a pod's cells sum up of its containers.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::age;
use crate::object;

fn containers(pod: &Value) -> &[Value] {
    object::list(pod, "/status/containerStatuses")
}

/// Ready containers of all.
pub(super) fn ready(pod: &Value) -> Value {
    let ready = containers(pod)
        .iter()
        .filter(|one| object::flag(one, "/ready") && object::at(one, "/state/running").is_some());
    json!(format!("{}/{}", ready.count(), object::list(pod, "/spec/containers").len()))
}

/// The phase, or what holds a container up: that of the first one counts.
pub(super) fn status(pod: &Value) -> Value {
    let phase = object::text(pod, "/status/phase");
    if object::deleting(pod) && !matches!(phase, "Succeeded" | "Failed") {
        return json!("Terminating");
    }
    let mut reason = match object::text(pod, "/status/reason") {
        "" => phase.to_owned(),
        reason => reason.to_owned(),
    };
    let mut runs = false;
    for container in containers(pod).iter().rev() {
        let waiting = object::text(container, "/state/waiting/reason");
        if !waiting.is_empty() {
            waiting.clone_into(&mut reason);
        } else if let Some(terminated) = object::at(container, "/state/terminated") {
            reason = match object::text(terminated, "/reason") {
                "" => format!(
                    "ExitCode:{}",
                    object::integer(terminated, "/exitCode").unwrap_or_default()
                ),
                reason => reason.to_owned(),
            };
        } else {
            runs |= object::flag(container, "/ready");
        }
    }
    if reason == "Completed" && runs {
        reason = if object::condition_holds(pod, "Ready") { "Running" } else { "NotReady" }.into();
    }
    json!(reason)
}

/// How often containers were started again, and when last.
pub(super) fn restarts(pod: &Value, now: Timestamp) -> Value {
    let count: i64 =
        containers(pod).iter().filter_map(|one| object::integer(one, "/restartCount")).sum();
    let last = containers(pod)
        .iter()
        .map(|one| object::text(one, "/lastState/terminated/finishedAt"))
        .max()
        .unwrap_or_default();
    match age::since(last, now).as_str() {
        Some(ago) if count > 0 && !last.is_empty() => json!(format!("{count} ({ago} ago)")),
        _ => json!(count.to_string()),
    }
}
