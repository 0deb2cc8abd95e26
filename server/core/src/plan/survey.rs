//! What of a cluster a plan is made of: the namespaces that are asked for, each checked.

use super::{Entry, Finding, Place, Severity};
use crate::cluster::{Cluster, Namespace, NamespaceMeta};
use crate::label::InjectionLabels;
use crate::plane::Revision;
use crate::problem::Code;
use crate::refusal::{Refusal, Violation};
use crate::selection::{MOST_NAMESPACES, Matching};
use crate::wave::{self, Candidate, Wave};
use std::collections::{BTreeMap, BTreeSet};

/// A look at the cluster for a plan.
pub(super) struct Survey<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) source: &'a Revision,
    pub(super) target: &'a Revision,
    pub(super) allow_downtime: bool,
}

/// Waves, entries by namespace, and what was left out.
pub(super) type Found = (Vec<Wave>, BTreeMap<String, Entry>, Vec<Finding>);

impl Survey<'_> {
    /// An entry for each namespace, or everything that forbids one.
    pub(super) fn entries<'n>(
        &self,
        names: impl Iterator<Item = &'n String>,
    ) -> Result<BTreeMap<String, Entry>, Refusal> {
        let (mut made, mut violations) = (BTreeMap::new(), Vec::new());
        for name in names {
            match self.entry(name) {
                Ok(entry) => {
                    made.insert(name.clone(), entry);
                }
                Err(found) => violations.extend(found),
            }
        }
        if violations.is_empty() { Ok(made) } else { Err(Refusal::Plan(violations)) }
    }

    fn entry(&self, name: &str) -> Result<Entry, Vec<Violation>> {
        let Self { cluster, source, target, allow_downtime } = *self;
        let (meta, namespace) =
            attached(cluster, name, source, target).map_err(|violation| vec![violation])?;
        let before = InjectionLabels::among(&meta.labels);
        let after = InjectionLabels::of_revision(target.as_str());
        Place { cluster, name, meta, namespace, target, allow_downtime }.entry(before, after)
    }

    /// Those of the namespaces in which a gateway runs.
    pub(super) fn gateways<'n>(&self, names: impl Iterator<Item = &'n String>) -> BTreeSet<String> {
        let has_gateway = |name: &&String| {
            self.cluster.namespace(name).is_some_and(|(_, content)| content.has_gateway())
        };
        names.filter(has_gateway).cloned().collect()
    }

    /// What a rule finds.
    pub(super) fn matching(
        &self,
        matching: &Matching,
        approve_all: bool,
    ) -> Result<Found, Refusal> {
        let found = matching.find(self.cluster, self.source);
        self.ruled(found, |candidates| wave::automatic(candidates, approve_all))
    }

    /// What a rule has found, in waves. One namespace that cannot be moved does not hold thousands back:
    /// it is left out, and the plan says so.
    pub(super) fn ruled(
        &self,
        found: Vec<(&str, &NamespaceMeta, &Namespace)>,
        waves: impl FnOnce(Vec<Candidate>) -> Vec<Wave>,
    ) -> Result<Found, Refusal> {
        let (mut made, mut candidates) = (BTreeMap::new(), Vec::new());
        let mut violations = Vec::new();
        for (name, meta, content) in found {
            match self.entry(name) {
                Ok(entry) => {
                    made.insert(name.to_owned(), entry);
                    candidates.push(Candidate {
                        gateway: content.has_gateway(),
                        order: meta.order,
                        impact: content.injected_pods(),
                        name: name.to_owned(),
                    });
                }
                Err(found) => violations.extend(found.into_iter().map(|it| (name, it))),
            }
        }
        if made.len() > MOST_NAMESPACES {
            return Err(Refusal::TooMany { found: made.len(), most: MOST_NAMESPACES });
        }
        if made.is_empty() {
            return Err(if violations.is_empty() {
                Refusal::NothingSelected(self.source.to_string())
            } else {
                Refusal::Plan(violations.into_iter().map(|(_, violation)| violation).collect())
            });
        }
        let left_out =
            violations.into_iter().map(|(name, Violation { code, subject, description })| {
                let message = format!("namespace `{name}` is left out: {description}");
                Finding { severity: Severity::Warning, code, object: subject, message }
            });
        Ok((waves(candidates), made, left_out.collect()))
    }
}

/// The entries in the order of the waves, and which waves wait for an approval.
pub(super) fn in_waves(
    waves: Vec<Wave>,
    mut made: BTreeMap<String, Entry>,
) -> (Vec<Entry>, BTreeSet<u32>) {
    let (mut entries, mut approvals) = (Vec::new(), BTreeSet::new());
    for (number, wave) in (0_u32..).zip(waves) {
        if wave.approval {
            approvals.insert(number);
        }
        for name in wave.namespaces {
            if let Some(mut entry) = made.remove(&name) {
                entry.wave = number;
                entries.push(entry);
            }
        }
    }
    (entries, approvals)
}

/// The namespace, if its label attaches it to the source, or already to the target.
fn attached<'a>(
    cluster: &'a Cluster,
    name: &str,
    source: &Revision,
    target: &Revision,
) -> Result<(&'a NamespaceMeta, &'a Namespace), Violation> {
    let refuse = |code, description: String| {
        Err(Violation { code, subject: format!("Namespace/{name}"), description })
    };
    let Some((meta, namespace)) = cluster.namespace(name) else {
        return refuse(Code::NamespaceNotFound, "there is no such namespace".to_owned());
    };
    if meta.terminating {
        return refuse(Code::NamespaceTerminating, "it is being deleted".to_owned());
    }
    let labels = InjectionLabels::among(&meta.labels);
    if let Some(value) = labels.injection {
        let description = format!("it is labelled istio-injection={value}");
        return refuse(Code::NamespaceByInjection, description);
    }
    let Some(revision) = labels.revision else {
        let description = format!("it has no label istio.io/rev, so it is not on `{source}`");
        return refuse(Code::NamespaceNotAttached, description);
    };
    if revision == source.as_str() || revision == target.as_str() {
        return Ok((meta, namespace));
    }
    if let Some(behind) = cluster.tag(&revision) {
        let description = format!("its label names the tag `{revision}` of `{behind}`");
        return refuse(Code::NamespaceByTag, description);
    }
    let description = format!("its label names `{revision}`, not `{source}`");
    refuse(Code::NamespaceNotAttached, description)
}
