//! Answers without what differs from run to run.

use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The letters of which Kubernetes makes names and hashes.
const SAFE: &str = "bcdfghjklmnpqrstvwxz2456789";

/// How answers of one exchange are normalised.
pub(super) struct Normal<'a> {
    /// What was taken before, which keeps its name.
    pub(super) taken: &'a BTreeMap<String, String>,
    /// Whether it counts who manages which fields; not where the request does not say who it is.
    pub(super) managers: bool,
}

impl Normal<'_> {
    pub(super) fn of(&self, value: Value) -> Value {
        self.value("", value)
    }

    fn value(&self, key: &str, value: Value) -> Value {
        match value {
            Value::Object(map) => Value::Object(self.object(map)),
            Value::Array(all) => {
                Value::Array(all.into_iter().map(|one| self.value(key, one)).collect())
            }
            Value::String(text) => Value::String(self.text(key, &text)),
            other => other,
        }
    }

    fn object(&self, map: Map<String, Value>) -> Map<String, Value> {
        let keep = |key: &String| self.managers || key != "managedFields";
        map.into_iter()
            .filter(|(key, _)| keep(key) && key != "fieldsV1" && key != "time")
            .map(|(key, value)| {
                let value = self.value(&key, value);
                (key, value)
            })
            .collect()
    }

    fn text(&self, key: &str, text: &str) -> String {
        let whole = self.taken.iter().find(|(_, value)| *value == text);
        if let Some((name, _)) = whole {
            return format!("${{{name}}}");
        }
        match key {
            "uid" => return "<uid>".to_owned(),
            "resourceVersion" => return marked(text, "<version>"),
            "continue" => return marked(text, "<continue>"),
            "nodeName" => return marked(text, "<node>"),
            "podIP" | "hostIP" | "ip" => return marked(text, "<ip>"),
            "pod-template-hash" | "controller-revision-hash" => return "<hash>".to_owned(),
            _ => {}
        }
        if is_time(text) {
            return "<time>".to_owned();
        }
        let known = self.taken.iter().filter(|(_, value)| value.len() > 30);
        let text = known.fold(text.to_owned(), |text, (name, value)| {
            text.replace(value.as_str(), &format!("${{{name}}}"))
        });
        words(&text)
    }
}

/// An empty text says something, any other only that there is one.
fn marked(text: &str, mark: &str) -> String {
    if text.is_empty() || text == "0" { text.to_owned() } else { mark.to_owned() }
}

/// Like 2026-01-02T03:04:05Z, with or without fractions.
fn is_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 20
        && bytes.ends_with(b"Z")
        && [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')]
            .iter()
            .all(|(at, byte)| bytes[*at] == *byte)
}

/// Marks what is generated or counted within a text: `web-5d8f9c7b6-x2x4z`, `current: 17`.
fn words(text: &str) -> String {
    let mut normal = String::new();
    for word in text.split_inclusive([' ', '"', '\'', '/', ',', '(', ')', ':', '?', '&']) {
        let end = word.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let (name, rest) = word.split_at(end.len());
        normal.push_str(&generated(name));
        normal.push_str(rest);
    }
    for before in ["current: ", "resource version: ", " ("] {
        normal = counted(&normal, before);
    }
    normal
}

/// A name whose last parts were generated, with marks in their place.
fn generated(name: &str) -> String {
    let is = |part: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&part.len()) && part.chars().all(|c| SAFE.contains(c))
    };
    let parts: Vec<&str> = name.split('-').collect();
    let mut shown: Vec<&str> = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let last = index + 1 == parts.len();
        let hash = index > 0 && is(part, 8..=10);
        let suffix = index > 0 && last && is(part, 5..=5);
        shown.push(if hash || suffix { "<generated>" } else { part });
    }
    shown.join("-")
}

/// Marks the numbers that follow `before`.
fn counted(text: &str, before: &str) -> String {
    let mut parts = text.split(before);
    let mut normal = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        let number = &part[..part.len() - rest.len()];
        // A resource version that a request names is small or far too large.
        let counted = !number.is_empty() && number != "1" && number.len() < 9;
        normal.push_str(before);
        normal.push_str(if counted { "<number>" } else { number });
        normal.push_str(rest);
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_differs_is_marked_and_what_was_taken_keeps_its_name() {
        let taken = BTreeMap::from([("before".to_owned(), "17".to_owned())]);
        let normal = Normal { taken: &taken, managers: false };
        let answer = json!({
            "metadata": {
                "uid": "6f1c8c1e-0a37-4d7c-9d26-3a1d9f0c5a01",
                "resourceVersion": "17",
                "name": "web-5d8f9c7b6-x2x4z",
                "creationTimestamp": "2026-01-02T03:04:05Z",
                "managedFields": [],
            },
            "message": "too old resource version: 1 (305)",
        });
        let expected = json!({
            "metadata": {
                "uid": "<uid>",
                "resourceVersion": "${before}",
                "name": "web-<generated>-<generated>",
                "creationTimestamp": "<time>",
            },
            "message": "too old resource version: 1 (<number>)",
        });
        assert_eq!(normal.of(answer), expected);
    }
}
