//! Commands on a migration: what each verb makes of the control record, or why it is refused.

use crate::migration::{
    Approval, Control, Issued, Migration, MigrationState, Move, MoveState, Rerun, Skip, Stage, Verb,
};
use crate::refusal::{FieldViolation, Refusal};
use jiff::Timestamp;
use std::collections::BTreeSet;

/// A command of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Start nothing new until resumed.
    Pause,
    /// Go on without what has failed; a check that has not passed is made again.
    Resume,
    /// Start nothing any more.
    Cancel,
    /// Try failed or blocked moves of these namespaces again, by force where that is told.
    Retry(Vec<String>, Force),
    /// Do not move these namespaces after all.
    Skip(Vec<String>),
    /// Let a wave start: the one that waits now, or the one of this number.
    Approve(Option<u32>, Approval),
    /// Go on whatever the checks after the wave of this number say.
    Accept(u32, Approval),
}

/// Whether broken pods that StatefulSets are stuck on are deleted instead of being evicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// They are evicted, as far as the budgets let them go.
    No,
    /// They are deleted.
    Yes,
}

/// The control record after a command by somebody, with a note of it. The same command again changes
/// nothing, and is not noted.
pub fn issue(
    migration: &Migration,
    waiting_for: &BTreeSet<String>,
    wanted: &Command,
    by: &str,
    at: Timestamp,
) -> Result<Control, Refusal> {
    let mut control = command(migration, waiting_for, wanted, at)?;
    note(&mut control, &migration.control, wanted, by, at);
    Ok(control)
}

/// The control record after `command`, given at `at`. The same command again changes nothing.
pub fn command(
    migration: &Migration,
    waiting_for: &BTreeSet<String>,
    command: &Command,
    at: Timestamp,
) -> Result<Control, Refusal> {
    let state = migration.state(waiting_for);
    let refuse = |why: &str| {
        Err(Refusal::State {
            migration: migration.id.clone(),
            state: state.as_str().to_owned(),
            why: why.to_owned(),
        })
    };
    let mut control = migration.control.clone();
    match command {
        Command::Cancel if state == MigrationState::Cancelled => return Ok(control),
        _ if state.is_final() => return refuse("it has ended"),
        Command::Cancel => control.cancelled = true,
        _ if control.cancelled => return refuse("it is being cancelled"),
        Command::Pause => control.paused = true,
        Command::Resume => {
            let unfinished = migration.counts().unfinished();
            let failed = migration.moves.iter().filter(|m| m.needs_help());
            let names: Vec<&str> = failed.map(|m| m.namespace.as_str()).collect();
            if unfinished == 0 && !names.is_empty() && !control.paused {
                let why = format!(
                    "only failed moves are left: {}; retry them, roll them back or cancel",
                    names.join(", ")
                );
                return refuse(&why);
            }
            control.paused = false;
            if let Some(drift) = migration.drifted() {
                control.drifts = drift.run.saturating_add(1);
            }
            if let Some((due, _)) = migration.stopped_by() {
                let run = due.run.saturating_add(1);
                control.reruns.insert(due.wave, Rerun { run, at });
            }
            let answered = migration
                .moves
                .iter()
                .filter(|m| m.needs_help() || m.state == MoveState::Superseded);
            for m in answered {
                control.tolerated.insert(m.namespace.clone(), m.attempt);
            }
        }
        Command::Retry(namespaces, force) => {
            for m in moves_of(migration, namespaces)? {
                let namespace = &m.namespace;
                let repeated = control.retries.get(namespace).is_some_and(|a| *a >= m.attempt);
                if !(m.needs_help() || repeated && m.state.is_active()) {
                    let why = format!(
                        "the move of `{namespace}` is {}; only FAILED and BLOCKED moves are retried",
                        m.state.as_str()
                    );
                    return refuse(&why);
                }
                let taken = m.taken_back.as_ref().filter(|taken| taken.attempt == m.attempt);
                if let Some(taken) = taken.filter(|taken| taken.stage == Stage::Wanted) {
                    let why =
                        format!("`{namespace}` is about to be rolled back by `{}`", taken.rollback);
                    return refuse(&why);
                }
                if m.needs_help() {
                    control.retries.insert(namespace.clone(), m.attempt + 1);
                    match force {
                        Force::Yes => control.forced.insert(namespace.clone(), m.attempt + 1),
                        Force::No => control.forced.remove(namespace),
                    };
                }
            }
        }
        Command::Skip(namespaces) => {
            for m in moves_of(migration, namespaces)? {
                if m.state == MoveState::Skipped(Skip::Asked) {
                    continue;
                }
                if !m.may_be_skipped() {
                    let why = match &m.state {
                        MoveState::Failed(_) | MoveState::Blocked(_) => {
                            "is relabelled already; roll it back instead".to_owned()
                        }
                        state => format!("is {}", state.as_str()),
                    };
                    return refuse(&format!("the move of `{}` {why}", m.namespace));
                }
                control.skipped.insert(m.namespace.clone());
            }
        }
        Command::Approve(wave, approval) => {
            let waiting = migration.wave_to_approve();
            match wave.or(waiting) {
                Some(wave) if control.approved.contains_key(&wave) => {}
                Some(wave) if migration.spec.approvals.contains(&wave) => {
                    control.approved.insert(wave, approval.clone());
                }
                Some(wave) => return refuse(&format!("wave {wave} needs no approval")),
                None => return refuse("no wave waits for an approval"),
            }
        }
        Command::Accept(wave, approval) => {
            if !control.accepted.contains_key(wave) {
                if migration.gating() != Some(*wave) {
                    return refuse(&format!("no check after wave {wave} is waited for"));
                }
                control.accepted.insert(*wave, approval.clone());
            }
            control.paused = false;
        }
    }
    Ok(control)
}

/// The moves of these namespaces, which must not be none.
fn moves_of<'a>(migration: &'a Migration, namespaces: &[String]) -> Result<Vec<&'a Move>, Refusal> {
    if namespaces.is_empty() {
        let violation = FieldViolation::new("namespaces", "must name a namespace");
        return Err(Refusal::InvalidFields(vec![violation]));
    }
    let find = |namespace: &String| {
        migration.find(namespace).ok_or_else(|| Refusal::MoveNotFound {
            migration: migration.id.clone(),
            namespace: namespace.clone(),
        })
    };
    namespaces.iter().map(find).collect()
}

/// Namespaces that are relabelled and not wholly moved.
pub fn half_moved(migration: &Migration) -> Vec<String> {
    migration
        .moves
        .iter()
        .filter(|m| match m.state {
            MoveState::Relabeling | MoveState::Restarting | MoveState::Verifying => true,
            MoveState::Checking
            | MoveState::AwaitingLabel(_)
            | MoveState::Failed(_)
            | MoveState::Blocked(_) => m.relabelled,
            MoveState::Pending
            | MoveState::Moved(_)
            | MoveState::Skipped(_)
            | MoveState::Cancelled
            | MoveState::Gone
            | MoveState::Superseded => false,
        })
        .map(|m| m.namespace.clone())
        .collect()
}

/// Notes the command that has made this record of the one before; one that changed nothing is not
/// noted.
fn note(control: &mut Control, before: &Control, command: &Command, by: &str, at: Timestamp) {
    if control == before {
        return;
    }
    let (verb, named, force) = match command {
        Command::Pause => (Verb::Pause, &[][..], Force::No),
        Command::Resume => (Verb::Resume, &[][..], Force::No),
        Command::Cancel => (Verb::Cancel, &[][..], Force::No),
        Command::Retry(namespaces, force) => (Verb::Retry, &namespaces[..], *force),
        Command::Skip(namespaces) => (Verb::Skip, &namespaces[..], Force::No),
        Command::Approve(..) => (Verb::Approve, &[][..], Force::No),
        Command::Accept(..) => (Verb::Accept, &[][..], Force::No),
    };
    let (wave, force) = (control.wave_of(before), force == Force::Yes);
    control.keep(Issued { wave, force, ..Issued::of(verb, by, at, named) });
}
