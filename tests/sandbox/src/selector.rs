//! Label and field selectors: the string form of list and watch requests, and the structured
//! form of webhooks, quotas and workloads.

use serde_json::Value;

use crate::kind::{self, Kind};
use crate::object;
use crate::refusal::Refusal;

/// A conjunction of requirements on labels.
#[derive(Debug, Clone, Default)]
pub(crate) struct LabelSelector(Vec<Requirement>);

/// A conjunction of comparisons of fields.
#[derive(Debug, Clone, Default)]
pub(crate) struct FieldSelector(Vec<Comparison>);

#[derive(Debug, Clone)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
}

#[derive(Debug, Clone)]
struct Comparison {
    pointer: String,
    value: String,
    equal: bool,
}

impl LabelSelector {
    /// Parses the query form: `a=b,c!=d,e in (f,g),h notin (i),j,!k`.
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let mut requirements = Vec::new();
        for part in split(text) {
            let requirement = Requirement::parse(part.trim()).ok_or_else(|| {
                Refusal::bad_request(format!("unable to parse requirement: {part}"))
            })?;
            requirements.push(requirement);
        }
        Ok(Self(requirements))
    }

    /// Reads the structured form; an absent or empty selector matches everything.
    pub(crate) fn structured(selector: Option<&Value>) -> Self {
        let Some(selector) = selector else { return Self::default() };
        let mut requirements: Vec<_> = object::strings(selector.get("matchLabels"))
            .into_iter()
            .map(|(key, value)| Requirement { key, test: Test::In(vec![value]) })
            .collect();
        for expression in object::list(selector, "/matchExpressions") {
            let values = object::list(expression, "/values")
                .iter()
                .filter_map(|value| Some(value.as_str()?.to_owned()))
                .collect();
            let test = match object::text(expression, "/operator") {
                "In" => Test::In(values),
                "NotIn" => Test::NotIn(values),
                "Exists" => Test::Exists,
                _ => Test::Absent,
            };
            requirements.push(Requirement { key: object::text(expression, "/key").into(), test });
        }
        Self(requirements)
    }

    pub(crate) fn matches_object(&self, object: &Value) -> bool {
        self.0.iter().all(|one| one.matches(object::label(object, &one.key)))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Requirement {
    fn parse(text: &str) -> Option<Self> {
        let with = |key: &str, test| {
            let key = key.trim();
            (!key.is_empty() && !key.contains(['(', ' '])).then(|| Self { key: key.into(), test })
        };
        if let Some((head, tail)) = text.split_once('(') {
            let values: Vec<_> =
                tail.strip_suffix(')')?.split(',').map(|one| one.trim().to_owned()).collect();
            let head = head.trim();
            return match head.rsplit_once(char::is_whitespace)? {
                (key, "in") => with(key, Test::In(values)),
                (key, "notin") => with(key, Test::NotIn(values)),
                _ => None,
            };
        }
        let one = |value: &str| vec![value.trim().to_owned()];
        if let Some((key, value)) = text.split_once("!=") {
            with(key, Test::NotIn(one(value)))
        } else if let Some((key, value)) = text.split_once("==") {
            with(key, Test::In(one(value)))
        } else if let Some((key, value)) = text.split_once('=') {
            with(key, Test::In(one(value)))
        } else if let Some(key) = text.strip_prefix('!') {
            with(key, Test::Absent)
        } else {
            with(text, Test::Exists)
        }
    }

    /// `!=` and `notin` also hold when the label is absent.
    fn matches(&self, value: Option<&str>) -> bool {
        match (&self.test, value) {
            (Test::In(values), Some(value)) => values.iter().any(|one| one == value),
            (Test::NotIn(values), Some(value)) => values.iter().all(|one| one != value),
            (Test::In(_) | Test::Exists, None) | (Test::Absent, Some(_)) => false,
            (Test::NotIn(_) | Test::Absent, None) | (Test::Exists, Some(_)) => true,
        }
    }
}

impl FieldSelector {
    /// Parses `a=b,c!=d`, refusing fields that the kind does not index.
    pub(crate) fn parse(kind: &Kind, text: &str) -> Result<Self, Refusal> {
        let mut comparisons = Vec::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (field, value, equal) = if let Some((field, value)) = part.split_once("!=") {
                (field, value, false)
            } else if let Some((field, value)) = part.split_once("==") {
                (field, value, true)
            } else if let Some((field, value)) = part.split_once('=') {
                (field, value, true)
            } else {
                let message = format!("invalid selector: '{part}'; can't understand '{part}'");
                return Err(Refusal::bad_request(message));
            };
            if !supports(kind, field) {
                let message = format!("field label not supported: {field}");
                return Err(Refusal::bad_request(message));
            }
            comparisons.push(Comparison {
                pointer: format!("/{}", field.replace('.', "/")),
                value: value.to_owned(),
                equal,
            });
        }
        Ok(Self(comparisons))
    }

    pub(crate) fn matches(&self, object: &Value) -> bool {
        self.0.iter().all(|one| (object::text(object, &one.pointer) == one.value) == one.equal)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn supports(kind: &Kind, field: &str) -> bool {
    let more: &[&str] = match kind.resource.as_str() {
        kind::PODS => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        kind::EVENTS => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        kind::NAMESPACES => &["status.phase"],
        _ => &[],
    };
    matches!(field, "metadata.name" | "metadata.namespace") || more.contains(&field)
}

/// Splits at commas outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0;
    let parts = text.split(|letter| {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        letter == ',' && depth == 0
    });
    parts.filter(|part| !part.trim().is_empty()).collect()
}
