//! The API's objects as the tests need them.

use std::collections::HashMap;

use revshift_proto::v1::{self as proto, migration, r#move, plan_migration_response::Part};

use crate::terminal::ago;

pub(crate) const OLD: &str = "cp-v113x.istio-system";
pub(crate) const NEW: &str = "cp-v115x.istio-system";

pub(crate) fn migration(state: migration::State) -> proto::Migration {
    proto::Migration {
        id: "m-7".into(),
        source: OLD.into(),
        target: NEW.into(),
        moves_total: 2,
        rollout_timeout: Some(pbjson_types::Duration { seconds: 600, nanos: 0 }),
        state: state.into(),
        requester: "alice".into(),
        plan_hash: "h1".into(),
        create_time: Some(ago(300)),
        ..Default::default()
    }
}

pub(crate) fn paused() -> proto::Migration {
    proto::Migration {
        pause_reason: migration::PauseReason::FailureBudget.into(),
        message: "bookinfo failed".into(),
        counts: Some(proto::MoveCounts { moved: 1, failed: 1, ..Default::default() }),
        ..migration(migration::State::Paused)
    }
}

pub(crate) fn succeeded() -> proto::Migration {
    proto::Migration {
        counts: Some(proto::MoveCounts { moved: 2, ..Default::default() }),
        end_time: Some(ago(60)),
        ..migration(migration::State::Succeeded)
    }
}

pub(crate) fn a_move(namespace: &str, index: u32, state: r#move::State) -> proto::Move {
    proto::Move {
        namespace: namespace.into(),
        index,
        state: state.into(),
        attempt: 1,
        state_time: Some(ago(125)),
        ..Default::default()
    }
}

pub(crate) fn failed(namespace: &str, index: u32) -> proto::Move {
    proto::Move {
        problem: Some(proto::Problem {
            code: "RS3003".into(),
            object: "Deployment/bookinfo/reviews".into(),
            message: "image\n\x1b[31mcannot be pulled".into(),
            remedy: "mend the image, then retry".into(),
            ..Default::default()
        }),
        ..a_move(namespace, index, r#move::State::Failed)
    }
}

pub(crate) fn job() -> proto::Leftover {
    let reason = proto::leftover::Reason::Job.into();
    proto::Leftover { kind: "Job".into(), name: "import".into(), reason, pods: 1 }
}

pub(crate) fn live(namespace: &str, workloads: u32, pods: u32) -> proto::MoveProgress {
    proto::MoveProgress {
        namespace: namespace.into(),
        pods_total: 8,
        pods_on_target: pods,
        workloads_total: 5,
        workloads_done: workloads,
        waiting_for: String::new(),
    }
}

pub(crate) fn labels(revision: &str) -> HashMap<String, String> {
    HashMap::from([("istio.io/rev".into(), revision.into())])
}

pub(crate) fn header(hash: &str) -> proto::PlanHeader {
    proto::PlanHeader {
        plan_hash: hash.into(),
        source: OLD.into(),
        target: NEW.into(),
        rollout_timeout: Some(pbjson_types::Duration { seconds: 5400, nanos: 0 }),
        entries: 1,
        waits_for: vec![],
        waves: 1,
        budgets: Some(proto::Budgets {
            namespaces: 32,
            workloads: 1,
            pods: 500,
            pods_per_second: 30,
            pods_per_second_rule: "as configured".into(),
        }),
        estimate: Some(proto::Estimate {
            expected: Some(pbjson_types::Duration { seconds: 64, nanos: 0 }),
            lower_bound: Some(pbjson_types::Duration { seconds: 62, nanos: 0 }),
            assumptions: vec!["each pod takes 20 s".into()],
        }),
        ..Default::default()
    }
}

pub(crate) fn entry(replicas: u32) -> proto::PlanEntry {
    use proto::plan_workload::Action;
    let workload = |kind: &str, name: &str, pods_to_move, action: Action, reason: &str| {
        let (kind, name, reason) = (kind.into(), name.into(), reason.into());
        let action = action.into();
        proto::PlanWorkload { kind, name, replicas, pods_to_move, action, reason }
    };
    proto::PlanEntry {
        namespace: "smm-demo".into(),
        namespace_uid: "u1".into(),
        labels_before: HashMap::from([("istio-injection".into(), "enabled".into())]),
        labels_after: labels(NEW),
        workloads: vec![
            workload("Deployment", "frontend", replicas, Action::Roll, ""),
            workload("StatefulSet", "db", 0, Action::None, "not injected"),
        ],
        leftovers: vec![job()],
        wave: 0,
        label_owner: String::new(),
    }
}

/// The parts of a plan with one namespace and a warning.
pub(crate) fn plan(hash: &str, replicas: u32) -> Vec<proto::PlanMigrationResponse> {
    let finding = proto::Finding {
        code: "RS1201".into(),
        severity: proto::finding::Severity::Warning.into(),
        object: "Namespace/smm-demo".into(),
        message: "has one replica".into(),
        remedy: "scale it up".into(),
    };
    [Part::Header(header(hash)), Part::Finding(finding), Part::Entry(entry(replicas))]
        .map(|part| proto::PlanMigrationResponse { part: Some(part) })
        .into()
}

/// A message of a watch stream, after which everything was sent.
pub(crate) fn progress(
    token: &str,
    migration: Option<proto::Migration>,
    moves: Vec<proto::Move>,
    progress: Vec<proto::MoveProgress>,
) -> proto::WatchMigrationResponse {
    let resume_token = token.into();
    proto::WatchMigrationResponse {
        resync: false,
        migration,
        moves,
        progress,
        resume_token,
        synced: true,
    }
}
