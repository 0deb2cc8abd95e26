//! Which namespaces are asked for, and what is wrong with how they are.

use crate::cluster::{Cluster, Namespace, NamespaceMeta};
use crate::injection::Injection;
use crate::label::{InjectionLabels, Labels, Selector};
use crate::plane::Revision;
use crate::refusal::FieldViolation;
use crate::tag::TagPolicy;
use crate::wave::Wave;
use std::collections::BTreeSet;

/// More namespaces than this are refused in one migration.
pub const MOST_NAMESPACES: usize = 10_000;

/// Which namespaces are to be moved, and how they are grouped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// These, one after the other, in this order.
    Named(Vec<String>),
    /// These waves, one after the other.
    Waves(Vec<Wave>),
    /// Whatever a rule finds, in automatic waves.
    Matching(Matching),
}

/// A rule for namespaces of the source plane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matching {
    /// What their labels must be; an empty one takes all.
    pub selector: Selector,
    /// Namespaces that are never taken.
    pub exclude: BTreeSet<String>,
}

impl Selection {
    /// The namespaces in their order, where they are named; none for a rule.
    pub fn names(&self) -> Option<impl Iterator<Item = &String>> {
        let (named, waves) = match self {
            Self::Named(names) => (names.as_slice(), &[][..]),
            Self::Waves(waves) => (&[][..], waves.as_slice()),
            Self::Matching(_) => return None,
        };
        Some(named.iter().chain(waves.iter().flat_map(|wave| &wave.namespaces)))
    }

    /// What is malformed in it, whatever the cluster holds.
    pub fn check(&self) -> Vec<FieldViolation> {
        let mut violations = Vec::new();
        let mut seen = BTreeSet::new();
        let mut one = |field: String, name: &str| {
            if !is_name(name) {
                let description = format!("`{name}` is no namespace's name");
                violations.push(FieldViolation::new(&field, description));
            } else if !seen.insert(name.to_owned()) {
                violations.push(FieldViolation::new(&field, format!("`{name}` is named twice")));
            }
        };
        let (field, count) = match self {
            Self::Named(names) => {
                for (index, name) in names.iter().enumerate() {
                    one(format!("spec.namespaces[{index}]"), name);
                }
                ("spec.namespaces", names.len())
            }
            Self::Waves(waves) => {
                for (number, wave) in waves.iter().enumerate() {
                    for (index, name) in wave.namespaces.iter().enumerate() {
                        one(format!("spec.waves[{number}].namespaces[{index}]"), name);
                    }
                }
                for (number, wave) in waves.iter().enumerate() {
                    if wave.namespaces.is_empty() {
                        let field = format!("spec.waves[{number}].namespaces");
                        violations.push(FieldViolation::new(&field, "must name a namespace"));
                    }
                }
                ("spec.waves", waves.iter().map(|wave| wave.namespaces.len()).sum())
            }
            Self::Matching(_) => return violations,
        };
        if count == 0 && violations.is_empty() {
            violations.push(FieldViolation::new(field, "must name a namespace"));
        }
        if count > MOST_NAMESPACES {
            let most = format!("must be at most {MOST_NAMESPACES} namespaces");
            violations.push(FieldViolation::new(field, most));
        }
        violations
    }
}

impl Matching {
    /// The namespaces of `source` that it takes, by name; those that are on it by a tag or by
    /// `istio-injection` only where their labels may be rewritten. Those of Kubernetes itself, of control
    /// planes, and those that are being deleted are never taken.
    pub fn find<'a>(
        &self,
        cluster: &'a Cluster,
        source: &Revision,
        tags: TagPolicy,
    ) -> Vec<(&'a str, &'a NamespaceMeta, &'a Namespace)> {
        let of_planes: BTreeSet<&str> =
            cluster.planes().values().map(|plane| plane.namespace.as_str()).collect();
        let attached = InjectionLabels::of_revision(source.as_str());
        let on_source = |labels: &Labels| {
            let of_namespace = InjectionLabels::among(labels);
            of_namespace == attached
                || tags == TagPolicy::Rewrite
                    && of_namespace.deciding().is_some()
                    && cluster.injection_of_labels(labels) == Injection::By(source.clone())
        };
        cluster
            .namespaces()
            .filter(|(name, meta, _)| {
                !name.starts_with("kube-")
                    && !of_planes.contains(name)
                    && !self.exclude.contains(*name)
                    && !meta.terminating
                    && on_source(&meta.labels)
                    && self.selector.matches(&meta.labels)
            })
            .collect()
    }
}

/// Whether `name` is a DNS label, as names of namespaces are.
pub fn is_name(name: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !name.is_empty()
        && name.len() <= 63
        && name.bytes().all(inner)
        && !name.starts_with('-')
        && !name.ends_with('-')
}
