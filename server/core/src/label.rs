//! Labels, annotations and label selectors, as the API server evaluates them.

mod parse;

use std::collections::BTreeMap;
use std::fmt;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// Names the revision or tag that injects a namespace's or a pod's sidecars.
pub const REVISION: &str = "istio.io/rev";
/// Asks for, or forbids, injection by the default revision; beats [`REVISION`].
pub const INJECTION: &str = "istio-injection";
/// Forbids or asks for the injection of one pod, as a label or (formerly) as an annotation.
pub const SIDECAR_INJECT: &str = "sidecar.istio.io/inject";
/// The injection record that istiod writes into a pod's annotations.
pub const SIDECAR_STATUS: &str = "sidecar.istio.io/status";
/// Carries a tag's name on its webhook configuration.
pub const TAG: &str = "istio.io/tag";
/// The namespace annotation that locks a namespace for one migration.
pub const LOCK: &str = "revshift.dev/migration";
/// The namespace annotation that orders namespaces of automatic waves: lower numbers move earlier.
pub const ORDER: &str = "revshift.dev/order";
/// The pod-template annotation whose change restarts a workload.
pub const RESTART: &str = "revshift.dev/restart";

/// The annotation by which the owner of a namespace or workload has revshift leave it alone: `true`.
pub const SKIP: &str = "revshift.dev/skip";

/// The labels of a namespace that decide on injection; what a move replaces and restores.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct InjectionLabels {
    /// Value of `istio.io/rev`; none when the label is not set.
    pub revision: Option<String>,
    /// Value of `istio-injection`; none when the label is not set.
    pub injection: Option<String>,
}

impl InjectionLabels {
    /// The labels that attach a namespace to `revision`, and to nothing else.
    pub fn of_revision(revision: &str) -> Self {
        Self { revision: Some(revision.to_owned()), injection: None }
    }

    /// The deciding labels among all labels of a namespace.
    pub fn among(labels: &Labels) -> Self {
        Self { revision: labels.get(REVISION).cloned(), injection: labels.get(INJECTION).cloned() }
    }

    /// The deciding label in force as `key=value`: `istio-injection` beats `istio.io/rev`.
    pub fn deciding(&self) -> Option<String> {
        match (&self.injection, &self.revision) {
            (Some(value), _) => Some(format!("{INJECTION}={value}")),
            (None, Some(value)) => Some(format!("{REVISION}={value}")),
            (None, None) => None,
        }
    }

    /// The value of `istio.io/rev`; empty where it is not set.
    pub fn value(&self) -> &str {
        self.revision.as_deref().unwrap_or_default()
    }

    /// Takes the place of the deciding labels among `labels`.
    pub fn replace(&self, labels: &mut Labels) {
        labels.remove(REVISION);
        labels.remove(INJECTION);
        labels.extend(self.entries());
    }

    /// The labels that are set, by key.
    pub fn entries(&self) -> Labels {
        [(REVISION, &self.revision), (INJECTION, &self.injection)]
            .into_iter()
            .filter_map(|(key, value)| Some((key.to_owned(), value.clone()?)))
            .collect()
    }
}

/// A Kubernetes label selector; an empty one matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    /// Every one of them must hold.
    pub requirements: Vec<Requirement>,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// The condition.
    pub operator: Operator,
}

/// The conditions of `metav1.LabelSelectorRequirement`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operator {
    /// The label is set to one of these values.
    In(Vec<String>),
    /// The label is not set, or to none of these values.
    NotIn(Vec<String>),
    /// The label is set.
    Exists,
    /// The label is not set.
    DoesNotExist,
    /// An operator that this version does not know: never matches.
    Unknown,
}

impl fmt::Display for Selector {
    /// As people write it, and as it is read again.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.requirements.iter().map(|Requirement { key, operator }| match operator {
            Operator::In(values) => format!("{key} in ({})", values.join(",")),
            Operator::NotIn(values) => format!("{key} notin ({})", values.join(",")),
            Operator::Exists => key.clone(),
            Operator::DoesNotExist => format!("!{key}"),
            Operator::Unknown => format!("{key} in an unknown way"),
        });
        f.write_str(&parts.collect::<Vec<_>>().join(","))
    }
}

impl Selector {
    /// Whether `labels` satisfy every requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            match &requirement.operator {
                Operator::In(values) => value.is_some_and(|value| values.contains(value)),
                Operator::NotIn(values) => value.is_none_or(|value| !values.contains(value)),
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
                Operator::Unknown => false,
            }
        })
    }
}
