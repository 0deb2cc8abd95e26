//! What of a cluster a plan is made of: the namespaces that are asked for, each checked.

use super::{Entry, Finding, Place, Severity};
use crate::cluster::{Cluster, Namespace, NamespaceMeta};
use crate::injection::Injection;
use crate::label::InjectionLabels;
use crate::plane::Revision;
use crate::problem::Code;
use crate::refusal::{Refusal, Violation};
use crate::rollout;
use crate::selection::{MOST_NAMESPACES, Matching};
use crate::tag::{TagPolicy, Tags};
use crate::wave::{self, Candidate, Wave};
use std::collections::{BTreeMap, BTreeSet};

/// A look at the cluster for a plan.
pub(super) struct Survey<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) source: &'a Revision,
    pub(super) target: &'a Revision,
    pub(super) tags: &'a Tags,
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
        let Self { cluster, target, allow_downtime, .. } = *self;
        let (meta, namespace) = self.attached(name).map_err(|violation| vec![violation])?;
        let before = InjectionLabels::among(&meta.labels);
        // What leads to the target already is left as it is, by whatever name: nothing would be gained,
        // and a rollback could not lead it to the source.
        let there = cluster.injection_of_labels(&meta.labels) == Injection::By(target.clone());
        let after = if there { before.clone() } else { self.tags.labels_of(target) };
        Place { cluster, name, meta, namespace, target, allow_downtime }.entry(before, after)
    }

    /// The namespace, if its labels attach it to the source, or already to the target.
    fn attached(&self, name: &str) -> Result<(&NamespaceMeta, &Namespace), Violation> {
        let Self { cluster, source, target, .. } = *self;
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
        let Some(label) = labels.deciding() else {
            let description = format!("it has no label istio.io/rev, so it is not on `{source}`");
            return refuse(Code::NamespaceNotAttached, description);
        };
        let names = |plane: &Revision| labels == InjectionLabels::of_revision(plane.as_str());
        if names(source) || names(target) {
            return Ok((meta, namespace));
        }
        let injection = cluster.injection_of_labels(&meta.labels);
        let there = injection == Injection::By(target.clone());
        let on_source = injection == Injection::By(source.clone());
        let rewritten = self.tags.policy == TagPolicy::Rewrite;
        if there || on_source && rewritten {
            return Ok((meta, namespace));
        }
        let tag = labels.revision.as_deref().and_then(|revision| cluster.tag(revision));
        let told = if on_source { "; --tags=rewrite has it replaced" } else { "" };
        let (code, description) = match (&labels.injection, &injection, tag) {
            (Some(_), Injection::By(behind), _) if !rewritten => (
                Code::NamespaceByInjection,
                format!("it is labelled {label}, which leads to `{behind}`{told}"),
            ),
            (Some(_), _, _) if !rewritten => {
                (Code::NamespaceByInjection, format!("it is labelled {label}"))
            }
            (None, _, Some(behind)) if !rewritten => (
                Code::NamespaceByTag,
                format!("its label names the tag `{}` of `{behind}`{told}", labels.value()),
            ),
            (_, Injection::By(other), _) => (
                Code::NamespaceNotAttached,
                format!("its label {label} leads to `{other}`, not to `{source}`"),
            ),
            (None, _, _) => (
                Code::NamespaceNotAttached,
                format!("its label names `{}`, not `{source}`", labels.value()),
            ),
            (Some(_), other, _) => (
                Code::NamespaceNotAttached,
                format!("with its label {label} pods are {}", rollout::describe(other)),
            ),
        };
        refuse(code, description)
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
        // Those that are on it by a tag are left out, and told, where they may not be rewritten.
        let found = matching.find(self.cluster, self.source, TagPolicy::Rewrite);
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
