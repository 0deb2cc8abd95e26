//! What is to be known before namespaces move: of the planes, of what injects, of workloads at risk, of
//! configuration. Judges what was observed, and never takes what could not be read for good.

mod configuration;
mod mesh;
mod namespace;
mod permission;
mod plane;
mod reference;
mod sample;
mod scope;
pub mod surroundings;
mod trial;
mod workload;

use crate::allowance::Allowance;
use crate::cluster::Cluster;
use crate::label::{InjectionLabels, Labels};
use crate::plan::{Finding, Severity};
use crate::plane::Revision;
use crate::problem::Code;
use crate::refusal::Violation;
use sample::Sidecars;
pub use sample::samples;
pub use scope::{of_plan, scope};
use std::collections::BTreeSet;
use surroundings::Surroundings;

/// What is to be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scope {
    /// The plane to leave.
    pub source: Revision,
    /// The plane to move to.
    pub target: Revision,
    /// The labels that attach a namespace to it: by its revision, or by the tag that was named.
    pub labels: InjectionLabels,
    /// The namespaces that would move.
    pub namespaces: BTreeSet<String>,
}

/// What the checks are made of.
struct Checks<'a> {
    cluster: &'a Cluster,
    scope: &'a Scope,
    around: &'a Surroundings,
    sidecars: Sidecars<'a>,
    found: Vec<Finding>,
}

/// The findings for `scope`, the gravest first, with those that are already there.
pub fn check(
    cluster: &Cluster,
    scope: &Scope,
    around: &Surroundings,
    found: Vec<Finding>,
) -> Vec<Finding> {
    let sidecars = sample::sidecars(cluster, scope);
    let mut checks = Checks { cluster, scope, around, sidecars, found };
    checks.planes();
    checks.meshes();
    checks.namespaces();
    checks.trials();
    checks.workloads();
    checks.configuration();
    checks.references();
    checks.permissions();
    let mut found = checks.found;
    found.sort_by(|one, other| {
        let key = |it: &Finding| (std::cmp::Reverse(it.severity), it.code);
        key(one).cmp(&key(other)).then_with(|| one.object.cmp(&other.object))
    });
    found.dedup();
    found
}

/// The errors among `findings` that nobody has allowed.
pub fn forbidding(findings: &[Finding], allowances: &[Allowance]) -> Vec<Violation> {
    let errors = findings.iter().filter(|it| it.severity == Severity::Error);
    let left = errors.filter(|it| allowances.iter().all(|allowed| allowed.code != it.code));
    left.map(|Finding { code, object, message, .. }| Violation {
        code: *code,
        subject: object.clone(),
        description: message.clone(),
    })
    .collect()
}

impl Checks<'_> {
    fn find(
        &mut self,
        severity: Severity,
        code: Code,
        object: impl Into<String>,
        message: impl Into<String>,
    ) {
        let (object, message) = (object.into(), message.into());
        self.found.push(Finding { severity, code, object, message });
    }

    fn error(&mut self, code: Code, object: impl Into<String>, message: impl Into<String>) {
        self.find(Severity::Error, code, object, message);
    }

    fn warn(&mut self, code: Code, object: impl Into<String>, message: impl Into<String>) {
        self.find(Severity::Warning, code, object, message);
    }

    fn note(&mut self, code: Code, object: impl Into<String>, message: impl Into<String>) {
        self.find(Severity::Info, code, object, message);
    }

    /// The labels of a namespace as they are now.
    fn labels_of(&self, namespace: &str) -> Option<&Labels> {
        self.cluster.namespace(namespace).map(|(meta, _)| &meta.labels)
    }
}

fn plane(revision: &Revision) -> String {
    format!("ControlPlane/{revision}")
}
