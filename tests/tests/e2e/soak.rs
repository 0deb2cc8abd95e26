//! Soaks on a running server, in virtual time: how long they last, and what ends them.

use crate::operator::{
    applications, migrate, moves, refused, run, serving, started, states, stored,
};
use crate::simulated::{self, SimulatedBed};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use revshift_tests::Bed;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

const SOAK: [&str; 2] = ["--soak", "10m"];

fn ended(m: &Value) -> Timestamp {
    m["since"].as_str().unwrap().parse().unwrap()
}

/// Lets every pod of a namespace fail its readiness, or be ready again.
async fn set_ready(bed: &SimulatedBed, namespace: &str, ready: bool) {
    let pods = Api::<Pod>::namespaced(bed.client(), namespace);
    let fails = if ready { Value::Null } else { json!("never-ready") };
    let patch = Patch::Merge(json!({"metadata": {"labels": {"bed.revshift.dev/fails": fails}}}));
    for pod in pods.list(&ListParams::default()).await.unwrap() {
        pods.patch(&pod.name_any(), &PatchParams::default(), &patch).await.unwrap();
    }
}

#[test]
fn what_was_moved_soaks_before_the_next_wave_and_before_the_end() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        applications(&bed, &["a", "b"]).await;
        let server = serving(&bed).await;
        let id = migrate(&bed, &server, &["a", "b"], &SOAK).await;
        sleep(Duration::from_mins(5)).await;
        assert_eq!(states(&bed, &id), ["MOVED", "PENDING"]);
        let status = stored(&bed, &id)["status"].clone();
        assert_eq!(status["state"], "RUNNING");
        assert_eq!(status["conditions"][1]["message"], "waits for soak after wave 0");
        let shown = run(&bed, &server, &["status", &id]).await.stdout;
        for word in ["after each wave: soak 10m", "the gate after wave 0", "wave 0 soaks until "] {
            assert!(shown.contains(word), "no {word:?} in {shown}");
        }
        run(&bed, &server, &["watch", &id]).await;
        let all = moves(&bed, &id);
        let soaked = started(&all[1]).duration_since(ended(&all[0])).as_secs();
        assert!((600..=605).contains(&soaked), "it has soaked for {soaked} s");
        let over = stored(&bed, &id)["status"].clone();
        let end: Timestamp = over["endTime"].as_str().unwrap().parse().unwrap();
        let soaked = end.duration_since(ended(&all[1])).as_secs();
        assert!((600..=605).contains(&soaked), "it has soaked for {soaked} s");
        let passed = over["verdicts"].as_array().unwrap();
        assert!(passed.iter().all(|it| it["outcome"] == "PASS"), "{passed:?}");
        assert_eq!(passed.len(), 2);
    });
}

#[test]
fn a_new_leader_lets_it_soak_no_longer_than_it_has_to() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        applications(&bed, &["a", "b"]).await;
        let mut server = serving(&bed).await;
        let id = migrate(&bed, &server, &["a", "b"], &SOAK).await;
        for _ in 0..3 {
            sleep(Duration::from_mins(2)).await;
            drop(server);
            server = serving(&bed).await;
        }
        assert_eq!(states(&bed, &id), ["MOVED", "PENDING"]);
        run(&bed, &server, &["watch", &id]).await;
        let all = moves(&bed, &id);
        let soaked = started(&all[1]).duration_since(ended(&all[0])).as_secs();
        assert!((600..=605).contains(&soaked), "it has soaked for {soaked} s");
    });
}

#[test]
fn a_soak_fails_when_what_was_moved_ails_and_is_made_again_or_accepted() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        applications(&bed, &["a", "b"]).await;
        let server = serving(&bed).await;
        let id = migrate(&bed, &server, &["a", "b"], &SOAK).await;
        sleep(Duration::from_mins(2)).await;
        // For a moment only.
        set_ready(&bed, "a", false).await;
        sleep(Duration::from_secs(30)).await;
        set_ready(&bed, "a", true).await;
        sleep(Duration::from_mins(2)).await;
        assert_eq!(stored(&bed, &id)["status"]["state"], "RUNNING");
        set_ready(&bed, "a", false).await;
        sleep(Duration::from_secs(70)).await;
        let status = stored(&bed, &id)["status"].clone();
        assert_eq!(status["state"], "PAUSED");
        let paused = &status["conditions"][2];
        let why =
            "soak after wave 0: FAIL: for 60 s Deployment/web in a: 0 of 2 pods are available";
        assert_eq!((&paused["reason"], &paused["message"]), (&json!("Gate"), &json!(why)));
        let watched = refused(&bed, &server, &["watch", &id], 1).await.stderr;
        for word in [
            "PAUSED (GATE)",
            "the soak has failed after wave 0: for 60 s",
            "next: mend it and check again: revshift",
            " --accept-gates",
        ] {
            assert!(watched.contains(word), "no {word:?} in {watched}");
        }

        set_ready(&bed, "a", true).await;
        sleep(Duration::from_secs(5)).await;
        let resumed = bed.sandbox.now();
        run(&bed, &server, &["resume", &id]).await;
        sleep(Duration::from_mins(9)).await;
        assert_eq!(states(&bed, &id), ["MOVED", "PENDING"]);
        sleep(Duration::from_mins(2)).await;
        let again = started(&moves(&bed, &id)[1]).duration_since(resumed).as_secs();
        assert!((600..=605).contains(&again), "it has soaked for {again} s");

        // Whoever does not want to wait says so, and it is kept who did.
        assert_eq!(states(&bed, &id), ["MOVED", "MOVED"]);
        run(&bed, &server, &["resume", &id, "--accept-gates"]).await;
        run(&bed, &server, &["watch", &id]).await;
        let shown = run(&bed, &server, &["status", &id]).await.stdout;
        for word in ["SUCCEEDED", "Accepted:", "wave 1 by ", "accept wave 1: "] {
            assert!(shown.contains(word), "no {word:?} in {shown}");
        }
        let late = refused(&bed, &server, &["resume", &id, "--accept-gates"], 2).await.stderr;
        assert!(late.contains("nothing to accept"), "{late}");
    });
}
