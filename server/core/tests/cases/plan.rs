//! Plans and their refusals.

use super::world::{
    NEW, OLD, World, calisti, deployed, deployment, labels, owned, pod, rev, revisioned, workload,
};
use revshift_core::label::InjectionLabels;
use revshift_core::migration::{OnFailure, Verification};
use revshift_core::plan::extension::unplanned;
use revshift_core::plan::{Method, Plan, ROLLOUT_TIMEOUT, Request, plan};
use revshift_core::pod::{Injected, Owner, TemplateHash};
use revshift_core::problem::Code;
use revshift_core::refusal::Refusal;
use revshift_core::selection::{Matching, Selection};
use revshift_core::tag::TagPolicy;
use revshift_core::workload::{Obstacle, WorkloadKind};
use std::collections::BTreeSet;
use std::time::Duration;

pub(crate) fn request(namespaces: &[&str]) -> Request {
    Request {
        source: OLD.to_owned(),
        target: NEW.to_owned(),
        selection: Selection::Named(namespaces.iter().map(|name| (*name).to_owned()).collect()),
        rule: None,
        windows: Vec::new(),
        gates: Vec::new(),
        allowances: Vec::new(),
        approve_all: false,
        rollout_timeout: ROLLOUT_TIMEOUT,
        failure_budget: 0,
        allow_downtime: false,
        on_failure: OnFailure::Pause,
        verification: Verification::Injected,
        tags: TagPolicy::Refuse,
    }
}

fn old() -> Injected {
    Injected::By(rev(OLD))
}

#[track_caller]
fn refused(world: &World, namespace: &str) -> Vec<(Code, String)> {
    match plan(&world.cluster, &request(&[namespace])) {
        Err(Refusal::Plan(violations)) => {
            violations.into_iter().map(|violation| (violation.code, violation.subject)).collect()
        }
        other => panic!("not refused: {other:?}"),
    }
}

fn shop(edit: impl FnOnce(&mut World)) -> World {
    let mut world = World::calisti();
    world.application("shop");
    edit(&mut world);
    world
}

#[test]
fn what_a_rule_finds_later_is_known_until_the_migration_is_over() {
    let mut world = World::calisti();
    for name in ["a", "late", "spared"] {
        world.application(name);
    }
    world.namespace("stranger", &[("istio.io/rev", NEW)]);
    let mut migration = super::world::migration("m", &["a"]);
    assert!(unplanned(&world.cluster, &migration).is_empty(), "it was named, not found");
    let exclude = BTreeSet::from(["spared".to_owned()]);
    migration.spec.rule = Some(Matching { exclude, ..Matching::default() });
    assert_eq!(unplanned(&world.cluster, &migration), ["late"]);
    let mut cancelled = migration;
    cancelled.control.cancelled = true;
    assert!(unplanned(&world.cluster, &cancelled).is_empty());

    // The rule goes from the plan that it makes to the migration, and the hash says nothing of it.
    let selection = Selection::Matching(Matching::default());
    let found = plan(&world.cluster, &Request { selection, ..request(&[]) }).unwrap();
    assert_eq!(found.rule, Some(Matching::default()));
    assert_eq!(Plan { rule: None, ..found.clone() }.hash(), found.hash());
}

#[test]
fn a_plan_names_what_is_restarted_and_what_is_left() {
    let world = shop(|world| {
        world.workload("shop", deployment("idle", 0));
        let mut opted = deployment("opted", 1);
        opted.wish = super::world::wish(&[("sidecar.istio.io/inject", "false")]);
        world.workload("shop", opted);
        world.pod("shop", deployed("opted", "bbb", "0", Injected::No));
        world.pod("shop", owned("Job", "report", "x", old()));
        world.job("shop", "nightly-1", "nightly");
        world.pod("shop", owned("Job", "nightly-1", "x", old()));
        world.pod("shop", pod("alone", None, old()));
    });
    let plan = plan(&world.cluster, &request(&["shop"])).unwrap();
    assert_eq!((plan.source.as_str(), plan.target.as_str()), (OLD, NEW));
    let entry = &plan.entries[0];
    assert_eq!(entry.before, InjectionLabels::of_revision(OLD));
    assert_eq!(entry.after, InjectionLabels::of_revision(NEW));
    let workloads: Vec<_> = entry
        .workloads
        .iter()
        .map(|w| (w.name.as_str(), w.pods_to_move, w.method == Some(Method::Roll)))
        .collect();
    assert_eq!(workloads, [("idle", 0, false), ("opted", 0, false), ("web", 2, true)]);
    let codes: Vec<Code> = plan.findings.iter().map(|finding| finding.code).collect();
    assert_eq!(
        codes,
        [
            Code::LeftoverJob,
            Code::LeftoverCronJob,
            Code::LeftoverBarePod,
            Code::LeftoverScaledToZero
        ]
    );
}

#[test]
fn a_short_name_is_expanded_where_it_is_unambiguous() {
    let mut world = shop(|_| {});
    let mut short = request(&["shop"]);
    short.source = "cp-v113x".to_owned();
    short.target = "cp-v115x".to_owned();
    assert_eq!(plan(&world.cluster, &short).unwrap().target.as_str(), NEW);
    world.plane(calisti("cp-v115x.other", true));
    match plan(&world.cluster, &short) {
        Err(Refusal::PlaneAmbiguous { candidates, .. }) => {
            assert_eq!(candidates, [NEW, "cp-v115x.other"]);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn planes_must_exist_differ_and_be_available() {
    let mut world = shop(|_| {});
    let ask = |world: &World, source: &str, target: &str| {
        let request =
            Request { source: source.to_owned(), target: target.to_owned(), ..request(&["shop"]) };
        plan(&world.cluster, &request)
    };
    assert!(matches!(ask(&world, "nope", NEW), Err(Refusal::PlaneNotFound { .. })));
    assert!(matches!(ask(&world, OLD, "nope"), Err(Refusal::PlaneNotFound { .. })));
    assert!(matches!(ask(&world, OLD, "cp-v113x"), Err(Refusal::PlanesIdentical(_))));
    world.plane(calisti(NEW, false));
    assert!(matches!(ask(&world, OLD, NEW), Err(Refusal::PlaneUnavailable { .. })));
    // The plane that is left need not be well.
    world.plane(calisti(NEW, true));
    world.plane(calisti(OLD, false));
    assert!(ask(&world, OLD, NEW).is_ok());
}

#[test]
fn every_malformed_field_is_named() {
    let world = shop(|_| {});
    let bad = Request {
        source: String::new(),
        target: NEW.to_owned(),
        rollout_timeout: Duration::from_millis(10),
        ..request(&["shop", "Shop", "shop"])
    };
    match plan(&world.cluster, &bad) {
        Err(Refusal::InvalidFields(violations)) => {
            let fields: Vec<&str> = violations.iter().map(|v| v.field.as_str()).collect();
            assert_eq!(
                fields,
                ["spec.source", "spec.namespaces[1]", "spec.namespaces[2]", "spec.rollout_timeout"]
            );
        }
        other => panic!("{other:?}"),
    }
    let empty = plan(&world.cluster, &request(&[]));
    assert!(matches!(empty, Err(Refusal::InvalidFields(_))), "{empty:?}");
}

#[test]
fn namespaces_that_are_not_on_the_source_are_refused() {
    let mut world = World::calisti();
    assert_eq!(refused(&world, "shop"), [(Code::NamespaceNotFound, "Namespace/shop".to_owned())]);
    for (pairs, code) in [
        (&[][..], Code::NamespaceNotAttached),
        (&[("istio.io/rev", "other")], Code::NamespaceNotAttached),
        (&[("istio.io/rev", "prod")], Code::NamespaceByTag),
        (&[("istio-injection", "enabled")], Code::NamespaceByInjection),
        (&[("istio-injection", "disabled"), ("istio.io/rev", OLD)], Code::NamespaceByInjection),
    ] {
        world.injectors("tag", revisioned("tag", OLD, Some("prod")));
        world.namespace("shop", pairs);
        assert_eq!(refused(&world, "shop"), [(code, "Namespace/shop".to_owned())], "{pairs:?}");
    }
    world.namespace("shop", &[("istio.io/rev", OLD)]);
    world.edit_namespace("shop", |meta| meta.terminating = true);
    assert_eq!(refused(&world, "shop")[0].0, Code::NamespaceTerminating);
}

#[test]
fn a_template_with_a_sidecar_of_its_own_is_refused() {
    let baked = shop(|world| world.edit_workload("shop", "web", |w| w.baked_in = true));
    let web = "Deployment/shop/web".to_owned();
    assert_eq!(refused(&baked, "shop"), [(Code::WorkloadBakedIn, web)]);
}

/// What a plan says of a workload: how it is restarted, and the finding about it.
#[track_caller]
fn told(world: &World, name: &str) -> (Option<Method>, Option<Code>) {
    let plan = plan(&world.cluster, &request(&["shop"])).unwrap();
    let workload = plan.entries[0].workloads.iter().find(|w| w.name == name).unwrap();
    let object = format!("{}/shop/{name}", workload.kind);
    let finding = plan.findings.iter().find(|finding| finding.object == object);
    (workload.method, finding.map(|finding| finding.code))
}

#[test]
fn what_a_change_of_the_template_does_not_replace_is_evicted() {
    for (obstacle, code) in [
        (Obstacle::Paused, Code::WorkloadPaused),
        (Obstacle::OnDelete, Code::WorkloadOnDelete),
        (Obstacle::Partition, Code::WorkloadPartitioned),
        (Obstacle::Owned("Kiali/kiali".to_owned()), Code::WorkloadOwned),
    ] {
        let world = shop(|world| {
            world.edit_workload("shop", "web", |w| w.obstacle = Some(obstacle.clone()));
        });
        assert_eq!(told(&world, "web"), (Some(Method::Evict), Some(code)));
        // Whoever has only one pod would be interrupted.
        let single = shop(|world| {
            world.edit_workload("shop", "web", |w| {
                w.obstacle = Some(obstacle.clone());
                (w.desired, w.total, w.updated, w.available) = (1, 1, 1, 1);
            });
            world.gone(revshift_core::cluster::Kind::Pod, "shop", "web-aaa-1");
        });
        let web = "Deployment/shop/web".to_owned();
        assert_eq!(refused(&single, "shop"), [(Code::WorkloadNeedsDowntime, web)]);
        let allowed = Request { allow_downtime: true, ..request(&["shop"]) };
        assert!(plan(&single.cluster, &allowed).is_ok());
    }
}

#[test]
fn pods_of_controllers_that_are_not_watched_are_evicted() {
    let hash = || Some(TemplateHash::Deployment("ccc".to_owned()));
    for (kind, hash, code) in [
        ("ReplicaSet", None, Code::WorkloadBare),
        ("ReplicaSet", hash(), Code::WorkloadBare),
        ("ReplicationController", None, Code::WorkloadBare),
        ("ZookeeperCluster", None, Code::WorkloadUnknown),
    ] {
        let with = |pods: u32| {
            shop(|world| {
                for index in 0..pods {
                    let owner = Owner {
                        group: "apps".to_owned(),
                        kind: kind.to_owned(),
                        name: "x-ccc".to_owned(),
                        template_hash: hash.clone(),
                    };
                    world.pod("shop", pod(&format!("x-ccc-{index}"), Some(owner), old()));
                }
            })
        };
        assert_eq!(told(&with(2), "x-ccc"), (Some(Method::Evict), Some(code)), "{kind}");
        let subject = format!("{kind}/shop/x-ccc");
        assert_eq!(refused(&with(1), "shop"), [(Code::WorkloadNeedsDowntime, subject)], "{kind}");
    }
}

#[test]
fn an_obstacle_without_pods_to_move_forbids_nothing() {
    let world = shop(|world| {
        let mut idle = workload(WorkloadKind::StatefulSet, "idle", 0);
        idle.obstacle = Some(Obstacle::OnDelete);
        world.workload("shop", idle);
    });
    assert_eq!(told(&world, "idle").0, None);
}

#[test]
fn every_obstacle_of_every_namespace_is_told_at_once() {
    let mut world = shop(|world| {
        world.edit_workload("shop", "web", |w| w.baked_in = true);
    });
    world.namespace("plain", &[]);
    match plan(&world.cluster, &request(&["shop", "plain", "missing"])) {
        Err(Refusal::Plan(violations)) => assert_eq!(violations.len(), 3),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_target_without_its_webhook_is_refused() {
    let mut world = shop(|_| {});
    world.gone(revshift_core::cluster::Kind::Injector, "", NEW);
    assert_eq!(refused(&world, "shop")[0].0, Code::InjectorMismatch);
}

#[test]
fn a_namespace_already_labelled_with_the_target_is_only_restarted() {
    let world = shop(|world| {
        world.edit_namespace("shop", |meta| meta.labels = labels(&[("istio.io/rev", NEW)]));
    });
    let plan = plan(&world.cluster, &request(&["shop"])).unwrap();
    assert_eq!(plan.entries[0].before, plan.entries[0].after);
    assert_eq!(plan.entries[0].workloads[0].method, Some(Method::Roll));
}

#[test]
fn the_hash_covers_what_is_executed_and_not_what_is_found() {
    let mut world = shop(|_| {});
    world.application("other");
    let hash = |world: &World, request: &Request| plan(&world.cluster, request).unwrap().hash();
    let first = hash(&world, &request(&["shop", "other"]));
    assert_ne!(first, hash(&world, &request(&["other", "shop"])));
    let slower = Request { rollout_timeout: Duration::from_secs(1), ..request(&["shop", "other"]) };
    assert_ne!(first, hash(&world, &slower));
    let bolder = Request { allow_downtime: true, ..request(&["shop", "other"]) };
    assert_ne!(first, hash(&world, &bolder));
    world.workload("shop", deployment("new", 3));
    assert_eq!(first, hash(&world, &request(&["shop", "other"])));
    world.edit_namespace("shop", |meta| meta.uid = "another".to_owned());
    assert_ne!(first, hash(&world, &request(&["shop", "other"])));
    let plan: Plan = plan(&world.cluster, &request(&["shop"])).unwrap();
    let rollback = Plan { rollback_of: Some("m-1".to_owned()), ..plan.clone() };
    assert_ne!(plan.hash(), rollback.hash());
}

#[test]
fn what_its_owner_wants_left_alone_is_left() {
    let mut world = shop(|world| {
        world.workload("shop", deployment("other", 1));
        world.pod("shop", deployed("other", "bbb", "0", old()));
        world.edit_workload("shop", "other", |w| w.obstacle = Some(Obstacle::Skipped));
    });
    assert_eq!(told(&world, "other"), (None, Some(Code::LeftoverSkipped)));
    let planned = plan(&world.cluster, &request(&["shop"])).unwrap();
    assert_eq!(planned.entries[0].leftovers.len(), 1);
    world.edit_namespace("shop", |meta| meta.skip = true);
    assert_eq!(refused(&world, "shop"), [(Code::NamespaceSkipped, "Namespace/shop".to_owned())]);
}
