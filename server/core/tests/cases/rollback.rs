//! Rollbacks restore what the records say, or are refused.

use super::world::{NEW, OLD, World, calisti, edit_all, labels, migration, revisioned, with_state};
use revshift_core::cluster::Lock;
use revshift_core::label::InjectionLabels;
use revshift_core::migration::{Migration, MoveState};
use revshift_core::plan::Plan;
use revshift_core::problem::Code;
use revshift_core::refusal::Refusal;
use revshift_core::rollback::{self, Request};

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
    edit_all(&mut m, |m| m.relabelled = true);
    (world, m)
}

fn roll_back(world: &World, m: &Migration, namespaces: &[&str]) -> Result<Plan, Refusal> {
    let namespaces = namespaces.iter().map(|name| (*name).to_owned()).collect();
    let reason = "because".to_owned();
    let request = Request { namespaces, reason, ..Request::default() };
    rollback::rollback(&world.cluster, m, &request)
}

#[track_caller]
fn refused(world: &World, m: &Migration, namespace: &str) -> Code {
    match roll_back(world, m, &[namespace]) {
        Err(Refusal::Rollback(violations)) => violations[0].code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn all_that_was_moved_goes_back_last_first() {
    let (world, m) = moved();
    let plan = roll_back(&world, &m, &[]).unwrap();
    assert_eq!((plan.source.as_str(), plan.target.as_str()), (NEW, OLD));
    assert_eq!(plan.rollback_of.as_deref(), Some("m"));
    let names: Vec<&str> = plan.entries.iter().map(|entry| entry.namespace.as_str()).collect();
    assert_eq!(names, ["b", "a"]);
    assert_eq!(plan.entries[0].after, InjectionLabels::of_revision(OLD));
}

#[test]
fn a_reason_is_required() {
    let (world, m) = moved();
    let answer = rollback::rollback(&world.cluster, &m, &Request::default());
    assert!(matches!(answer, Err(Refusal::InvalidFields(_))), "{answer:?}");
}

#[test]
fn the_plane_to_go_back_to_must_be_available() {
    let (mut world, m) = moved();
    world.plane(calisti(OLD, false));
    let answer = roll_back(&world, &m, &[]);
    assert!(matches!(answer, Err(Refusal::PlaneUnavailable { .. })), "{answer:?}");
}

#[test]
fn what_was_not_moved_or_was_changed_since_is_refused() {
    let (mut world, mut m) = moved();
    let unknown = roll_back(&world, &m, &["x"]);
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
    assert!(roll_back(&world, &m, &["a"]).is_ok());

    m.moves.edit(0, |m| m.relabelled = false);
    assert_eq!(refused(&world, &m, "a"), Code::RollbackNotMoved);
    m.moves.edit(0, |m| {
        m.relabelled = true;
        m.before = m.after.clone();
    });
    assert_eq!(refused(&world, &m, "a"), Code::RollbackNothing);
}

#[test]
fn what_was_only_restarted_has_nothing_to_go_back_to_named_or_not() {
    let (world, mut m) = moved();
    edit_all(&mut m, |m| m.before = m.after.clone());
    assert_eq!(refused(&world, &m, "a"), Code::RollbackNothing);
    let Err(Refusal::Rollback(violations)) = roll_back(&world, &m, &[]) else {
        panic!("accepted");
    };
    let told: Vec<_> = violations.iter().map(|it| (it.code, it.subject.as_str())).collect();
    let nothing = Code::RollbackNothing;
    assert_eq!(told, [(nothing, "Namespace/a"), (nothing, "Namespace/b")]);
}

#[test]
fn one_wave_goes_back_alone() {
    let (world, mut m) = moved();
    let reason = "because".to_owned();
    let request = |wave| Request { wave: Some(wave), reason: reason.clone(), ..Request::default() };
    let plan = rollback::rollback(&world.cluster, &m, &request(1)).unwrap();
    let names: Vec<&str> = plan.entries.iter().map(|entry| entry.namespace.as_str()).collect();
    assert_eq!((names, plan.entries[0].wave), (vec!["b"], 0));
    m.moves.edit(1, |m| m.state = MoveState::Superseded);
    let Err(Refusal::Rollback(found)) = rollback::rollback(&world.cluster, &m, &request(1)) else {
        panic!("accepted");
    };
    assert_eq!((found[0].code, found[0].subject.as_str()), (Code::RollbackNotMoved, "Migration/m"));
    let unknown = rollback::rollback(&world.cluster, &m, &request(2));
    assert!(matches!(unknown, Err(Refusal::InvalidFields(_))), "{unknown:?}");
    let both = Request { namespaces: vec!["a".to_owned()], ..request(0) };
    let both = rollback::rollback(&world.cluster, &m, &both);
    assert!(matches!(both, Err(Refusal::InvalidFields(_))), "{both:?}");
}

#[test]
fn force_is_part_of_the_plan() {
    let (world, m) = moved();
    let request = |force| Request { force, reason: "because".to_owned(), ..Request::default() };
    let hash = |force| rollback::rollback(&world.cluster, &m, &request(force)).unwrap().hash();
    assert_ne!(hash(true), hash(false));
}

#[test]
fn what_leads_elsewhere_now_goes_back_by_the_planes_own_name() {
    let (mut world, mut m) = moved();
    edit_all(&mut m, |m| m.before = InjectionLabels::of_revision("prod"));
    world.injectors("prod", revisioned("prod", OLD, Some("prod")));
    let plan = roll_back(&world, &m, &["a"]).unwrap();
    assert_eq!(plan.entries[0].after, InjectionLabels::of_revision("prod"));
    assert!(plan.findings.is_empty());
    // The tag was led elsewhere; then it is gone.
    for revision in [Some(NEW), None] {
        let hooks = revision.map(|it| revisioned("prod", it, Some("prod"))).unwrap_or_default();
        world.injectors("prod", hooks);
        let plan = roll_back(&world, &m, &["a"]).unwrap();
        assert_eq!(plan.entries[0].after, InjectionLabels::of_revision(OLD));
        assert_eq!(plan.findings[0].code, Code::RollbackByRevision);
    }
}
