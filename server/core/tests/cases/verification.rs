//! What holds a namespace back whose pods are all ready: Services that lost endpoints, restarts.

use super::story::{Story, new};
use super::world::{at, deployment, key};
use jiff::Timestamp;
use revshift_core::cluster::{Change, Kind, Object};
use revshift_core::cluster::{Family, Slice};
use revshift_core::diagnosis::Restarted;
use revshift_core::headcount::Headcount;
use revshift_core::migration::MoveState;
use revshift_core::problem::Code;
use revshift_core::step::{Next, SETTLE, STEADY};
use std::time::Duration;

fn slice(story: &mut Story, name: &str, family: Family, ready: u32) {
    let slice = Slice { service: "web".to_owned(), family, ready };
    let object = Object::Slice(Some(slice));
    story.world.cluster.apply(Change::Set(Kind::Slice, key("shop", name), object));
}

/// Rolled out, with what it had before; nothing has been looked at.
fn verifying(ready: u32) -> Story {
    let mut story = Story::relabelled(MoveState::Verifying);
    slice(&mut story, "web-1", Family::V4, 2);
    let before = Headcount::of(story.world.cluster.namespace("shop").unwrap().1);
    story.edit(|m| m.headcount = Some(before));
    story.roll(&new());
    slice(&mut story, "web-1", Family::V4, ready);
    story
}

fn deadline(story: &Story) -> Duration {
    story.elapsed + story.migration.spec.rollout_timeout
}

#[test]
fn a_move_remembers_what_was_there_before_its_first_write() {
    let mut story = Story::new(MoveState::Checking);
    slice(&mut story, "web-1", Family::V4, 1);
    slice(&mut story, "web-2", Family::V4, 1);
    slice(&mut story, "web-3", Family::V6, 2);
    assert_eq!(story.commits(), MoveState::Relabeling);
    let before = story.m().headcount.clone().unwrap();
    assert_eq!(before.endpoints, [("web".to_owned(), 2)].into());
    assert_eq!(before.pods, [("Deployment/web".to_owned(), 2)].into());
    // A second attempt does not take what the first has left for a measure.
    story.relabel();
    story.edit(|m| m.state = MoveState::Checking);
    slice(&mut story, "web-1", Family::V4, 0);
    assert_eq!(story.commits(), MoveState::Relabeling);
    assert_eq!(story.m().headcount, Some(before));
}

#[test]
fn endpoints_of_pods_that_had_just_gone_are_not_missed() {
    let mut story = Story::new(MoveState::Checking);
    // The pods of the rollout before are gone, and their endpoints are told off a moment later.
    slice(&mut story, "web-1", Family::V4, 4);
    assert_eq!(story.commits(), MoveState::Relabeling);
    story.relabel();
    slice(&mut story, "web-1", Family::V4, 2);
    story.next();
    story.elapsed += SETTLE;
    assert_eq!(story.commits(), MoveState::Restarting);
    assert_eq!(story.m().headcount.clone().unwrap().endpoints, [("web".to_owned(), 2)].into());
    // What an attempt has cost is missed by the next one all the same.
    story.edit(|m| m.state = MoveState::Relabeling);
    slice(&mut story, "web-1", Family::V4, 1);
    story.next();
    story.elapsed += SETTLE;
    assert_eq!(story.commits(), MoveState::Restarting);
    assert_eq!(story.m().headcount.clone().unwrap().endpoints, [("web".to_owned(), 2)].into());
}

#[test]
fn a_service_that_lost_endpoints_is_waited_for_and_then_named() {
    let mut story = verifying(1);
    let deadline = deadline(&story);
    assert_eq!(story.next(), Next::Wait(Some(deadline)));
    slice(&mut story, "web-1", Family::V4, 2);
    assert_eq!(story.calls().len(), 1, "it looks");
    let mut story = verifying(1);
    story.next();
    story.elapsed = deadline;
    assert_eq!(story.code(), (Code::EndpointsMissing, "Service/shop/web".to_owned()));
    let problem = story.m().problem().unwrap();
    assert_eq!(problem.message, "it had 2 ready endpoints before the move, and has 1 now");
}

#[test]
fn what_was_scaled_down_or_deleted_meanwhile_is_not_missed() {
    let mut story = verifying(1);
    story.world.edit_workload("shop", "web", |web| {
        (web.desired, web.total, web.updated, web.available) = (1, 1, 1, 1);
    });
    assert_eq!(story.calls().len(), 1, "it looks");
    // A rollout that was under way at first had a pod more.
    let mut story = Story::relabelled(MoveState::Verifying);
    story.world.edit_workload("shop", "web", |web| web.total = 3);
    slice(&mut story, "web-1", Family::V4, 3);
    let before = Headcount::of(story.world.cluster.namespace("shop").unwrap().1);
    story.edit(|m| m.headcount = Some(before));
    story.world.edit_workload("shop", "web", |web| web.total = 2);
    story.roll(&new());
    slice(&mut story, "web-1", Family::V4, 2);
    assert_eq!(story.calls().len(), 1, "it looks");
    let mut story = verifying(0);
    story.world.gone(Kind::Slice, "shop", "web-1");
    assert_eq!(story.calls().len(), 1, "it looks");
    // What is scaled up elsewhere makes up for nothing.
    let mut story = verifying(1);
    story.world.workload("shop", deployment("more", 5));
    let before = story.m().headcount.clone().unwrap();
    let (_, namespace) = story.world.cluster.namespace("shop").unwrap();
    assert!(before.shortfall(namespace).is_some());
}

fn look_at_restarts(story: &mut Story, last: Option<Timestamp>) {
    story.look(true);
    let look = story.scratch.inspection.as_mut().unwrap();
    look.pods[1].restarted = Some(Restarted { container: "app".to_owned(), times: 3, last });
}

#[test]
fn a_pod_that_restarts_must_run_on_for_a_while() {
    // The wall clock of these stories stands at 0.
    let mut story = verifying(2);
    look_at_restarts(&mut story, Some(at(-10)));
    let again = Duration::from_secs(50);
    assert_eq!(STEADY, Duration::from_mins(1));
    assert_eq!(story.next(), Next::Wait(Some(again)));
    story.elapsed = again;
    look_at_restarts(&mut story, Some(at(-60)));
    assert_eq!(story.commits(), MoveState::Moved(Vec::new()));
    let mut story = verifying(2);
    look_at_restarts(&mut story, None);
    let deadline = deadline(&story);
    story.next();
    story.elapsed = deadline;
    look_at_restarts(&mut story, None);
    assert_eq!(story.code(), (Code::PodsRestart, "Pod/shop/web-bbb-1".to_owned()));
    let problem = story.m().problem().unwrap();
    assert_eq!(problem.message, "container `app` has restarted 3 times");
}
