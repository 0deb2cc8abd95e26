//! Ordered StatefulSets that are stuck on a broken pod.

use super::story::{Story, new};
use super::world::{OLD, owned, rev, workload};
use revshift_core::cluster::Kind;
use revshift_core::migration::{MoveState, restart_id};
use revshift_core::pod::{Injected, Pod};
use revshift_core::problem::Code;
use revshift_core::step::{Call, LINGER, LOOK_AGAIN, Next, Scratch, WITHHELD, Withheld};
use revshift_core::workload::WorkloadKind;
use std::time::Duration;

const FIRST: &str = "db-1111";
const MENDED: &str = "db-2222";

/// `web` has rolled. `db` has two pods: the first attempt has replaced `db-1` by a broken one and went
/// no further; its owner has mended the template since, and the move is tried again.
fn stuck() -> Story {
    let mut story = Story::relabelled(MoveState::Restarting);
    story.roll(&new());
    let mut db = workload(WorkloadKind::StatefulSet, "db", 2);
    db.restart = Some(restart_id("m", 1));
    db.ordered = Some(MENDED.to_owned());
    (db.updated, db.available) = (0, 1);
    story.world.workload("shop", db);
    story.world.pod("shop", owned("StatefulSet", "db", "0", Injected::By(rev(OLD))));
    let mut broken = owned("StatefulSet", "db", "1", new());
    broken.make_mut().restart = Some(restart_id("m", 1));
    story.world.pod("shop", broken);
    story.edit(|m| m.attempt = 2);
    story
}

/// A list of the pods as they stand in [`stuck`].
fn look(story: &mut Story) {
    story.look_with(|pod| pod.name != "db-1", revision);
}

fn revision(pod: &Pod) -> Option<String> {
    pod.name.starts_with("db-").then(|| FIRST.to_owned())
}

#[track_caller]
fn looks(story: &mut Story) {
    assert_eq!(story.calls(), [Call::Inspect { namespace: "shop".to_owned() }]);
}

#[track_caller]
fn evicted(story: &mut Story) -> String {
    let calls = story.calls();
    let [Call::Evict { pod, .. }] = calls.as_slice() else { panic!("{calls:?}") };
    pod.clone()
}

#[test]
fn the_broken_pod_goes_once_that_is_stored() {
    let mut story = stuck();
    // It may become ready yet.
    assert_eq!(story.next(), Next::Wait(Some(LINGER)));
    story.elapsed = LINGER;
    looks(&mut story);
    look(&mut story);
    assert_eq!(story.commits(), MoveState::Restarting);
    let cleared = &story.m().cleared["StatefulSet/db"];
    assert_eq!((cleared.attempt, cleared.evicted.len(), cleared.deleted.len()), (2, 1, 0));
    // A new leader finds nothing but the record.
    story.scratch = Scratch::default();
    assert_eq!(story.next(), Next::Wait(Some(LINGER * 2)));
    story.elapsed = LINGER * 2;
    looks(&mut story);
    look(&mut story);
    assert_eq!(evicted(&mut story), "db-1");
    // Once it is gone, the set goes on by itself, and has time for it.
    story.world.gone(Kind::Pod, "shop", "db-1");
    assert_eq!(story.next(), Next::Wait(Some(LINGER * 3)));
}

#[test]
fn what_is_not_stuck_is_left_alone() {
    let waits = |edit: &dyn Fn(&mut Story)| {
        let mut story = stuck();
        edit(&mut story);
        assert!(matches!(story.next(), Next::Wait(_)));
        story.elapsed = LINGER;
        if matches!(story.next(), Next::Calls(_)) {
            look(&mut story);
        }
        assert!(matches!(story.next(), Next::Wait(Some(_))), "{:?}", story.next());
        assert!(story.m().cleared.is_empty());
    };
    // In a first attempt nobody has said that the template is mended.
    waits(&|story| {
        story.edit(|m| m.attempt = 1);
        assert_eq!(story.commits(), MoveState::Restarting);
    });
    // It is of the current template, and may only be slow.
    let ordered = |story: &mut Story, revision: Option<&str>| {
        story.world.edit_workload("shop", "db", |db| db.ordered = revision.map(str::to_owned));
    };
    waits(&|story| ordered(story, Some(FIRST)));
    // A parallel one does not wait for it.
    waits(&|story| ordered(story, None));
    // It is not known yet which template is the current one.
    waits(&|story| story.world.edit_workload("shop", "db", |db| db.observed = false));
    // It goes by itself.
    waits(&|story| {
        let mut pod = owned("StatefulSet", "db", "1", new());
        pod.terminating = true;
        story.world.pod("shop", pod);
    });
    // This attempt has made it.
    waits(&|story| {
        let mut pod = owned("StatefulSet", "db", "1", new());
        pod.make_mut().restart = Some(restart_id("m", 2));
        story.world.pod("shop", pod);
    });
}

#[test]
fn a_lower_pod_that_only_starts_is_waited_for() {
    let mut story = stuck();
    assert!(matches!(story.next(), Next::Wait(_)));
    story.elapsed = LINGER;
    let starts = |pod: &Pod| {
        let revision = if pod.name == "db-0" { MENDED } else { FIRST };
        pod.name.starts_with("db-").then(|| revision.to_owned())
    };
    story.look_with(|pod| !pod.name.starts_with("db-"), starts);
    assert_eq!(story.next(), Next::Wait(Some(LINGER * 2)));
    // It looks no more often than it has to.
    assert_eq!(story.after(LOOK_AGAIN), Next::Wait(Some(LINGER * 2)));
    story.elapsed = LINGER * 2;
    looks(&mut story);
}

#[test]
fn a_rollback_clears_its_way_in_its_first_attempt() {
    let mut story = stuck();
    story.migration.spec.rollback_of = Some("undone".to_owned());
    story.edit(|m| m.attempt = 1);
    story.world.edit_workload("shop", "db", |db| db.restart = Some(restart_id("m", 1)));
    let mut broken = owned("StatefulSet", "db", "1", Injected::By(rev(OLD)));
    broken.make_mut().restart = Some(restart_id("undone", 1));
    story.world.pod("shop", broken);
    assert_eq!(story.commits(), MoveState::Restarting);
    assert_eq!(story.next(), Next::Wait(Some(LINGER)));
    story.elapsed = LINGER;
    look(&mut story);
    assert_eq!(story.commits(), MoveState::Restarting);
    assert_eq!(evicted(&mut story), "db-1");
}

#[test]
fn a_budget_is_heeded_unless_somebody_forces_it() {
    let mut story = stuck();
    assert!(matches!(story.next(), Next::Wait(_)));
    story.elapsed = LINGER;
    look(&mut story);
    assert_eq!(story.commits(), MoveState::Restarting);
    assert_eq!(evicted(&mut story), "db-1");
    let until = LINGER + WITHHELD;
    let message = "the disruption budget db needs 2 healthy pods".to_owned();
    let withheld = Withheld { pod: "db-1".to_owned(), message, until };
    story.scratch.withheld.insert("StatefulSet/db".to_owned(), withheld.clone());
    assert_eq!(story.next(), Next::Wait(Some(until)));
    story.elapsed = until;
    looks(&mut story);
    story.elapsed = Duration::from_mins(11);
    let until = Duration::from_mins(12);
    story.scratch.withheld.insert("StatefulSet/db".to_owned(), Withheld { until, ..withheld });
    assert_eq!(story.code(), (Code::DisruptionBudget, "Pod/shop/db-1".to_owned()));

    let mut story = stuck();
    assert!(matches!(story.next(), Next::Wait(_)));
    story.migration.control.forced.insert("shop".to_owned(), 2);
    story.elapsed = LINGER;
    look(&mut story);
    assert_eq!(story.commits(), MoveState::Restarting);
    assert_eq!(story.m().cleared["StatefulSet/db"].deleted.len(), 1);
    let calls = story.calls();
    assert!(matches!(calls.as_slice(), [Call::Delete { .. }]), "{calls:?}");
    // It was said of that attempt only.
    story.edit(|m| m.attempt = 3);
    look(&mut story);
    assert_eq!(story.commits(), MoveState::Restarting);
    let cleared = &story.m().cleared["StatefulSet/db"];
    assert_eq!((cleared.attempt, cleared.evicted.len(), cleared.deleted.len()), (3, 1, 0));
}

#[test]
fn nothing_goes_while_the_migration_is_paused() {
    let mut story = stuck();
    assert!(matches!(story.next(), Next::Wait(_)));
    story.elapsed = LINGER;
    look(&mut story);
    assert_eq!(story.commits(), MoveState::Restarting);
    story.migration.control.paused = true;
    assert!(matches!(story.next(), Next::Wait(_)));
}
