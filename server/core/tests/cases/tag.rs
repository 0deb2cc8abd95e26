//! Tags: how planes are named by them, whose labels are rewritten, and what happens when they move.

use super::plan::request;
use super::story::Story;
use super::world::{NEW, OLD, World, at, default_injectors, labels, rev, revisioned};
use revshift_core::cluster::{Change, DefaultBy, Key, Kind, Object};
use revshift_core::command::{Command, command};
use revshift_core::drift;
use revshift_core::label::InjectionLabels;
use revshift_core::migration::{Migration, MigrationState, MoveState, PauseReason};
use revshift_core::plan::extension::unplanned;
use revshift_core::plan::{Plan, Request, plan};
use revshift_core::problem::Code;
use revshift_core::refusal::Refusal;
use revshift_core::selection::{Matching, Selection};
use revshift_core::step::Next;
use revshift_core::tag::{self, Drift, TagPolicy};
use std::collections::{BTreeMap, BTreeSet};

/// The planes of the procedure, with tags `stable` and `default` of the old and `next` of the new.
fn world() -> World {
    let mut world = World::calisti();
    world.injectors("stable", revisioned("stable", OLD, Some("stable")));
    world.injectors("next", revisioned("next", NEW, Some("next")));
    world.injectors("default", default_injectors(OLD));
    world
}

/// The same, with an application of these labels.
fn shop(pairs: &[(&str, &str)]) -> World {
    let mut world = world();
    world.application("shop");
    world.edit_namespace("shop", |meta| meta.labels = labels(pairs));
    world
}

fn rewriting() -> Request {
    Request { tags: TagPolicy::Rewrite, ..request(&["shop"]) }
}

fn all(tags: TagPolicy) -> Request {
    Request { selection: Selection::Matching(Matching::default()), tags, ..request(&[]) }
}

#[track_caller]
fn code(found: Result<Plan, Refusal>) -> Code {
    match found {
        Err(Refusal::Plan(violations)) => violations[0].code,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_plane_is_named_by_revision_then_short_name_then_tag() {
    let mut world = world();
    for (name, revision, by) in [
        (OLD, OLD, None),
        ("cp-v115x", NEW, None),
        ("stable", OLD, Some("stable")),
        ("next", NEW, Some("next")),
        ("default", OLD, Some("default")),
    ] {
        let found = tag::named(&world.cluster, name).unwrap();
        assert_eq!((&found.plane.revision, found.tag.as_deref()), (&rev(revision), by), "{name}");
    }
    assert!(matches!(
        tag::named(&world.cluster, "nobody"),
        Err(Refusal::PlaneNotFound { name, .. }) if name == "nobody"
    ));
    // A tag of two planes names none of them.
    world.injectors("twice", revisioned("twice", NEW, Some("stable")));
    assert!(matches!(
        tag::named(&world.cluster, "stable"),
        Err(Refusal::PlaneAmbiguous { candidates, .. }) if candidates == [OLD, NEW]
    ));
    // A plane's own name comes before a tag of that name.
    world.injectors("own", revisioned("own", OLD, Some(NEW)));
    assert_eq!(tag::named(&world.cluster, NEW).unwrap().tag, None);
}

#[test]
fn labels_of_tags_are_rewritten_only_when_told() {
    for (pairs, refused) in [
        (&[("istio.io/rev", "stable")][..], Code::NamespaceByTag),
        (&[("istio.io/rev", "default")], Code::NamespaceByTag),
        (&[("istio-injection", "enabled")], Code::NamespaceByInjection),
        (&[("istio-injection", "enabled"), ("istio.io/rev", NEW)], Code::NamespaceByInjection),
    ] {
        let world = shop(pairs);
        assert_eq!(code(plan(&world.cluster, &request(&["shop"]))), refused, "{pairs:?}");
        let plan = plan(&world.cluster, &rewriting()).unwrap();
        let entry = &plan.entries[0];
        assert_eq!(entry.before, InjectionLabels::among(&labels(pairs)));
        assert_eq!(entry.after, InjectionLabels::of_revision(NEW));
        assert_eq!(plan.tags.policy, TagPolicy::Rewrite);
    }
}

#[test]
fn labels_that_do_not_lead_to_the_source_are_refused_all_the_same() {
    for pairs in [
        &[("istio-injection", "disabled")][..],
        &[("istio-injection", "disabled"), ("istio.io/rev", OLD)],
        &[("istio.io/rev", "gone")],
        &[],
    ] {
        let found = plan(&shop(pairs).cluster, &rewriting());
        assert_eq!(code(found), Code::NamespaceNotAttached, "{pairs:?}");
    }
    let mut world = shop(&[("istio.io/rev", "third")]);
    world.injectors("third", revisioned("third", "1-31", Some("third")));
    assert_eq!(code(plan(&world.cluster, &rewriting())), Code::NamespaceNotAttached);
}

#[test]
fn what_leads_to_the_target_keeps_its_labels() {
    for (to, pairs) in [
        ("next", &[("istio.io/rev", "next")][..]),
        ("next", &[("istio.io/rev", NEW)]),
        (NEW, &[("istio.io/rev", "next")]),
    ] {
        let request = Request { target: to.to_owned(), ..request(&["shop"]) };
        let plan = plan(&shop(pairs).cluster, &request).unwrap();
        let entry = &plan.entries[0];
        assert_eq!(entry.before, entry.after, "{to} {pairs:?}");
        assert_eq!(entry.before, InjectionLabels::among(&labels(pairs)));
    }
}

#[test]
fn the_tag_that_was_named_is_written_and_hashed() {
    let world = shop(&[("istio.io/rev", OLD)]);
    let by_tag =
        Request { source: "stable".to_owned(), target: "next".to_owned(), ..request(&["shop"]) };
    let by_tag = plan(&world.cluster, &by_tag).unwrap();
    assert_eq!((&by_tag.source, &by_tag.target), (&rev(OLD), &rev(NEW)));
    assert_eq!(by_tag.entries[0].after, InjectionLabels::of_revision("next"));
    let leads: Vec<_> = by_tag.tags.leads.iter().map(|lead| (&lead.plane, &lead.tag)).collect();
    let next = Some("next".to_owned());
    assert_eq!(leads, [(&rev(OLD), &None), (&rev(NEW), &next)]);
    let by_name = plan(&world.cluster, &request(&["shop"])).unwrap();
    assert_ne!(by_tag.hash(), by_name.hash());
    assert_ne!(by_name.hash(), plan(&world.cluster, &rewriting()).unwrap().hash());
}

#[test]
fn a_rule_takes_what_is_on_a_tag_only_when_told() {
    let mut world = shop(&[("istio.io/rev", "stable")]);
    world.application("plain");
    let told = plan(&world.cluster, &all(TagPolicy::Rewrite)).unwrap();
    assert_eq!(told.entries.len(), 2);
    let plain = plan(&world.cluster, &all(TagPolicy::Refuse)).unwrap();
    let names: Vec<&str> = plain.entries.iter().map(|entry| entry.namespace.as_str()).collect();
    assert_eq!(names, ["plain"]);
    let left: Vec<Code> = plain.findings.iter().map(|finding| finding.code).collect();
    assert_eq!(left, [Code::NamespaceByTag]);
    // What is left out is not reported as if it had come later.
    let later = |plan: &Plan| {
        let mut migration = migration(plan);
        migration.spec.rule.clone_from(&plan.rule);
        unplanned(&world.cluster, &migration)
    };
    assert!(later(&plain).is_empty());
    world.application("late");
    world.edit_namespace("late", |meta| meta.labels = labels(&[("istio.io/rev", "stable")]));
    let later = |plan: &Plan| {
        let mut migration = migration(plan);
        migration.spec.rule.clone_from(&plan.rule);
        unplanned(&world.cluster, &migration)
    };
    assert_eq!((later(&plain), later(&told)), (vec![], vec!["late".to_owned()]));
}

/// The migration that executes a plan.
fn migration(plan: &Plan) -> Migration {
    let mut migration = super::world::migration("m", &[]);
    migration.spec.source = plan.source.clone();
    migration.spec.target = plan.target.clone();
    migration.spec.tags = plan.tags.clone();
    migration.moves = plan.moves(at(0)).into();
    migration
}

fn drifted(world: &World, migration: &Migration) -> Option<Drift> {
    drift::of(&world.cluster, migration, at(7))
}

#[test]
fn a_lead_that_leads_elsewhere_is_told_while_something_rests_on_it() {
    let mut world = shop(&[("istio.io/rev", "stable")]);
    let request = Request { target: "next".to_owned(), ..rewriting() };
    let mut m = migration(&plan(&world.cluster, &request).unwrap());
    assert_eq!(drifted(&world, &m), None);

    world.injectors("stable", revisioned("stable", "1-31", Some("stable")));
    let problem = drifted(&world, &m).unwrap().problem();
    assert_eq!((problem.code, problem.object.as_str()), (Code::TagMoved, "Tag/stable"));
    assert!(problem.message.contains(OLD) && problem.message.contains("1-31"), "{problem:?}");
    // What has been left does not matter any more.
    m.moves.edit(0, |m| m.relabelled = true);
    assert_eq!(drifted(&world, &m), None);

    world.injectors("next", revisioned("next", OLD, Some("next")));
    let drift = drifted(&world, &m).unwrap();
    assert_eq!((drift.lead.plane.clone(), drift.at), (rev(NEW), at(7)));
    let drifts = |before: &BTreeMap<String, Drift>, time| {
        drift::all(&world.cluster, &super::world::all(&[m.clone()]), before, at(time))
    };
    let first = drifts(&BTreeMap::new(), 7);
    assert_eq!(drifts(&first, 9), first);

    world.gone(Kind::Injector, "", "next");
    let problem = drifted(&world, &m).unwrap().problem();
    assert!(problem.message.contains("no webhook serves `next`"), "{problem:?}");
    m.ended = Some(revshift_core::migration::Ended {
        state: MigrationState::Cancelled,
        at: at(8),
        sequence: 1,
    });
    assert_eq!(drifted(&world, &m), None);
}

#[test]
fn a_planes_own_webhook_that_moves_is_told_too() {
    let mut world = shop(&[("istio.io/rev", OLD)]);
    let mut m = migration(&plan(&world.cluster, &request(&["shop"])).unwrap());
    world.gone(Kind::Injector, "", NEW);
    let problem = drifted(&world, &m).unwrap().problem();
    let plane = format!("ControlPlane/{NEW}");
    assert_eq!((problem.code, problem.object), (Code::InjectorMoved, plane));
    // What a rollback leaves may be gone.
    world.injectors(NEW, revisioned(NEW, NEW, None));
    world.gone(Kind::Injector, "", OLD);
    assert!(drifted(&world, &m).is_some());
    m.spec.rollback_of = Some("m-0".to_owned());
    assert_eq!(drifted(&world, &m), None);
}

#[test]
fn a_drift_pauses_until_somebody_has_it_go_on_after_it_is_over() {
    let mut world = shop(&[("istio.io/rev", OLD)]);
    let request = Request { target: "next".to_owned(), ..request(&["shop"]) };
    let mut m = migration(&plan(&world.cluster, &request).unwrap());
    world.injectors("next", revisioned("next", OLD, Some("next")));
    m.drift = drifted(&world, &m);
    let nobody = BTreeSet::new();
    assert_eq!(m.state(&nobody), MigrationState::Paused(PauseReason::Drift));
    assert!(matches!(drift::resumable(&world.cluster, &m), Err(Refusal::State { .. })));
    world.injectors("next", revisioned("next", NEW, Some("next")));
    assert_eq!(drift::resumable(&world.cluster, &m), Ok(()));
    // It does not go on by itself.
    assert_eq!(m.state(&nobody), MigrationState::Paused(PauseReason::Drift));
    m.control = command(&m, &nobody, &Command::Resume, at(9)).unwrap();
    assert_eq!(m.state(&nobody), MigrationState::Running);
    // The next drift is another one.
    world.injectors("next", revisioned("next", OLD, Some("next")));
    assert_eq!(m.drifted(), None);
    m.drift = drifted(&world, &m);
    assert_eq!(m.state(&nobody), MigrationState::Paused(PauseReason::Drift));
}

#[test]
fn a_move_waits_while_labels_lead_elsewhere_and_a_cancelled_one_ends() {
    let mut world = shop(&[("istio.io/rev", OLD)]);
    let m = migration(&plan(&world.cluster, &request(&["shop"])).unwrap());
    world.gone(Kind::Injector, "", NEW);
    let drift = drifted(&world, &m);
    let states =
        [MoveState::Checking, MoveState::Relabeling, MoveState::Restarting, MoveState::Verifying];
    for state in states {
        let mut story = Story::new(state.clone());
        story.drift.clone_from(&drift);
        assert_eq!(story.next(), Next::Wait(None), "{state:?}");
        story.migration.control.cancelled = true;
        if state == MoveState::Checking {
            assert_eq!(story.commits(), MoveState::Cancelled);
        } else {
            assert_eq!(story.code(), (Code::InjectorMoved, format!("ControlPlane/{NEW}")));
        }
    }
}

#[test]
fn the_default_plane_is_the_tags_then_the_validators() {
    let mut world = world();
    let validator = |revision: Option<&str>| {
        let key = Key { namespace: String::new(), name: "istiod-default-validator".to_owned() };
        Change::Set(Kind::DefaultValidator, key, Object::DefaultValidator(revision.map(rev)))
    };
    world.cluster.apply(validator(Some(NEW)));
    assert_eq!(world.cluster.default_plane(), Some((&rev(OLD), DefaultBy::Tag)));
    world.gone(Kind::Injector, "", "default");
    assert_eq!(world.cluster.default_plane(), Some((&rev(NEW), DefaultBy::Validator)));
    world.cluster.apply(Change::Listed(Kind::DefaultValidator, Vec::new()));
    assert_eq!(world.cluster.default_plane(), None);
}
