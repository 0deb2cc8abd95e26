//! Admission by ResourceQuotas, and what objects use of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::Cluster;
use crate::kind::{self, Kind};
use crate::object;
use crate::quantity;
use crate::refusal::Refusal;

/// Amounts by the names that quotas give resources.
pub(crate) type Amounts = BTreeMap<String, i128>;

impl Cluster {
    /// Refuses an object that some quota has no room for.
    pub(super) fn admit_by_quota(&self, kind: &Kind, object: &Value) -> Result<(), Refusal> {
        let name = object::name(object);
        let namespace = object::namespace(object);
        for quota in self.store.list(kind::QUOTAS, Some(namespace)) {
            let hard = hard(quota);
            if kind.resource == kind::PODS {
                demand(kind, quota, &hard, object)?;
            }
            let mut requested = charges(kind, object);
            requested.retain(|resource, amount| hard.contains_key(resource) && *amount > 0);
            if requested.is_empty() {
                continue;
            }
            let used = self.used(namespace, &hard);
            let amount = |of: &Amounts, resource: &str| of.get(resource).copied().unwrap_or(0);
            requested
                .retain(|resource, more| amount(&used, resource) + *more > amount(&hard, resource));
            if requested.is_empty() {
                continue;
            }
            let print = |of: &Amounts| {
                let each = requested.keys().map(|resource| {
                    format!("{resource}={}", quantity::show(resource, amount(of, resource)))
                });
                each.collect::<Vec<_>>().join(",")
            };
            let why = format!(
                "exceeded quota: {}, requested: {}, used: {}, limited: {}",
                object::name(quota),
                print(&requested),
                print(&used),
                print(&hard)
            );
            return Err(Refusal::forbidden(kind, name, &why));
        }
        Ok(())
    }

    /// What a namespace uses of the resources that a quota limits.
    pub(crate) fn used(&self, namespace: &str, hard: &Amounts) -> Amounts {
        let mut used: Amounts = hard.keys().map(|resource| (resource.clone(), 0)).collect();
        for kind in self.store.kinds().filter(|kind| kind.namespaced()) {
            if !hard.keys().any(|resource| concerns(kind, resource)) {
                continue;
            }
            for object in self.store.list(&kind.resource, Some(namespace)) {
                for (resource, amount) in charges(kind, object) {
                    used.entry(resource).and_modify(|sum| *sum += amount);
                }
            }
        }
        used
    }
}

/// The limits of a quota.
pub(crate) fn hard(quota: &Value) -> Amounts {
    let hard = object::at(quota, "/spec/hard").and_then(Value::as_object);
    hard.into_iter()
        .flatten()
        .filter_map(|(resource, value)| Some((resource.clone(), quantity::parse(value)?)))
        .collect()
}

/// Amounts as a status shows them.
pub(crate) fn shown(amounts: &Amounts) -> Value {
    let each = amounts
        .iter()
        .map(|(resource, amount)| (resource.clone(), json!(quantity::show(resource, *amount))));
    Value::Object(each.collect())
}

/// Whether objects of a kind use a resource.
fn concerns(kind: &Kind, resource: &str) -> bool {
    resource == kind.resource
        || resource.strip_prefix("count/") == Some(&kind.resource)
        || (kind.resource == kind::PODS && COMPUTED.contains(&resource))
}

const COMPUTED: &[&str] =
    &["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];

/// What an object uses. A pod that has ended still counts as an object, but uses nothing.
fn charges(kind: &Kind, object: &Value) -> Amounts {
    let one = 1_000;
    let mut charges = Amounts::from([(format!("count/{}", kind.resource), one)]);
    if kind.resource != kind::PODS {
        if kind.group.is_empty() {
            charges.insert(kind.resource.clone(), one);
        }
        return charges;
    }
    if matches!(object::text(object, "/status/phase"), "Succeeded" | "Failed") {
        return charges;
    }
    charges.insert(kind.resource.clone(), one);
    for resource in COMPUTED {
        charges.insert((*resource).to_owned(), pod_amount(object, resource));
    }
    charges
}

/// The sum of the containers, or the greatest of the init containers if that is more.
fn pod_amount(pod: &Value, resource: &str) -> i128 {
    let amounts = |pointer: &str| -> Vec<i128> {
        let containers = object::list(pod, pointer).iter();
        containers.map(|one| container_amount(one, resource).unwrap_or(0)).collect()
    };
    let sum: i128 = amounts("/spec/containers").iter().sum();
    amounts("/spec/initContainers").into_iter().max().unwrap_or(0).max(sum)
}

fn container_amount(container: &Value, resource: &str) -> Option<i128> {
    let (list, name) = resource.split_once('.').unwrap_or(("requests", resource));
    quantity::parse(object::at(container, &format!("/resources/{list}/{name}"))?)
}

/// A quota on cpu or memory wants every container to name an amount.
fn demand(kind: &Kind, quota: &Value, hard: &Amounts, pod: &Value) -> Result<(), Refusal> {
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for resource in COMPUTED.iter().filter(|resource| hard.contains_key(**resource)) {
        for list in ["/spec/containers", "/spec/initContainers"] {
            for container in object::list(pod, list) {
                if container_amount(container, resource).is_none() {
                    missing.entry(resource).or_default().insert(object::text(container, "/name"));
                }
            }
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let each = missing.into_iter().map(|(resource, containers)| {
        let containers: Vec<_> = containers.into_iter().collect();
        format!("{resource} for: {}", containers.join(","))
    });
    let why = format!(
        "failed quota: {}: must specify {}",
        object::name(quota),
        each.collect::<Vec<_>>().join("; ")
    );
    Err(Refusal::forbidden(kind, object::name(pod), &why))
}
