//! LimitRanges: what containers ask for unless they say, and how much they may.

use serde_json::Value;

use super::Cluster;
use crate::kind::{self, Kind};
use crate::object;
use crate::quantity;
use crate::refusal::Refusal;

impl Cluster {
    /// Fills in what containers leave open.
    pub(super) fn default_resources(&self, namespace: &str, pod: &mut Value) {
        for range in self.store.list(kind::LIMIT_RANGES, Some(namespace)) {
            for item in container_items(range) {
                for list in ["/spec/containers", "/spec/initContainers"] {
                    let containers = pod.pointer_mut(list).and_then(Value::as_array_mut);
                    for container in containers.into_iter().flatten() {
                        fill(container, "limits", item.get("default"));
                        fill(container, "requests", item.get("defaultRequest"));
                    }
                }
            }
        }
    }

    /// Refuses a pod with a container that asks for too little or too much.
    pub(super) fn admit_by_limits(&self, kind: &Kind, pod: &Value) -> Result<(), Refusal> {
        let mut problems = Vec::new();
        for range in self.store.list(kind::LIMIT_RANGES, Some(object::namespace(pod))) {
            for item in container_items(range) {
                for list in ["/spec/containers", "/spec/initContainers"] {
                    for container in object::list(pod, list) {
                        problems.extend(broken(container, item));
                    }
                }
            }
        }
        let why = match problems.as_slice() {
            [] => return Ok(()),
            [only] => only.clone(),
            all => format!("[{}]", all.join(", ")),
        };
        Err(Refusal::forbidden(kind, object::name(pod), &why))
    }
}

/// What the API server fills into a LimitRange: requests follow limits, and limits the maximum.
pub(crate) fn complete(range: &mut Value) {
    let items = range.pointer_mut("/spec/limits").and_then(Value::as_array_mut);
    for item in items.into_iter().flatten() {
        if object::text(item, "/type") != "Container" {
            continue;
        }
        for (from, to) in
            [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")]
        {
            let given = item.get(from).and_then(Value::as_object).cloned();
            for (resource, amount) in given.into_iter().flatten() {
                object::default(item, &format!("/{to}/{resource}"), amount);
            }
        }
    }
}

fn container_items(range: &Value) -> impl Iterator<Item = &Value> {
    let items = object::list(range, "/spec/limits").iter();
    items.filter(|item| object::text(item, "/type") == "Container")
}

fn fill(container: &mut Value, list: &str, defaults: Option<&Value>) {
    for (resource, amount) in object::strings(defaults) {
        object::default(container, &format!("/resources/{list}/{resource}"), amount);
    }
}

fn broken(container: &Value, item: &Value) -> Vec<String> {
    let given = |list: &str, resource: &str| {
        let given = object::at(container, &format!("/resources/{list}/{resource}"))?;
        Some((quantity::parse(given)?, given.as_str().unwrap_or_default().to_owned()))
    };
    let mut problems = Vec::new();
    for (bound, first, second) in [("min", "request", "limit"), ("max", "limit", "request")] {
        for (resource, text) in object::strings(item.get(bound)) {
            let Some(enforced) = quantity::parse(&Value::String(text.clone())) else { continue };
            let says = format!("{bound}imum {resource} usage per Container is {text}");
            let breaks = |amount: i128| match bound {
                "min" => amount < enforced,
                _ => amount > enforced,
            };
            match given(&format!("{first}s"), &resource) {
                None => {
                    let missing = if bound == "min" { "request" } else { "limit" };
                    problems.push(format!("{says}.  No {missing} is specified"));
                    continue;
                }
                Some((amount, shown)) if breaks(amount) => {
                    problems.push(format!("{says}, but {first} is {shown}"));
                    continue;
                }
                Some(_) => {}
            }
            if let Some((amount, shown)) = given(&format!("{second}s"), &resource)
                && breaks(amount)
            {
                problems.push(format!("{says}, but {second} is {shown}"));
            }
        }
    }
    problems
}
