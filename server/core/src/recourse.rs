//! What a migration does by itself about its failures: a rollback, a migration of its own, made once
//! for each attempt that failed.
//!
//! That it is to be made is stored with the failed move before it is made; its id follows from that
//! move, so whoever makes it after a crash makes the same one. A rollback never has recourse itself.

use crate::admission::Decision;
use crate::migration::{Migration, Move, OnFailure, Stage, TakenBack};
use crate::plan;
use crate::problem::{Code, Problem};
use crate::rollback::Request;
use std::collections::BTreeMap;

/// A rollback that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// The migration whose move failed.
    pub migration: &'a Migration,
    /// The move.
    pub m: &'a Move,
    /// The rollback's id.
    pub id: &'a str,
    /// What of the migration it takes back.
    pub request: Request,
}

/// What is to be noted in the records of failed moves: that a rollback is to be made, or that it was.
pub fn decide(migrations: &BTreeMap<String, Migration>) -> Vec<Decision> {
    let mut decisions = Vec::new();
    for migration in migrations.values().filter(|migration| acts(migration)) {
        let mut note = |m: Move| {
            decisions.push(Decision { migration: migration.id.clone(), m });
        };
        for (m, taken) in marked(migration) {
            if migrations.contains_key(&taken.rollback) {
                let taken = TakenBack { stage: Stage::Made, ..taken.clone() };
                note(Move { taken_back: Some(taken), ..m.clone() });
            }
        }
        for (m, problem) in answerable(migration) {
            let taken = TakenBack {
                attempt: m.attempt,
                problem: problem.clone(),
                rollback: id(migration, m),
                stage: Stage::Wanted,
            };
            note(Move { taken_back: Some(taken), ..m.clone() });
        }
    }
    decisions
}

/// The rollbacks that are noted and were not made yet.
pub fn wanted(migrations: &BTreeMap<String, Migration>) -> Vec<Wanted<'_>> {
    let acting = migrations.values().filter(|migration| acts(migration));
    let all = acting.flat_map(|migration| {
        marked(migration).map(move |(m, taken)| Wanted {
            migration,
            m,
            id: &taken.rollback,
            request: request(migration, m, &taken.problem),
        })
    });
    all.filter(|wanted| !migrations.contains_key(wanted.id)).collect()
}

/// The move with the note that its rollback cannot be made.
pub fn refused(m: &Move, why: &str) -> Move {
    let mut m = m.clone();
    if let Some(taken) = &mut m.taken_back {
        taken.stage = Stage::Refused(why.to_owned());
    }
    m
}

/// On whose behalf a rollback is made.
pub fn requester(migration: &Migration) -> String {
    format!("revshift, for {}", migration.spec.requester)
}

/// Whether it does anything about its failures now: nobody has stopped it.
fn acts(migration: &Migration) -> bool {
    let spec = &migration.spec;
    migration.ended.is_none()
        && spec.rollback_of.is_none()
        && spec.on_failure != OnFailure::Pause
        && !migration.control.cancelled
        && !migration.control.paused
}

/// Failed moves whose rollback is to be made.
fn marked(migration: &Migration) -> impl Iterator<Item = (&Move, &TakenBack)> {
    let failed = migration.moves.failed().filter(|(_, m)| !migration.retry_wanted(m));
    failed.filter_map(|(_, m)| {
        let taken = m.taken_back.as_ref().filter(|taken| taken.attempt == m.attempt)?;
        (taken.stage == Stage::Wanted).then_some((m, taken))
    })
}

/// Failed moves whose failure is to be answered, with it.
fn answerable(migration: &Migration) -> Vec<(&Move, &Problem)> {
    let open = |m: &&Move| {
        let answered = m.taken_back.as_ref().is_some_and(|taken| taken.attempt == m.attempt);
        m.relabelled && m.before != m.after && !migration.retry_wanted(m) && !answered
    };
    let failed = migration.moves.failed().map(|(_, m)| m).filter(open).filter_map(|m| {
        // A label that somebody else has changed is never fought over.
        Some((m, m.problem().filter(|problem| problem.code != Code::LabelDrift)?))
    });
    match migration.spec.on_failure {
        OnFailure::RollBackNamespace => failed.collect(),
        // One failure answers for its wave, once nothing of that is under way any more.
        OnFailure::RollBackWave if migration.over_budget() => {
            let last = failed.min_by_key(|(m, _)| std::cmp::Reverse(m.wave));
            let quiet = |m: &Move| {
                let mut wave = migration.moves.iter().filter(|other| other.wave == m.wave);
                wave.all(|other| !other.state.takes_place() && !is_marked(other))
            };
            last.into_iter().filter(|(m, _)| quiet(m)).collect()
        }
        OnFailure::Pause | OnFailure::RollBackWave => Vec::new(),
    }
}

/// Whether the rollback of its last failure is to be made.
fn is_marked(m: &Move) -> bool {
    m.needs_help() && m.taken_back.as_ref().is_some_and(|taken| taken.stage == Stage::Wanted)
}

fn id(migration: &Migration, m: &Move) -> String {
    let cause = format!("{}/{}/{}", migration.id, m.namespace, m.attempt);
    plan::migration_id("revshift on failure", &cause)
}

fn request(migration: &Migration, m: &Move, problem: &Problem) -> Request {
    let Problem { code, object, message, .. } = problem;
    let failure = format!("`{}` failed: {} {object}: {message}", m.namespace, code.as_str());
    let request = Request { reason: failure, ..Request::default() };
    match migration.spec.on_failure {
        OnFailure::RollBackWave => Request { wave: Some(m.wave), ..request },
        _ => Request { namespaces: vec![m.namespace.clone()], ..request },
    }
}
