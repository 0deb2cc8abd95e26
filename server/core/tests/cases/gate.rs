//! What has to hold after waves, and what becomes of a migration while it does not.

use super::world::{NEW, OLD, World, all, at, deployed, deployment, migration, problem, rev};
use super::world::{with_state, workload};
use jiff::Timestamp;
use revshift_core::admission::{self, Conditions, Waits};
use revshift_core::command::{Command, command};
use revshift_core::gate::{self, Baseline, Check, Gate, Outcome, Verdict};
use revshift_core::label::InjectionLabels;
use revshift_core::migration::{
    Approval, Migration, MigrationState, MoveState, PauseReason, Rerun, Skip,
};
use revshift_core::pod::Injected;
use revshift_core::refusal::Refusal;
use revshift_core::soak::{self, LASTING, Soak, Soaking};
use revshift_core::workload::WorkloadKind;
use std::collections::BTreeSet;
use std::time::Duration;

const HOUR: Duration = Duration::from_hours(1);

fn gate(waves: &[u32], soak: Duration, checks: &[&str]) -> Gate {
    let checks = checks.iter().map(|name| (*name).to_owned()).collect();
    Gate { waves: waves.iter().copied().collect(), soak, checks }
}

fn named(name: &str) -> Check {
    Check::Named(name.to_owned())
}

/// Namespaces a and b, one a wave, of which the first is moved, with an hour's soak and a check.
fn gated() -> Migration {
    let mut m = migration("m", &["a", "b"]);
    m.spec.gates = vec![gate(&[], HOUR, &["smoke"])];
    with_state(m, "a", MoveState::Moved(Vec::new()))
}

fn judged(mut m: Migration, wave: u32, check: Check, run: u32, outcome: Outcome) -> Migration {
    let message = "so it is".to_owned();
    m.verdicts.insert((wave, check), Verdict { run, outcome, at: at(1), message });
    m
}

fn state(m: &Migration) -> MigrationState {
    m.state(&BTreeSet::new())
}

fn due(m: &Migration) -> Option<(u32, Check, u32)> {
    m.due_check().map(|due| (due.wave, due.check, due.run))
}

/// The namespaces whose moves begin.
fn begun(m: &Migration, measuring: &[&str]) -> Vec<String> {
    let all = all(std::slice::from_ref(m));
    let mut waits = Waits::default();
    waits.refresh(&all);
    let measuring = measuring.iter().map(|name| (*name).to_owned()).collect();
    let conditions = Conditions { freezes: &[], measuring: &measuring, now: at(1) };
    let decisions = admission::admit(&all, &waits, 32, |_, _| false, |_| 0, conditions);
    decisions.into_iter().map(|decision| decision.m.namespace).collect()
}

fn commanded(m: &Migration, wanted: &Command) -> Migration {
    let control = command(m, &BTreeSet::new(), wanted, at(9)).unwrap();
    let after = Migration { control, ..m.clone() };
    let again = command(&after, &BTreeSet::new(), wanted, at(10)).unwrap();
    assert_eq!(again, after.control, "the same command again changes nothing");
    after
}

#[test]
fn gates_stand_after_each_wave_or_after_chosen_ones() {
    let minute = Duration::from_mins(1);
    let gates = [gate(&[], minute, &["a"]), gate(&[1], HOUR, &["b", "a"]), gate(&[2], minute, &[])];
    let checks = |wave| gate::checks_after(&gates, wave);
    assert_eq!(checks(0), [Check::Soak, named("a")]);
    assert_eq!(checks(1), [Check::Soak, named("a"), named("b")]);
    assert_eq!([0, 1, 2].map(|wave| gate::soak_after(&gates, wave)), [minute, HOUR, minute]);
    assert!(gate::checks_after(&gates[1..], 0).is_empty());
}

#[test]
fn what_is_malformed_is_named() {
    let long = gate::LONGEST_SOAK + Duration::from_secs(1);
    let gates =
        [gate(&[], HOUR, &[]), gate(&[], Duration::ZERO, &[]), gate(&[], long, &["a", "", "a"])];
    let fields = gate::check_fields(&gates).into_iter().map(|violation| violation.field);
    assert_eq!(
        fields.collect::<Vec<_>>(),
        [
            "spec.gates[1]",
            "spec.gates[2].soak",
            "spec.gates[2].checks[1]",
            "spec.gates[2].checks[2]"
        ]
    );
}

#[test]
fn checks_are_made_one_after_the_other_once_a_wave_is_over() {
    let mut m = migration("m", &["a", "b"]);
    m.spec.gates = vec![gate(&[], HOUR, &["smoke"])];
    assert_eq!((due(&m), begun(&m, &[])), (None, vec!["a".to_owned()]));
    let m = with_state(m, "a", MoveState::Verifying);
    assert_eq!((due(&m), begun(&m, &[])), (None, vec![]));
    let m = with_state(m, "a", MoveState::Moved(Vec::new()));
    assert_eq!((due(&m), begun(&m, &[])), (Some((0, Check::Soak, 0)), vec![]));
    let m = judged(m, 0, Check::Soak, 0, Outcome::Pass);
    assert_eq!((due(&m), begun(&m, &[])), (Some((0, named("smoke"), 0)), vec![]));
    let m = judged(m, 0, named("smoke"), 0, Outcome::Pass);
    assert_eq!((due(&m), begun(&m, &[])), (None, vec!["b".to_owned()]));
    // It ends only once what came last has held, too.
    let m = with_state(m, "b", MoveState::Moved(Vec::new()));
    assert_eq!((due(&m), state(&m)), (Some((1, Check::Soak, 0)), MigrationState::Running));
    let m = judged(m, 1, Check::Soak, 0, Outcome::Pass);
    let m = judged(m, 1, named("smoke"), 0, Outcome::Pass);
    assert_eq!((due(&m), state(&m)), (None, MigrationState::Succeeded));
}

#[test]
fn what_does_not_pass_pauses_until_it_is_made_again_or_accepted() {
    for outcome in [Outcome::Fail, Outcome::Inconclusive] {
        let m = judged(gated(), 0, Check::Soak, 0, Outcome::Pass);
        let stopped = judged(m, 0, named("smoke"), 0, outcome);
        assert_eq!(state(&stopped), MigrationState::Paused(PauseReason::Gate));
        assert_eq!((due(&stopped), begun(&stopped, &[])), (None, vec![]));

        let again = commanded(&stopped, &Command::Resume);
        assert_eq!(again.control.reruns[&0], Rerun { run: 1, at: at(9) });
        // What has passed is not made again.
        assert_eq!(due(&again), Some((0, named("smoke"), 1)));
        assert_eq!(state(&again), MigrationState::Running);
        let stopped = judged(again, 0, named("smoke"), 1, outcome);
        assert_eq!(state(&stopped), MigrationState::Paused(PauseReason::Gate));

        let approval = Approval { by: "alice".to_owned(), at: at(9) };
        let accepted = commanded(&stopped, &Command::Accept(0, approval));
        assert_eq!((due(&accepted), begun(&accepted, &[])), (None, vec!["b".to_owned()]));
    }
}

#[test]
fn only_what_is_waited_for_can_be_accepted() {
    let approval = Approval { by: "alice".to_owned(), at: at(9) };
    let refused = |m: &Migration, wave| {
        let accept = Command::Accept(wave, approval.clone());
        matches!(command(m, &BTreeSet::new(), &accept, at(9)), Err(Refusal::State { .. }))
    };
    assert!(refused(&gated(), 1));
    assert!(refused(&migration("m", &["a"]), 0));
    // A soak that lasts too long for somebody may be cut short.
    let mut paused = gated();
    paused.control.paused = true;
    let accepted = commanded(&paused, &Command::Accept(0, approval.clone()));
    assert_eq!(begun(&accepted, &[]), ["b"]);
}

#[test]
fn nothing_is_checked_where_nothing_was_moved() {
    for untouched in [
        MoveState::Skipped(Skip::Asked),
        MoveState::Skipped(Skip::Unneeded),
        MoveState::Gone,
        MoveState::Superseded,
    ] {
        let mut m = with_state(gated(), "a", untouched.clone());
        m.control.tolerated.insert("a".to_owned(), 1);
        assert_eq!((due(&m), begun(&m, &[])), (None, vec!["b".to_owned()]), "{untouched:?}");
    }
}

#[test]
fn a_wave_left_out_is_not_taken_for_the_end_of_a_gate() {
    let mut m = migration("m", &["a", "b", "c"]);
    m.spec.gates = vec![gate(&[], HOUR, &[])];
    let m = with_state(m, "a", MoveState::Moved(Vec::new()));
    let m = with_state(m, "b", MoveState::Skipped(Skip::Asked));
    assert_eq!((due(&m), begun(&m, &[])), (Some((0, Check::Soak, 0)), vec![]));
}

#[test]
fn nothing_is_checked_while_somebody_has_stopped_it_or_a_failure_waits() {
    let mut paused = gated();
    paused.control.paused = true;
    assert_eq!(due(&paused), None);
    let mut cancelled = gated();
    cancelled.control.cancelled = true;
    assert_eq!((due(&cancelled), state(&cancelled)), (None, MigrationState::Cancelling));
    let mut m = migration("m", &["a", "x", "b"]);
    m.moves.edit(1, |m| m.wave = 0);
    m.moves.edit(2, |m| m.wave = 1);
    m.spec.gates = vec![gate(&[], HOUR, &[])];
    let m = with_state(m, "a", MoveState::Moved(Vec::new()));
    let failed = with_state(m, "x", MoveState::Failed(problem()));
    assert_eq!(state(&failed), MigrationState::Paused(PauseReason::FailureBudget));
    assert_eq!(due(&failed), None);
    let answered = commanded(&failed, &Command::Resume);
    assert_eq!(due(&answered), Some((0, Check::Soak, 0)));
}

#[test]
fn an_approval_is_asked_for_once_what_came_before_has_held() {
    let mut m = gated();
    m.spec.approvals = [1].into();
    assert_eq!(state(&m), MigrationState::Running);
    let m = judged(m, 0, Check::Soak, 0, Outcome::Pass);
    let m = judged(m, 0, named("smoke"), 0, Outcome::Pass);
    assert_eq!(state(&m), MigrationState::WaitingApproval(1));
}

#[test]
fn a_wave_begins_once_something_was_measured_before_it() {
    let mut m = migration("m", &["a", "b"]);
    m.spec.gates = vec![gate(&[0], Duration::ZERO, &["errors", "smoke"])];
    let measuring = BTreeSet::from(["errors".to_owned(), "other".to_owned()]);
    assert_eq!(m.unmeasured(&measuring), Some((0, vec!["errors".to_owned()])));
    assert!(begun(&m, &["errors"]).is_empty());
    // A time at which nothing could be measured is as good: the check itself will tell.
    let (question, message) = ("q".to_owned(), "no answer".to_owned());
    let baseline = Baseline { question, value: None, at: at(1), message };
    m.baselines.insert((0, "errors".to_owned()), baseline);
    assert_eq!((m.unmeasured(&measuring), begun(&m, &["errors"])), (None, vec!["a".to_owned()]));
    let mut waiting = migration("m", &["a", "b"]);
    waiting.spec.gates = vec![gate(&[], Duration::ZERO, &["errors"])];
    waiting.spec.approvals = [0].into();
    assert_eq!(waiting.unmeasured(&measuring), None);
    let under_way = with_state(m, "a", MoveState::Checking);
    assert_eq!(under_way.unmeasured(&measuring), None);
}

/// Namespaces a and b of one Deployment with two pods each, moved to the new plane.
fn moved_world() -> (World, Migration) {
    let mut world = World::calisti();
    let mut m = migration("m", &["a", "b"]);
    m.moves.edit(1, |m| m.wave = 0);
    m.spec.gates = vec![gate(&[], HOUR, &[])];
    for name in ["a", "b"] {
        world.namespace(name, &[("istio.io/rev", NEW)]);
        world.workload(name, deployment("web", 2));
        for index in 0..2 {
            world.pod(name, deployed("web", "bbb", &index.to_string(), Injected::By(rev(NEW))));
        }
        m = with_state(m, name, MoveState::Moved(Vec::new()));
    }
    (world, m)
}

fn ailment(world: &World, m: &Migration) -> Option<String> {
    soak::ailment(&world.cluster, m, &m.moves[0])
}

#[test]
fn what_is_amiss_is_named() {
    type Change = fn(&mut World);
    let table: [(&str, Change, Option<&str>); 8] = [
        ("nothing", |_| {}, None),
        (
            "a pod is not available",
            |world| world.edit_workload("a", "web", |it| it.available = 1),
            Some("Deployment/web in a: 1 of 2 pods are available"),
        ),
        (
            "its people roll it out",
            |world| {
                world.edit_workload("a", "web", |it| {
                    it.updated = 1;
                    it.available = 1;
                });
            },
            None,
        ),
        (
            "they roll out what does not start",
            |world| {
                world.edit_workload("a", "web", |it| {
                    it.updated = 1;
                    it.complaints.late = Some("it has timed out progressing".to_owned());
                });
            },
            Some("Deployment/web in a: it has timed out progressing"),
        ),
        (
            "a pod comes from the old plane",
            |world| world.pod("a", deployed("web", "bbb", "0", Injected::By(rev(OLD)))),
            Some("Deployment/web in a has pods that are off cp-v115x.istio-system"),
        ),
        (
            "somebody has changed the label",
            |world| {
                let labels = InjectionLabels::of_revision(OLD).entries().into_iter().collect();
                world.edit_namespace("a", |meta| meta.labels = labels);
            },
            Some("the label of Namespace/a is istio.io/rev=cp-v113x.istio-system"),
        ),
        ("the namespace goes", |world| world.edit_namespace("a", |it| it.terminating = true), None),
        (
            "a workload is added that is not there yet",
            |world| {
                let mut new = workload(WorkloadKind::StatefulSet, "db", 2);
                (new.available, new.updated, new.total) = (0, 1, 1);
                world.workload("a", new);
            },
            Some("StatefulSet/db in a: 0 of 2 pods are available"),
        ),
    ];
    for (what, change, expected) in table {
        let (mut world, m) = moved_world();
        change(&mut world);
        assert_eq!(ailment(&world, &m).as_deref(), expected, "{what}");
    }
}

fn look(soaking: &mut Soaking, world: &World, m: &Migration, seconds: u64) -> Soak {
    let now = Timestamp::UNIX_EPOCH + Duration::from_secs(seconds);
    soaking.look(&world.cluster, m, 0, Duration::from_secs(seconds), now)
}

#[test]
fn a_soak_passes_when_all_was_well_until_its_end() {
    let (mut world, m) = moved_world();
    let mut soaking = Soaking::default();
    assert_eq!(look(&mut soaking, &world, &m, 10), Soak::Lasts(soak::LOOK_EVERY));
    // What ails for a moment only does not count; what ails at the end is waited for.
    world.edit_workload("a", "web", |it| it.available = 0);
    for second in [20, 20 + LASTING.as_secs() - 1] {
        assert_eq!(look(&mut soaking, &world, &m, second), Soak::Lasts(soak::LOOK_EVERY));
    }
    world.edit_workload("a", "web", |it| it.available = 2);
    assert_eq!(look(&mut soaking, &world, &m, 3599), Soak::Lasts(Duration::from_secs(1)));
    world.edit_workload("b", "web", |it| it.available = 1);
    assert_eq!(look(&mut soaking, &world, &m, 3600), Soak::Lasts(soak::LOOK_EVERY));
    world.edit_workload("b", "web", |it| it.available = 2);
    assert_eq!(look(&mut soaking, &world, &m, 3602), Soak::Passed);
    // It lasts from the end of the last move, whoever looks.
    assert_eq!(look(&mut Soaking::default(), &world, &m, 3602), Soak::Passed);
}

#[test]
fn a_soak_fails_when_something_is_amiss_for_too_long() {
    let (mut world, m) = moved_world();
    let mut soaking = Soaking::default();
    world.edit_workload("b", "web", |it| it.available = 1);
    assert!(matches!(look(&mut soaking, &world, &m, 5), Soak::Lasts(_)));
    let failed = look(&mut soaking, &world, &m, 5 + LASTING.as_secs());
    let why = "for 60 s Deployment/web in b: 1 of 2 pods are available";
    assert_eq!(failed, Soak::Failed(why.to_owned()));
    // Several ailments of one namespace count as one.
    let mut soaking = Soaking::default();
    assert!(matches!(look(&mut soaking, &world, &m, 5), Soak::Lasts(_)));
    world.edit_workload("b", "web", |it| it.available = 2);
    world.pod("b", deployed("web", "bbb", "0", Injected::By(rev(OLD))));
    assert!(matches!(look(&mut soaking, &world, &m, 65), Soak::Failed(_)));
}

#[test]
fn what_a_retry_adds_to_a_wave_is_checked_again() {
    let mut m = migration("m", &["a", "x", "b"]);
    m.moves.edit(1, |m| m.wave = 0);
    m.moves.edit(2, |m| m.wave = 1);
    m.spec.gates = vec![gate(&[], Duration::ZERO, &["smoke"])];
    let m = with_state(m, "a", MoveState::Moved(Vec::new()));
    let m = with_state(m, "x", MoveState::Failed(problem()));
    let m = commanded(&m, &Command::Resume);
    let m = judged(m, 0, named("smoke"), 0, Outcome::Pass);
    assert_eq!((due(&m), begun(&m, &[])), (None, vec!["b".to_owned()]));
    let mut m = with_state(m, "x", MoveState::Moved(Vec::new()));
    m.moves.edit(1, |m| m.since = at(5));
    assert_eq!((due(&m), begun(&m, &[])), (Some((0, named("smoke"), 0)), vec![]));
    // Also when a later wave has passed its own checks meanwhile.
    let m = with_state(m, "b", MoveState::Moved(Vec::new()));
    let mut m = judged(m, 1, named("smoke"), 0, Outcome::Pass);
    assert_eq!((due(&m), state(&m)), (Some((0, named("smoke"), 0)), MigrationState::Running));
    let message = String::new();
    let late = Verdict { run: 0, outcome: Outcome::Fail, at: at(5), message };
    m.verdicts.insert((0, named("smoke")), late);
    assert_eq!(state(&m), MigrationState::Paused(PauseReason::Gate));
}

#[test]
fn more_checks_than_are_kept_are_refused() {
    let names: Vec<String> = (0..501).map(|i| format!("n-{i}")).collect();
    let mut world = World::calisti();
    for name in &names {
        world.application(name);
    }
    let request = revshift_core::plan::Request {
        gates: vec![gate(&[], HOUR, &["smoke"])],
        ..super::plan::request(&names.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let refused = revshift_core::plan::plan(&world.cluster, &request).unwrap_err().to_string();
    assert!(refused.contains("1002 checks after 501 waves are more than 1000"), "{refused}");
    let few = revshift_core::plan::Request { gates: vec![gate(&[3, 500], HOUR, &[])], ..request };
    assert!(revshift_core::plan::plan(&world.cluster, &few).is_ok());
    let beyond = revshift_core::plan::Request { gates: vec![gate(&[501], HOUR, &[])], ..few };
    let refused = revshift_core::plan::plan(&world.cluster, &beyond).unwrap_err().to_string();
    assert!(refused.contains("spec.gates[0].waves: 501: the plan has waves 0 to 500"), "{refused}");
}

#[test]
fn long_reasons_are_cut() {
    assert_eq!(gate::kept("short"), "short");
    assert_eq!(gate::kept(&"ä".repeat(1000)).chars().count(), 301);
}

#[test]
fn a_soak_that_is_asked_for_again_lasts_from_then_on() {
    let (world, mut m) = moved_world();
    m.control.reruns.insert(0, Rerun { run: 1, at: at(3000) });
    assert_eq!(m.soak_begun(0), Some(at(3000)));
    assert!(matches!(look(&mut Soaking::default(), &world, &m, 3700), Soak::Lasts(_)));
    assert_eq!(look(&mut Soaking::default(), &world, &m, 6600), Soak::Passed);
}
