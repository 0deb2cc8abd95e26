//! Rollbacks restore what the records say, or are refused.

use super::world::{NEW, OLD, World, calisti, labels, migration, with_state};
use revshift_core::cluster::Lock;
use revshift_core::label::InjectionLabels;
use revshift_core::migration::{Migration, MoveState};
use revshift_core::problem::Code;
use revshift_core::refusal::Refusal;
use revshift_core::rollback::rollback;

/// Two namespaces that migration `m` has moved.
fn moved() -> (World, Migration) {
    let mut world = World::calisti();
    let mut m = migration("m", &["a", "b"]);
    for name in ["a", "b"] {
        world.application(name);
        let lock = Lock { migration: "m".to_owned(), attempt: 1 };
        world.edit_namespace(name, |meta| {
            meta.labels = labels(&[("istio.io/rev", NEW)]);
            meta.lock = Some(lock);
        });
        m = with_state(m, name, MoveState::Moved(Vec::new()));
    }
    m.moves.iter_mut().for_each(|m| m.relabelled = true);
    (world, m)
}

#[track_caller]
fn refused(world: &World, m: &Migration, namespace: &str) -> Code {
    match rollback(&world.cluster, m, &[namespace.to_owned()], "because") {
        Err(Refusal::Rollback(violations)) => violations[0].code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_that_was_moved_goes_back_last_first() {
    let (world, m) = moved();
    let plan = rollback(&world.cluster, &m, &[], "because").unwrap();
    assert_eq!((plan.source.as_str(), plan.target.as_str()), (NEW, OLD));
    assert_eq!(plan.rollback_of.as_deref(), Some("m"));
    let names: Vec<&str> = plan.entries.iter().map(|entry| entry.namespace.as_str()).collect();
    assert_eq!(names, ["b", "a"]);
    assert_eq!(plan.entries[0].after, InjectionLabels::of_revision(OLD));
}

#[test]
fn a_reason_is_required() {
    let (world, m) = moved();
    let answer = rollback(&world.cluster, &m, &[], "  ");
    assert!(matches!(answer, Err(Refusal::InvalidFields(_))), "{answer:?}");
}

#[test]
fn the_plane_to_go_back_to_must_be_available() {
    let (mut world, m) = moved();
    world.plane(calisti(OLD, false));
    let answer = rollback(&world.cluster, &m, &[], "because");
    assert!(matches!(answer, Err(Refusal::PlaneUnavailable { .. })), "{answer:?}");
}

#[test]
fn what_was_not_moved_or_was_changed_since_is_refused() {
    let (mut world, mut m) = moved();
    let unknown = rollback(&world.cluster, &m, &["x".to_owned()], "because");
    assert!(matches!(unknown, Err(Refusal::MoveNotFound { .. })), "{unknown:?}");

    world.edit_namespace("a", |meta| meta.labels = labels(&[("istio.io/rev", OLD)]));
    assert_eq!(refused(&world, &m, "a"), Code::RollbackChanged);
    world.edit_namespace("a", |meta| {
        meta.labels = labels(&[("istio.io/rev", NEW)]);
        meta.lock = Some(Lock { migration: "later".to_owned(), attempt: 1 });
    });
    assert_eq!(refused(&world, &m, "a"), Code::RollbackChanged);
    world.edit_namespace("b", |meta| meta.uid = "another".to_owned());
    assert_eq!(refused(&world, &m, "b"), Code::RollbackChanged);

    // An annotation that somebody pruned proves nothing.
    world.edit_namespace("a", |meta| meta.lock = None);
    assert!(rollback(&world.cluster, &m, &["a".to_owned()], "because").is_ok());

    m.moves[0].relabelled = false;
    assert_eq!(refused(&world, &m, "a"), Code::RollbackNotMoved);
    m.moves[0].relabelled = true;
    m.moves[0].before = m.moves[0].after.clone();
    assert_eq!(refused(&world, &m, "a"), Code::RollbackNothing);
}

#[test]
fn what_was_only_restarted_has_nothing_to_go_back_to_named_or_not() {
    let (world, mut m) = moved();
    for m in &mut m.moves {
        m.before = m.after.clone();
    }
    assert_eq!(refused(&world, &m, "a"), Code::RollbackNothing);
    let Err(Refusal::Rollback(violations)) = rollback(&world.cluster, &m, &[], "because") else {
        panic!("accepted");
    };
    let told: Vec<_> = violations.iter().map(|it| (it.code, it.subject.as_str())).collect();
    let nothing = Code::RollbackNothing;
    assert_eq!(told, [(nothing, "Namespace/a"), (nothing, "Namespace/b")]);
}
