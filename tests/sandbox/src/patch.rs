//! The patch formats of the API server: merge (RFC 7386), JSON patch (RFC 6902), strategic
//! merge, and server-side apply reduced to a merge.

use serde_json::{Map, Value};

use crate::object;
use crate::refusal::Refusal;

/// A patch as it came, before it meets an object.
#[derive(Debug, Clone)]
pub(crate) enum Patch {
    Merge(Value),
    Json(Vec<Value>),
    /// Lists of the known keyed fields merge by their key.
    Strategic(Value),
    /// As strategic, and creates what is missing.
    Apply(Value),
}

impl Patch {
    /// Reads a body by its content type.
    pub(crate) fn parse(content_type: &str, body: &[u8]) -> Result<Self, Refusal> {
        let json = || {
            serde_json::from_slice::<Value>(body)
                .map_err(|error| Refusal::bad_request(format!("error decoding patch: {error}")))
        };
        match content_type.split(';').next().unwrap_or_default().trim() {
            "application/merge-patch+json" => Ok(Self::Merge(json()?)),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic(json()?)),
            "application/apply-patch+yaml" => Ok(Self::Apply(json()?)),
            "application/json-patch+json" => match json()? {
                Value::Array(operations) => Ok(Self::Json(operations)),
                _ => Err(Refusal::bad_request("error decoding patch: not a list of operations")),
            },
            other => Err(Refusal::new(
                415,
                "UnsupportedMediaType",
                format!("the body of the request was in an unknown format - {other}"),
            )),
        }
    }

    /// The object after the patch.
    pub(crate) fn apply(&self, current: &Value) -> Result<Value, Refusal> {
        let mut next = current.clone();
        match self {
            Self::Merge(patch) => merge(&mut next, patch),
            Self::Strategic(patch) | Self::Apply(patch) => strategic(&mut next, patch),
            Self::Json(operations) => {
                for operation in operations {
                    operate(&mut next, operation).map_err(|why| rejected(&why))?;
                }
            }
        }
        Ok(next)
    }
}

/// Merges `patch` into `target`; null removes.
pub(crate) fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(map) = target else { return };
    for (key, value) in fields {
        if value.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

fn strategic(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else {
        *target = patch.clone();
        return;
    };
    if object::text(patch, "/$patch") == "replace" || !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(map) = target else { return };
    for (key, value) in fields.iter().filter(|(key, _)| !key.starts_with('$')) {
        match (value, merge_key(key)) {
            (Value::Null, _) => {
                map.remove(key);
            }
            (Value::Array(items), Some(by)) => {
                let entry = map.entry(key.clone()).or_insert(Value::Array(Vec::new()));
                if let Value::Array(present) = entry {
                    merge_items(present, items, by);
                }
            }
            _ => strategic(map.entry(key.clone()).or_insert(Value::Null), value),
        }
    }
}

fn merge_items(present: &mut Vec<Value>, items: &[Value], by: &str) {
    for item in items {
        let key = if by.is_empty() { Some(item) } else { item.get(by) };
        let same = |one: &Value| {
            if by.is_empty() { Some(one) == key } else { one.get(by) == key }
        };
        if object::text(item, "/$patch") == "delete" {
            present.retain(|one| !same(one));
        } else if let Some(one) = present.iter_mut().find(|one| same(one)) {
            strategic(one, item);
        } else {
            present.push(item.clone());
        }
    }
}

/// The key by which a list merges; the empty key makes it a set.
fn merge_key(field: &str) -> Option<&'static str> {
    match field {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "env"
        | "imagePullSecrets"
        | "webhooks" => Some("name"),
        "volumeMounts" => Some("mountPath"),
        "ports" => Some("containerPort"),
        "conditions" => Some("type"),
        "ownerReferences" => Some("uid"),
        "finalizers" => Some(""),
        _ => None,
    }
}

fn operate(target: &mut Value, operation: &Value) -> Result<(), String> {
    let path = object::text(operation, "/path");
    let from = object::text(operation, "/from");
    let value = || operation.get("value").cloned().ok_or_else(|| "missing value".to_owned());
    let read = |target: &Value, path: &str| {
        target.pointer(path).cloned().ok_or_else(|| format!("nonexistent key: {path}"))
    };
    match object::text(operation, "/op") {
        "add" => add(target, path, value()?),
        "remove" => take(target, path).map(drop),
        "replace" => {
            let value = value()?;
            read(target, path).map_err(|why| format!("replace operation does not apply: {why}"))?;
            take(target, path)?;
            add(target, path, value)
        }
        "move" => {
            let moved = take(target, from)?;
            add(target, path, moved)
        }
        "copy" => {
            let copied = read(target, from)?;
            add(target, path, copied)
        }
        "test" if target.pointer(path).unwrap_or(&Value::Null) == &value()? => Ok(()),
        "test" => Err(format!("testing value {path} failed")),
        other => Err(format!("unexpected operation: {other}")),
    }
}

fn add(target: &mut Value, path: &str, value: Value) -> Result<(), String> {
    if path.is_empty() {
        *target = value;
        return Ok(());
    }
    let (parent, last) = parent(target, path)?;
    match parent {
        Value::Object(map) => {
            map.insert(last, value);
            Ok(())
        }
        Value::Array(items) if last == "-" => {
            items.push(value);
            Ok(())
        }
        Value::Array(items) => match last.parse::<usize>() {
            Ok(index) if index <= items.len() => {
                items.insert(index, value);
                Ok(())
            }
            _ => Err(format!("index out of bounds: {path}")),
        },
        _ => Err(format!("nonexistent path: {path}")),
    }
}

fn take(target: &mut Value, path: &str) -> Result<Value, String> {
    let (parent, last) = parent(target, path)?;
    let taken = match parent {
        Value::Object(map) => map.remove(&last),
        Value::Array(items) => match last.parse::<usize>() {
            Ok(index) if index < items.len() => Some(items.remove(index)),
            _ => None,
        },
        _ => None,
    };
    taken.ok_or_else(|| format!("unable to remove nonexistent key: {path}"))
}

fn parent<'a>(target: &'a mut Value, path: &str) -> Result<(&'a mut Value, String), String> {
    let (parent, last) = path.rsplit_once('/').ok_or_else(|| format!("bad path: {path}"))?;
    let parent = target.pointer_mut(parent).ok_or_else(|| format!("nonexistent path: {path}"))?;
    Ok((parent, last.replace("~1", "/").replace("~0", "~")))
}

fn rejected(why: &str) -> Refusal {
    let message = "the server rejected our request due to an error in our request";
    let mut refusal = Refusal::new(422, "Invalid", message);
    refusal.details =
        serde_json::json!({ "causes": [{ "reason": "UnexpectedServerResponse", "message": why }] });
    refusal
}
