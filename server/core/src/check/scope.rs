//! What a request would have checked, also where it would be refused as it stands.

use super::Scope;
use crate::cluster::Cluster;
use crate::label::InjectionLabels;
use crate::plan::{self, Finding, Plan, Request};
use crate::refusal::Refusal;
use crate::selection::Selection;
use crate::tag;
use std::collections::BTreeSet;

/// The scope of `request` and what its plan finds; what forbids the plan is an error among others. Refused
/// is only what cannot be understood.
pub fn scope(cluster: &Cluster, request: &Request) -> Result<(Scope, Vec<Finding>), Refusal> {
    let (names, findings) = match plan::plan(cluster, request) {
        Ok(plan) => return Ok((of_plan(&plan), plan.findings)),
        Err(Refusal::Plan(violations)) => {
            (selected(cluster, request)?, violations.into_iter().map(Finding::from).collect())
        }
        // The checks tell of that by themselves.
        Err(Refusal::PlaneUnavailable { .. }) => (selected(cluster, request)?, Vec::new()),
        Err(refusal) => return Err(refusal),
    };
    let source = tag::named(cluster, &request.source)?.plane.revision.clone();
    let to = tag::named(cluster, &request.target)?;
    let target = to.plane.revision.clone();
    let labels = InjectionLabels::of_revision(to.tag.as_deref().unwrap_or(target.as_str()));
    let exists = |name: &String| cluster.namespace(name).is_some();
    let namespaces = names.into_iter().filter(exists).collect();
    Ok((Scope { source, target, labels, namespaces }, findings))
}

/// The scope of a plan.
pub fn of_plan(plan: &Plan) -> Scope {
    Scope {
        source: plan.source.clone(),
        target: plan.target.clone(),
        labels: plan.tags.labels_of(&plan.target),
        namespaces: plan.entries.iter().map(|entry| entry.namespace.clone()).collect(),
    }
}

fn selected(cluster: &Cluster, request: &Request) -> Result<BTreeSet<String>, Refusal> {
    Ok(match &request.selection {
        Selection::Named(names) => names.iter().cloned().collect(),
        Selection::Waves(waves) => waves.iter().flat_map(|it| it.namespaces.clone()).collect(),
        Selection::Matching(matching) => {
            let source = &tag::named(cluster, &request.source)?.plane.revision;
            matching
                .find(cluster, source, request.tags)
                .into_iter()
                .map(|(name, ..)| name.to_owned())
                .collect()
        }
    })
}
