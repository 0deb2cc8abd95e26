//! Argo Rollouts: their own controller restarts them.

use super::story::{Story, new};
use super::world::{OLD, at, deployed, deployment, rev, workload};
use revshift_core::cluster::Kind;
use revshift_core::migration::{LeftoverReason, MoveState, restart_id};
use revshift_core::pod::{Injected, InjectionWish, Pod, TemplateHash};
use revshift_core::problem::Code;
use revshift_core::step::{Call, LINGER, Next};
use revshift_core::workload::{InPlace, WorkloadKey, WorkloadKind};
use std::time::Duration;

fn old() -> Injected {
    Injected::By(rev(OLD))
}

/// A pod of the Rollout `ro`; its restarts leave the template and so the pod as they are.
fn of_rollout(suffix: &str, injected: Injected) -> Pod {
    let mut pod = deployed("ro", "r", suffix, injected);
    if let Some(owner) = &mut pod.make_mut().owner {
        owner.template_hash = Some(TemplateHash::Rollout("r".to_owned()));
    }
    pod
}

fn in_place(done: bool) -> InPlace {
    InPlace { done, template_of: None }
}

/// `web` has rolled; beside it is a Rollout of so many pods.
fn rollout(pods: u32) -> Story {
    let mut story = Story::relabelled(MoveState::Restarting);
    story.roll(&new());
    story.world.workload("shop", workload(WorkloadKind::Rollout, "ro", pods));
    for index in 0..pods {
        story.world.pod("shop", of_rollout(&index.to_string(), old()));
    }
    assert_eq!(story.commits(), MoveState::Restarting);
    story
}

/// The restart was asked for, and the controller has not done it yet.
fn asked(pods: u32) -> Story {
    let mut story = rollout(pods);
    story.world.edit_workload("shop", "ro", |ro| {
        ro.restart = Some(restart_id("m", 1));
        ro.in_place = Some(in_place(false));
    });
    assert_eq!(story.commits(), MoveState::Restarting);
    story
}

#[test]
fn a_rollout_is_told_once_and_its_controller_does_the_rest() {
    let mut story = rollout(2);
    let calls = story.calls();
    let [Call::Restart { workload, restart, at: when, .. }] = calls.as_slice() else {
        panic!("{calls:?}");
    };
    assert_eq!((workload.to_string().as_str(), restart.as_str()), ("Rollout/ro", "m.1"));
    assert_eq!(*when, at(0));
    let mut story = asked(2);
    assert_eq!(story.m().restarts.len(), 2);
    assert!(matches!(story.next(), Next::Wait(Some(_))));
    for index in ["0", "1"] {
        story.world.pod("shop", of_rollout(index, new()));
    }
    // Until its controller says so, it may go on evicting.
    assert!(matches!(story.next(), Next::Wait(Some(_))));
    story.world.edit_workload("shop", "ro", |ro| ro.in_place = Some(in_place(true)));
    assert_eq!(story.commits(), MoveState::Verifying);
    story.look(true);
    assert_eq!(story.commits(), MoveState::Moved(Vec::new()));
}

#[test]
fn a_rollout_in_progress_is_awaited_unless_it_is_rolled_back() {
    let mut story = rollout(2);
    story.world.edit_workload("shop", "ro", |ro| ro.updated = 1);
    assert!(matches!(story.next(), Next::Wait(Some(_))));
    story.migration.spec.rollback_of = Some("undone".to_owned());
    assert!(matches!(story.calls()[0], Call::Restart { .. }));
}

#[test]
fn what_is_off_the_target_after_its_controller_has_acted_is_a_straggler() {
    let mut story = asked(2);
    story.world.edit_workload("shop", "ro", |ro| ro.in_place = Some(in_place(true)));
    story.world.pod("shop", of_rollout("0", new()));
    let look = [Call::Inspect { namespace: "shop".to_owned() }];
    assert_eq!(story.calls(), look);
    story.look(true);
    assert_eq!(story.next(), Next::Wait(Some(LINGER)));
    story.elapsed = LINGER;
    assert_eq!(story.calls(), look);
    story.look(true);
    assert_eq!(story.commits(), MoveState::Restarting);
    assert_eq!(story.m().evictions["Rollout/ro"].stragglers.len(), 1);
    let calls = story.calls();
    assert!(matches!(calls.as_slice(), [Call::Evict { pod, .. }] if pod == "ro-r-1"), "{calls:?}");
    // Another one fails the move.
    story.world.gone(Kind::Pod, "shop", "ro-r-1");
    story.world.pod("shop", of_rollout("2", old()));
    assert_eq!(story.calls(), look);
    story.look(true);
    assert_eq!(story.code(), (Code::InjectedByOther, "Rollout/shop/ro".to_owned()));
}

#[test]
fn a_controller_that_does_nothing_is_named() {
    let mut story = asked(2);
    assert!(matches!(story.next(), Next::Wait(Some(_))));
    story.elapsed = Duration::from_mins(10);
    assert!(matches!(story.calls()[0], Call::Inspect { .. }));
    story.look(true);
    assert_eq!(story.code(), (Code::RestartPending, "Rollout/shop/ro".to_owned()));
    // A retry waits for what was asked for before, and asks anew once that is over.
    story.edit(|m| m.state = MoveState::Restarting);
    story.edit(|m| m.attempt = 2);
    story.scratch = revshift_core::step::Scratch::default();
    story.roll(&new());
    assert_eq!(story.commits(), MoveState::Restarting);
    assert!(matches!(story.next(), Next::Wait(Some(_))));
    story.world.edit_workload("shop", "ro", |ro| ro.in_place = Some(in_place(true)));
    let calls = story.calls();
    assert!(matches!(calls.as_slice(), [Call::Restart { restart, .. }] if restart == "m.2"));
}

#[test]
fn the_only_pod_goes_only_where_that_is_allowed() {
    let mut story = rollout(1);
    assert_eq!(story.code(), (Code::WorkloadNeedsDowntime, "Rollout/shop/ro".to_owned()));
    let mut story = rollout(1);
    story.migration.spec.allow_downtime = true;
    assert!(matches!(story.calls()[0], Call::Restart { .. }));
    // One that serves nobody interrupts nobody.
    let mut story = rollout(1);
    story.world.edit_workload("shop", "ro", |ro| ro.available = 0);
    assert!(matches!(story.calls()[0], Call::Restart { .. }));
}

#[test]
fn a_template_may_be_another_workloads() {
    let mut story = rollout(2);
    let mut lent = deployment("lent", 0);
    lent.wish = InjectionWish::among(
        &super::world::labels(&[("sidecar.istio.io/inject", "false")]),
        &revshift_core::label::Labels::new(),
    );
    story.world.workload("shop", lent.clone());
    let key = WorkloadKey { kind: WorkloadKind::Deployment, name: "lent".to_owned() };
    story
        .world
        .edit_workload("shop", "ro", |ro| ro.in_place.as_mut().unwrap().template_of = Some(key));
    // By that template its pods are not injected.
    assert_eq!(story.commits(), MoveState::Verifying);

    let mut story = rollout(2);
    lent.wish = InjectionWish::default();
    story.world.workload("shop", lent.clone());
    let key = lent.key;
    story
        .world
        .edit_workload("shop", "ro", |ro| ro.in_place.as_mut().unwrap().template_of = Some(key));
    assert!(matches!(story.calls()[0], Call::Restart { .. }));
    for index in ["0", "1"] {
        story.world.pod("shop", of_rollout(index, new()));
    }
    assert_eq!(story.commits(), MoveState::Verifying);
    story.look(true);
    // What only lends its template is not told as left behind.
    assert_eq!(story.commits(), MoveState::Moved(Vec::new()));
    story.edit(|m| m.state = MoveState::Verifying);
    story.world.workload("shop", deployment("idle", 0));
    story.look(true);
    let MoveState::Moved(leftovers) = story.commits() else { panic!("not moved") };
    assert_eq!((leftovers.len(), leftovers[0].reason), (1, LeftoverReason::ScaledToZero));
}
