//! Extensions: namespaces that an unfinished migration takes in, in waves behind its last one.

use super::finding::findings;
use super::survey::{Survey, in_waves};
use super::{Plan, available, refuse_kept};
use crate::cluster::Cluster;
use crate::gate;
use crate::migration::Migration;
use crate::refusal::{FieldViolation, Refusal};
use crate::selection::{MOST_NAMESPACES, Selection};
use crate::wave;
use std::collections::{BTreeMap, BTreeSet};

/// What is to be taken in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// These namespaces, one a wave, in this order; empty: what the migration's rule finds by now.
    pub namespaces: Vec<String>,
}

/// What of a request is malformed, whatever there is.
pub fn check_fields(request: &Request) -> Vec<FieldViolation> {
    if request.namespaces.is_empty() {
        return Vec::new();
    }
    let violations = Selection::Named(request.namespaces.clone()).check().into_iter();
    violations
        .map(|FieldViolation { field, description }| {
            let field = field.strip_prefix("spec.").unwrap_or(&field);
            FieldViolation::new(field, description)
        })
        .collect()
}

/// The plan of what `migration` takes in, its waves numbered behind those that there are. `all` are the
/// stored migrations: what another one has not finished is not taken in.
pub fn extension(
    cluster: &Cluster,
    migration: &Migration,
    all: &BTreeMap<String, Migration>,
    request: &Request,
) -> Result<Plan, Refusal> {
    let fields = check_fields(request);
    if !fields.is_empty() {
        return Err(Refusal::InvalidFields(fields));
    }
    let refuse = |why: &str| Refusal::State {
        migration: migration.id.clone(),
        state: migration.state(&BTreeSet::new()).as_str().to_owned(),
        why: why.to_owned(),
    };
    let spec = &migration.spec;
    if migration.ended.is_some() {
        return Err(refuse("it has ended; a new one moves what came since"));
    }
    if migration.control.cancelled {
        return Err(refuse("it is being cancelled"));
    }
    if spec.rollback_of.is_some() {
        return Err(refuse("a rollback takes back what was moved, and nothing else"));
    }
    let target = available(cluster, spec.target.as_str())?;
    refuse_kept(cluster, [&spec.source, &target])?;
    let survey = Survey {
        cluster,
        source: &spec.source,
        target: &target,
        tags: &spec.tags,
        allow_downtime: spec.allow_downtime,
    };
    let (waves, made, mut left_out) = if request.namespaces.is_empty() {
        let Some(rule) = &spec.rule else {
            let why = "no rule has found its namespaces, so name those that it is to take in";
            return Err(refuse(why));
        };
        let mut new = rule.find(cluster, &spec.source, spec.tags.policy);
        new.retain(|(name, ..)| migration.find(name).is_none());
        if new.is_empty() {
            return Err(refuse("its rule finds nothing that it does not have"));
        }
        survey.ruled(new, wave::added)?
    } else {
        let known = |(index, name): (usize, &String)| {
            let field = format!("namespaces[{index}]");
            let known = migration.find(name)?;
            let why = format!("`{name}` is in it already, in wave {}", known.wave);
            Some(FieldViolation::new(&field, why))
        };
        let known: Vec<_> = request.namespaces.iter().enumerate().filter_map(known).collect();
        if !known.is_empty() {
            return Err(Refusal::InvalidFields(known));
        }
        let made = survey.entries(request.namespaces.iter())?;
        let gateways = survey.gateways(request.namespaces.iter());
        (wave::in_order(&request.namespaces, &gateways, false), made, Vec::new())
    };
    let found = migration.moves.len().saturating_add(made.len());
    if found > MOST_NAMESPACES {
        return Err(Refusal::TooMany { found, most: MOST_NAMESPACES });
    }
    if let Some((other, name)) = held(migration, all, made.keys()) {
        let why = format!("`{name}` is in migration `{other}`, which has not ended");
        return Err(refuse(&why));
    }
    let (mut entries, approvals) = in_waves(waves, made);
    let first = migration.waves();
    let last = entries.iter().map(|entry| entry.wave).max().unwrap_or_default();
    let wrong = gate::check_waves(&spec.gates, first.saturating_add(last).saturating_add(1));
    if !wrong.is_empty() {
        return Err(Refusal::InvalidFields(wrong));
    }
    for entry in &mut entries {
        entry.wave = entry.wave.saturating_add(first);
    }
    left_out.extend(entries.iter().flat_map(findings));
    Ok(Plan {
        source: spec.source.clone(),
        target,
        rollout_timeout: spec.rollout_timeout,
        failure_budget: spec.failure_budget,
        allow_downtime: spec.allow_downtime,
        force: spec.force,
        on_failure: spec.on_failure,
        verification: spec.verification,
        rollback_of: None,
        extends: Some(migration.id.clone()),
        rule: None,
        windows: spec.windows.clone(),
        gates: spec.gates.clone(),
        allowances: spec.allowances.clone(),
        tags: spec.tags.clone().leading(cluster, super::labels(&entries)),
        entries,
        approvals: approvals.into_iter().map(|wave| wave.saturating_add(first)).collect(),
        findings: left_out,
    })
}

/// The first of the namespaces that another unfinished migration has, with its id.
fn held<'a>(
    migration: &Migration,
    all: &'a BTreeMap<String, Migration>,
    mut names: impl Iterator<Item = &'a String>,
) -> Option<(&'a str, &'a str)> {
    let open = |other: &&Migration| other.ended.is_none() && other.id != migration.id;
    let others: Vec<&Migration> = all.values().filter(open).collect();
    names.find_map(|name| {
        let other = others.iter().find(|other| other.find(name).is_some())?;
        Some((other.id.as_str(), name.as_str()))
    })
}

/// Namespaces that the rule of `migration` would take and its plan does not have: they came, or came to
/// match, after it was made. None once it starts nothing any more, nor for one that no rule has made.
pub fn unplanned(cluster: &Cluster, migration: &Migration) -> Vec<String> {
    let rule = migration.spec.rule.as_ref();
    let open = migration.ended.is_none() && !migration.control.cancelled;
    let Some(rule) = rule.filter(|_| open) else {
        return Vec::new();
    };
    let found = rule
        .find(cluster, &migration.spec.source, migration.spec.tags.policy)
        .into_iter()
        .map(|(name, ..)| name);
    found.filter(|name| migration.find(name).is_none()).map(str::to_owned).collect()
}
