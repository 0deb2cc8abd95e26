//! Explanations on the wire.

use super::namespace::{namespace, revision};
use crate::control::explaining::{Explained, Target};
use revshift_core::explain::{After, ExplainedPod, ExplainedWorkload, Reason, Webhook, Why};
use revshift_core::injection::Injection;
use revshift_core::plan::Method;
use revshift_core::plane::Revision;
use revshift_core::pod::Injected;
use revshift_core::rollout;
use revshift_proto::v1 as proto;
use revshift_proto::v1::explained::Reason as Wire;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// At most so many pods, and so many workloads, are told one by one.
const MOST: usize = 1000;

/// A namespace, explained.
pub(crate) fn explanation(name: &str, found: Explained) -> proto::ExplainNamespaceResponse {
    let Explained { meta, attachment, explanation, target, migration, connected, unheard } = found;
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let (pods, workloads) = (explanation.pods, explanation.workloads);
    proto::ExplainNamespaceResponse {
        namespace: Some(namespace(name, &meta, attachment, migration.as_deref())),
        pods_total: count(pods.len()),
        pods_astray: count(pods.iter().filter(|pod| pod.astray).count()),
        workloads_total: count(workloads.len()),
        workloads: workloads.into_iter().take(MOST).map(workload).collect(),
        pods: pods
            .into_iter()
            .take(MOST)
            .map(|it| pod(it, &connected, unheard.as_deref()))
            .collect(),
        target: target.map(prospect),
    }
}

fn prospect(target: Target) -> proto::ExplainTarget {
    proto::ExplainTarget {
        revision: target.revision.0,
        tag: target.tag.unwrap_or_default(),
        labels_after: target.labels.entries().into_iter().collect(),
    }
}

fn workload(found: ExplainedWorkload) -> proto::ExplainedWorkload {
    proto::ExplainedWorkload {
        kind: found.kind,
        name: found.name,
        wanted_plane: plane(&found.wanted),
        wanted: rollout::describe(&found.wanted),
        injected: counts(found.injected),
        pods_astray: found.astray,
        why: found.why.map(why),
        after: found.after.map(after),
    }
}

fn counts(injected: BTreeMap<Injected, u32>) -> Vec<proto::InjectedPods> {
    let mut counts: Vec<proto::InjectedPods> = injected
        .into_iter()
        .map(|(by, pods)| proto::InjectedPods { revision: revision(by), pods })
        .collect();
    counts.sort_by_key(|count| Reverse(count.pods));
    counts
}

fn pod(
    found: ExplainedPod,
    connected: &BTreeMap<String, Revision>,
    unheard: Option<&str>,
) -> proto::ExplainedPod {
    let plane_of_it = connected.get(&found.name);
    let unknown = unheard.filter(|_| plane_of_it.is_none() && found.injected != Injected::No);
    proto::ExplainedPod {
        name: found.name,
        controller: found.controller.unwrap_or_default(),
        wanted_plane: plane(&found.wanted),
        wanted: rollout::describe(&found.wanted),
        injected_plane: revision(found.injected),
        connected_plane: plane_of_it.map(ToString::to_string).unwrap_or_default(),
        connection_unknown: unknown.unwrap_or_default().to_owned(),
        astray: found.astray,
        why: found.why.map(why),
    }
}

fn plane(injection: &Injection) -> String {
    match injection {
        Injection::By(revision) => revision.to_string(),
        Injection::None | Injection::Dangling(_) | Injection::Conflict(_) => String::new(),
    }
}

fn why(why: Why) -> proto::Explained {
    proto::Explained {
        reason: reason(why.reason).into(),
        message: why.message,
        code: why.code.map(|code| code.as_str().to_owned()).unwrap_or_default(),
        remedy: why.code.map(|code| code.remedy().to_owned()).unwrap_or_default(),
    }
}

fn reason(reason: Reason) -> Wire {
    match reason {
        Reason::Dangling => Wire::Dangling,
        Reason::Conflict => Wire::Conflict,
        Reason::RolloutStuck => Wire::RolloutStuck,
        Reason::Rolling => Wire::Rolling,
        Reason::WebhookDown => Wire::WebhookDown,
        Reason::InjectedByOther => Wire::InjectedByOther,
        Reason::NotRestarted => Wire::NotRestarted,
        Reason::BakedIn => Wire::BakedIn,
        Reason::Paused => Wire::Paused,
        Reason::OnDelete => Wire::OnDelete,
        Reason::Partition => Wire::Partition,
        Reason::Owned => Wire::Owned,
        Reason::Skipped => Wire::Skipped,
        Reason::Job => Wire::Job,
        Reason::CronJob => Wire::CronJob,
        Reason::BarePod => Wire::BarePod,
        Reason::Pinned => Wire::Pinned,
        Reason::Excluded => Wire::Excluded,
        Reason::HostNetwork => Wire::HostNetwork,
        Reason::ScaledToZero => Wire::ScaledToZero,
    }
}

fn after(after: After) -> proto::ExplainedAfter {
    let (action, reason, code) = match after.restart {
        Ok(planned) => {
            let action = match planned.method {
                Some(Method::Roll) => proto::plan_workload::Action::Roll,
                Some(Method::Evict) => proto::plan_workload::Action::Evict,
                Some(Method::Restart) => proto::plan_workload::Action::Restart,
                None => proto::plan_workload::Action::None,
            };
            (action, planned.reason, planned.code)
        }
        Err(violation) => {
            (proto::plan_workload::Action::Unspecified, violation.description, Some(violation.code))
        }
    };
    proto::ExplainedAfter {
        wanted_plane: plane(&after.wanted),
        wanted: rollout::describe(&after.wanted),
        action: action.into(),
        reason,
        code: code.map(|code| code.as_str().to_owned()).unwrap_or_default(),
        webhooks: after.webhooks.into_iter().map(webhook).collect(),
    }
}

fn webhook(webhook: Webhook) -> proto::ExplainedWebhook {
    let Webhook { namespace_now, namespace_after, object, .. } = webhook;
    proto::ExplainedWebhook {
        configuration: webhook.configuration,
        name: webhook.name,
        revision: webhook.revision.0,
        tag: webhook.tag.unwrap_or_default(),
        namespace_now,
        namespace_after,
        object,
    }
}
