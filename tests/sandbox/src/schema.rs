//! Structural schemas of custom resources: unknown fields are dropped, defaults filled in, and
//! what does not fit is refused, as a real API server does before it stores anything.
//!
//! Types, required fields, enums and bounds are checked; CEL rules and `anyOf` are not.

use serde_json::Value;

use crate::kind::Kind;
use crate::object;
use crate::refusal::Refusal;

/// Prunes, defaults and validates an object of a custom kind.
pub(crate) fn enforce(kind: &Kind, object: &mut Value) -> Result<(), Refusal> {
    if !kind.schema.is_object() {
        return Ok(());
    }
    let Some(map) = object.as_object_mut() else { return Ok(()) };
    let own: Vec<_> = ["apiVersion", "kind", "metadata"]
        .into_iter()
        .filter_map(|field| map.remove_entry(field))
        .collect();
    shape(&kind.schema, object);
    let problem = check(&kind.schema, object, "");
    if let Some(map) = object.as_object_mut() {
        map.extend(own);
    }
    match problem {
        Some((path, why)) => Err(Refusal::invalid(kind, object::name(object), &path, &why)),
        None => Ok(()),
    }
}

/// Drops what the schema does not know and fills in its defaults.
fn shape(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(map) => {
            let properties = schema.get("properties").and_then(Value::as_object);
            let additional = schema.get("additionalProperties");
            let keeps = object::flag(schema, "/x-kubernetes-preserve-unknown-fields")
                || additional.is_some_and(|one| one != &Value::Bool(false))
                || !schema.is_object();
            let known = |key: &str| properties.is_some_and(|all| all.contains_key(key));
            map.retain(|key, _| keeps || known(key));
            for (key, below) in properties.into_iter().flatten() {
                let Some(default) = below.get("default") else { continue };
                if map.get(key).is_none_or(Value::is_null) {
                    map.insert(key.clone(), default.clone());
                }
            }
            for (key, value) in map {
                let below = properties.and_then(|all| all.get(key)).or(additional);
                if let Some(below) = below {
                    shape(below, value);
                }
            }
        }
        Value::Array(items) => {
            if let Some(below) = schema.get("items") {
                for item in items {
                    shape(below, item);
                }
            }
        }
        _ => {}
    }
}

/// The first thing that does not fit: where, and why.
fn check(schema: &Value, value: &Value, path: &str) -> Option<(String, String)> {
    let problem = |why: String| Some((path.to_owned(), why));
    if value.is_null() && object::flag(schema, "/nullable") {
        return None;
    }
    let wanted = object::text(schema, "/type");
    let fits = match wanted {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => true,
    };
    if !fits {
        // Of the value itself, a real API server says only the type.
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(number) if number.is_f64() => "number",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        return problem(format!(
            "Invalid value: \"{found}\": {path} in body must be of type {wanted}: \"{found}\""
        ));
    }
    if let Some(choices) = schema.get("enum").and_then(Value::as_array)
        && !choices.contains(value)
    {
        let choices: Vec<_> = choices.iter().map(Value::to_string).collect();
        return problem(format!(
            "Unsupported value: {value}: supported values: {}",
            choices.join(", ")
        ));
    }
    let size = match value {
        Value::String(text) => Some(("Length", text.chars().count())),
        Value::Array(items) => Some(("Items", items.len())),
        Value::Object(map) => Some(("Properties", map.len())),
        _ => None,
    };
    let size = size.and_then(|(name, size)| Some((name, i64::try_from(size).ok()?)));
    let mut bounds = Vec::new();
    if let Some((name, size)) = size {
        bounds.push((format!("/min{name}"), format!("/max{name}"), size));
    } else if let Some(number) = value.as_i64() {
        bounds.push(("/minimum".to_owned(), "/maximum".to_owned(), number));
    }
    for (least, most, actual) in bounds {
        let limit = |pointer: &str| object::at(schema, pointer).and_then(Value::as_f64);
        #[allow(clippy::cast_precision_loss, reason = "bounds of schemas are small")]
        let actual = actual as f64;
        if let Some(limit) = limit(&least).filter(|limit| actual < *limit) {
            return problem(match least.as_str() {
                "/minimum" => format!(
                    "Invalid value: {value}: {path} in body should be greater than or equal to \
                     {limit}"
                ),
                _ => format!("Invalid value: {value}: {path} in body is too short"),
            });
        }
        if let Some(limit) = limit(&most).filter(|limit| actual > *limit) {
            return problem(match most.as_str() {
                "/maximum" => format!(
                    "Invalid value: {value}: {path} in body should be less than or equal to {limit}"
                ),
                "/maxItems" => format!("Too many: {actual}: must have at most {limit} items"),
                _ => format!("Invalid value: {value}: {path} in body is too long"),
            });
        }
    }
    let below = |key: &str| {
        if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
    };
    for required in object::list(schema, "/required") {
        let key = required.as_str().unwrap_or_default();
        if value.is_object() && value.get(key).is_none() {
            return Some((below(key), "Required value".to_owned()));
        }
    }
    match value {
        Value::Object(map) => map.iter().find_map(|(key, value)| {
            let schema = schema
                .get("properties")
                .and_then(|all| all.get(key))
                .or_else(|| schema.get("additionalProperties"))?;
            check(schema, value, &below(key))
        }),
        Value::Array(items) => {
            let schema = schema.get("items")?;
            let mut items = items.iter().enumerate();
            items.find_map(|(index, item)| check(schema, item, &format!("{path}[{index}]")))
        }
        _ => None,
    }
}
