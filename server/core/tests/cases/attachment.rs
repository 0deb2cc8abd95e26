//! Attached, PendingRestart, Mixed, Dangling, NotInjected.

use super::world::{NEW, OLD, World, deployed, deployment, pod, rev, wish};
use revshift_core::attachment::{AttachmentState, Population, attachment, populations};
use revshift_core::pod::{Injected, Pod};

#[track_caller]
fn check(label: Option<&str>, pods: Vec<Pod>, expected: AttachmentState) {
    let mut world = World::calisti();
    match label {
        Some(label) => world.namespace("shop", &[("istio.io/rev", label)]),
        None => world.namespace("shop", &[]),
    }
    world.workload("shop", deployment("web", 2));
    for pod in pods {
        world.pod("shop", pod);
    }
    let (meta, content) = world.cluster.namespace("shop").unwrap();
    assert_eq!(attachment(&world.cluster, meta, content).state, expected);
}

fn on(revision: &str, suffix: &str) -> Pod {
    deployed("web", "aaa", suffix, Injected::By(rev(revision)))
}

fn bare(suffix: &str) -> Pod {
    deployed("web", "aaa", suffix, Injected::No)
}

#[test]
fn states_follow_from_labels_and_pods() {
    use AttachmentState::{Attached, Dangling, Mixed, NotInjected, PendingRestart};
    check(Some(NEW), vec![], Attached);
    check(Some(NEW), vec![on(NEW, "1"), on(NEW, "2")], Attached);
    check(Some(NEW), vec![on(OLD, "1"), on(OLD, "2")], PendingRestart);
    check(Some(NEW), vec![bare("1"), bare("2")], PendingRestart);
    check(Some(NEW), vec![on(OLD, "1"), on(NEW, "2")], Mixed);
    check(Some(NEW), vec![on(OLD, "1"), bare("2")], Mixed);
    check(Some("gone"), vec![on(OLD, "1")], Dangling);
    check(None, vec![bare("1")], NotInjected);
    check(None, vec![on(OLD, "1")], NotInjected);
}

#[test]
fn pods_that_opt_out_and_pods_that_go_do_not_count() {
    let mut opted = bare("1");
    opted.make_mut().wish = wish(&[("sidecar.istio.io/inject", "false")]);
    check(Some(NEW), vec![opted, on(NEW, "2")], AttachmentState::Attached);
    let going = Pod { terminating: true, ..on(OLD, "1") };
    check(Some(NEW), vec![going, on(NEW, "2")], AttachmentState::Attached);
}

#[test]
fn pods_of_the_node_network_are_not_expected_to_be_injected() {
    let mut world = World::calisti();
    world.namespace("shop", &[("istio.io/rev", NEW)]);
    let mut agent = deployment("web", 1);
    agent.host_network = true;
    world.workload("shop", agent);
    world.pod("shop", bare("1"));
    let (meta, content) = world.cluster.namespace("shop").unwrap();
    assert_eq!(attachment(&world.cluster, meta, content).state, AttachmentState::Attached);
}

#[test]
fn planes_count_namespaces_by_label_and_pods_by_record() {
    let mut world = World::calisti();
    world.application("a");
    world.application("b");
    world.edit_namespace("b", |meta| {
        meta.labels.insert("istio.io/rev".to_owned(), NEW.to_owned());
    });
    world.namespace("c", &[]);
    world.pod("c", pod("alone", None, Injected::No));
    let populations = populations(&world.cluster);
    assert_eq!(populations[&rev(OLD)], Population { namespaces: 1, pods: 4 });
    assert_eq!(populations[&rev(NEW)], Population { namespaces: 1, pods: 0 });
}
