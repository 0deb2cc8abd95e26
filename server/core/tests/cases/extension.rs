//! What an unfinished migration takes in, and what it does not.

use super::world::{NEW, OLD, World, all, migration, with_state};
use jiff::Timestamp;
use revshift_core::migration::{Ended, Migration, MigrationState, MoveState, Verb};
use revshift_core::plan::extension::{self, Request};
use revshift_core::plan::{Plan, extension_id, migration_id};
use revshift_core::refusal::Refusal;
use revshift_core::selection::Matching;
use std::collections::BTreeSet;

/// Namespaces a to d on the old plane, of which a migration has a and b, one a wave.
fn world() -> (World, Migration) {
    let mut world = World::calisti();
    for name in ["a", "b", "c", "d"] {
        world.application(name);
    }
    (world, migration("m", &["a", "b"]))
}

fn extend(
    world: &World,
    m: &Migration,
    others: &[Migration],
    names: &[&str],
) -> Result<Plan, Refusal> {
    let mut stored = others.to_vec();
    stored.push(m.clone());
    let namespaces = names.iter().map(|name| (*name).to_owned()).collect();
    extension::extension(&world.cluster, m, &all(&stored), &Request { namespaces })
}

fn waves(plan: &Plan) -> Vec<(&str, u32)> {
    plan.entries.iter().map(|entry| (entry.namespace.as_str(), entry.wave)).collect()
}

#[track_caller]
fn refused(result: Result<Plan, Refusal>, words: &str) {
    let why = result.unwrap_err().to_string();
    assert!(why.contains(words), "{why}");
}

#[test]
fn named_namespaces_come_in_waves_behind_the_last() {
    let (world, m) = world();
    let plan = extend(&world, &m, &[], &["d", "c"]).unwrap();
    assert_eq!(waves(&plan), [("d", 2), ("c", 3)]);
    assert_eq!((plan.source.as_str(), plan.target.as_str()), (OLD, NEW));
    assert_eq!(plan.extends.as_deref(), Some("m"));
    // Where else it might be wanted it would be another plan.
    let (hash, alone) = (plan.hash(), Plan { extends: None, ..plan });
    assert_ne!(hash, alone.hash());
    let other = Migration { id: "n".to_owned(), ..m };
    assert_ne!(hash, extend(&world, &other, &[], &["d", "c"]).unwrap().hash());
}

#[test]
fn a_rule_finds_what_came_since() {
    let (mut world, mut m) = world();
    m.spec.rule = Some(Matching { exclude: ["d".to_owned()].into(), ..Matching::default() });
    assert_eq!(waves(&extend(&world, &m, &[], &[]).unwrap()), [("c", 2)]);
    world.application("e");
    assert_eq!(waves(&extend(&world, &m, &[], &[]).unwrap()), [("c", 2), ("e", 2)]);
    // What cannot be moved is left out, and said.
    world.edit_namespace("e", |meta| meta.skip = true);
    let plan = extend(&world, &m, &[], &[]).unwrap();
    assert_eq!((waves(&plan), plan.findings.len()), (vec![("c", 2)], 1));
    m.spec.rule = Some(Matching {
        exclude: ["c", "d", "e"].map(str::to_owned).into(),
        ..Matching::default()
    });
    refused(extend(&world, &m, &[], &[]), "its rule finds nothing that it does not have");
}

#[test]
fn what_makes_no_sense_is_refused_with_a_reason() {
    let (world, m) = world();
    refused(extend(&world, &m, &[], &[]), "no rule has found its namespaces");
    refused(extend(&world, &m, &[], &["c", "a"]), "namespaces[1]: `a` is in it already, in wave 0");
    refused(extend(&world, &m, &[], &["c", "c"]), "namespaces[1]: `c` is named twice");
    refused(extend(&world, &m, &[], &["C"]), "namespaces[0]: `C` is no namespace's name");
    refused(extend(&world, &m, &[], &["x"]), "there is no such namespace");
    let mut over = m.clone();
    let (state, at) = (MigrationState::Succeeded, Timestamp::UNIX_EPOCH);
    over.ended = Some(Ended { state, at, sequence: 1 });
    refused(extend(&world, &over, &[], &["c"]), "`m` is SUCCEEDED: it has ended");
    let mut cancelled = m.clone();
    cancelled.control.cancelled = true;
    refused(extend(&world, &cancelled, &[], &["c"]), "it is being cancelled");
    let mut back = m.clone();
    back.spec.rollback_of = Some("m-0".to_owned());
    refused(extend(&world, &back, &[], &["c"]), "a rollback takes back");
    let other = migration("n", &["c"]);
    refused(
        extend(&world, &m, std::slice::from_ref(&other), &["d", "c"]),
        "`c` is in migration `n`",
    );
    let (state, at) = (MigrationState::Succeeded, Timestamp::UNIX_EPOCH);
    let other = Migration { ended: Some(Ended { state, at, sequence: 1 }), ..other };
    assert!(extend(&world, &m, &[other], &["c"]).is_ok());
}

#[test]
fn what_was_taken_in_goes_on_behind_the_last_wave() {
    let (world, m) = world();
    let m = with_state(m, "a", MoveState::Moved(Vec::new()));
    let mut m = with_state(m, "b", MoveState::Restarting);
    let plan = extend(&world, &m, &[], &["c"]).unwrap();
    m.moves = m.moves.iter().cloned().chain(plan.moves(Timestamp::UNIX_EPOCH)).collect();
    assert_eq!((m.waves(), m.wave()), (3, Some(1)));
    let m = with_state(m, "b", MoveState::Moved(Vec::new()));
    assert_eq!((m.wave(), m.state(&BTreeSet::new())), (Some(2), MigrationState::Running));
}

#[test]
fn who_had_it_extended_is_kept_and_ids_tell_apart() {
    let (_, mut m) = world();
    let names: Vec<String> = (0..30).map(|i| format!("n-{i}")).collect();
    m.control.note_extension("alice", Timestamp::UNIX_EPOCH, &names);
    let kept = &m.control.commands[0];
    assert_eq!((kept.verb, kept.named, kept.namespaces.len()), (Verb::Extend, 30, 20));
    assert_eq!(extension_id("a", "1")[1..], migration_id("a", "1")[1..]);
    assert_ne!(extension_id("a", "1"), extension_id("b", "1"));
}
