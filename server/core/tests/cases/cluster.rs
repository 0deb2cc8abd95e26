//! The view beside late lists, late events and late replies.

use super::world::{OLD, World, deployment, key};
use revshift_core::cluster::{Change, Kind, Object};
use revshift_core::workload::{Workload, WorkloadKind};

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
