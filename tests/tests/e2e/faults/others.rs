//! Others who write to the cluster, and an API server that does not let revshift write.

use super::story::{Story, When, absorbed, tell};
use crate::simulated::SimulatedBed;
use revshift_proto::v1::GetServerRequest;
use revshift_proto::v1::server_service_client::ServerServiceClient;
use revshift_sandbox::{Fault, Faults};
use revshift_tests::{NEW, OLD, Replica};
use std::time::Duration;
use tokio::time::sleep;

/// Requires that `revshift status` says each of these.
fn says(status: &str, words: &[&str]) {
    for word in words {
        assert!(status.contains(word), "`{word}` is not said:\n{status}");
    }
}

#[test]
fn a_revoked_right_is_told_and_granted_again() {
    for (place, object) in [
        ("patch namespaces", "cannot patch resource \"namespaces\" in API group \"\""),
        ("patch deployments", "cannot patch resource \"deployments\" in API group \"apps\""),
    ] {
        tell(async || {
            let fault = format!("forbidden:{place}:always");
            let story = Story::begin(When::Run, &[&fault]).await;
            let status = story.until_state("PAUSED").await;
            says(&status, &["a BLOCKED", "RS4003", object, "grant revshift's account"]);
            assert_eq!(story.label("b").as_deref(), Some(OLD));
            story.heal();
            let retried = story.run(&["retry", &story.id, "-n", "a", "--yes"]).await;
            assert_eq!(retried.status, 0, "{}", retried.stderr);
            story.until_state("SUCCEEDED").await;
            story.moved_once();
        });
    }
}

/// What it may not watch any more it takes up again as soon as it may.
#[test]
fn a_right_to_watch_that_is_gone_for_a_while_changes_nothing() {
    for resource in ["pods", "deployments", "namespaces", "migrationshards"] {
        let revoked = format!("forbidden:watch {resource}:for 3m");
        let listing = format!("forbidden:list {resource}:for 3m");
        absorbed(When::Run, &["watches-dropped:patch deployments a", &revoked]);
        absorbed(When::Run, &["compacted:patch", "watches-dropped:patch", &listing]);
    }
}

#[test]
fn a_missing_right_to_read_keeps_it_from_acting() {
    tell(async || {
        let bed = SimulatedBed::new();
        let fault: Fault = "forbidden:list jobs:always".parse().unwrap();
        bed.sandbox.inject(&Faults::new(0, [fault]));
        let replica = bed.launch();
        sleep(Duration::from_mins(1)).await;
        let mut server = ServerServiceClient::new(bed.connect(&replica.address()).await.unwrap());
        assert!(!server.get_server(GetServerRequest {}).await.unwrap().into_inner().ready);
        let leases = || bed.sandbox.objects("/apis/coordination.k8s.io/v1/leases");
        assert!(leases().is_empty(), "it leads, and does not know everything");
        bed.sandbox.inject(&Faults::default());
        replica.ready().await.unwrap();
        sleep(Duration::from_secs(5)).await;
        assert_eq!(leases().len(), 1);
    });
}

#[test]
fn a_refused_write_fails_the_move() {
    for (fault, words) in
        [("invalid:patch deployments", "is invalid"), ("invalid:patch namespaces", "is invalid")]
    {
        tell(async || {
            let story = Story::begin(When::Run, &[fault]).await;
            let status = story.until_state("PAUSED").await;
            says(&status, &["a BLOCKED", "RS4004", words]);
            let retried = story.run(&["retry", &story.id, "-n", "a", "--yes"]).await;
            assert_eq!(retried.status, 0, "{}", retried.stderr);
            story.until_state("SUCCEEDED").await;
            story.moved_once();
        });
    }
}

#[test]
fn who_relabels_in_the_middle_is_named() {
    for place in ["patch namespaces a", "patch deployments a"] {
        tell(async || {
            let story = Story::begin(When::Run, &[&format!("relabelled:{place}")]).await;
            let status = story.until_state("PAUSED").await;
            says(&status, &["a BLOCKED", "RS4001", "kubectl-label", "elsewhere"]);
            assert_eq!(story.label("a").as_deref(), Some("elsewhere"), "it is fought over");
            assert_eq!(story.label("b").as_deref(), Some(OLD));
        });
    }
}

#[test]
fn an_agent_that_resets_is_named() {
    tell(async || {
        let story = Story::begin(When::Run, &["gitops=4s:patch namespaces a:always"]).await;
        let status = story.until_state("PAUSED").await;
        says(&status, &["a BLOCKED", "RS4001", "argocd-controller"]);
        assert_eq!(story.label("a").as_deref(), Some(OLD), "it is fought over");
        assert_eq!(story.label("b").as_deref(), Some(OLD));
    });
}

#[test]
fn a_namespace_that_goes_in_the_middle_is_left() {
    for fault in ["namespace-deleted", "namespace-recreated"] {
        for place in ["patch namespaces a", "patch deployments a"] {
            tell(async || {
                let story = Story::begin(When::Run, &[&format!("{fault}:{place}")]).await;
                let status = story.until_state("COMPLETED_WITH_EXCEPTIONS").await;
                story.faults_have_struck();
                let gone =
                    status.lines().any(|line| line.starts_with("a ") && line.contains("GONE"));
                assert!(gone, "{status}");
                // The heir keeps the labels that it came with.
                let copied = if place.starts_with("patch namespaces") { OLD } else { NEW };
                let heir = (fault == "namespace-recreated").then_some(copied);
                assert_eq!(story.label("a").as_deref().filter(|_| heir.is_some()), heir);
                assert_eq!(story.label("b").as_deref(), Some(NEW));
            });
        }
    }
}
