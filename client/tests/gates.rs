//! Gates: how they are asked for, how waiting for them reads, and what is said when one stops a migration.

use revshift::ExitStatus::{Done, Usage};
use revshift_proto::v1::{self as proto, gate_result::Outcome, migration};

use crate::{
    fake::{Fake, Step},
    objects::{migration, plan},
    terminal::{ago, revshift},
};

fn gates() -> Vec<proto::Gate> {
    let soak = Some(pbjson_types::Duration { seconds: 600, nanos: 0 });
    let checks = vec!["smoke".into()];
    vec![proto::Gate { waves: vec![], soak, checks }]
}

fn result(check: &str, outcome: Outcome, message: &str) -> proto::GateResult {
    proto::GateResult {
        wave: 0,
        check: check.into(),
        outcome: outcome.into(),
        time: Some(ago(120)),
        message: message.into(),
        run: 0,
    }
}

/// One that a failed check has stopped after wave 0.
fn stopped() -> proto::Migration {
    let results = vec![
        result("", Outcome::Pass, "all of it stayed healthy"),
        result("smoke", Outcome::Fail, "http://shop answers 503\u{1b}[2J"),
    ];
    proto::Migration {
        gates: gates(),
        gate_results: results,
        gating_wave: Some(0),
        pause_reason: migration::PauseReason::Gate.into(),
        ..migration(migration::State::Paused)
    }
}

#[tokio::test(start_paused = true)]
async fn a_plan_shows_its_gates() {
    let mut parts = plan("h1", 2);
    if let Some(proto::plan_migration_response::Part::Header(header)) = &mut parts[0].part {
        header.gates = gates();
        let checks = vec!["errors".into()];
        header.gates.push(proto::Gate { waves: vec![0, 2], soak: None, checks });
    }
    let server = Fake::default().stream(parts.into_iter().map(Step::Send).collect());
    let migrate = "migrate --from a --to b -n smm-demo --dry-run --soak 10m --check smoke";
    let end = revshift(migrate).at(&server).run().await;
    let told = "after each wave: soak 10m, smoke\nafter waves 0, 2: errors\n";
    assert!(end.is(Done).out.contains(told), "{}", end.out);
    let request = server.requests::<proto::PlanMigrationRequest>().remove(0);
    assert_eq!(request.spec.unwrap().gates, gates());
}

#[tokio::test(start_paused = true)]
async fn a_stopped_migration_says_why_and_what_to_do() {
    let server = Fake::default()
        .answer(proto::GetMigrationResponse { migration: Some(stopped()) })
        .answer(proto::ListMovesResponse::default());
    let end = revshift("status m-7").at(&server).run().await;
    let out = &end.is(Done).out;
    for word in ["PAUSED (GATE)", "Gates:           after each wave: soak 10m, smoke\n"] {
        assert!(out.contains(word), "no {word:?} in {out}");
    }
    let table = "WAVE   CHECK    OUTCOME   AGE   WHY\n\
                 0      (soak)   PASS      2m    all of it stayed healthy\n\
                 0      smoke    FAIL      2m    http://shop answers 503";
    assert!(out.contains(table), "{out}");
    assert!(!out.contains('\u{1b}'), "what a server tells does not steer the terminal: {out:?}");
    end.said(
        "
        next: look at it: revshift status m-7
        next: mend it and check again: revshift resume m-7
        next: go on all the same: revshift resume m-7 --accept-gates
        ",
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_accepted_is_the_gate_that_was_seen() {
    let accepted =
        proto::Approval { wave: 0, approver: "alice".into(), approve_time: Some(ago(0)) };
    let running = migration(migration::State::Running);
    let running = proto::Migration { accepted_gates: vec![accepted], ..running };
    let server = Fake::default()
        .answer(proto::GetMigrationResponse { migration: Some(stopped()) })
        .answer(proto::ResumeMigrationResponse { migration: Some(running) });
    revshift("resume m-7 --accept-gates").at(&server).run().await.is(Done);
    let request = server.requests::<proto::ResumeMigrationRequest>().remove(0);
    assert_eq!(request.accept_gates_of_wave, Some(0));

    let server = Fake::default().answer(proto::GetMigrationResponse {
        migration: Some(migration(migration::State::Running)),
    });
    let end = revshift("resume m-7 --accept-gates").at(&server).run().await;
    end.is(Usage).mentions("migration m-7 waits for no check: nothing to accept");
    assert!(server.requests::<proto::ResumeMigrationRequest>().is_empty());
}
