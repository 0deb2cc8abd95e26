//! Migrations, moves and their live progress on the wire.

use super::check::allowed;
use super::verification::verification;
use super::{duration, gate, message, tag, timestamp};
use crate::published::Stored;
use revshift_core::calendar::{self, Cause, Hold, Window};
use revshift_core::migration::{
    Approval, Issued, Leftover, LeftoverReason, Migration, MigrationState, Move, MoveCounts,
    MoveState, OnFailure, PauseReason, Skip, Stage, Verb,
};
use revshift_core::problem::Problem;
use revshift_core::progress::LiveProgress;
use revshift_core::workload::WorkloadKind;
use revshift_proto::v1 as proto;

/// So many namespaces are named that a migration waits for.
const MOST_AWAITED: usize = 20;

/// A migration as stored.
pub(crate) fn migration(stored: &Stored) -> proto::Migration {
    let Stored { migration, waiting_for, .. } = stored;
    let spec = &migration.spec;
    let public = stored.state();
    let waiting = public == MigrationState::Pending;
    let held = migration.hold.as_ref().filter(|_| public == MigrationState::Running);
    proto::Migration {
        id: migration.id.clone(),
        source: spec.source.to_string(),
        target: spec.target.to_string(),
        moves_total: u32::try_from(migration.moves.len()).unwrap_or(u32::MAX),
        rollout_timeout: Some(duration(spec.rollout_timeout)),
        state: state(public).into(),
        pause_reason: pause_reason(public).into(),
        waiting_for: if waiting {
            waiting_for.iter().cloned().collect()
        } else {
            let checks = public == MigrationState::Running && migration.due_check().is_some();
            let gate = checks.then(|| "GATE".to_owned());
            let cause = held.map(|it| it.cause.as_str().to_owned());
            gate.or(cause).into_iter().chain(awaited(migration)).collect()
        },
        message: message::of(stored),
        requester: spec.requester.clone(),
        reason: spec.reason.clone(),
        rollback_of: spec.rollback_of.clone().unwrap_or_default(),
        plan_hash: spec.plan_hash.clone(),
        create_time: Some(timestamp(spec.created)),
        end_time: migration.ended.as_ref().map(|ended| timestamp(ended.at)),
        counts: Some(counts(migration.counts())),
        final_sequence: migration.ended.as_ref().map_or(0, |ended| ended.sequence),
        waves_total: migration.waves(),
        wave: migration.wave().unwrap_or_else(|| migration.waves()),
        approval_waves: spec.approvals.iter().copied().collect(),
        approvals: migration.control.approved.iter().map(approval).collect(),
        failure_budget: spec.failure_budget,
        allow_downtime: spec.allow_downtime,
        force: spec.force,
        on_failure: on_failure(spec.on_failure).into(),
        verification: verification(spec.verification).into(),
        rule: spec.rule.as_ref().map(|rule| proto::Rule {
            label_selector: rule.selector.to_string(),
            exclude: rule.exclude.iter().cloned().collect(),
        }),
        unplanned_namespaces: Vec::new(),
        commands: migration.control.commands.iter().map(command).collect(),
        windows: spec.windows.iter().map(ToString::to_string).collect(),
        hold: held.map(|held| hold(held, &spec.windows)),
        gates: spec.gates.iter().map(gate::gate).collect(),
        allowed_findings: spec.allowances.iter().map(allowed).collect(),
        tags: Some(tag::tags(&spec.tags, migration.drifted().filter(|_| !public.is_final()))),
        gate_results: gate::results(migration),
        accepted_gates: migration.control.accepted.iter().map(approval).collect(),
        gating_wave: migration.gating().filter(|_| !public.is_final()),
    }
}

/// What keeps a migration with these windows from beginning moves.
pub(crate) fn hold(hold: &Hold, windows: &[Window]) -> proto::Hold {
    let (cause, reason) = match &hold.cause {
        Cause::Window => (proto::hold::Cause::Window, String::new()),
        Cause::Freeze(reason) => (proto::hold::Cause::Freeze, reason.clone()),
    };
    proto::Hold {
        cause: cause.into(),
        reason,
        until: hold.until.map(timestamp),
        local_time: hold.until.map(|until| calendar::local(windows, until)).unwrap_or_default(),
    }
}

/// What becomes of failed moves.
pub(crate) fn on_failure(on_failure: OnFailure) -> proto::OnFailure {
    match on_failure {
        OnFailure::Pause => proto::OnFailure::Pause,
        OnFailure::RollBackNamespace => proto::OnFailure::RollbackNamespace,
        OnFailure::RollBackWave => proto::OnFailure::RollbackWave,
    }
}

fn approval((wave, approval): (&u32, &Approval)) -> proto::Approval {
    proto::Approval {
        wave: *wave,
        approver: approval.by.clone(),
        approve_time: Some(timestamp(approval.at)),
    }
}

/// The namespaces whose label somebody else has to set, the first ones where they are many.
fn awaited(migration: &Migration) -> Vec<String> {
    let awaiting = migration.active().filter(|(_, m)| !m.state.takes_place());
    awaiting.take(MOST_AWAITED).map(|(_, m)| format!("Namespace/{}", m.namespace)).collect()
}

fn command(issued: &Issued) -> proto::Command {
    let verb = match issued.verb {
        Verb::Pause => proto::command::Verb::Pause,
        Verb::Resume => proto::command::Verb::Resume,
        Verb::Cancel => proto::command::Verb::Cancel,
        Verb::Retry => proto::command::Verb::Retry,
        Verb::Skip => proto::command::Verb::Skip,
        Verb::Approve => proto::command::Verb::Approve,
        Verb::Accept => proto::command::Verb::Accept,
        Verb::Extend => proto::command::Verb::Extend,
    };
    proto::Command {
        verb: verb.into(),
        requester: issued.by.clone(),
        time: Some(timestamp(issued.at)),
        wave: issued.wave,
        namespaces: issued.namespaces.clone(),
        namespaces_total: issued.named,
        force: issued.force,
    }
}

/// A move; `index` is its position in the plan.
pub(crate) fn movement(index: usize, m: &Move) -> proto::Move {
    let leftovers = match &m.state {
        MoveState::Moved(leftovers) => leftovers.as_slice(),
        _ => &[],
    };
    let back = m.taken_back.as_ref().filter(|back| back.attempt == m.attempt);
    let refusal = back.and_then(|back| match &back.stage {
        Stage::Refused(why) => Some(why.clone()),
        Stage::Wanted | Stage::Made => None,
    });
    let restarts = m.restarts.iter().map(|(workload, attempt)| proto::Restart {
        kind: workload.kind.as_str().to_owned(),
        name: workload.name.clone(),
        attempt: *attempt,
        method: match workload.kind {
            WorkloadKind::Rollout => proto::restart::Method::Restart,
            _ => proto::restart::Method::Roll,
        }
        .into(),
    });
    let evictions = m.evictions.iter().map(|(controller, evictions)| {
        let (kind, name) = controller.split_once('/').unwrap_or(("", controller));
        let (kind, name) = (kind.to_owned(), name.to_owned());
        let method = proto::restart::Method::Evict.into();
        proto::Restart { kind, name, attempt: evictions.attempt, method }
    });
    let cleared = m.cleared.iter().flat_map(|(controller, cleared)| {
        let (kind, name) = controller.split_once('/').unwrap_or(("", controller));
        let ways = [
            (proto::restart::Method::Evict, &cleared.evicted),
            (proto::restart::Method::Delete, &cleared.deleted),
        ];
        ways.into_iter().filter(|(_, pods)| !pods.is_empty()).map(|(method, _)| proto::Restart {
            kind: kind.to_owned(),
            name: name.to_owned(),
            attempt: cleared.attempt,
            method: method.into(),
        })
    });
    proto::Move {
        namespace: m.namespace.clone(),
        namespace_uid: m.uid.clone(),
        index: u32::try_from(index).unwrap_or(u32::MAX),
        state: move_state(&m.state).into(),
        attempt: m.attempt,
        sequence: m.sequence,
        state_time: Some(timestamp(m.since)),
        start_time: m.started.map(timestamp),
        problem: m.problem().map(problem),
        rollback: match &refusal {
            Some(_) => String::new(),
            None => back.map(|back| back.rollback.clone()).unwrap_or_default(),
        },
        rollback_refusal: refusal.unwrap_or_default(),
        labels_before: m.before.entries().into_iter().collect(),
        labels_after: m.after.entries().into_iter().collect(),
        restarts: restarts.chain(evictions).chain(cleared).collect(),
        leftovers: leftovers.iter().map(leftover).collect(),
        wave: m.wave,
        label_owner: match &m.state {
            MoveState::AwaitingLabel(owner) => owner.clone(),
            _ => String::new(),
        },
        skip_reason: match m.state {
            MoveState::Skipped(Skip::Unneeded) => proto::r#move::SkipReason::Unneeded,
            MoveState::Skipped(Skip::Asked) => proto::r#move::SkipReason::Asked,
            _ => proto::r#move::SkipReason::Unspecified,
        }
        .into(),
    }
}

/// The live counts of a namespace's move.
pub(crate) fn progress(namespace: &str, live: &LiveProgress) -> proto::MoveProgress {
    proto::MoveProgress {
        namespace: namespace.to_owned(),
        pods_total: live.pods_total,
        pods_on_target: live.pods_on_target,
        workloads_total: live.workloads_total,
        workloads_done: live.workloads_done,
        waiting_for: live.waiting_for.clone(),
    }
}

/// Something that is left as it is.
pub(crate) fn leftover(leftover: &Leftover) -> proto::Leftover {
    let reason = match leftover.reason {
        LeftoverReason::Job => proto::leftover::Reason::Job,
        LeftoverReason::CronJob => proto::leftover::Reason::CronJob,
        LeftoverReason::BarePod => proto::leftover::Reason::BarePod,
        LeftoverReason::ScaledToZero => proto::leftover::Reason::ScaledToZero,
        LeftoverReason::Skipped => proto::leftover::Reason::Skipped,
    };
    proto::Leftover {
        kind: leftover.kind.clone(),
        name: leftover.name.clone(),
        reason: reason.into(),
        pods: leftover.pods,
    }
}

pub(super) fn problem(problem: &Problem) -> proto::Problem {
    proto::Problem {
        code: problem.code.as_str().to_owned(),
        object: problem.object.clone(),
        message: problem.message.clone(),
        remedy: problem.code.remedy().to_owned(),
        since: Some(timestamp(problem.since)),
        manager: problem.manager.clone().unwrap_or_default(),
    }
}

fn counts(counts: MoveCounts) -> proto::MoveCounts {
    let MoveCounts { pending, active, awaiting, moved, failed, blocked, other } = counts;
    proto::MoveCounts { pending, active, moved, failed, blocked, other, awaiting }
}

fn state(state: MigrationState) -> proto::migration::State {
    match state {
        MigrationState::Pending => proto::migration::State::Pending,
        MigrationState::Running => proto::migration::State::Running,
        MigrationState::Paused(_) => proto::migration::State::Paused,
        MigrationState::WaitingApproval(_) => proto::migration::State::WaitingApproval,
        MigrationState::Cancelling => proto::migration::State::Cancelling,
        MigrationState::Succeeded => proto::migration::State::Succeeded,
        MigrationState::CompletedWithExceptions => proto::migration::State::CompletedWithExceptions,
        MigrationState::Cancelled => proto::migration::State::Cancelled,
    }
}

fn pause_reason(state: MigrationState) -> proto::migration::PauseReason {
    match state {
        MigrationState::Paused(PauseReason::User) => proto::migration::PauseReason::User,
        MigrationState::Paused(PauseReason::FailureBudget) => {
            proto::migration::PauseReason::FailureBudget
        }
        MigrationState::Paused(PauseReason::Gate) => proto::migration::PauseReason::Gate,
        MigrationState::Paused(PauseReason::Drift) => proto::migration::PauseReason::Drift,
        MigrationState::Pending
        | MigrationState::Running
        | MigrationState::WaitingApproval(_)
        | MigrationState::Cancelling
        | MigrationState::Succeeded
        | MigrationState::CompletedWithExceptions
        | MigrationState::Cancelled => proto::migration::PauseReason::Unspecified,
    }
}

fn move_state(state: &MoveState) -> proto::r#move::State {
    match state {
        MoveState::Pending => proto::r#move::State::Pending,
        MoveState::Checking => proto::r#move::State::Checking,
        MoveState::Relabeling => proto::r#move::State::Relabeling,
        MoveState::AwaitingLabel(_) => proto::r#move::State::AwaitingLabel,
        MoveState::Restarting => proto::r#move::State::Restarting,
        MoveState::Verifying => proto::r#move::State::Verifying,
        MoveState::Moved(_) => proto::r#move::State::Moved,
        MoveState::Blocked(_) => proto::r#move::State::Blocked,
        MoveState::Failed(_) => proto::r#move::State::Failed,
        MoveState::Skipped(_) => proto::r#move::State::Skipped,
        MoveState::Cancelled => proto::r#move::State::Cancelled,
        MoveState::Gone => proto::r#move::State::Gone,
        MoveState::Superseded => proto::r#move::State::Superseded,
    }
}
