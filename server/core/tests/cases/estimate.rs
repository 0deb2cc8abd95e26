//! How long plans may take, and how fast restarts may begin.

use super::world::{NEW, World, deployment, key, rev};
use revshift_core::budget::Budgets;
use revshift_core::cluster::{Change, Istiod, Kind, Object};
use revshift_core::estimate::{Estimate, estimate};
use revshift_core::label::InjectionLabels;
use revshift_core::migration::{OnFailure, Verification};
use revshift_core::plan::{Entry, Method, Plan, PlannedWorkload};
use revshift_core::workload::WorkloadKind;
use std::collections::BTreeSet;
use std::time::Duration;

fn entry(wave: u32, kind: &str, replicas: u32, method: Option<Method>) -> Entry {
    let workload = PlannedWorkload {
        kind: kind.to_owned(),
        name: "web".to_owned(),
        replicas,
        pods_to_move: replicas,
        method,
        reason: String::new(),
        code: None,
    };
    Entry {
        namespace: "shop".to_owned(),
        uid: String::new(),
        wave,
        before: InjectionLabels::default(),
        after: InjectionLabels::default(),
        label_owner: None,
        workloads: vec![workload],
        leftovers: Vec::new(),
    }
}

fn of(entries: Vec<Entry>, approvals: &[u32], budgets: Budgets, rate: u32) -> Estimate {
    let plan = Plan {
        source: rev("old"),
        target: rev("new"),
        rollout_timeout: Duration::from_mins(10),
        failure_budget: 0,
        allow_downtime: false,
        force: false,
        on_failure: OnFailure::Pause,
        verification: Verification::Injected,
        rollback_of: None,
        extends: None,
        rule: None,
        windows: Vec::new(),
        gates: Vec::new(),
        tags: revshift_core::tag::Tags::default(),
        allowances: Vec::new(),
        entries,
        approvals: approvals.iter().copied().collect::<BTreeSet<u32>>(),
        findings: Vec::new(),
    };
    estimate(&plan, &budgets, rate)
}

fn seconds(estimate: &Estimate) -> (u64, u64) {
    (estimate.expected.as_secs(), estimate.lower_bound.as_secs())
}

#[test]
fn a_namespace_takes_as_long_as_its_slowest_workload() {
    let roll = Some(Method::Roll);
    for (kind, replicas, method, least) in [
        ("Deployment", 1, roll, 22),
        ("Deployment", 50, roll, 62),
        ("StatefulSet", 5, roll, 102),
        ("ReplicaSet", 4, Some(Method::Evict), 82),
        ("Deployment", 4, None, 2),
    ] {
        let found = of(vec![entry(0, kind, replicas, method)], &[], Budgets::default(), 1000);
        assert_eq!(seconds(&found), (least + 2, least), "{kind} {replicas} {method:?}");
    }
}

#[test]
fn waves_and_budgets_make_it_longer_and_what_is_not_known_is_said() {
    let many =
        |waves: u32| (0..8).map(move |i| entry(i % waves, "Deployment", 1, Some(Method::Roll)));
    let budgets = |namespaces, workloads, pods| Budgets {
        namespaces,
        workloads,
        pods,
        pods_per_second: None,
    };
    // All at once; four at a time; in waves of which the bound knows nothing.
    assert_eq!(seconds(&of(many(1).collect(), &[], budgets(8, 64, 500), 1000)), (24, 22));
    assert_eq!(seconds(&of(many(1).collect(), &[], budgets(4, 64, 500), 1000)), (48, 44));
    assert_eq!(seconds(&of(many(8).collect(), &[], budgets(8, 64, 500), 1000)), (192, 22));
    // The workloads, the pods, the rate.
    assert_eq!(seconds(&of(many(1).collect(), &[], budgets(8, 1, 500), 1000)), (162, 160));
    assert_eq!(seconds(&of(many(1).collect(), &[], budgets(8, 64, 2), 1000)), (82, 80));
    let big = vec![entry(0, "Deployment", 500, Some(Method::Roll))];
    assert_eq!(seconds(&of(big, &[], budgets(8, 64, 50_000), 5)), (102, 100));

    let said = |approvals: &[u32]| {
        let found = of(many(8).collect(), approvals, Budgets::default(), 10);
        found.assumptions.join("; ").contains("waits for an approval")
    };
    assert!(said(&[1, 2]) && !said(&[]));
}

#[test]
fn the_rate_follows_the_size_of_the_targets_istiods() {
    let mut world = World::calisti();
    let target = rev(NEW);
    let defaults = Budgets::default();
    let set = |world: &mut World, name: &str, available: u32, cores: u32| {
        let istiod = Istiod {
            revision: rev(NEW),
            version: String::new(),
            available,
            desired: available,
            cores,
            created: None,
        };
        let object = Object::Workload(Box::new(deployment(name, available)), Some(istiod));
        let kind = Kind::Workload(WorkloadKind::Deployment);
        world.cluster.apply(Change::Set(kind, key("istio-system", name), object));
    };
    assert_eq!(defaults.rate(&world.cluster, &target), 15);
    for (available, cores, rate, words) in [
        (1, 0, 15, "15 for each of 1 istiod replica of less than a core or unknown size"),
        (2, 1, 40, "20 for each of 2 istiod replicas of 1 core"),
        (3, 4, 105, "35 for each of 3 istiod replicas of 4 cores"),
        (1, 64, 100, "100 for each of 1 istiod replica of 64 cores"),
        (0, 4, 15, "as for one istiod of unknown size, since none is available in this cluster"),
    ] {
        set(&mut world, "istiod", available, cores);
        assert_eq!(defaults.rate(&world.cluster, &target), rate, "{available} of {cores} cores");
        assert_eq!(defaults.rate_rule(&world.cluster, &target), words);
    }
    set(&mut world, "istiod", 1, 1);
    set(&mut world, "second", 1, 2);
    assert_eq!(defaults.rate(&world.cluster, &target), 45);
    let configured = Budgets { pods_per_second: Some(3), ..defaults };
    assert_eq!(configured.rate(&world.cluster, &target), 3);
    assert_eq!(configured.rate_rule(&world.cluster, &target), "as configured");
}
