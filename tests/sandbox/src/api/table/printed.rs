//! The columns that a CustomResourceDefinition gives its kind: JSON paths of names, indices and
//! equality filters, which is what definitions use. Any other path leaves its cells empty.

use jiff::Timestamp;
use serde_json::{Number, Value, json};

use super::{age, definition};
use crate::kind::Kind;
use crate::object;

/// One step of a path.
#[derive(Debug, PartialEq)]
enum Step {
    Name(String),
    Index(usize),
    /// `[?(@.name=="value")]`: the first item of which that is true.
    Filter(Vec<Self>, String),
}

/// What a kind without columns of its own has.
fn only_age() -> Vec<Value> {
    vec![json!({ "name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp" })]
}

fn columns(kind: &Kind) -> Vec<Value> {
    if kind.columns.is_empty() { only_age() } else { kind.columns.clone() }
}

pub(super) fn definitions(kind: &Kind) -> Vec<Value> {
    let mut all = vec![definition("Name", "string", "name", 0)];
    for column in columns(kind) {
        let priority = object::integer(&column, "/priority").unwrap_or_default();
        let [name, of, format] =
            ["/name", "/type", "/format"].map(|field| object::text(&column, field));
        all.push(definition(name, of, format, priority));
    }
    all
}

pub(super) fn cells(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    let mut cells = vec![json!(object::name(object))];
    for column in columns(kind) {
        let found = parse(object::text(&column, "/jsonPath"))
            .and_then(|steps| find(object, &steps))
            .filter(|value| !value.is_null());
        cells.push(
            found.map_or(Value::Null, |value| cell(object::text(&column, "/type"), value, now)),
        );
    }
    cells
}

/// A value of another type than its column's is not shown, but everything can be text.
fn cell(of: &str, value: &Value, now: Timestamp) -> Value {
    match (of, value) {
        ("string", Value::String(_))
        | ("integer" | "number", Value::Number(_))
        | ("boolean", Value::Bool(_)) => value.clone(),
        ("string", other) => json!(other.to_string()),
        ("date", Value::String(time)) => match age::since(time, now) {
            unknown if unknown == "<unknown>" => json!("<invalid>"),
            age => age,
        },
        _ => Value::Null,
    }
}

fn find<'a>(object: &'a Value, steps: &[Step]) -> Option<&'a Value> {
    steps.iter().try_fold(object, |at, step| match step {
        Step::Name(name) => at.get(name),
        Step::Index(index) => at.get(index),
        Step::Filter(path, wanted) => at.as_array()?.iter().find(|item| {
            find(item, path).is_some_and(|value| match value {
                Value::String(text) => text == wanted,
                Value::Bool(flag) => wanted.parse() == Ok(*flag),
                Value::Number(number) => wanted.parse().is_ok_and(|one: Number| one == *number),
                _ => false,
            })
        }),
    })
}

fn parse(path: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix("[?(@") {
            let (condition, after) = after.split_once(")]")?;
            let (name, value) = condition.split_once("==")?;
            let value = value.trim().trim_matches(['"', '\'']).to_owned();
            steps.push(Step::Filter(parse(name.trim())?, value));
            rest = after;
        } else if let Some(after) = rest.strip_prefix('[') {
            let (inside, after) = after.split_once(']')?;
            steps.push(match inside.parse() {
                Ok(index) => Step::Index(index),
                Err(_) => Step::Name(inside.strip_prefix('\'')?.strip_suffix('\'')?.to_owned()),
            });
            rest = after;
        } else {
            let after = rest.strip_prefix('.')?;
            let mut name = String::new();
            let mut letters = after.char_indices();
            let mut end = after.len();
            while let Some((at, letter)) = letters.next() {
                match letter {
                    '\\' => name.extend(letters.next().map(|(_, escaped)| escaped)),
                    '.' | '[' => {
                        end = at;
                        break;
                    }
                    letter => name.push(letter),
                }
            }
            steps.push(Step::Name(name));
            rest = &after[end..];
        }
    }
    Some(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_values() {
        let object = json!({
            "a": { "b.c": 1, "list": [{ "type": "Ready", "status": "True" }, { "type": "Other" }] },
        });
        let value = |path: &str| parse(path).and_then(|steps| find(&object, &steps).cloned());
        assert_eq!(value(r".a.b\.c"), Some(json!(1)));
        assert_eq!(value(".a['b.c']"), Some(json!(1)));
        assert_eq!(value(".a.list[1].type"), Some(json!("Other")));
        assert_eq!(value(r#".a.list[?(@.type=="Ready")].status"#), Some(json!("True")));
        assert_eq!(value(".a.none.more"), None);
        assert_eq!(value("..a"), None);
        assert_eq!(value("a"), None);
    }
}
