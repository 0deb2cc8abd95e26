//! The steps of a move, state by state.

use super::story::{Story, new};
use super::world::{NEW, OLD, deployed, deployment, labels, rev, revisioned};
use revshift_core::allowance::Allowance;
use revshift_core::cluster::{Kind, Lock};
use revshift_core::migration::{MoveState, Skip};
use revshift_core::pod::Injected;
use revshift_core::problem::Code;
use revshift_core::step::{Call, LOOK_AGAIN, Next, SETTLE};
use revshift_core::workload::{Obstacle, WorkloadKind};
use std::time::Duration;

#[test]
fn a_move_passes_through_every_state_with_one_write_each() {
    let mut story = Story::new(MoveState::Checking);
    assert_eq!(story.commits(), MoveState::Relabeling);
    let calls = story.calls();
    let [Call::Relabel { labels, prior, lock, .. }] = calls.as_slice() else {
        panic!("{calls:?}");
    };
    assert_eq!(labels.revision.as_deref(), Some(NEW));
    assert_eq!(prior.revision.as_deref(), Some(OLD));
    assert_eq!(lock.migration, "m");
    story.relabel();
    // The API server may still match the old label.
    assert_eq!(story.next(), Next::Wait(Some(SETTLE)));
    story.elapsed += SETTLE;
    assert_eq!(story.commits(), MoveState::Restarting);
    assert!(story.m().relabelled);
    let calls = story.calls();
    let [Call::Restart { restart, workload, .. }] = calls.as_slice() else {
        panic!("{calls:?}");
    };
    assert_eq!((restart.as_str(), workload.to_string().as_str()), ("m.1", "Deployment/web"));
    story.roll(&new());
    // What was restarted is recorded first.
    assert_eq!(story.commits(), MoveState::Restarting);
    assert_eq!(story.m().restarts.len(), 1);
    assert_eq!(story.commits(), MoveState::Verifying);
    assert_eq!(story.calls(), [Call::Inspect { namespace: "shop".to_owned() }]);
    story.look(true);
    assert_eq!(story.commits(), MoveState::Moved(Vec::new()));
    assert_eq!(story.next(), Next::Wait(None));
}

#[test]
fn a_namespace_is_not_given_up_for_what_a_late_watch_shows() {
    // The write is stored, and this leader's watch does not tell of it.
    let mut story = Story::new(MoveState::Restarting);
    story.edit(|m| m.relabelled = true);
    let read = Next::Calls(vec![Call::Read { namespace: "shop".to_owned() }]);
    assert_eq!(story.step(), read);
    assert_eq!(story.step(), read, "no reply");
    story.relabel();
    story.read();
    assert!(matches!(story.calls().as_slice(), [Call::Restart { .. }]));
    // What was read once does not speak for what is seen later.
    story.world.edit_namespace("shop", |meta| {
        meta.labels = labels(&[("istio.io/rev", OLD)]);
        meta.resource_version = "99".to_owned();
    });
    assert_eq!(story.step(), read);
    story.read();
    assert_eq!(story.code().0, Code::LabelDrift);
}

/// A move whose namespace is kept by somebody else.
fn external(state: MoveState) -> Story {
    let mut story = Story::new(state);
    story.world.edit_namespace("shop", |meta| meta.label_owner = Some("Argo CD".to_owned()));
    story
}

fn awaiting() -> MoveState {
    MoveState::AwaitingLabel("Argo CD".to_owned())
}

#[test]
fn a_label_that_others_keep_is_waited_for_and_never_written() {
    let mut story = external(MoveState::Checking);
    assert_eq!(story.commits(), awaiting());
    assert_eq!(story.next(), Next::Wait(None));
    story.world.edit_namespace("shop", |meta| meta.labels = labels(&[("istio.io/rev", NEW)]));
    assert_eq!(story.next(), Next::Wait(Some(SETTLE)));
    // It needs a place among those that may be under way, like any other.
    story.places = 0;
    assert_eq!(story.after(SETTLE), Next::Wait(Some(SETTLE + LOOK_AGAIN)));
    story.places = 1;
    assert_eq!(story.commits(), MoveState::Restarting);
    assert!(story.m().relabelled);
    assert!(matches!(story.calls().as_slice(), [Call::Restart { .. }]));
    // Whoever keeps it may still put it back: that is drift, as ever.
    story.world.edit_namespace("shop", |meta| meta.labels = labels(&[("istio.io/rev", OLD)]));
    assert_eq!(story.code().0, Code::LabelDrift);
}

#[test]
fn a_label_that_comes_and_goes_settles_anew() {
    let mut story = external(awaiting());
    for revision in [NEW, OLD, NEW] {
        story
            .world
            .edit_namespace("shop", |meta| meta.labels = labels(&[("istio.io/rev", revision)]));
        story.after(SETTLE / 2);
    }
    let Next::Wait(Some(until)) = story.next() else { panic!("it does not wait") };
    assert_eq!(until, story.elapsed + SETTLE);
}

#[test]
fn what_waits_for_a_label_is_cancelled_and_drifts() {
    let mut story = external(awaiting());
    story.world.edit_namespace("shop", |meta| meta.labels = labels(&[("istio.io/rev", "1-20")]));
    assert_eq!(story.code().0, Code::LabelDrift);
    let mut story = external(awaiting());
    story.migration.control.cancelled = true;
    assert_eq!(story.commits(), MoveState::Cancelled);
    // Who takes a namespace over in the last moment has it.
    let mut story = external(MoveState::Relabeling);
    assert_eq!(story.commits(), awaiting());
}

#[test]
fn what_another_cluster_decides_on_is_not_begun() {
    let mut story = Story::new(MoveState::Checking);
    story.world.peer("cp-v115x", "east", true);
    assert_eq!(story.code(), (Code::InjectionSourcePeer, format!("ControlPlane/{NEW}")));
    let mut story = Story::new(MoveState::Checking);
    story.world.peer("cp-v115x", "east", false);
    assert_eq!(story.commits(), MoveState::Relabeling);
    story.world.peer("cp-v115x", "east", true);
    story.world.gone(Kind::Peer, "istio-system", "cp-v115x-east");
    assert_eq!(story.world.cluster.label_source(&rev(NEW)), None);
}

#[test]
fn planes_are_checked_again_when_a_move_starts() {
    let mut story = Story::new(MoveState::Checking);
    story.world.plane(super::world::calisti(NEW, false));
    assert_eq!(story.code(), (Code::PlaneUnavailable, format!("ControlPlane/{NEW}")));
    let mut story = Story::new(MoveState::Checking);
    story.world.gone(Kind::Injector, "", NEW);
    assert_eq!(story.code().0, Code::InjectorMismatch);
    let mut story = Story::new(MoveState::Checking);
    story.world.gone(Kind::Injector, "", OLD);
    story.world.gone(
        Kind::Plane(revshift_core::plane::Source::Calisti),
        "istio-system",
        "cp-v113x",
    );
    assert_eq!(story.code().0, Code::PlaneGone);
}

#[test]
fn what_has_come_since_the_plan_is_judged_before_anything_is_written() {
    let single = || {
        let mut story = Story::new(MoveState::Checking);
        story.world.workload("shop", deployment("single", 1));
        story.world.pod("shop", deployed("single", "ccc", "0", Injected::By(rev(OLD))));
        story.world.edit_workload("shop", "single", |it| it.obstacle = Some(Obstacle::Paused));
        story
    };
    let mut story = single();
    let object = "Deployment/shop/single".to_owned();
    assert_eq!(story.code(), (Code::WorkloadNeedsDowntime, object));
    assert!(!story.m().relabelled);
    let mut allowed = single();
    allowed.migration.spec.allow_downtime = true;
    assert_eq!(allowed.commits(), MoveState::Relabeling);
    // What has been relabelled goes on: its pods are of both planes already.
    let mut begun = single();
    begun.edit(|m| m.relabelled = true);
    assert_eq!(begun.commits(), MoveState::Relabeling);
    // Whoever goes back wants to be back, and where the label is written already the rest may as well follow.
    let mut back = single();
    back.migration.spec.rollback_of = Some("m-0".to_owned());
    assert_eq!(back.commits(), MoveState::Relabeling);
    let mut there = single();
    there.world.edit_namespace("shop", |meta| meta.labels = labels(&[("istio.io/rev", NEW)]));
    assert_eq!(there.commits(), MoveState::Relabeling);
    // A pod may be seen before its Deployment, or after it.
    let mut unseen = single();
    unseen.world.gone(Kind::Workload(WorkloadKind::Deployment), "shop", "single");
    assert_eq!(unseen.commits(), MoveState::Relabeling);
    // The API server could not call the target's webhook.
    let mut story = Story::new(MoveState::Checking);
    let mut injectors = revisioned(NEW, NEW, None);
    for injector in &mut injectors {
        injector.trusted = false;
    }
    story.world.injectors(NEW, injectors);
    let mut allowed = story.clone();
    let reason = "the API server trusts it".to_owned();
    allowed.migration.spec.allowances = vec![Allowance { code: Code::WebhookUntrusted, reason }];
    assert_eq!(allowed.commits(), MoveState::Relabeling);
    assert_eq!(story.code(), (Code::WebhookUntrusted, format!("ControlPlane/{NEW}")));
}

#[test]
fn a_namespace_that_went_away_is_gone() {
    for state in [MoveState::Checking, MoveState::Relabeling, MoveState::Restarting] {
        let mut story = Story::new(state.clone());
        story.world.gone(Kind::Namespace, "", "shop");
        assert_eq!(story.commits(), MoveState::Gone, "{state:?}");
        let mut story = Story::new(state.clone());
        story.world.edit_namespace("shop", |meta| meta.uid = "another".to_owned());
        assert_eq!(story.commits(), MoveState::Gone, "{state:?}");
        let mut story = Story::new(state.clone());
        story.world.edit_namespace("shop", |meta| meta.terminating = true);
        assert_eq!(story.commits(), MoveState::Gone, "{state:?}");
    }
}

#[test]
fn a_namespace_wholly_there_is_skipped() {
    let mut story = Story::new(MoveState::Checking);
    story.world.edit_namespace("shop", |meta| meta.labels = labels(&[("istio.io/rev", NEW)]));
    story.roll(&new());
    assert_eq!(story.commits(), MoveState::Skipped(Skip::Unneeded));
    // Unless this migration brought it there: then it is verified.
    let mut story = Story::relabelled(MoveState::Checking);
    story.roll(&new());
    assert_eq!(story.commits(), MoveState::Relabeling);
}

#[test]
fn a_foreign_label_is_never_fought_over() {
    for state in [MoveState::Checking, MoveState::Relabeling] {
        let mut story = Story::new(state);
        story.world.edit_namespace("shop", |meta| meta.labels = labels(&[("istio.io/rev", "x")]));
        assert_eq!(story.code(), (Code::LabelDrift, "Namespace/shop".to_owned()));
    }
    for state in [MoveState::Restarting, MoveState::Verifying] {
        // Once it is relabelled even the prior label is drift.
        let mut story = Story::new(state);
        assert_eq!(story.code().0, Code::LabelDrift);
        let MoveState::Blocked(problem) = story.m().state.clone() else { panic!("not blocked") };
        assert_eq!(problem.manager.as_deref(), Some("kubectl"));
    }
}

#[test]
fn a_lock_of_an_unfinished_migration_holds() {
    let lock = |story: &mut Story| {
        story.world.edit_namespace("shop", |meta| {
            meta.lock = Some(Lock { migration: "other".to_owned(), attempt: 1 });
        });
    };
    let mut story = Story::new(MoveState::Checking);
    lock(&mut story);
    assert_eq!(story.commits(), MoveState::Relabeling);
    let mut story = Story::new(MoveState::Checking);
    story.unfinished.insert("other".to_owned());
    lock(&mut story);
    assert_eq!(story.code().0, Code::NamespaceLocked);
    let mut story = Story::new(MoveState::Checking);
    story.unfinished.insert("other".to_owned());
    story.migration.spec.rollback_of = Some("other".to_owned());
    lock(&mut story);
    assert_eq!(story.commits(), MoveState::Relabeling);
}

#[test]
fn a_paused_migration_writes_nothing() {
    let mut story = Story::new(MoveState::Relabeling);
    story.migration.control.paused = true;
    assert_eq!(story.next(), Next::Wait(None));
    let mut story = Story::relabelled(MoveState::Restarting);
    story.migration.control.paused = true;
    assert_eq!(story.next(), Next::Wait(None));
}

#[test]
fn a_cancelled_migration_finishes_what_it_has_relabelled() {
    let mut story = Story::new(MoveState::Checking);
    story.migration.control.cancelled = true;
    assert_eq!(story.commits(), MoveState::Cancelled);
    // Its write may be under way, unseen: it is finished rather than guessed about.
    let mut story = Story::new(MoveState::Relabeling);
    story.migration.control.cancelled = true;
    assert!(matches!(story.calls()[0], Call::Relabel { .. }));
    let mut story = Story::relabelled(MoveState::Restarting);
    story.migration.control.cancelled = true;
    assert!(matches!(story.calls()[0], Call::Restart { .. }));
}

#[test]
fn only_what_needs_it_is_restarted() {
    let mut story = Story::relabelled(MoveState::Restarting);
    let mut opted = deployment("opted", 1);
    opted.wish = super::world::wish(&[("sidecar.istio.io/inject", "false")]);
    story.world.workload("shop", opted);
    story.world.pod("shop", deployed("opted", "ccc", "0", Injected::No));
    story.world.workload("shop", deployment("there", 1));
    story.world.pod("shop", deployed("there", "ddd", "0", new()));
    story.world.workload("shop", deployment("idle", 0));
    let names: Vec<String> = story
        .calls()
        .iter()
        .map(|call| match call {
            Call::Restart { workload, .. } => workload.name.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["web"]);
}

#[test]
fn somebody_elses_rollout_is_awaited_first() {
    let mut story = Story::relabelled(MoveState::Restarting);
    story.world.edit_workload("shop", "web", |w| w.updated = 1);
    assert_eq!(story.next(), Next::Wait(Some(Duration::from_mins(10))));
    story.world.edit_workload("shop", "web", |w| w.updated = 2);
    assert!(matches!(story.calls()[0], Call::Restart { .. }));
}

#[test]
fn a_rollback_does_not_wait_for_the_rollout_that_it_undoes() {
    let mut story = Story::relabelled(MoveState::Restarting);
    story.migration.spec.rollback_of = Some("undone".to_owned());
    story.world.edit_workload("shop", "web", |w| {
        w.updated = 1;
        w.restart = Some("undone.1".to_owned());
    });
    assert!(matches!(story.calls()[0], Call::Restart { .. }));
}

#[test]
fn a_retry_leaves_a_rollout_of_an_earlier_attempt_alone() {
    let mut story = Story::relabelled(MoveState::Restarting);
    story.edit(|m| m.attempt = 2);
    story.world.edit_workload("shop", "web", |w| {
        w.updated = 1;
        w.restart = Some("m.1".to_owned());
    });
    assert!(matches!(story.next(), Next::Wait(Some(_))));
    // Unless its own pods came onto the wrong plane.
    let mut wrong = deployed("web", "bbb", "0", Injected::By(rev(OLD)));
    wrong.make_mut().restart = Some("m.1".to_owned());
    story.world.pod("shop", wrong);
    let calls = story.calls();
    let [Call::Restart { restart, .. }] = calls.as_slice() else { panic!("{calls:?}") };
    assert_eq!(restart, "m.2");
}
