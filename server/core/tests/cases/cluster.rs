//! The view beside late lists, late events and late replies.

use super::world::{NEW, OLD, World, deployed, deployment, key, rev};
use revshift_core::cluster::{Change, Istiod, Kind, Object};
use revshift_core::pod::Injected;
use revshift_core::workload::{Workload, WorkloadKind};
use std::sync::Arc;

const DEPLOYMENT: Kind = Kind::Workload(WorkloadKind::Deployment);

fn web(version: u64, restart: Option<&str>) -> Workload {
    Workload {
        resource_version: version.to_string(),
        restart: restart.map(str::to_owned),
        ..deployment("web", 2)
    }
}

fn set(workload: Workload) -> Change {
    let object = Object::Workload(Box::new(workload), None);
    Change::Set(DEPLOYMENT, key("shop", "web"), object)
}

fn listed(workload: Workload) -> Change {
    let object = Object::Workload(Box::new(workload), None);
    Change::Listed(DEPLOYMENT, vec![(key("shop", "web"), object)])
}

fn restart(world: &World) -> Option<String> {
    let (_, content) = world.cluster.namespace("shop").unwrap();
    content.workloads.values().next().and_then(|workload| workload.restart.clone())
}

fn shop() -> World {
    let mut world = World::calisti();
    world.namespace("shop", &[("istio.io/rev", OLD)]);
    world.cluster.apply(set(web(5, None)));
    world
}

#[test]
fn a_watch_that_lags_does_not_set_a_reply_back() {
    let mut world = shop();
    world.cluster.apply_reply(set(web(9, Some("m.1"))));
    world.cluster.apply(set(web(7, None)));
    assert_eq!(restart(&world).as_deref(), Some("m.1"));
    world.cluster.apply(set(web(11, Some("m.1"))));
    world.cluster.apply(set(web(12, None)));
    assert_eq!(restart(&world), None);
}

#[test]
fn a_list_that_began_before_a_call_does_not_set_its_reply_back() {
    let mut world = shop();
    world.cluster.apply_reply(set(web(9, Some("m.1"))));
    world.cluster.apply(listed(web(5, None)));
    assert_eq!(restart(&world).as_deref(), Some("m.1"));
    // A cluster that was restored to an earlier time is believed in the end.
    world.cluster.apply(listed(web(5, None)));
    assert_eq!(restart(&world), None);
}

#[test]
fn a_list_is_believed_once_the_watch_has_shown_the_reply() {
    let mut world = shop();
    world.cluster.apply_reply(set(web(9, Some("m.1"))));
    world.cluster.apply(set(web(9, Some("m.1"))));
    world.cluster.apply(listed(web(5, None)));
    assert_eq!(restart(&world), None);
}

#[test]
fn a_late_reply_brings_nothing_back_that_was_deleted() {
    let mut world = shop();
    world.gone(DEPLOYMENT, "shop", "web");
    world.cluster.apply_reply(set(web(9, Some("m.1"))));
    let (_, content) = world.cluster.namespace("shop").unwrap();
    assert!(content.workloads.is_empty());
    // Another one of that name is another object.
    let mut heir = web(12, None);
    heir.uid = "uid-heir".to_owned();
    world.cluster.apply(set(heir));
    assert_eq!(world.cluster.namespace("shop").unwrap().1.workloads.len(), 1);
}

#[test]
fn a_list_of_pods_that_is_told_one_by_one_hides_nothing_until_it_is_complete() {
    let mut world = shop();
    let names = |world: &World| -> Vec<String> {
        let (_, content) = world.cluster.namespace("shop").unwrap();
        content.pods.values().map(|pod| pod.name.clone()).collect()
    };
    for suffix in ["1", "2", "3"] {
        world.pod("shop", deployed("web", "a", suffix, Injected::By(rev(OLD))));
    }
    let number = world.cluster.number();
    // One that breaks off begins anew.
    for last in [false, true] {
        world.cluster.apply(Change::ListingPods);
        world.pod("shop", deployed("web", "a", "1", Injected::By(rev(OLD))));
        assert_eq!(names(&world), ["web-a-1", "web-a-2", "web-a-3"]);
        assert_eq!(world.cluster.number(), number, "what is known was told as a change");
        if last {
            world.pod("shop", deployed("web", "b", "4", Injected::By(rev(NEW))));
            world.cluster.apply(Change::ListedPods);
        }
    }
    assert_eq!(names(&world), ["web-a-1", "web-b-4"]);
    world.cluster.apply(Change::ListingPods);
    world.cluster.apply(Change::ListedPods);
    assert_eq!(names(&world), [""; 0]);
}

#[test]
fn pods_of_one_template_share_what_they_have_in_common() {
    let mut world = shop();
    for (hash, suffix) in [("a", "3"), ("a", "1"), ("b", "1"), ("a", "2")] {
        world.pod("shop", deployed("web", hash, suffix, Injected::By(rev(OLD))));
    }
    let (_, content) = world.cluster.namespace("shop").unwrap();
    let pods: Vec<_> = content.pods.values().collect();
    assert!(Arc::ptr_eq(&pods[0].make, &pods[1].make) && Arc::ptr_eq(&pods[1].make, &pods[2].make));
    assert_ne!(pods[2].make, pods[3].make);
}

#[test]
fn an_istiod_outside_of_its_planes_namespace_is_not_believed() {
    let claimed = |revision: &str| Istiod {
        revision: rev(revision),
        version: "9.9.9".to_owned(),
        available: 1,
        desired: 1,
        cores: 64,
        created: None,
    };
    let deploy = |world: &mut World, namespace: &str, revision: &str| {
        let object = Object::Workload(Box::new(deployment("istiod", 1)), Some(claimed(revision)));
        world.cluster.apply(Change::Set(DEPLOYMENT, key(namespace, "istiod"), object));
    };
    let mut world = World::calisti();
    let before = world.cluster.planes().clone();
    deploy(&mut world, "tenant", NEW);
    assert_eq!(*world.cluster.planes(), before);
    assert_eq!(world.cluster.istiods_of(&rev(NEW)).count(), 0);
    deploy(&mut world, "istio-system", NEW);
    let found: Vec<_> = world.cluster.istiod_deployments(&rev(NEW)).collect();
    assert_eq!(found, [("istio-system", "istiod")]);
    // Where nothing tells of a namespace, a Deployment is all there is.
    deploy(&mut world, "elsewhere", "1-31");
    assert_eq!(world.cluster.planes()[&rev("1-31")].namespace, "elsewhere");
    // Webhooks that call a URL name the namespace where it is another than the usual one.
    for (configuration, namespace, believed) in [
        ("istio-sidecar-injector-ext", "tenant", 0),
        ("istio-sidecar-injector-ext", "ext", 0),
        ("istio-sidecar-injector-ext", "istio-system", 1),
        ("istio-sidecar-injector-ext-mesh", "mesh", 1),
    ] {
        let mut world = World::calisti();
        let mut injectors = super::world::revisioned(configuration, "ext", None);
        for injector in &mut injectors {
            injector.namespace.clear();
        }
        world.injectors(configuration, injectors);
        deploy(&mut world, namespace, "ext");
        assert_eq!(world.cluster.istiods_of(&rev("ext")).count(), believed, "{namespace}");
    }
}
