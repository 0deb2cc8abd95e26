//! What is stored comes back as it was.

use super::*;
use crate::kube::crd::{MigrationShardSpec, MigrationStatus, PlannedMove};
use jiff::Timestamp;
use revshift_core::gate::{Baseline, Check, Outcome, Verdict};
use revshift_core::migration::{Approval, Rerun};
use revshift_core::tag::{Drift, Lead, TagPolicy, Tags};
use std::collections::{BTreeMap, BTreeSet};

fn problem() -> Problem {
    Problem {
        code: Code::ImagePull,
        object: "Pod/shop/web-1".to_owned(),
        message: "Back-off pulling image".to_owned(),
        manager: Some("argocd".to_owned()),
        since: Timestamp::UNIX_EPOCH,
    }
}

fn states() -> Vec<MoveState> {
    let leftovers = [
        LeftoverReason::Job,
        LeftoverReason::CronJob,
        LeftoverReason::BarePod,
        LeftoverReason::ScaledToZero,
        LeftoverReason::Skipped,
    ]
    .map(|reason| Leftover { reason, kind: "Kind".to_owned(), name: "x".to_owned(), pods: 2 });
    vec![
        MoveState::Pending,
        MoveState::Checking,
        MoveState::Relabeling,
        MoveState::AwaitingLabel("Argo CD".to_owned()),
        MoveState::Restarting,
        MoveState::Verifying,
        MoveState::Moved(leftovers.to_vec()),
        MoveState::Blocked(problem()),
        MoveState::Failed(problem()),
        MoveState::Skipped(Skip::Unneeded),
        MoveState::Skipped(Skip::Asked),
        MoveState::Cancelled,
        MoveState::Gone,
        MoveState::Superseded,
    ]
}

fn tags() -> Tags {
    let lead = Lead {
        labels: InjectionLabels { revision: None, injection: Some("enabled".to_owned()) },
        tag: Some("default".to_owned()),
        plane: Revision("a".to_owned()),
    };
    let (source, target) = (Some("stable".to_owned()), None);
    Tags { policy: TagPolicy::Rewrite, source, target, leads: BTreeSet::from([lead]) }
}

fn stored(moves: u32, shards: u32) -> crd::Migration {
    crd::Migration::new(
        "m-1",
        crd::MigrationSpec {
            source: "a".to_owned(),
            target: "b".to_owned(),
            moves,
            shards,
            rollout_timeout_ms: 1500,
            failure_budget: 3,
            approval_waves: BTreeSet::from([1, 4]),
            allow_downtime: true,
            force: true,
            on_failure: "ROLLBACK_WAVE".to_owned(),
            verification: "CONNECTED".to_owned(),
            rollback_of: Some("m-0".to_owned()),
            rule: Some(crd::RuleRecord {
                selector: "team in (shop),!legacy".to_owned(),
                exclude: BTreeSet::from(["home".to_owned()]),
            }),
            windows: vec!["Mon-Fri 22:00-04:00 Europe/Berlin".to_owned()],
            gates: vec![crd::GateRecord {
                waves: BTreeSet::from([1, 2]),
                soak_ms: 1500,
                checks: vec!["smoke".to_owned()],
            }],
            allowed_findings: vec![crd::AllowedFindingRecord {
                code: "RS2013".to_owned(),
                reason: "we have tried it".to_owned(),
            }],
            tags: tags_record(&tags()),
            extensions: Vec::new(),
            requester: "someone".to_owned(),
            reason: "because".to_owned(),
            plan_hash: "hash".to_owned(),
            plan_version: 1,
            created: Timestamp::UNIX_EPOCH,
            sealed: true,
            control: ControlRecord::default(),
        },
    )
}

fn shard(first: u32, moves: &[Move], status: bool) -> MigrationShard {
    let planned = moves.iter().map(|m| PlannedMove {
        namespace: m.namespace.clone(),
        uid: m.uid.clone(),
        wave: m.wave,
        before: label_record(&m.before),
        after: label_record(&m.after),
    });
    let spec = MigrationShardSpec {
        migration: "m-1".to_owned(),
        first,
        extension: None,
        moves: planned.collect(),
    };
    let mut shard = MigrationShard::new(&format!("m-1-{first}"), spec);
    shard.status = status.then(|| shard_status(7, moves));
    shard
}

#[test]
fn moves_come_back_as_they_were() {
    let before = InjectionLabels { revision: None, injection: Some("enabled".to_owned()) };
    let after = InjectionLabels::of_revision("b");
    let moves: Vec<Move> = states()
        .into_iter()
        .enumerate()
        .map(|(index, state)| {
            let name = format!("ns-{index}");
            let planned = (before.clone(), after.clone());
            let mut m = Move::pending(&name, "uid", planned.0, planned.1, Timestamp::UNIX_EPOCH);
            m.state = state;
            m.attempt = 2;
            m.sequence = (7 << 32) + 3;
            m.started = Some(Timestamp::UNIX_EPOCH);
            m.relabelled = true;
            let key = WorkloadKey { kind: WorkloadKind::DaemonSet, name: "agent".to_owned() };
            m.restarts = BTreeMap::from([(key, 2)]);
            let uids = |uid: &str| BTreeSet::from([uid.to_owned()]);
            let (planned, stragglers) = (uids("1"), uids("2"));
            let evictions = Evictions { attempt: 2, pods: 3, planned, stragglers };
            m.evictions = BTreeMap::from([("StatefulSet/db".to_owned(), evictions)]);
            let cleared = Cleared { attempt: 2, evicted: uids("3"), deleted: uids("4") };
            m.cleared = BTreeMap::from([("StatefulSet/db".to_owned(), cleared)]);
            let stage = [Stage::Wanted, Stage::Made, Stage::Refused("no".to_owned())];
            let stage = stage[index % 3].clone();
            let (problem, rollback) = (problem(), "m-2".to_owned());
            m.taken_back = Some(TakenBack { attempt: 2, problem, rollback, stage });
            m
        })
        .collect();
    let shard = shard(0, &moves, true);
    // Through the very text that is stored.
    let text = serde_json::to_string(&shard).unwrap();
    let read: MigrationShard = serde_json::from_str(&text).unwrap();
    let count = u32::try_from(moves.len()).unwrap();
    assert_eq!(super::moves(&read, &stored(count, 1).spec).unwrap(), moves);
}

#[test]
fn a_migration_needs_all_its_shards_in_the_order_of_the_plan() {
    let one = |name: &str| {
        let labels = InjectionLabels::default();
        Move::pending(name, "uid", labels.clone(), labels, Timestamp::UNIX_EPOCH)
    };
    let (first, second) = (shard(0, &[one("a")], false), shard(1, &[one("b")], false));
    assert_eq!(migration(&stored(2, 2), &[&first]).unwrap(), None);
    let whole = migration(&stored(2, 2), &[&second, &first]).unwrap().unwrap();
    let names: Vec<(&str, u64)> =
        whole.moves.iter().map(|m| (m.namespace.as_str(), m.sequence)).collect();
    assert_eq!(names, [("a", 1), ("b", 2)]);
    assert_eq!(whole.spec.rollback_of.as_deref(), Some("m-0"));
    assert_eq!(whole.spec.rollout_timeout, Duration::from_millis(1500));
    let rule = whole.spec.rule.unwrap();
    assert_eq!(Some(rule_record(&rule)), stored(2, 2).spec.rule);
    let windows: Vec<String> = whole.spec.windows.iter().map(ToString::to_string).collect();
    assert_eq!(windows, stored(2, 2).spec.windows);
    assert_eq!(whole.spec.tags, tags());
    assert_eq!(gate_records(&whole.spec.gates), stored(2, 2).spec.gates);
}

#[test]
fn commands_come_back_as_they_were() {
    let issued = |verb| Issued {
        verb,
        by: "alice".to_owned(),
        at: Timestamp::UNIX_EPOCH,
        wave: Some(3),
        namespaces: vec!["shop".to_owned()],
        named: 21,
        force: true,
    };
    let commands = Verb::ALL.map(issued).to_vec();
    let known = Control {
        paused: true,
        commands,
        reruns: [(2, Rerun { run: 3, at: Timestamp::UNIX_EPOCH })].into(),
        accepted: [(1, Approval { by: "bob".to_owned(), at: Timestamp::UNIX_EPOCH })].into(),
        ..Control::default()
    };
    let text = serde_json::to_string(&control_record(&known)).unwrap();
    assert_eq!(control(&serde_json::from_str(&text).unwrap()), known);
}

#[test]
fn a_deletion_counts_as_a_cancellation() {
    let mut object = stored(0, 0);
    object.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::UNIX_EPOCH));
    assert!(migration(&object, &[]).unwrap().unwrap().control.cancelled);
}

#[test]
fn a_hold_comes_back_and_what_is_no_window_is_malformed() {
    let until = Some(Timestamp::UNIX_EPOCH);
    for hold in [
        Hold { cause: Cause::Window, until },
        Hold { cause: Cause::Freeze("holidays".to_owned()), until: None },
    ] {
        let mut object = stored(0, 0);
        let record = Some(hold_record(&hold));
        object.status = Some(MigrationStatus { hold: record, ..MigrationStatus::default() });
        let text = serde_json::to_string(&object).unwrap();
        let read = migration(&serde_json::from_str(&text).unwrap(), &[]).unwrap().unwrap();
        assert_eq!(read.hold, Some(hold));
    }
    let mut object = stored(0, 0);
    object.spec.windows.push("whenever".to_owned());
    let error = migration(&object, &[]).unwrap_err();
    assert!(error.to_string().contains("whenever"), "{error}");
}

#[test]
fn what_has_come_of_checks_comes_back() {
    let at = Timestamp::UNIX_EPOCH;
    let verdict = |outcome| Verdict { run: 2, outcome, at, message: "so it is".to_owned() };
    let verdicts = BTreeMap::from([
        ((0, Check::Soak), verdict(Outcome::Pass)),
        ((0, Check::Named("smoke".to_owned())), verdict(Outcome::Fail)),
        ((1, Check::Named("smoke".to_owned())), verdict(Outcome::Inconclusive)),
    ]);
    let baseline = |value: Option<&str>, message: &str| {
        let (question, message) = ("q".to_owned(), message.to_owned());
        Baseline { question, value: value.map(str::to_owned), at, message }
    };
    let baselines = BTreeMap::from([
        ((0, "errors".to_owned()), baseline(Some("0.25"), "")),
        ((1, "errors".to_owned()), baseline(None, "no answer")),
    ]);
    let mut object = stored(0, 0);
    object.status = Some(MigrationStatus {
        verdicts: verdict_records(&verdicts),
        baselines: baseline_records(&baselines),
        ..MigrationStatus::default()
    });
    let text = serde_json::to_string(&object).unwrap();
    let read = migration(&serde_json::from_str(&text).unwrap(), &[]).unwrap().unwrap();
    assert_eq!((read.verdicts, read.baselines), (verdicts, baselines));
}

#[test]
fn a_drift_comes_back() {
    let lead = tags().leads.pop_first().unwrap();
    let found = "it leads to `c`".to_owned();
    let drift = Drift { run: 2, lead, found, at: Timestamp::UNIX_EPOCH };
    let mut object = stored(0, 0);
    let record = Some(drift_record(&drift));
    object.status = Some(MigrationStatus { drift: record, ..MigrationStatus::default() });
    let text = serde_json::to_string(&object).unwrap();
    let read = migration(&serde_json::from_str(&text).unwrap(), &[]).unwrap().unwrap();
    assert_eq!(read.drift, Some(drift));
}

#[test]
fn a_final_state_comes_back() {
    let mut object = stored(0, 0);
    for state in ["SUCCEEDED", "COMPLETED_WITH_EXCEPTIONS", "CANCELLED"] {
        object.status = Some(MigrationStatus {
            state: state.to_owned(),
            ended: true,
            final_sequence: 9,
            ..MigrationStatus::default()
        });
        let ended = migration(&object, &[]).unwrap().unwrap().ended.unwrap();
        assert_eq!((ended.state.as_str(), ended.sequence), (state, 9));
    }
}

#[test]
fn what_a_newer_version_stored_is_refused_and_does_not_panic() {
    let labels = InjectionLabels::default();
    let m = Move::pending("a", "uid", labels.clone(), labels, Timestamp::UNIX_EPOCH);
    let mut strange = shard(0, &[m], true);
    strange.status.as_mut().unwrap().moves[0].state = "LEVITATING".to_owned();
    let error = migration(&stored(1, 1), &[&strange]).unwrap_err();
    assert!(error.to_string().contains("LEVITATING"), "{error}");
}
