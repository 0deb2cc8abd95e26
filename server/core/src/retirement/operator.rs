//! Whether the operator runs that has to delete a plane: the status of one whose operator is gone stays
//! as it was, and its deletion hangs on a finalizer.

use super::census::Census;
use super::remedy;
use super::{Finding, Subject};
use crate::label;
use crate::plane::Source;
use crate::problem::Code;
use jiff::Timestamp;
use std::collections::BTreeSet;

/// What keeps the operator of `plane` from being trusted; none when it runs, or none is needed.
pub(super) fn silent(census: &Census, plane: &Subject) -> Option<Finding> {
    let why = match plane.source {
        Source::Istio => None,
        Source::Sail => unseen(census),
        Source::Calisti => behind(census, plane),
    }?;
    let object = match plane.source {
        Source::Calisti => format!("IstioControlPlane/{}/{}", plane.namespace, plane.name),
        Source::Sail | Source::Istio => format!("IstioRevision/{}", plane.name),
    };
    let operator = remedy::operator(plane.source);
    Some(Finding::blocker(Code::OperatorSilent, object, format!("{operator} {why}")))
}

/// Calisti's operator copies the names of the namespaces that are labelled with the plane into its status,
/// within seconds: whoever has followed the labels that a migration wrote, runs.
fn behind(census: &Census, plane: &Subject) -> Option<String> {
    let traces = &census.operator;
    let labelled: BTreeSet<String> = census
        .cluster
        .namespaces()
        .filter(|(_, meta, _)| {
            let revision = meta.labels.get(label::REVISION);
            revision.is_some_and(|revision| *revision == plane.revision.0)
        })
        .map(|(name, ..)| name.to_owned())
        .collect();
    let told = traces.namespaces.clone().unwrap_or_default();
    if told != labelled {
        return Some(format!(
            "does not follow the labels of namespaces: it says that {} are attached, and {} are",
            names(&told),
            names(&labelled),
        ));
    }
    match last_relabelling(census, plane) {
        // Kubernetes tells whole seconds.
        Some(begun) if traces.written.is_some_and(|at| at.as_second() >= begun.as_second()) => None,
        // The last namespace was taken off a list that is gone with it, and that leaves no time.
        Some(_) if traces.namespaces.is_none() => unseen(census),
        Some(begun) => Some(format!(
            "has not written the plane's status since a migration of {begun} changed labels"
        )),
        None => unseen(census),
    }
}

/// When the last migration began to write labels of the plane's namespaces.
fn last_relabelling(census: &Census, plane: &Subject) -> Option<Timestamp> {
    let revision = Some(&plane.revision.0);
    let naming = |migration: &&crate::migration::Migration| {
        [&migration.spec.source, &migration.spec.target].contains(&&plane.revision)
    };
    let moves = census.migrations.iter().filter(naming).flat_map(|it| it.moves.iter());
    let written = moves.filter(|m| {
        let changed = m.before.revision != m.after.revision;
        let named = m.before.revision.as_ref() == revision || m.after.revision.as_ref() == revision;
        m.relabelled && changed && named
    });
    written.filter_map(|m| m.started).max()
}

fn unseen(census: &Census) -> Option<String> {
    let deployments = &census.operator.deployments;
    if deployments.iter().any(|(_, available)| *available) {
        return None;
    }
    let seen: Vec<&str> = deployments.iter().map(|(name, _)| name.as_str()).collect();
    Some(if seen.is_empty() {
        "is not to be found in this cluster".to_owned()
    } else {
        format!("is not available: Deployment {}", seen.join(", "))
    })
}

fn names(names: &BTreeSet<String>) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let shown: Vec<&str> = names.iter().map(String::as_str).take(5).collect();
    let more = names.len().saturating_sub(shown.len());
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}
