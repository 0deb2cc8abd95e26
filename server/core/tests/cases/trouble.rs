//! The steps of a move that meets with trouble.

use super::story::{Story, new};
use super::world::{OLD, deployed, pod, problem, rev};
use revshift_core::cluster::Kind;
use revshift_core::migration::{MoveState, Skip};
use revshift_core::pod::Injected;
use revshift_core::problem::Code;
use revshift_core::step::{Call, Next, STRAY};
use std::time::Duration;

#[test]
fn a_rollout_without_progress_fails_with_its_cause() {
    let mut story = Story::relabelled(MoveState::Restarting);
    story.roll(&new());
    assert_eq!(story.commits(), MoveState::Restarting);
    story.world.edit_workload("shop", "web", |w| w.available = 1);
    assert_eq!(story.next(), Next::Wait(Some(Duration::from_mins(10))));
    // Progress starts the wait anew.
    story.elapsed = Duration::from_secs(599);
    story.world.edit_workload("shop", "web", |w| w.updated = 3);
    assert_eq!(story.next(), Next::Wait(Some(Duration::from_secs(1199))));
    // A pod that is lost again is none.
    story.world.edit_workload("shop", "web", |w| w.updated = 1);
    assert_eq!(story.after(Duration::from_secs(1)), Next::Wait(Some(Duration::from_secs(1199))));
    story.elapsed = Duration::from_secs(1199);
    assert_eq!(story.calls(), [Call::Inspect { namespace: "shop".to_owned() }]);
    story.look(false);
    assert_eq!(story.code(), (Code::ImagePull, "Pod/shop/web-bbb-0".to_owned()));
}

#[test]
fn a_deployments_own_deadline_is_heeded_where_it_is_sooner() {
    let mut story = Story::relabelled(MoveState::Restarting);
    story.roll(&new());
    assert_eq!(story.commits(), MoveState::Restarting);
    story.world.edit_workload("shop", "web", |w| {
        w.available = 1;
        w.complaints.late = Some("timed out progressing".to_owned());
    });
    assert_eq!(story.calls(), [Call::Inspect { namespace: "shop".to_owned() }]);
    story.look(false);
    assert_eq!(story.code().0, Code::ImagePull);
}

#[test]
fn pods_must_be_ready_before_a_namespace_counts_as_moved() {
    let mut story = Story::relabelled(MoveState::Verifying);
    story.roll(&new());
    story.look(false);
    assert!(matches!(story.next(), Next::Wait(Some(_))));
    // It looks again after a while.
    story.elapsed += Duration::from_secs(3);
    assert_eq!(story.calls(), [Call::Inspect { namespace: "shop".to_owned() }]);
    story.look(true);
    assert_eq!(story.commits(), MoveState::Moved(Vec::new()));
}

#[test]
fn what_nobody_would_bring_back_is_left_over() {
    let mut story = Story::relabelled(MoveState::Verifying);
    story.roll(&new());
    story.world.pod("shop", pod("alone", None, Injected::By(rev(OLD))));
    story.look(true);
    let MoveState::Moved(leftovers) = story.commits() else { panic!("not moved") };
    assert_eq!(leftovers.len(), 1);
}

#[test]
fn pods_of_a_workload_that_was_just_deleted_are_waited_for() {
    let mut story = Story::relabelled(MoveState::Restarting);
    story.roll(&new());
    assert_eq!(story.commits(), MoveState::Restarting);
    story.world.pod("shop", deployed("deleted", "ccc", "0", Injected::By(rev(OLD))));
    assert_eq!(story.next(), Next::Wait(Some(STRAY)));
    story.world.gone(Kind::Pod, "shop", "deleted-ccc-0");
    assert_eq!(story.commits(), MoveState::Verifying);
}

#[test]
fn a_rollback_leaves_a_plane_that_is_gone() {
    let mut story = Story::new(MoveState::Checking);
    story.migration.spec.rollback_of = Some("undone".to_owned());
    story.world.gone(
        Kind::Plane(revshift_core::plane::Source::Calisti),
        "istio-system",
        "cp-v113x",
    );
    story.world.gone(Kind::Injector, "", OLD);
    assert_eq!(story.commits(), MoveState::Relabeling);
}

#[test]
fn writes_that_keep_failing_fail_the_move_with_what_was_said() {
    let said = "failed calling webhook \"policy\": connection refused";
    for state in [MoveState::Relabeling, MoveState::Restarting] {
        let mut story = match state {
            MoveState::Relabeling => Story::new(state),
            _ => Story::relabelled(state),
        };
        let object = "Deployment/shop/web".to_owned();
        story.scratch.failing = Some((Duration::ZERO, object.clone(), said.to_owned()));
        story.elapsed = Duration::from_secs(599);
        assert!(matches!(story.next(), Next::Calls(_)));
        story.elapsed = Duration::from_mins(10);
        assert_eq!(story.code(), (Code::WebhookUnreachable, object));
    }
}

#[test]
fn a_slow_look_at_a_late_rollout_counts() {
    let mut story = Story::relabelled(MoveState::Restarting);
    story.roll(&new());
    assert_eq!(story.commits(), MoveState::Restarting);
    story.world.edit_workload("shop", "web", |w| {
        w.available = 1;
        w.complaints.late = Some("timed out progressing".to_owned());
    });
    assert!(matches!(story.next(), Next::Calls(_)));
    story.look(false);
    story.elapsed += Duration::from_secs(20);
    assert_eq!(story.code().0, Code::ImagePull);
}

#[test]
fn a_pruned_lock_does_not_make_a_move_forget_what_it_wrote() {
    let mut story = Story::relabelled(MoveState::Restarting);
    story.edit(|m| m.relabelled = true);
    story.world.edit_namespace("shop", |meta| meta.lock = None);
    story.migration.control.cancelled = true;
    assert!(matches!(story.calls()[0], Call::Restart { .. }));
    story.edit(|m| m.state = MoveState::Checking);
    assert_eq!(story.commits(), MoveState::Relabeling);
}

#[test]
fn what_is_merely_unavailable_is_restarted_and_what_rolls_is_awaited() {
    let mut story = Story::relabelled(MoveState::Restarting);
    story.world.edit_workload("shop", "web", |w| w.available = 0);
    assert!(matches!(story.calls()[0], Call::Restart { .. }));
    story.world.edit_workload("shop", "web", |w| w.total = 3);
    assert!(matches!(story.next(), Next::Wait(_)));
    // Whoever goes back does not wait for a rollout that may be why.
    story.migration.spec.rollback_of = Some("undone".to_owned());
    assert!(matches!(story.calls()[0], Call::Restart { .. }));
}

#[test]
fn what_kubernetes_refuses_blocks_the_move_and_what_is_unknown_waits() {
    let mut story = Story::new(MoveState::Relabeling);
    story.scratch.refusal =
        Some((Code::PermissionDenied, "Namespace/shop".to_owned(), "forbidden".to_owned()));
    assert_eq!(story.code().0, Code::PermissionDenied);
    let mut story = Story::new(MoveState::Relabeling);
    story.scratch.back_off = Some(Duration::from_secs(1));
    assert_eq!(story.next(), Next::Wait(Some(Duration::from_secs(1))));
    assert!(matches!(story.after(Duration::from_secs(1)), Next::Calls(_)));
}

#[test]
fn what_is_not_under_way_is_left_alone() {
    for state in [
        MoveState::Pending,
        MoveState::Moved(Vec::new()),
        MoveState::Failed(problem()),
        MoveState::Blocked(problem()),
        MoveState::Skipped(Skip::Unneeded),
        MoveState::Cancelled,
        MoveState::Gone,
        MoveState::Superseded,
    ] {
        assert_eq!(Story::new(state).next(), Next::Wait(None));
    }
}
