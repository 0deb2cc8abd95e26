//! Stored resources to core records and back; nothing else converts between the two.

mod gate;
pub mod retirement;
mod tag;

pub use gate::{baseline_records, gate_records, verdict_records};
pub use tag::{drift_record, tags_record};

use crate::failure::Failure;
use crate::kube::crd::{
    self, ClearedRecord, CommandRecord, ControlRecord, EvictionsRecord, HeadcountRecord,
    HoldRecord, LabelRecord, LeftoverRecord, MigrationShard, MigrationShardStatus, MoveRecord,
    ProblemRecord, RestartRecord, TakenBackRecord,
};
use revshift_core::allowance::Allowance;
use revshift_core::calendar::{Cause, Hold};
use revshift_core::headcount::Headcount;
use revshift_core::label::InjectionLabels;
use revshift_core::migration::{
    Cleared, Control, Ended, Evictions, Issued, Leftover, LeftoverReason, Migration, MigrationSpec,
    MigrationState, Move, MoveState, OnFailure, Skip, Stage, TakenBack, Verb, Verification,
};
use revshift_core::plane::Revision;
use revshift_core::problem::{Code, Problem};
use revshift_core::selection::Matching;
use revshift_core::workload::{WorkloadKey, WorkloadKind};
use std::time::Duration;

/// The migration that `stored` and its shards make; none while a shard is missing.
///
/// A migration that is being deleted counts as cancelled.
pub fn migration(
    stored: &crd::Migration,
    shards: &[&MigrationShard],
) -> Result<Option<Migration>, Failure> {
    let spec = &stored.spec;
    let expected = usize::try_from(spec.shards).unwrap_or(usize::MAX);
    if shards.len() != expected {
        return Ok(None);
    }
    let mut sorted = shards.to_vec();
    sorted.sort_by_key(|shard| shard.spec.first);
    let mut all = Vec::new();
    for shard in sorted {
        all.extend(moves(shard, spec)?);
    }
    if all.len() != usize::try_from(spec.moves).unwrap_or(usize::MAX) {
        return Ok(None);
    }
    let id = stored.metadata.name.clone().unwrap_or_default();
    let control = control_of(stored);
    let (spec, ended, hold) = (core_spec(stored)?, ended(stored)?, hold(stored));
    let status = stored.status.as_ref();
    let (verdicts, baselines) = (gate::verdicts(status), gate::baselines(status));
    let (moves, drift) = (all.into(), tag::drift(status));
    Ok(Some(Migration { id, spec, control, moves, ended, hold, verdicts, baselines, drift }))
}

/// Brings a migration up to date with its own object, its moves excepted.
pub fn renew(migration: &mut Migration, stored: &crd::Migration) -> Result<(), Failure> {
    migration.ended = ended(stored)?;
    migration.spec = core_spec(stored)?;
    migration.hold = hold(stored);
    migration.verdicts = gate::verdicts(stored.status.as_ref());
    migration.baselines = gate::baselines(stored.status.as_ref());
    migration.drift = tag::drift(stored.status.as_ref());
    migration.control = control_of(stored);
    Ok(())
}

fn control_of(stored: &crd::Migration) -> Control {
    let mut control = control(&stored.spec.control);
    control.cancelled |= stored.metadata.deletion_timestamp.is_some();
    control
}

/// A rule that cannot be read reports nothing.
fn rule(stored: &crd::RuleRecord) -> Option<Matching> {
    let selector = stored.selector.parse().ok()?;
    Some(Matching { selector, exclude: stored.exclude.clone() })
}

/// The record of a rule.
pub fn rule_record(rule: &Matching) -> crd::RuleRecord {
    crd::RuleRecord { selector: rule.selector.to_string(), exclude: rule.exclude.clone() }
}

/// What was allowed; of a code that only a newer version knows this one has no finding.
fn allowance(stored: &crd::AllowedFindingRecord) -> Option<Allowance> {
    Some(Allowance { code: Code::parse(&stored.code)?, reason: stored.reason.clone() })
}

/// The record of an allowance.
pub fn allowance_record(Allowance { code, reason }: &Allowance) -> crd::AllowedFindingRecord {
    crd::AllowedFindingRecord { code: code.as_str().to_owned(), reason: reason.clone() }
}

fn core_spec(stored: &crd::Migration) -> Result<MigrationSpec, Failure> {
    let spec = &stored.spec;
    let windows = spec.windows.iter().map(|window| window.parse()).collect::<Result<_, String>>();
    Ok(MigrationSpec {
        source: Revision(spec.source.clone()),
        target: Revision(spec.target.clone()),
        rollout_timeout: Duration::from_millis(spec.rollout_timeout_ms),
        failure_budget: spec.failure_budget,
        approvals: spec.approval_waves.clone(),
        allow_downtime: spec.allow_downtime,
        force: spec.force,
        // Of what a newer version does about failures this one does nothing.
        on_failure: OnFailure::parse(&spec.on_failure).unwrap_or_default(),
        verification: Verification::parse(&spec.verification).unwrap_or_default(),
        rollback_of: spec.rollback_of.clone(),
        rule: spec.rule.as_ref().and_then(rule),
        windows: windows
            .map_err(|why| malformed(stored.metadata.name.as_deref(), "window", &why))?,
        gates: gate::gates(&spec.gates),
        allowances: spec.allowed_findings.iter().filter_map(allowance).collect(),
        tags: tag::tags(&spec.tags),
        requester: spec.requester.clone(),
        reason: spec.reason.clone(),
        plan_hash: spec.plan_hash.clone(),
        created: spec.created,
    })
}

/// What the acting replica has stored of a hold; one that a newer version knows is shown there.
fn hold(stored: &crd::Migration) -> Option<Hold> {
    let record = stored.status.as_ref()?.hold.as_ref()?;
    let cause = match record.cause.as_str() {
        "WINDOW" => Cause::Window,
        "FREEZE" => Cause::Freeze(record.reason.clone()),
        _ => return None,
    };
    Some(Hold { cause, until: record.until })
}

/// The record of a hold.
pub fn hold_record(hold: &Hold) -> HoldRecord {
    let reason = match &hold.cause {
        Cause::Window => String::new(),
        Cause::Freeze(reason) => reason.clone(),
    };
    HoldRecord { cause: hold.cause.as_str().to_owned(), reason, until: hold.until }
}

fn control(record: &ControlRecord) -> Control {
    Control {
        paused: record.paused,
        cancelled: record.cancelled,
        tolerated: record.tolerated.clone(),
        retries: record.retries.clone(),
        forced: record.forced.clone(),
        approved: gate::approvals(&record.approvals),
        reruns: gate::reruns(record),
        accepted: gate::approvals(&record.accepted),
        drifts: record.drifts,
        skipped: record.skipped.clone(),
        commands: record.commands.iter().filter_map(issued).collect(),
    }
}

/// A command that a newer version knows is of no consequence here: what it did is recorded apart.
fn issued(record: &CommandRecord) -> Option<Issued> {
    Some(Issued {
        verb: Verb::parse(&record.verb)?,
        by: record.by.clone(),
        at: record.at,
        wave: record.wave,
        namespaces: record.namespaces.clone(),
        named: record.named,
        force: record.force,
    })
}

fn command_record(issued: &Issued) -> CommandRecord {
    CommandRecord {
        verb: issued.verb.as_str().to_owned(),
        by: issued.by.clone(),
        at: issued.at,
        wave: issued.wave,
        namespaces: issued.namespaces.clone(),
        named: issued.named,
        force: issued.force,
    }
}

/// The control record as stored.
pub fn control_record(control: &Control) -> ControlRecord {
    ControlRecord {
        paused: control.paused,
        cancelled: control.cancelled,
        tolerated: control.tolerated.clone(),
        retries: control.retries.clone(),
        forced: control.forced.clone(),
        approvals: gate::approval_records(&control.approved),
        reruns: gate::rerun_records(control),
        accepted: gate::approval_records(&control.accepted),
        drifts: control.drifts,
        skipped: control.skipped.clone(),
        commands: control.commands.iter().map(command_record).collect(),
    }
}

fn ended(stored: &crd::Migration) -> Result<Option<Ended>, Failure> {
    let Some(status) = stored.status.as_ref().filter(|status| status.ended) else {
        return Ok(None);
    };
    let state = match status.state.as_str() {
        "SUCCEEDED" => MigrationState::Succeeded,
        "COMPLETED_WITH_EXCEPTIONS" => MigrationState::CompletedWithExceptions,
        "CANCELLED" => MigrationState::Cancelled,
        other => return Err(malformed(stored.metadata.name.as_deref(), "final state", other)),
    };
    let at = status.end_time.unwrap_or(stored.spec.created);
    Ok(Some(Ended { state, at, sequence: status.final_sequence }))
}

/// The moves of one shard. A shard without status is as it was created: pending, numbered in the
/// order of the plan.
pub fn moves(shard: &MigrationShard, spec: &crd::MigrationSpec) -> Result<Vec<Move>, Failure> {
    let planned = &shard.spec.moves;
    let mut moves = Vec::with_capacity(planned.len());
    for (index, planned) in planned.iter().enumerate() {
        let mut m = Move::pending(
            &planned.namespace,
            &planned.uid,
            labels(&planned.before),
            labels(&planned.after),
            spec.created,
        );
        m.wave = planned.wave;
        m.sequence = u64::from(shard.spec.first) + u64::try_from(index).unwrap_or(0) + 1;
        let record = shard.status.as_ref().and_then(|status| status.moves.get(index));
        if let Some(record) = record {
            let name = shard.metadata.name.as_deref();
            m.state = state(record).map_err(|why| malformed(name, "move", &why))?;
            m.attempt = record.attempt;
            m.sequence = record.sequence;
            m.since = record.since;
            m.started = record.started;
            m.relabelled = record.relabelled;
            m.headcount = record.headcount.as_ref().map(|record| Headcount {
                endpoints: record.endpoints.clone(),
                pods: record.pods.clone(),
            });
            m.restarts = record.restarts.iter().filter_map(restart).collect();
            m.evictions = record.evictions.iter().map(evictions).collect();
            m.cleared = record.cleared.iter().map(cleared).collect();
            let back = record.taken_back.as_ref().map(taken_back).transpose();
            m.taken_back = back.map_err(|why| malformed(name, "move", &why))?;
        }
        moves.push(m);
    }
    Ok(moves)
}

/// The status of a shard that holds these moves.
pub fn shard_status(epoch: u32, moves: &[Move]) -> MigrationShardStatus {
    MigrationShardStatus { epoch, moves: moves.iter().map(record).collect() }
}

/// The labels as stored.
pub fn label_record(labels: &InjectionLabels) -> LabelRecord {
    LabelRecord { revision: labels.revision.clone(), injection: labels.injection.clone() }
}

fn labels(record: &LabelRecord) -> InjectionLabels {
    InjectionLabels { revision: record.revision.clone(), injection: record.injection.clone() }
}

fn record(m: &Move) -> MoveRecord {
    let (leftovers, problem) = match &m.state {
        MoveState::Moved(leftovers) => (leftovers.iter().map(leftover_record).collect(), None),
        MoveState::Blocked(problem) | MoveState::Failed(problem) => (Vec::new(), Some(problem)),
        MoveState::Pending
        | MoveState::Checking
        | MoveState::Relabeling
        | MoveState::AwaitingLabel(_)
        | MoveState::Restarting
        | MoveState::Verifying
        | MoveState::Skipped(_)
        | MoveState::Cancelled
        | MoveState::Gone
        | MoveState::Superseded => (Vec::new(), None),
    };
    MoveRecord {
        state: m.state.as_str().to_owned(),
        attempt: m.attempt,
        sequence: m.sequence,
        since: m.since,
        started: m.started,
        relabelled: m.relabelled,
        headcount: m.headcount.as_ref().map(|headcount| HeadcountRecord {
            endpoints: headcount.endpoints.clone(),
            pods: headcount.pods.clone(),
        }),
        restarts: m
            .restarts
            .iter()
            .map(|(key, attempt)| RestartRecord {
                kind: key.kind.as_str().to_owned(),
                name: key.name.clone(),
                attempt: *attempt,
            })
            .collect(),
        evictions: m.evictions.iter().map(evictions_record).collect(),
        cleared: m.cleared.iter().map(cleared_record).collect(),
        taken_back: m.taken_back.as_ref().map(taken_back_record),
        leftovers,
        label_owner: match &m.state {
            MoveState::AwaitingLabel(owner) => Some(owner.clone()),
            _ => None,
        },
        skip_reason: match m.state {
            MoveState::Skipped(Skip::Unneeded) => Some("UNNEEDED".to_owned()),
            MoveState::Skipped(Skip::Asked) => Some("ASKED".to_owned()),
            _ => None,
        },
        problem: problem.map(problem_record),
    }
}

fn state(record: &MoveRecord) -> Result<MoveState, String> {
    let problem = || {
        let stored = record.problem.as_ref().ok_or("a failed move without a problem")?;
        problem(stored)
    };
    Ok(match record.state.as_str() {
        "PENDING" => MoveState::Pending,
        "CHECKING" => MoveState::Checking,
        "RELABELING" => MoveState::Relabeling,
        "AWAITING_LABEL" => {
            MoveState::AwaitingLabel(record.label_owner.clone().unwrap_or_default())
        }
        "RESTARTING" => MoveState::Restarting,
        "VERIFYING" => MoveState::Verifying,
        "MOVED" => MoveState::Moved(
            record.leftovers.iter().map(leftover).collect::<Result<Vec<_>, String>>()?,
        ),
        "BLOCKED" => MoveState::Blocked(problem()?),
        "FAILED" => MoveState::Failed(problem()?),
        "SKIPPED" => MoveState::Skipped(skip(record)?),
        "CANCELLED" => MoveState::Cancelled,
        "GONE" => MoveState::Gone,
        "SUPERSEDED" => MoveState::Superseded,
        other => return Err(format!("an unknown state `{other}`")),
    })
}

fn skip(record: &MoveRecord) -> Result<Skip, String> {
    match record.skip_reason.as_deref() {
        None | Some("UNNEEDED") => Ok(Skip::Unneeded),
        Some("ASKED") => Ok(Skip::Asked),
        Some(other) => Err(format!("an unknown reason to skip `{other}`")),
    }
}

fn restart(record: &RestartRecord) -> Option<(WorkloadKey, u32)> {
    let kind = WorkloadKind::of(&record.kind)?;
    Some((WorkloadKey { kind, name: record.name.clone() }, record.attempt))
}

fn evictions_record((controller, evictions): (&String, &Evictions)) -> EvictionsRecord {
    EvictionsRecord {
        controller: controller.clone(),
        attempt: evictions.attempt,
        pods: evictions.pods,
        planned: evictions.planned.clone(),
        stragglers: evictions.stragglers.clone(),
    }
}

fn evictions(record: &EvictionsRecord) -> (String, Evictions) {
    let evictions = Evictions {
        attempt: record.attempt,
        pods: record.pods,
        planned: record.planned.clone(),
        stragglers: record.stragglers.clone(),
    };
    (record.controller.clone(), evictions)
}

fn problem_record(problem: &Problem) -> ProblemRecord {
    ProblemRecord {
        code: problem.code.as_str().to_owned(),
        object: problem.object.clone(),
        message: problem.message.clone(),
        manager: problem.manager.clone(),
        since: problem.since,
    }
}

fn problem(stored: &ProblemRecord) -> Result<Problem, String> {
    let code = Code::parse(&stored.code)
        .ok_or_else(|| format!("an unknown finding code `{}`", stored.code))?;
    Ok(Problem {
        code,
        object: stored.object.clone(),
        message: stored.message.clone(),
        manager: stored.manager.clone(),
        since: stored.since,
    })
}

fn taken_back_record(taken: &TakenBack) -> TakenBackRecord {
    let (stage, refusal) = match &taken.stage {
        Stage::Wanted => ("WANTED", None),
        Stage::Made => ("MADE", None),
        Stage::Refused(why) => ("REFUSED", Some(why.clone())),
    };
    TakenBackRecord {
        attempt: taken.attempt,
        problem: problem_record(&taken.problem),
        rollback: taken.rollback.clone(),
        stage: stage.to_owned(),
        refusal,
    }
}

fn taken_back(record: &TakenBackRecord) -> Result<TakenBack, String> {
    let stage = match record.stage.as_str() {
        "WANTED" => Stage::Wanted,
        "MADE" => Stage::Made,
        "REFUSED" => Stage::Refused(record.refusal.clone().unwrap_or_default()),
        other => return Err(format!("an unknown stage of a rollback `{other}`")),
    };
    let problem = problem(&record.problem)?;
    Ok(TakenBack { attempt: record.attempt, problem, rollback: record.rollback.clone(), stage })
}

fn cleared_record((controller, cleared): (&String, &Cleared)) -> ClearedRecord {
    ClearedRecord {
        controller: controller.clone(),
        attempt: cleared.attempt,
        evicted: cleared.evicted.clone(),
        deleted: cleared.deleted.clone(),
    }
}

fn cleared(record: &ClearedRecord) -> (String, Cleared) {
    let (evicted, deleted) = (record.evicted.clone(), record.deleted.clone());
    (record.controller.clone(), Cleared { attempt: record.attempt, evicted, deleted })
}

fn leftover_record(leftover: &Leftover) -> LeftoverRecord {
    let reason = match leftover.reason {
        LeftoverReason::Job => "JOB",
        LeftoverReason::CronJob => "CRON_JOB",
        LeftoverReason::BarePod => "BARE_POD",
        LeftoverReason::ScaledToZero => "SCALED_TO_ZERO",
        LeftoverReason::Skipped => "SKIPPED",
    };
    LeftoverRecord {
        reason: reason.to_owned(),
        kind: leftover.kind.clone(),
        name: leftover.name.clone(),
        pods: leftover.pods,
    }
}

fn leftover(record: &LeftoverRecord) -> Result<Leftover, String> {
    let reason = match record.reason.as_str() {
        "JOB" => LeftoverReason::Job,
        "CRON_JOB" => LeftoverReason::CronJob,
        "BARE_POD" => LeftoverReason::BarePod,
        "SCALED_TO_ZERO" => LeftoverReason::ScaledToZero,
        "SKIPPED" => LeftoverReason::Skipped,
        other => return Err(format!("an unknown leftover `{other}`")),
    };
    let (kind, name) = (record.kind.clone(), record.name.clone());
    Ok(Leftover { reason, kind, name, pods: record.pods })
}

fn malformed(name: Option<&str>, what: &str, why: &str) -> Failure {
    Failure::Malformed {
        object: format!("{what} of `{}`", name.unwrap_or_default()),
        why: why.to_owned(),
    }
}

#[cfg(test)]
mod tests;
