//! Evictions: who is evicted, when, and how often.

use super::story::{Story, new};
use super::world::{OLD, deployed, owned, rev, workload};
use revshift_core::cluster::Kind;
use revshift_core::migration::MoveState;
use revshift_core::pod::{Injected, Pod};
use revshift_core::problem::Code;
use revshift_core::step::{Call, LINGER, LOOK_AGAIN, Next, STRAY, Withheld};
use revshift_core::workload::{Obstacle, WorkloadKind};
use std::time::Duration;

fn old() -> Injected {
    Injected::By(rev(OLD))
}

/// `web` is rolled out; beside it `db` has two pods and an update strategy OnDelete.
fn on_delete() -> Story {
    let mut story = Story::relabelled(MoveState::Restarting);
    story.roll(&new());
    let mut db = workload(WorkloadKind::StatefulSet, "db", 2);
    db.obstacle = Some(Obstacle::OnDelete);
    story.world.workload("shop", db);
    for ordinal in ["0", "1"] {
        story.world.pod("shop", owned("StatefulSet", "db", ordinal, old()));
    }
    assert_eq!(story.commits(), MoveState::Restarting);
    story
}

/// The pod comes back under another uid.
fn replaced(story: &mut Story, pod: Pod, injected: Injected) {
    let uid = format!("{}-again", pod.uid);
    let mut heir = Pod { uid, ..pod };
    heir.make_mut().injected = injected;
    story.world.pod("shop", heir);
}

#[track_caller]
fn evicted(story: &mut Story) -> String {
    let calls = story.calls();
    let [Call::Evict { pod, .. }] = calls.as_slice() else { panic!("{calls:?}") };
    pod.clone()
}

#[track_caller]
fn looks(story: &mut Story) {
    assert_eq!(story.calls(), [Call::Inspect { namespace: "shop".to_owned() }]);
    story.look(true);
}

#[test]
fn pods_are_evicted_one_at_a_time_after_that_is_stored() {
    let mut story = on_delete();
    looks(&mut story);
    assert_eq!(story.commits(), MoveState::Restarting);
    let record = &story.m().evictions["StatefulSet/db"];
    assert_eq!((record.attempt, record.pods, record.planned.len()), (1, 2, 2));
    assert_eq!(evicted(&mut story), "db-1");
    // The next one goes when another look shows that the first has come back.
    looks(&mut story);
    assert_eq!(evicted(&mut story), "db-1");
    story.world.gone(Kind::Pod, "shop", "db-1");
    looks(&mut story);
    assert_eq!(story.next(), Next::Wait(Some(LOOK_AGAIN)));
    story.elapsed = LOOK_AGAIN;
    replaced(&mut story, owned("StatefulSet", "db", "1", new()), new());
    looks(&mut story);
    assert_eq!(evicted(&mut story), "db-0");
    replaced(&mut story, owned("StatefulSet", "db", "0", new()), new());
    assert_eq!(story.commits(), MoveState::Verifying);
    story.look(true);
    assert_eq!(story.commits(), MoveState::Moved(Vec::new()));
    assert!(story.m().evictions["StatefulSet/db"].planned.is_empty());
}

#[test]
fn a_replacement_that_is_not_ready_is_waited_for_and_what_is_broken_goes_first() {
    let mut story = on_delete();
    looks(&mut story);
    assert_eq!(story.commits(), MoveState::Restarting);
    replaced(&mut story, owned("StatefulSet", "db", "1", new()), new());
    story.look_at(|pod| pod.name != "db-1");
    assert!(matches!(story.next(), Next::Wait(Some(_))));

    let mut story = on_delete();
    looks(&mut story);
    assert_eq!(story.commits(), MoveState::Restarting);
    story.look_at(|pod| pod.name != "db-0");
    assert_eq!(evicted(&mut story), "db-0");
}

#[test]
fn the_only_pod_goes_only_where_that_is_allowed() {
    let mut story = on_delete();
    story.world.gone(Kind::Pod, "shop", "db-1");
    story.world.edit_workload("shop", "db", |w| w.desired = 1);
    looks(&mut story);
    let code = (Code::WorkloadNeedsDowntime, "StatefulSet/shop/db".to_owned());
    assert_eq!(story.code(), code);
    assert!(matches!(story.m().state, MoveState::Blocked(_)));
    story.edit(|m| m.state = MoveState::Restarting);
    story.migration.spec.allow_downtime = true;
    assert_eq!(story.commits(), MoveState::Restarting);
    assert_eq!(evicted(&mut story), "db-0");
}

#[test]
fn a_straggler_is_evicted_once_and_a_second_one_fails_the_move() {
    for (injected, code) in [(old(), Code::InjectedByOther), (Injected::No, Code::InjectionMissing)]
    {
        let mut story = Story::relabelled(MoveState::Restarting);
        story.roll(&new());
        let mut late = deployed("web", "bbb", "1", injected.clone());
        late.make_mut().restart = Some("m.1".to_owned());
        story.world.pod("shop", late.clone());
        assert_eq!(story.commits(), MoveState::Restarting);
        looks(&mut story);
        // What caused it may still last.
        assert_eq!(story.next(), Next::Wait(Some(LINGER)));
        story.elapsed = LINGER;
        looks(&mut story);
        assert_eq!(story.commits(), MoveState::Restarting);
        assert_eq!(story.m().evictions["Deployment/web"].stragglers.len(), 1);
        assert_eq!(evicted(&mut story), "web-bbb-1");
        let mut well = story.clone();
        replaced(&mut well, late.clone(), new());
        assert_eq!(well.commits(), MoveState::Verifying);
        replaced(&mut story, late, injected);
        looks(&mut story);
        assert_eq!(story.code(), (code, "Deployment/shop/web".to_owned()));
        assert!(matches!(story.m().state, MoveState::Failed(_)));
    }
}

#[test]
fn a_straggler_among_evicted_pods_is_known_by_the_record_alone() {
    let mut story = on_delete();
    looks(&mut story);
    assert_eq!(story.commits(), MoveState::Restarting);
    assert_eq!(evicted(&mut story), "db-1");
    replaced(&mut story, owned("StatefulSet", "db", "1", old()), old());
    // Another leader has nothing but the record.
    story.scratch = revshift_core::step::Scratch::default();
    looks(&mut story);
    assert_eq!(story.next(), Next::Wait(Some(LINGER)));
    story.elapsed = LINGER;
    looks(&mut story);
    assert_eq!(story.commits(), MoveState::Restarting);
    let record = &story.m().evictions["StatefulSet/db"];
    assert_eq!((record.planned.len(), record.stragglers.len()), (2, 1));
    assert_eq!(evicted(&mut story), "db-1");
}

#[test]
fn what_came_off_the_target_while_it_was_verified_is_seen_to_again() {
    let mut story = Story::relabelled(MoveState::Verifying);
    story.roll(&new());
    let mut late = deployed("web", "bbb", "9", old());
    late.make_mut().restart = Some("m.1".to_owned());
    story.world.pod("shop", late);
    assert_eq!(story.commits(), MoveState::Restarting);
}

#[test]
fn a_budget_holds_one_workload_and_blocks_the_move_in_the_end() {
    let mut story = on_delete();
    looks(&mut story);
    assert_eq!(story.commits(), MoveState::Restarting);
    assert_eq!(evicted(&mut story), "db-1");
    let withheld = |until| Withheld {
        pod: "db-1".to_owned(),
        message: "the disruption budget db needs 2 healthy pods".to_owned(),
        until,
    };
    let until = Duration::from_secs(5);
    story.scratch.withheld.insert("StatefulSet/db".to_owned(), withheld(until));
    assert_eq!(story.next(), Next::Wait(Some(until)));
    // Others go on.
    story.world.pod("shop", owned("Queue", "q", "0", old()));
    story.world.pod("shop", owned("Queue", "q", "1", old()));
    looks(&mut story);
    assert_eq!(story.commits(), MoveState::Restarting);
    assert_eq!(evicted(&mut story), "q-1");
    for ordinal in ["0", "1"] {
        replaced(&mut story, owned("Queue", "q", ordinal, new()), new());
    }
    assert!(matches!(story.next(), Next::Wait(_)));
    story.elapsed = Duration::from_mins(11);
    story.scratch.withheld.insert("StatefulSet/db".to_owned(), withheld(Duration::from_mins(12)));
    assert_eq!(story.code(), (Code::DisruptionBudget, "Pod/shop/db-1".to_owned()));
    assert!(matches!(story.m().state, MoveState::Blocked(_)));
}

#[test]
fn a_restart_that_was_taken_back_is_not_written_again() {
    for (pods, allowed) in [(2, false), (1, true), (1, false)] {
        let mut story = Story::relabelled(MoveState::Restarting);
        story.migration.spec.allow_downtime = allowed;
        story.roll(&new());
        assert_eq!(story.commits(), MoveState::Restarting);
        story.world.edit_workload("shop", "web", |w| {
            w.restart = None;
            w.template_manager = Some("argocd".to_owned());
            w.desired = pods;
            (w.total, w.updated, w.available) = (pods, pods, pods);
        });
        for index in 0..2 {
            story.world.gone(Kind::Pod, "shop", &format!("web-bbb-{index}"));
        }
        for index in 0..pods {
            story.world.pod("shop", deployed("web", "aaa", &index.to_string(), old()));
        }
        looks(&mut story);
        if pods == 2 || allowed {
            assert_eq!(story.commits(), MoveState::Restarting);
            assert_eq!(evicted(&mut story), format!("web-aaa-{}", pods - 1));
            continue;
        }
        assert_eq!(story.code(), (Code::RestartReverted, "Deployment/shop/web".to_owned()));
        let MoveState::Blocked(problem) = story.m().state.clone() else { panic!("not blocked") };
        assert_eq!(problem.manager.as_deref(), Some("argocd"));
    }
}

#[test]
fn kinds_of_other_groups_are_not_taken_for_kubernetes_own() {
    let mut story = Story::relabelled(MoveState::Verifying);
    story.roll(&new());
    let mut pod = owned("StatefulSet", "db", "0", old());
    if let Some(owner) = &mut pod.make_mut().owner {
        owner.group = "apps.kruise.io".to_owned();
    }
    story.world.pod("shop", pod);
    assert_eq!(story.commits(), MoveState::Restarting);
    assert_eq!(story.commits(), MoveState::Restarting);
    looks(&mut story);
    assert_eq!(story.code(), (Code::WorkloadNeedsDowntime, "StatefulSet/shop/db".to_owned()));
}

#[test]
fn pods_whose_controller_was_not_seen_are_evicted_when_they_stay() {
    let mut story = Story::relabelled(MoveState::Restarting);
    story.roll(&new());
    assert_eq!(story.commits(), MoveState::Restarting);
    for index in ["0", "1"] {
        story.world.pod("shop", deployed("orphaned", "ccc", index, old()));
    }
    assert_eq!(story.next(), Next::Wait(Some(STRAY)));
    story.elapsed = STRAY;
    looks(&mut story);
    assert_eq!(story.commits(), MoveState::Restarting);
    assert_eq!(evicted(&mut story), "orphaned-ccc-1");
}

#[test]
fn what_is_restarted_and_what_is_evicted_go_side_by_side() {
    let mut story = Story::relabelled(MoveState::Restarting);
    let mut db = workload(WorkloadKind::StatefulSet, "db", 2);
    db.obstacle = Some(Obstacle::Partition);
    story.world.workload("shop", db);
    for ordinal in ["0", "1"] {
        story.world.pod("shop", owned("StatefulSet", "db", ordinal, old()));
    }
    let calls = story.calls();
    assert!(matches!(calls.as_slice(), [Call::Restart { .. }, Call::Inspect { .. }]), "{calls:?}");
    story.migration.control.paused = true;
    assert_eq!(story.next(), Next::Wait(None));
}

#[test]
fn what_its_owner_wants_left_alone_is_not_waited_for() {
    let mut story = on_delete();
    story.world.edit_workload("shop", "db", |w| w.obstacle = Some(Obstacle::Skipped));
    assert_eq!(story.commits(), MoveState::Verifying);
    story.look(true);
    let MoveState::Moved(left) = story.commits() else { panic!("not moved") };
    assert_eq!((left[0].kind.as_str(), left[0].pods), ("StatefulSet", 2));
}

#[test]
fn a_namespace_that_is_to_be_left_alone_since_it_was_planned_is_not_touched() {
    let mut story = Story::new(MoveState::Checking);
    story.world.edit_namespace("shop", |meta| meta.skip = true);
    assert_eq!(story.code(), (Code::NamespaceSkipped, "Namespace/shop".to_owned()));
}
