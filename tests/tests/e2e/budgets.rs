//! Budgets hold over all migrations, across fail-over and while they change: judged by every change
//! of the cluster, never by what the server says.

use crate::simulated::{self, SimulatedBed};
use revshift_sandbox::{Change, ChangeKind, fixtures};
use revshift_server::config::{BudgetsConfig, Config};
use revshift_tests::{Bed, NEW, OLD, Replica};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::sleep;

const NAMESPACES: usize = 12;

fn config(namespaces: u32, workloads: u32, pods: u32, rate: u32) -> Config {
    let budgets = BudgetsConfig {
        namespaces: Some(namespaces),
        workloads: Some(workloads),
        pods: Some(pods),
        pods_per_second: Some(rate),
    };
    Config { budgets, ..Config::default() }
}

fn name(index: usize) -> String {
    format!("n-{index:02}")
}

async fn populated() -> SimulatedBed {
    let bed = SimulatedBed::new();
    for index in 0..NAMESPACES {
        bed.sandbox.apply(fixtures::namespace(&name(index), &[("istio.io/rev", OLD)]));
    }
    sleep(Duration::from_secs(1)).await;
    for index in 0..NAMESPACES {
        for workload in ["one", "two"] {
            bed.sandbox.apply(fixtures::deployment(&name(index), workload, 2));
        }
    }
    sleep(Duration::from_secs(30)).await;
    bed
}

/// All in one wave, without approval.
async fn migrate(bed: &SimulatedBed, server: &dyn Replica) {
    migrate_between(bed, server, true).await;
}

/// From the old plane to the new one, or back.
async fn migrate_between(bed: &SimulatedBed, server: &dyn Replica, forth: bool) {
    let (from, to) = if forth { (OLD, NEW) } else { (NEW, OLD) };
    let args = ["--server", &server.address(), "migrate", "--from", from, "--to", to];
    let args = args.into_iter().chain(["--all", "--approve-all", "--yes", "--detach"]);
    let output = bed.revshift(args.map(str::to_owned).collect()).await.unwrap();
    assert_eq!(output.status, 0, "{output:?}");
}

async fn moved(bed: &SimulatedBed, expected: usize) {
    moved_to(bed, expected, NEW).await;
}

async fn moved_to(bed: &SimulatedBed, expected: usize, target: &str) {
    let on_target = |pod: &serde_json::Value| {
        pod["metadata"]["annotations"]["istio.io/rev"] == target
            || pod["metadata"]["annotations"]["sidecar.istio.io/status"]
                .as_str()
                .is_some_and(|record| record.contains(target))
    };
    for _ in 0..6000 {
        let ended = bed.sandbox.objects("/apis/revshift.dev/v1alpha1/migrations");
        if !ended.is_empty() && ended.iter().all(|it| it["status"]["ended"] == true) {
            let pods = bed.sandbox.objects("/api/v1/pods");
            assert_eq!(pods.iter().filter(|pod| on_target(pod)).count(), expected);
            return;
        }
        sleep(Duration::from_millis(500)).await;
    }
    panic!("the migrations did not end");
}

/// The most that was under way at any time: workloads between their restart and the end of their
/// rollout, and the pods of those; and when restarts began.
#[derive(Debug, Default)]
struct Peaks {
    workloads: usize,
    pods: usize,
    begun: Vec<(i64, usize)>,
}

fn peaks(changes: &[Change]) -> Peaks {
    let mut peaks = Peaks::default();
    let mut rolling: BTreeMap<(String, String), usize> = BTreeMap::new();
    let mut restarted: BTreeSet<(String, String)> = BTreeSet::new();
    for change in changes.iter().filter(|change| change.kind == "Deployment") {
        let key = (change.reference.namespace.clone(), change.reference.name.clone());
        let object = &change.object;
        let restart =
            &object["spec"]["template"]["metadata"]["annotations"]["revshift.dev/restart"];
        if restart.is_null() || change.change == ChangeKind::Deleted {
            continue;
        }
        let (spec, status) = (&object["spec"], &object["status"]);
        let desired = spec["replicas"].as_u64().unwrap_or(1);
        let count = |field: &str| status[field].as_u64().unwrap_or_default();
        let done = status["observedGeneration"] == object["metadata"]["generation"]
            && count("updatedReplicas") == desired
            && count("replicas") == desired
            && count("availableReplicas") == desired;
        let pods = usize::try_from(desired).unwrap();
        if restarted.insert(key.clone()) {
            peaks.begun.push((change.time.as_millisecond(), pods));
        }
        if done {
            rolling.remove(&key);
        } else {
            rolling.insert(key, pods);
        }
        peaks.workloads = peaks.workloads.max(rolling.len());
        peaks.pods = peaks.pods.max(rolling.values().sum());
    }
    peaks
}

/// The most pods whose restart began within any second.
fn fastest(begun: &[(i64, usize)]) -> usize {
    let within = |from: i64| begun.iter().filter(move |(at, _)| (from..from + 1000).contains(at));
    begun.iter().map(|(from, _)| within(*from).map(|(_, pods)| pods).sum()).max().unwrap_or(0)
}

#[test]
fn budgets_are_never_exceeded() {
    simulated::in_virtual_time(async {
        let bed = populated().await;
        bed.config.send_replace(config(4, 3, 5, 100));
        let beginning = bed.sandbox.version();
        let server = bed.start().await.unwrap();
        migrate(&bed, &*server).await;
        moved(&bed, NAMESPACES * 4).await;
        let peaks = peaks(&bed.sandbox.changes_after(beginning));
        // 3 workloads have 6 pods, and only 5 may be under way.
        assert_eq!((peaks.workloads, peaks.pods), (2, 4), "{peaks:?}");
        server.stop().await.unwrap();
    });
}

/// What is evicted counts like what rolls: a StatefulSet that has evicted pods and not all ready again.
#[test]
fn evictions_are_bounded_like_restarts() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        for index in 0..NAMESPACES {
            bed.sandbox.apply(fixtures::namespace(&name(index), &[("istio.io/rev", OLD)]));
        }
        sleep(Duration::from_secs(1)).await;
        for index in 0..NAMESPACES {
            let mut set = fixtures::stateful_set(&name(index), "db", 2);
            set["spec"]["updateStrategy"] = serde_json::json!({ "type": "OnDelete" });
            bed.sandbox.apply(set);
        }
        sleep(Duration::from_secs(30)).await;
        for (budgets, most) in [(config(12, 3, 500, 100), 3), (config(12, 50, 2, 100), 2)] {
            bed.config.send_replace(budgets);
            let beginning = bed.sandbox.version();
            let server = bed.start().await.unwrap();
            migrate_between(&bed, &*server, most == 3).await;
            moved_to(&bed, NAMESPACES * 2, if most == 3 { NEW } else { OLD }).await;
            let changes = bed.sandbox.changes_after(beginning);
            let (mut going, mut peak) = (BTreeSet::new(), 0);
            for change in changes.iter().filter(|change| change.kind == "StatefulSet") {
                let ready = change.object["status"]["readyReplicas"].as_u64().unwrap_or_default();
                let set = change.reference.namespace.clone();
                if ready < 2 {
                    going.insert(set)
                } else {
                    going.remove(&set)
                };
                peak = peak.max(going.len());
            }
            assert_eq!(peak, most, "sets with a pod away at once");
            server.stop().await.unwrap();
        }
    });
}

#[test]
fn restarts_begin_no_faster_than_the_target_takes_them() {
    simulated::in_virtual_time(async {
        let bed = populated().await;
        bed.config.send_replace(config(12, 50, 500, 4));
        let beginning = bed.sandbox.version();
        let server = bed.start().await.unwrap();
        migrate(&bed, &*server).await;
        moved(&bed, NAMESPACES * 4).await;
        let peaks = peaks(&bed.sandbox.changes_after(beginning));
        // Two seconds' worth may be saved up, and one second's worth comes in meanwhile.
        let fastest = fastest(&peaks.begun);
        assert!((4..=12).contains(&fastest), "{fastest} pods began within a second: {peaks:?}");
        let (first, last) = (peaks.begun[0].0, peaks.begun[peaks.begun.len() - 1].0);
        assert!(last - first >= 8_000, "48 pods at 4 a second took {} ms", last - first);
        server.stop().await.unwrap();
    });
}

#[test]
fn budgets_hold_across_a_fail_over_and_while_they_change() {
    simulated::in_virtual_time(async {
        let bed = populated().await;
        bed.config.send_replace(config(12, 4, 500, 100));
        let beginning = bed.sandbox.version();
        let first = bed.start().await.unwrap();
        let second = bed.start().await.unwrap();
        migrate(&bed, &*second).await;
        sleep(Duration::from_secs(4)).await;
        first.kill().await.unwrap();
        sleep(Duration::from_secs(17)).await;
        let narrowed = bed.sandbox.version();
        bed.config.send_replace(config(12, 1, 500, 100));
        moved(&bed, NAMESPACES * 4).await;
        let all = bed.sandbox.changes_after(beginning);
        let peaks = peaks(&all);
        assert!((2..=4).contains(&peaks.workloads), "{peaks:?}");
        // What was begun before the change ends; what begins after it goes alone.
        let late = bed.sandbox.changes_after(narrowed);
        assert!(!late.is_empty());
        second.stop().await.unwrap();
    });
}
