//! `metadata.managedFields`: who wrote which field last.
//!
//! Maps are followed, lists are one field each. That suffices to name who reverted an
//! annotation; it is no base for the conflicts of server-side apply.

use serde_json::{Map, Value, json};

use crate::object;

/// Records that `manager` turned `before` into `after`, and writes the result into `after`.
pub(crate) fn record(
    before: Option<&Value>,
    after: &mut Value,
    manager: &str,
    operation: &str,
    subresource: &str,
    now: &str,
) {
    let changed = changes(before, after);
    let is_own = |entry: &Value| {
        object::text(entry, "/manager") == manager
            && object::text(entry, "/operation") == operation
            && object::text(entry, "/subresource") == subresource
    };
    let mut own = json!({
        "manager": manager,
        "operation": operation,
        "apiVersion": object::text(after, "/apiVersion"),
        "time": now,
        "fieldsType": "FieldsV1",
        "fieldsV1": {},
    });
    if !subresource.is_empty() {
        own["subresource"] = json!(subresource);
    }
    let has_fields =
        |entry: &Value| entry["fieldsV1"].as_object().is_some_and(|map| !map.is_empty());
    let mut result = Vec::new();
    for entry in before.map_or(&[][..], |one| object::list(one, "/metadata/managedFields")) {
        let mut entry = entry.clone();
        if is_own(&entry) && has_fields(&changed) {
            own["fieldsV1"] = entry["fieldsV1"].take();
            continue;
        }
        subtract(&mut entry["fieldsV1"], &changed["fieldsV1"]);
        prune(&mut entry["fieldsV1"], after);
        if has_fields(&entry) {
            result.push(entry);
        }
    }
    // Who only removed fields owns nothing of it.
    if has_fields(&changed) {
        unite(&mut own["fieldsV1"], &changed["fieldsV1"]);
        prune(&mut own["fieldsV1"], after);
        result.push(own);
    }
    object::set(after, "/metadata/managedFields", result);
}

/// The tree of fields that are new or differ, of those that have managers.
fn changes(before: Option<&Value>, after: &Value) -> Value {
    let mut tree = Map::new();
    for (key, value) in after.as_object().into_iter().flatten() {
        let earlier = before.and_then(|one| one.get(key));
        let changed = match key.as_str() {
            "apiVersion" | "kind" => None,
            "metadata" => {
                let mut changed = Map::new();
                for key in ["labels", "annotations", "finalizers", "ownerReferences"] {
                    let earlier = earlier.and_then(|one| one.get(key));
                    let below = value.get(key).and_then(|value| differs(earlier, value));
                    changed.extend(below.map(|below| (format!("f:{key}"), below)));
                }
                (!changed.is_empty()).then_some(Value::Object(changed))
            }
            _ => differs(earlier, value),
        };
        tree.extend(changed.map(|changed| (format!("f:{key}"), changed)));
    }
    json!({ "fieldsV1": tree })
}

/// The part of `after` that is new or differs; None if nothing does.
fn differs(before: Option<&Value>, after: &Value) -> Option<Value> {
    let Value::Object(after) = after else {
        return (before != Some(after)).then(|| json!({}));
    };
    let mut tree = Map::new();
    for (key, value) in after {
        if let Some(below) = differs(before.and_then(|one| one.get(key)), value) {
            tree.insert(format!("f:{key}"), below);
        }
    }
    let was_map = before.is_some_and(Value::is_object);
    (!tree.is_empty() || !was_map).then_some(Value::Object(tree))
}

fn unite(tree: &mut Value, more: &Value) {
    let (Value::Object(tree), Value::Object(more)) = (tree, more) else { return };
    for (key, value) in more {
        unite(tree.entry(key.clone()).or_insert_with(|| json!({})), value);
    }
}

fn subtract(tree: &mut Value, less: &Value) {
    let (Value::Object(tree), Value::Object(less)) = (tree, less) else { return };
    for (key, value) in less {
        let Some(below) = tree.get_mut(key) else { continue };
        subtract(below, value);
        let leaf = value.as_object().is_none_or(Map::is_empty);
        if leaf || below.as_object().is_some_and(Map::is_empty) {
            tree.remove(key);
        }
    }
}

/// Drops fields that the object no longer has.
fn prune(tree: &mut Value, present: &Value) {
    let Value::Object(tree) = tree else { return };
    tree.retain(|key, below| {
        let Some(value) = present.get(key.strip_prefix("f:").unwrap_or(key)) else { return false };
        if value.is_object() {
            let had = below.as_object().is_some_and(|below| !below.is_empty());
            prune(below, value);
            return !had || below.as_object().is_some_and(|below| !below.is_empty());
        }
        true
    });
}
