//! Pods that the new plane, a policy, the cluster's capacity or the pods themselves keep from
//! being what they should be.

use super::story::{Story, When, tell};
use revshift_sandbox::fixtures;
use revshift_tests::{NEW, OLD};

/// The webhooks of a tag that is called like the new plane call the old one; its configuration comes
/// later by name, so that both inject, and what is left in the pod is its.
#[test]
fn webhooks_that_overlap_are_told() {
    tell(async || {
        let story = Story::begin(When::Run, &[]).await;
        story.bed.sandbox.apply(fixtures::tag_webhooks(NEW, OLD, "1.13.5"));
        let status = story.until_state("PAUSED").await;
        let told = status.contains("RS3011") || status.contains("several planes at once");
        assert!(status.contains("a ") && told, "{status}");
        assert_eq!(story.label("b").as_deref(), Some(OLD));
    });
}

#[test]
fn pods_that_fail_are_told_apart() {
    for (fault, code, words) in [
        ("injector-down", "RS3008", "failed calling webhook"),
        ("injector-ignored", "RS3010", "has no sidecar of"),
        ("wrong-injector", "RS3011", "cp-v113x.istio-system"),
        ("quota-exceeded", "RS3006", "exceeded quota"),
        ("pod-security", "RS3007", "violates PodSecurity"),
        ("pod-denied", "RS3007", "no new pods today"),
        ("image-pull", "RS3003", "Back-off pulling image"),
        ("crash-loop", "RS3004", "restarting failed container"),
        ("never-ready", "RS3005", "Pod/a/web-"),
        ("unschedulable", "RS3009", "0/1 nodes are available"),
    ] {
        tell(async || {
            let fault = format!("{fault}:create pods a:always");
            let story = Story::begin(When::Run, &[&fault]).await;
            let status = story.until_state("PAUSED").await;
            story.faults_have_struck();
            let failed = status.lines().any(|line| {
                line.starts_with("a ") && line.contains("FAILED") && line.contains(code)
            });
            assert!(failed && status.contains(words), "{fault}: no {code}, {words}:\n{status}");
            // Nothing more was begun, and what ran goes on running.
            assert_eq!(story.label("b").as_deref(), Some(OLD));
        });
    }
}
