//! One look at a namespace: its pods in full and its warning events, from lists that are no cache.

use crate::kube::observe;
use crate::kube::pages::pages;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod, PodStatus};
use kube::api::{Api, ListParams};
use kube::{Client, Error, ResourceExt};
use revshift_core::diagnosis::{InspectedPod, Inspection, Restarted, Trouble, Warning};
use revshift_core::explain::Details;
use std::collections::BTreeMap;
use std::time::Duration;

/// At most so many pods or events are read in one page.
const PAGE: u32 = 500;
/// At most so many pages of events are read.
const MOST_PAGES: usize = 20;

/// Looks at `namespace`, as of `elapsed`.
pub async fn inspect(
    client: &Client,
    namespace: &str,
    elapsed: Duration,
) -> Result<Inspection, Error> {
    let pods = pods(client, namespace, inspected).await?;
    // Events only explain; they are not asked for while nothing needs an explanation.
    let calm = pods.iter().all(|pod| pod.ready);
    let warnings = if calm { Vec::new() } else { warnings(client, namespace).await? };
    Ok(Inspection { at: elapsed, pods, warnings })
}

/// The same, with warning events whether anything is amiss or not, and with what is of use to nobody but
/// who wants it explained.
pub async fn in_full(
    client: &Client,
    namespace: &str,
    elapsed: Duration,
) -> Result<(Inspection, BTreeMap<String, Details>), Error> {
    let detailed = |pod: &Pod| {
        let created = pod.creation_timestamp().map(|time| time.0);
        let spec = pod.spec.as_ref();
        let host_network = spec.and_then(|spec| spec.host_network).unwrap_or_default();
        (inspected(pod), Details { created, host_network })
    };
    let found = pods(client, namespace, detailed).await?;
    let (pods, details): (Vec<_>, Vec<_>) = found.into_iter().unzip();
    let details = pods.iter().map(|pod| pod.pod.name.clone()).zip(details).collect();
    let warnings = warnings(client, namespace).await?;
    Ok((Inspection { at: elapsed, pods, warnings }, details))
}

/// The unfinished pods of a namespace, each converted as its page arrives.
async fn pods<T>(
    client: &Client,
    namespace: &str,
    convert: impl Fn(&Pod) -> T,
) -> Result<Vec<T>, Error> {
    let api = Api::<Pod>::namespaced(client.clone(), namespace);
    let unfinished = "status.phase!=Succeeded,status.phase!=Failed";
    let params = ListParams::default().fields(unfinished).limit(PAGE);
    let mut pods = Vec::new();
    pages(&api, params, |pod| pods.push(convert(&pod))).await?;
    Ok(pods)
}

async fn warnings(client: &Client, namespace: &str) -> Result<Vec<Warning>, Error> {
    let api = Api::<Event>::namespaced(client.clone(), namespace);
    let mut params = ListParams::default().fields("type=Warning").limit(PAGE);
    let mut events = Vec::new();
    // Pages come in the order of names, not of time.
    for _ in 0..MOST_PAGES {
        let page = api.list(&params).await?;
        events.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => break,
        }
    }
    events.sort_by_key(|event| {
        let series = event.series.as_ref().and_then(|series| series.last_observed_time.clone());
        let last = event.last_timestamp.as_ref().map(|time| time.0);
        series.or_else(|| event.event_time.clone()).map(|time| time.0).max(last)
    });

    Ok(events
        .into_iter()
        .map(|event| Warning {
            kind: event.involved_object.kind.unwrap_or_default(),
            name: event.involved_object.name.unwrap_or_default(),
            reason: event.reason.unwrap_or_default(),
            message: event.message.unwrap_or_default(),
        })
        .collect())
}

fn inspected(pod: &Pod) -> InspectedPod {
    let status = pod.status.clone().unwrap_or_default();
    let ready = condition(&status, "Ready").is_some_and(|(status, _)| status == "True");
    InspectedPod {
        pod: observe::pod_of(&pod.metadata),
        ready,
        trouble: if ready { None } else { trouble(&status) },
        revision: pod.labels().get("controller-revision-hash").cloned(),
        restarted: restarted(&status),
    }
}

/// The container that has restarted last. Init containers may try several times before the pod runs; only
/// those that go on beside it count.
fn restarted(status: &PodStatus) -> Option<Restarted> {
    let running = |container: &&ContainerStatus| {
        container.state.as_ref().is_some_and(|state| state.running.is_some())
    };
    let beside = status.init_container_statuses.iter().flatten().filter(running);
    let containers = beside.chain(status.container_statuses.iter().flatten());
    let restarted = containers.filter(|container| container.restart_count > 0);
    let told = restarted.map(|container| Restarted {
        container: container.name.clone(),
        times: u32::try_from(container.restart_count).unwrap_or_default(),
        last: last_start(container),
    });
    // One that does not tell when counts as the last.
    told.max_by_key(|one| (one.last.is_none(), one.last))
}

fn last_start(container: &ContainerStatus) -> Option<Timestamp> {
    let running = container.state.as_ref().and_then(|state| state.running.as_ref());
    let started = running.and_then(|running| running.started_at.as_ref());
    let ended = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let ended = ended.and_then(|ended| ended.finished_at.as_ref());
    started.or(ended).map(|time| time.0)
}

fn trouble(status: &PodStatus) -> Option<(Trouble, String)> {
    if let Some(("False", message)) = condition(status, "PodScheduled") {
        return Some((Trouble::Unschedulable, message.to_owned()));
    }
    let containers = || {
        let init = status.init_container_statuses.iter().flatten();
        init.chain(status.container_statuses.iter().flatten())
    };
    let waiting = containers().filter_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref()?;
        let message = waiting.message.as_deref().unwrap_or_default();
        let text = format!("container `{}` waits: {reason}: {message}", container.name);
        let trouble = match reason {
            "ImagePullBackOff" | "ErrImagePull" | "InvalidImageName" | "ErrImageNeverPull" => {
                Trouble::ImagePull
            }
            "CrashLoopBackOff" | "RunContainerError" | "CreateContainerError" => Trouble::CrashLoop,
            _ => return None,
        };
        Some((trouble, text.trim_end_matches([':', ' ']).to_owned()))
    });
    if let Some(worst) = waiting.min() {
        return Some(worst);
    }
    if let Some(crashed) = containers().find(|container| crashing(container)) {
        let text =
            format!("container `{}` has restarted {} times", crashed.name, crashed.restart_count);
        return Some((Trouble::CrashLoop, text));
    }
    let (_, message) = condition(status, "Ready").filter(|(status, _)| *status == "False")?;
    let message = if message.is_empty() { "it runs and is not ready" } else { message };
    Some((Trouble::NotReady, message.to_owned()))
}

fn crashing(container: &ContainerStatus) -> bool {
    let failed = |state: &k8s_openapi::api::core::v1::ContainerState| {
        state.terminated.as_ref().is_some_and(|terminated| terminated.exit_code != 0)
    };
    !container.ready
        && (container.state.as_ref().is_some_and(failed)
            || container.last_state.as_ref().is_some_and(failed))
}

fn condition<'a>(status: &'a PodStatus, kind: &str) -> Option<(&'a str, &'a str)> {
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let condition = conditions.iter().find(|condition| condition.type_ == kind)?;
    Some((condition.status.as_str(), condition.message.as_deref().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_container_that_restarted_last_is_named() {
        let container = |name: &str, restarts: u32, since: &str| {
            json!({
                "name": name, "image": "", "imageID": "", "ready": true, "restartCount": restarts,
                "state": { "running": { "startedAt": since } },
            })
        };
        let mut init = container("init", 9, "2026-01-01T00:09:00Z");
        init["state"] = json!({ "terminated": { "exitCode": 0 } });
        let status = serde_json::from_value(json!({
            "initContainerStatuses": [init, container("proxy", 1, "2026-01-01T00:01:00Z")],
            "containerStatuses": [
                container("app", 2, "2026-01-01T00:02:00Z"),
                container("log", 0, "2026-01-01T00:03:00Z"),
            ],
        }))
        .unwrap();
        let last = restarted(&status).unwrap();
        assert_eq!((last.container.as_str(), last.times), ("app", 2));
        assert_eq!(last.last, "2026-01-01T00:02:00Z".parse().ok());
        assert_eq!(restarted(&PodStatus::default()), None);
    }
}
