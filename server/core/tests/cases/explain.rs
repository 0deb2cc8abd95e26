//! Explanations: each reason, and what other labels would make of a namespace.

use super::world::{
    NEW, OLD, World, at, default_injectors, deployed, deployment, labels, owned, pod, rev,
    revisioned, workload,
};
use revshift_core::cluster::Kind;
use revshift_core::diagnosis::{InspectedPod, Inspection, Trouble, Warning};
use revshift_core::explain::{Details, Explanation, Labelled, Look, Reason, Subject};
use revshift_core::injection::Injection;
use revshift_core::label::InjectionLabels;
use revshift_core::plan::Method;
use revshift_core::pod::{Injected, InjectionWish};
use revshift_core::problem::Code;
use revshift_core::workload::{Obstacle, WorkloadKind};
use std::time::Duration;

/// An application on the old plane whose namespace was labelled with the new one at second 100.
fn shop() -> World {
    let mut world = World::calisti();
    world.application("shop");
    world.edit_namespace("shop", |meta| meta.labels = labels(&[("istio.io/rev", NEW)]));
    world
}

/// The pods of `shop` as the view has them, each created at `created`.
fn look(world: &World, created: i64) -> Look {
    let (_, content) = world.cluster.namespace("shop").unwrap();
    let inspected = |pod: &revshift_core::pod::Pod| InspectedPod {
        pod: pod.clone(),
        ready: true,
        trouble: None,
        revision: None,
        restarted: None,
    };
    let pods: Vec<InspectedPod> = content.pods.values().map(inspected).collect();
    let details = Details { created: Some(at(created)), host_network: false };
    Look {
        details: pods.iter().map(|pod| (pod.pod.name.clone(), details.clone())).collect(),
        inspection: Inspection { at: Duration::ZERO, pods, warnings: Vec::new() },
        labelled: Labelled::At(at(100)),
        now: at(1000),
    }
}

fn explained(world: &World, look: &Look, to: Option<&str>) -> Explanation {
    let (meta, namespace) = world.cluster.namespace("shop").unwrap();
    let subject = Subject { cluster: &world.cluster, name: "shop", meta, namespace, look };
    let to = to.map(|to| (rev(to), InjectionLabels::of_revision(to)));
    subject.explain(to.as_ref().map(|(plane, labels)| (plane, labels)))
}

/// The reason of the pod that is told first.
#[track_caller]
fn reason(world: &World, created: i64) -> Reason {
    let found = explained(world, &look(world, created), None);
    found.pods[0].why.as_ref().unwrap_or_else(|| panic!("no reason: {found:?}")).reason
}

#[test]
fn what_was_not_restarted_is_told_from_what_was_injected_wrongly() {
    let world = shop();
    let found = explained(&world, &look(&world, 50), None);
    assert!(found.pods.iter().all(|pod| pod.astray));
    assert_eq!(found.workloads[0].astray, 2);
    assert_eq!(found.workloads[0].wanted, Injection::By(rev(NEW)));
    assert_eq!(reason(&world, 50), Reason::NotRestarted);
    assert_eq!(reason(&world, 150), Reason::InjectedByOther);
    let mut bare = world.clone();
    for index in 0..2 {
        bare.pod("shop", deployed("web", "aaa", &index.to_string(), Injected::No));
    }
    assert_eq!(reason(&bare, 50), Reason::NotRestarted);
    assert_eq!(reason(&bare, 150), Reason::WebhookDown);
    // Of the same second nobody knows, unless there were no pods before.
    assert_eq!(reason(&bare, 100), Reason::NotRestarted);
    let whole = Look { labelled: Labelled::AtCreation, ..look(&bare, 100) };
    let why = explained(&bare, &whole, None).pods[0].why.clone();
    assert_eq!(why.map(|why| why.reason), Some(Reason::WebhookDown));
    // Where a tag leads may have changed after the pod was made.
    let mut tagged = world;
    tagged.injectors("prod", revisioned("prod", NEW, Some("prod")));
    tagged.edit_namespace("shop", |meta| meta.labels = labels(&[("istio.io/rev", "prod")]));
    assert_eq!(reason(&tagged, 150), Reason::NotRestarted);
}

#[test]
fn what_is_where_it_should_be_needs_no_reason() {
    let mut world = shop();
    world.edit_namespace("shop", |meta| meta.labels = labels(&[("istio.io/rev", OLD)]));
    let found = explained(&world, &look(&world, 50), None);
    assert!(found.pods.iter().all(|pod| !pod.astray && pod.why.is_none()), "{found:?}");
    assert_eq!(found.workloads[0].why, None);
}

#[test]
fn labels_that_lead_nowhere_or_to_several_are_told() {
    let mut world = shop();
    world.gone(Kind::Injector, "", NEW);
    assert_eq!(reason(&world, 50), Reason::Dangling);
    world.injectors(NEW, revisioned(NEW, NEW, None));
    world.injectors("greedy", revisioned("greedy", "1-31", Some(NEW)));
    assert_eq!(reason(&world, 50), Reason::Conflict);
}

#[test]
fn what_keeps_a_workload_from_replacing_its_pods_is_told() {
    for (obstacle, expected) in [
        (Obstacle::Paused, Reason::Paused),
        (Obstacle::OnDelete, Reason::OnDelete),
        (Obstacle::Partition, Reason::Partition),
        (Obstacle::Owned("Database/x".to_owned()), Reason::Owned),
        (Obstacle::Skipped, Reason::Skipped),
    ] {
        let mut world = shop();
        world.edit_workload("shop", "web", |w| w.obstacle = Some(obstacle.clone()));
        assert_eq!(reason(&world, 50), expected);
    }
    let mut world = shop();
    world.edit_workload("shop", "web", |w| w.baked_in = true);
    assert_eq!(reason(&world, 50), Reason::BakedIn);
}

#[test]
fn a_rollout_is_told_and_what_it_is_stuck_on() {
    let mut world = shop();
    world.edit_workload("shop", "web", |w| w.updated = 1);
    assert_eq!(reason(&world, 50), Reason::Rolling);
    let mut stuck = look(&world, 50);
    stuck.inspection.pods[0].ready = false;
    stuck.inspection.pods[0].trouble = Some((Trouble::ImagePull, "no such image".to_owned()));
    let found = explained(&world, &stuck, None);
    let why = found.workloads[0].why.clone().unwrap();
    assert_eq!((why.reason, why.code), (Reason::RolloutStuck, Some(Code::ImagePull)));
    assert!(why.message.contains("no such image"), "{why:?}");
    // Pods that a webhook keeps from being made leave nothing but an event.
    world.edit_workload("shop", "web", |w| {
        w.total = 1;
        w.complaints.creation = Some("failed calling webhook \"rev.namespace\"".to_owned());
    });
    let mut warned = look(&world, 50);
    warned.inspection.warnings = vec![Warning {
        kind: "ReplicaSet".to_owned(),
        name: "web-bbb".to_owned(),
        reason: "FailedCreate".to_owned(),
        message: "failed calling webhook".to_owned(),
    }];
    let why = explained(&world, &warned, None).workloads[0].why.clone().unwrap();
    assert_eq!((why.reason, why.code), (Reason::RolloutStuck, Some(Code::WebhookUnreachable)));
}

#[test]
fn pods_that_nobody_restarts_are_told_apart() {
    let old = || Injected::By(rev(OLD));
    for (made, expected) in [
        (owned("Job", "batch", "0", old()), Reason::Job),
        (pod("bare", None, old()), Reason::BarePod),
    ] {
        let mut world = World::calisti();
        world.namespace("shop", &[("istio.io/rev", NEW)]);
        world.pod("shop", made);
        assert_eq!(reason(&world, 50), expected);
        if expected == Reason::Job {
            world.job("shop", "batch", "nightly");
            assert_eq!(reason(&world, 50), Reason::CronJob);
            let found = explained(&world, &look(&world, 50), None);
            assert_eq!(found.workloads[0].name, "nightly");
        }
    }
}

#[test]
fn own_labels_and_the_nodes_network_are_told() {
    let apart = |wish: InjectionWish, injected: Injected, namespace: &[(&str, &str)]| {
        let mut world = World::calisti();
        world.injectors("default", default_injectors(OLD));
        world.namespace("shop", namespace);
        let mut web = deployment("web", 1);
        web.wish = wish.clone();
        world.workload("shop", web);
        let mut one = deployed("web", "aaa", "0", injected);
        one.make_mut().wish = wish;
        world.pod("shop", one);
        let found = explained(&world, &look(&world, 50), None);
        assert!(!found.pods[0].astray, "{found:?}");
        found.workloads[0].why.clone().map(|why| why.reason)
    };
    let wish = super::world::wish;
    let on = [("istio.io/rev", NEW)];
    let pinned = apart(wish(&[("istio.io/rev", OLD)]), Injected::By(rev(OLD)), &[]);
    assert_eq!(pinned, Some(Reason::Pinned));
    let asks = apart(wish(&[("sidecar.istio.io/inject", "true")]), Injected::By(rev(OLD)), &[]);
    assert_eq!(asks, Some(Reason::Pinned));
    let excluded = apart(wish(&[("sidecar.istio.io/inject", "false")]), Injected::No, &on);
    assert_eq!(excluded, Some(Reason::Excluded));
    let annotation = InjectionWish { annotation: Some("false".to_owned()), ..wish(&[]) };
    assert_eq!(apart(annotation, Injected::No, &on), Some(Reason::Excluded));

    let mut world = World::calisti();
    world.namespace("shop", &on);
    let mut agent = workload(WorkloadKind::DaemonSet, "agent", 1);
    agent.host_network = true;
    world.workload("shop", agent);
    world.pod("shop", owned("DaemonSet", "agent", "0", Injected::No));
    let mut seen = look(&world, 50);
    seen.details.values_mut().for_each(|details| details.host_network = true);
    let found = explained(&world, &seen, None);
    assert_eq!(found.pods[0].why.as_ref().unwrap().reason, Reason::HostNetwork);
    let mut world = World::calisti();
    world.namespace("shop", &on);
    world.workload("shop", deployment("idle", 0));
    let found = explained(&world, &look(&world, 50), None);
    assert_eq!(found.workloads[0].why.as_ref().unwrap().reason, Reason::ScaledToZero);
}

#[test]
fn other_labels_are_foreseen_webhook_by_webhook() {
    let mut world = World::calisti();
    world.application("shop");
    world.workload("shop", deployment("single", 1));
    world.pod("shop", deployed("single", "ccc", "0", Injected::By(rev(OLD))));
    world.edit_workload("shop", "single", |w| w.obstacle = Some(Obstacle::Paused));
    let found = explained(&world, &look(&world, 50), Some(NEW));
    let after = |name: &str| {
        let found = found.workloads.iter().find(|it| it.name == name).unwrap();
        found.after.clone().unwrap()
    };
    let web = after("web");
    assert_eq!(web.wanted, Injection::By(rev(NEW)));
    assert_eq!(web.restart.unwrap().method, Some(Method::Roll));
    assert_eq!(after("single").restart.unwrap_err().code, Code::WorkloadNeedsDowntime);
    let called: Vec<_> = web
        .webhooks
        .iter()
        .map(|it| (it.revision.as_str(), it.namespace_now, it.namespace_after, it.object))
        .collect();
    assert_eq!(
        called,
        [
            (OLD, true, false, true),
            (OLD, false, false, false),
            (NEW, false, true, true),
            (NEW, false, false, false),
        ]
    );
}

#[test]
fn a_pod_that_has_just_been_created_is_no_trouble_yet() {
    let mut world = shop();
    world.edit_workload("shop", "web", |web| (web.updated, web.total) = (1, 3));
    let mut look = look(&world, 970);
    for pod in &mut look.inspection.pods {
        (pod.ready, pod.trouble) = (false, Some((Trouble::NotReady, "it is not ready".to_owned())));
    }
    let reason =
        |look: &Look| explained(&world, look, None).workloads[0].why.as_ref().map(|why| why.reason);
    assert_eq!(reason(&look), Some(Reason::Rolling));
    look.now = at(1031);
    assert_eq!(reason(&look), Some(Reason::RolloutStuck));
}
