//! Plans: dry runs, questions, consent, and plans that changed while somebody read them.

use std::time::Duration;

use revshift::ExitStatus::{Done, Failed, Interrupted, Usage};
use revshift_proto::v1::{self as proto, migration};
use tonic::Code;

use crate::{
    errors::refusal,
    fake::{Fake, Step},
    objects::{entry, header, migration, plan, progress, succeeded},
    terminal::revshift,
};

const MIGRATE: &str = "migrate --from cp-v113x --to cp-v115x -n smm-demo --rollout-timeout 1h30m";

const PLAN: &str = "
        plan: 1 namespace from cp-v113x.istio-system to cp-v115x.istio-system
        rollout timeout: 1h30m
        WARNING RS1201 Namespace/smm-demo: has one replica
          remedy: scale it up
        budgets, over all migrations: 32 namespaces, 1 workload, 500 pods at once
        restarts begin at 30 pods a second: as configured
        estimated duration: 1m4s, at least 1m2s
          each pod takes 20 s

        smm-demo
          label istio-injection: enabled -> (not set)
          label istio.io/rev: (not set) -> cp-v115x.istio-system
          KIND          NAME       REPLICAS   PODS TO MOVE   ACTION   WHY
          Deployment    frontend   2          2              ROLL
          StatefulSet   db         2          0              NONE     not injected
          leaves Job/import (1 pod): runs to its end with the old sidecar
        ";

fn planning(fake: Fake, hash: &str, replicas: u32) -> Fake {
    fake.stream(plan(hash, replicas).into_iter().map(Step::Send).collect())
}

fn created() -> proto::CreateMigrationResponse {
    proto::CreateMigrationResponse { migration: Some(migration(migration::State::Pending)) }
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_prints_the_plan_and_creates_nothing() {
    let server = planning(Fake::default(), "h1", 2);
    let end = revshift(MIGRATE).arg("--dry-run").at(&server).run().await;
    end.is(Done)
        .printed(PLAN)
        .said("nothing was changed; without --dry-run this plan is executed\n");
    assert_eq!(server.number_of_requests(), 1);
    let spec = server.requests::<proto::PlanMigrationRequest>().remove(0).spec.unwrap();
    assert_eq!((spec.source.as_str(), spec.target.as_str()), ("cp-v113x", "cp-v115x"));
    assert_eq!(spec.namespaces, ["smm-demo"]);
    assert_eq!(spec.rollout_timeout.unwrap().seconds, 5400);
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_in_json_has_the_parts_of_the_plan() {
    let server = planning(Fake::default(), "h1", 2);
    let end = revshift(MIGRATE).arg("--dry-run").arg("-ojson").at(&server).run().await;
    let value: serde_json::Value = serde_json::from_str(&end.is(Done).out).unwrap();
    assert_eq!(value["header"]["planHash"], "h1");
    assert_eq!(value["findings"][0]["code"], "RS1201");
    assert_eq!(value["entries"][0]["workloads"][0]["name"], "frontend");
}

#[tokio::test(start_paused = true)]
async fn without_a_terminal_nothing_is_done_unless_told_yes() {
    let server = Fake::default();
    for command in [MIGRATE, "cancel m-7", "retry m-7 -n a", "rollback m-7 --reason x"] {
        let end = revshift(command).at(&server).run().await;
        end.is(Usage).printed("").mentions("nothing was done. With --yes it goes on");
    }
    assert_eq!(server.number_of_requests(), 0);
}

#[tokio::test(start_paused = true)]
async fn detached_it_prints_the_id_and_how_to_follow() {
    let server = planning(Fake::default(), "h1", 2).answer(created());
    let end = revshift(MIGRATE).arg("--yes").arg("--detach").at(&server).run().await;
    end.is(Done).printed("m-7\n").mentions("next: follow it: revshift watch m-7\n");
    let request = server.requests::<proto::CreateMigrationRequest>().remove(0);
    assert_eq!(request.plan_hash, "h1");
    // What was planned is asked for by name: whatever a rule finds later is not in it.
    let planned = server.requests::<proto::PlanMigrationRequest>().remove(0).spec.unwrap();
    let wave = proto::Wave { namespaces: vec!["smm-demo".into()], approval: false };
    let waves = proto::MigrationSpec { namespaces: vec![], waves: vec![wave], ..planned };
    assert_eq!(request.spec, Some(waves));
    let parts: Vec<_> = request.request_id.split('-').map(str::len).collect();
    assert_eq!(parts, [8, 4, 4, 4, 12]);
    assert_eq!(&request.request_id[14..15], "4");
}

#[tokio::test(start_paused = true)]
async fn yes_on_a_terminal_creates_and_follows_to_the_end() {
    let server = planning(Fake::default(), "h1", 2)
        .answer(created())
        .stream(vec![Step::Send(progress("t", Some(succeeded()), vec![], vec![]))]);
    let end = revshift(MIGRATE).typing("y\n").at(&server).run().await;
    end.is(Done).printed("").mentions("Move 1 namespace to cp-v115x.istio-system? [y/N] ");
    end.mentions("2 of 2 moved to cp-v115x.istio-system\n");
    end.mentions("next: look at them: revshift namespaces --plane cp-v115x.istio-system\n");
}

#[tokio::test(start_paused = true)]
async fn anything_but_yes_changes_nothing() {
    for answer in ["n\n", "\n", ""] {
        let server = planning(Fake::default(), "h1", 2);
        let end = revshift(MIGRATE).typing(answer).at(&server).run().await;
        end.is(Failed).mentions("nothing was changed\n");
        assert_eq!(server.number_of_requests(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_plan_is_compared_and_asked_for_again() {
    let refused = refusal(Code::Aborted, "PLAN_CHANGED", "the plan changed", &[]);
    let server = planning(planning(Fake::default(), "h1", 2), "h2", 3)
        .refuse::<proto::CreateMigrationResponse>(refused)
        .answer(created());
    let end = revshift(MIGRATE).arg("--detach").typing("y\nyes\n").at(&server).run().await;
    end.is(Done).printed("m-7\n").mentions(
        "the plan is no longer the one that was shown:
  - smm-demo: Deployment/frontend, 2 replicas, 2 pods to move, ROLL \n",
    );
    end.mentions("  + smm-demo: Deployment/frontend, 3 replicas, 3 pods to move, ROLL");
    let requests = server.requests::<proto::CreateMigrationRequest>();
    assert_eq!(requests[0].plan_hash, "h1");
    assert_eq!(requests[1].plan_hash, "h2");
    assert_ne!(requests[0].request_id, requests[1].request_id);
}

#[tokio::test(start_paused = true)]
async fn with_yes_a_changed_plan_is_a_failure() {
    let refused = refusal(Code::Aborted, "PLAN_CHANGED", "the plan changed", &[]);
    let server = planning(planning(Fake::default(), "h1", 2), "h2", 3)
        .refuse::<proto::CreateMigrationResponse>(refused);
    let end = revshift(MIGRATE).arg("--yes").at(&server).run().await;
    end.is(Failed).printed("").mentions("+ smm-demo: Deployment/frontend, 3 replicas");
    end.mentions("error: the plan changed\nhint: run the command again");
}

#[tokio::test(start_paused = true)]
async fn a_rollback_is_planned_asked_for_and_created_with_its_reason() {
    let entries = vec![entry(2)];
    let planned = proto::RollbackMigrationResponse {
        migration: None,
        plan: Some(header("r1")),
        entries: entries.clone(),
        findings: vec![proto::Finding {
            severity: proto::finding::Severity::Warning.into(),
            code: "RS1304".into(),
            object: "Namespace/smm-demo".into(),
            message: "its former label leads elsewhere".into(),
            remedy: "nothing".into(),
        }],
    };
    let made = proto::RollbackMigrationResponse {
        migration: Some(migration(migration::State::Pending)),
        plan: Some(header("r1")),
        entries,
        findings: Vec::new(),
    };
    let server = Fake::default().answer(planned).answer(made);
    let end = revshift("rollback m-6 -n smm-demo --yes --detach --reason")
        .arg("error rate rose")
        .at(&server)
        .run()
        .await;
    end.is(Done).printed("m-7\n");
    end.mentions("WARNING RS1304 Namespace/smm-demo: its former label leads elsewhere");
    let requests = server.requests::<proto::RollbackMigrationRequest>();
    assert!(requests[0].validate_only && requests[0].plan_hash.is_empty());
    assert!(!requests[1].validate_only && !requests[1].request_id.is_empty());
    assert_eq!(requests[1].plan_hash, "r1");
    assert_eq!(requests[1].reason, "error rate rose");
    assert_eq!(requests[1].namespaces, ["smm-demo"]);
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_plan_changed_nothing() {
    let slow = vec![Step::Wait(Duration::from_secs(40))];
    let server = Fake::default().stream::<proto::PlanMigrationResponse>(slow);
    let run = revshift(MIGRATE).arg("--yes").at(&server);
    let end = run.interrupted_after(Duration::from_secs(1)).run().await;
    end.is(Interrupted).said("interrupted: nothing was changed\n");
}

#[tokio::test(start_paused = true)]
async fn an_extension_is_shown_asked_for_and_followed() {
    let mut header = header("h1");
    header.extends = "m-7".into();
    let planned = proto::ExtendMigrationResponse {
        plan: Some(header),
        entries: vec![entry(2)],
        ..Default::default()
    };
    let running = Some(migration(migration::State::Running));
    let extended = proto::ExtendMigrationResponse { migration: running, ..Default::default() };
    let server = Fake::default()
        .answer(planned)
        .answer(extended)
        .stream(vec![Step::Send(progress("t", Some(succeeded()), vec![], vec![]))]);
    let end = revshift("extend m-7 -n smm-demo").typing("yes\n").at(&server).run().await;
    end.is(Done)
        .mentions("migration m-7 takes them in, behind its last wave\n")
        .mentions("Take 1 namespace into migration m-7?")
        .mentions("migration m-7 takes them in\n");
    let requests = server.requests::<proto::ExtendMigrationRequest>();
    assert!(requests[0].validate_only && requests[0].plan_hash.is_empty());
    assert!(!requests[1].validate_only && !requests[1].request_id.is_empty());
    assert_eq!(
        (requests[1].plan_hash.as_str(), &*requests[1].namespaces),
        ("h1", &["smm-demo".to_owned()][..])
    );
}
