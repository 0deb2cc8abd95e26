//! The deletion of a plane on the simulated cluster: what it takes, what comes between, what stays behind.

use crate::calisti::{HOOKS, PLANE, VALIDATOR, idle_operator, operator};
use crate::operator::{refused, run, serving};
use crate::retirement::{ALLOW, blockers};
use crate::simulated::{self, SimulatedBed, SimulatedReplica};
use revshift_sandbox::{Verdict, fixtures};
use revshift_tests::OLD;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::sleep;

const RETIRE: [&str; 5] = ["retire", "cp-v113x", "--yes", "--allow", ALLOW];

/// The only retirement, as the API tells it.
async fn retirement(bed: &SimulatedBed, server: &SimulatedReplica) -> Value {
    let output = run(bed, server, &["retirements", "-o", "json"]).await;
    let found: Value = serde_json::from_str(&output.stdout).unwrap();
    found["items"][0].clone()
}

/// Waits until the retirement is in a state, and gives the codes of what it has found.
async fn in_state(bed: &SimulatedBed, server: &SimulatedReplica, state: &str) -> Vec<String> {
    for _ in 0..600 {
        let one = retirement(bed, server).await;
        if one["state"] == state {
            let findings = one["findings"].as_array().into_iter().flatten();
            return findings.map(|it| it["code"].as_str().unwrap().to_owned()).collect();
        }
        sleep(Duration::from_secs(2)).await;
    }
    panic!("it is never {state}: {}", retirement(bed, server).await);
}

/// The plane as somebody makes it anew.
fn anew(plane: &Value) -> Value {
    let mut plane = plane.clone();
    for of_the_old in ["uid", "resourceVersion", "deletionTimestamp"] {
        plane["metadata"].as_object_mut().unwrap().remove(of_the_old);
    }
    plane
}

#[test]
fn what_the_charts_leave_unlabelled_goes_with_a_plane() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        let release = json!({ "meta.helm.sh/release-name": "istiod-1-30" });
        for mut one in fixtures::upstream_plane("1-30", "1.30.1") {
            if one["kind"] == "Deployment" {
                one["metadata"]["annotations"] = release.clone();
            }
            bed.sandbox.apply(one);
        }
        let group = "rbac.authorization.k8s.io";
        let rbac = format!("{group}/v1");
        let kinds =
            [("ClusterRole", "clusterroles"), ("ClusterRoleBinding", "clusterrolebindings")];
        for (kind, _) in kinds {
            for revision in ["1-30", "1-31"] {
                bed.sandbox.apply(json!({
                    "apiVersion": rbac,
                    "kind": kind,
                    "metadata": {
                        "name": format!("istiod-clusterrole-{revision}-istio-system"),
                        "labels": { "app": "istiod" },
                    },
                }));
            }
        }
        for (name, labels) in [("istiod-1-30", json!({ "app": "istiod" })), ("istiod", json!({}))] {
            bed.sandbox.apply(json!({
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": { "name": name, "namespace": "istio-system", "labels": labels },
            }));
        }
        sleep(Duration::from_secs(10)).await;
        let server = serving(&bed).await;
        let dry = ["retire", "1-30", "--dry-run", "--allow", ALLOW];
        let told = run(&bed, &server, &dry).await;
        assert!(told.stdout.contains("RS6029"), "{told:?}");
        let remedy = "helm -n istio-system uninstall istiod-1-30";
        assert!(told.stdout.contains(remedy), "{told:?}");
        run(&bed, &server, &["retire", "1-30", "--yes", "--allow", ALLOW]).await;
        for (_, plural) in kinds {
            let path = |revision: &str| {
                format!("/apis/{rbac}/{plural}/istiod-clusterrole-{revision}-istio-system")
            };
            assert_eq!(bed.sandbox.object(&path("1-30")), None);
            assert!(bed.sandbox.object(&path("1-31")).is_some(), "it is another plane's");
        }
        let accounts = "/api/v1/namespaces/istio-system/serviceaccounts";
        assert_eq!(bed.sandbox.object(&format!("{accounts}/istiod-1-30")), None);
        assert!(bed.sandbox.object(&format!("{accounts}/istiod")).is_some());
    });
}

#[test]
fn what_would_make_a_plane_anew_or_calls_it_blocks() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        operator(&bed, "istio-operator-v113x").await;
        let server = serving(&bed).await;
        let mut plane = bed.sandbox.object(PLANE).unwrap();
        plane["metadata"]["annotations"] = json!({ "argocd.argoproj.io/tracking-id": "mesh:x" });
        bed.sandbox.apply(plane);
        let hooks = bed.sandbox.object(HOOKS).unwrap();
        let service = hooks["webhooks"][0]["clientConfig"].clone();
        bed.sandbox.apply(json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": { "name": "mine" },
            "webhooks": [{
                "name": "mine.example.org",
                "clientConfig": service,
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }],
        }));
        let found = blockers(&bed, &server, "cp-v113x").await;
        let expected = [
            "RS6027 MutatingWebhookConfiguration/mine".to_owned(),
            format!("RS6028 ControlPlane/{OLD}"),
        ];
        assert_eq!(found, expected);
        let hook = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/mine";
        bed.sandbox.remove(hook);
        let known = ["--allow", "RS6028=it is out of Git already"];
        run(&bed, &server, &[&RETIRE[..], &known].concat()).await;
        assert_eq!(bed.sandbox.object(PLANE), None);
    });
}

#[test]
fn a_plane_that_is_made_anew_meanwhile_is_left_alone() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        operator(&bed, "istio-operator-v113x").await;
        let server = serving(&bed).await;
        run(&bed, &server, &[&RETIRE[..], &["--detach"]].concat()).await;
        in_state(&bed, &server, "STATE_PROVING").await;
        let plane = bed.sandbox.object(PLANE).unwrap();
        bed.sandbox.remove(PLANE);
        bed.sandbox.apply(anew(&plane));
        let found = in_state(&bed, &server, "STATE_BLOCKED").await;
        assert!(found.contains(&"RS6025".to_owned()), "{found:?}");
        run(&bed, &server, &["retire", "cp-v113x", "--cancel", "--yes"]).await;
        in_state(&bed, &server, "STATE_CANCELLED").await;
        assert!(bed.sandbox.object(PLANE).is_some());
    });
}

#[test]
fn a_plane_that_is_made_anew_at_once_is_told_and_left_alone() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        operator(&bed, "istio-operator-v113x").await;
        let server = serving(&bed).await;
        let plane = bed.sandbox.object(PLANE).unwrap();
        let again = anew(&plane);
        let sandbox = bed.sandbox.clone();
        tokio::spawn(async move {
            while sandbox.object(PLANE).is_some() {
                sleep(Duration::from_millis(1)).await;
            }
            sandbox.apply(again);
        });
        let output = refused(&bed, &server, &RETIRE, 1).await;
        assert!(output.stderr.contains("RS6025"), "{output:?}");
        assert!(bed.sandbox.object(PLANE).is_some());
        run(&bed, &server, &["retire", "cp-v113x", "--cancel", "--yes"]).await;
        in_state(&bed, &server, "STATE_CANCELLED").await;
        assert!(bed.sandbox.object(PLANE).is_some());
    });
}

/// Its webhooks stay behind; then the CNI that others need is not ready.
#[test]
fn it_has_not_ended_while_something_remains_or_others_lack_the_cni() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        idle_operator(&bed, "istio-operator-v113x").await;
        let server = serving(&bed).await;
        let output = refused(&bed, &server, &RETIRE, 1).await;
        assert!(output.stderr.contains("RS6022"), "{output:?}");
        let agent = |directory: &str| {
            json!({
                "apiVersion": "apps/v1",
                "kind": "DaemonSet",
                "metadata": { "name": "istio-cni-node", "namespace": "istio-system" },
                "spec": {
                    "selector": { "matchLabels": { "app": "cni" } },
                    "template": {
                        "metadata": { "labels": {
                            "app": "cni", "bed.revshift.dev/fails": "never-ready",
                        } },
                        "spec": {
                            "containers": [{ "name": "install-cni", "image": "cni" }],
                            "volumes": [{ "name": "it", "hostPath": { "path": directory } }],
                        },
                    },
                },
            })
        };
        bed.sandbox.apply(agent("/opt/cni/bin"));
        bed.sandbox.remove(HOOKS);
        bed.sandbox.remove(VALIDATOR);
        sleep(Duration::from_mins(2)).await;
        assert_eq!(in_state(&bed, &server, "STATE_BLOCKED").await, ["RS6023"]);
        // What only has its name holds nothing up.
        bed.sandbox.apply(agent("/var/log"));
        in_state(&bed, &server, "STATE_RETIRED").await;
    });
}

#[test]
fn a_deletion_that_is_refused_is_proved_and_tried_again() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        operator(&bed, "istio-operator-v113x").await;
        let server = serving(&bed).await;
        let refuses = Arc::new(AtomicBool::new(true));
        let judge = refuses.clone();
        bed.sandbox.intercept(move |exchange| {
            if exchange.verb == "delete" && !exchange.dry() && judge.load(Ordering::Relaxed) {
                let message = "planes may not go on Fridays".to_owned();
                return Verdict::Refuse { code: 403, reason: "Forbidden", message };
            }
            Verdict::Pass
        });
        let output = refused(&bed, &server, &RETIRE, 1).await;
        assert!(output.stderr.contains("RS6021"), "{output:?}");
        assert!(output.stderr.contains("planes may not go on Fridays"), "{output:?}");
        refuses.store(false, Ordering::Relaxed);
        in_state(&bed, &server, "STATE_RETIRED").await;
        assert_eq!(bed.sandbox.object(PLANE), None);
    });
}

#[test]
fn without_the_policy_it_says_that_the_proof_can_race() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        operator(&bed, "istio-operator-v113x").await;
        let mut plane = bed.sandbox.object(PLANE).unwrap();
        plane["metadata"]["finalizers"] = json!(["istio-controlplane.servicemesh.cisco.com"]);
        bed.sandbox.apply(plane);
        let server = serving(&bed).await;
        run(&bed, &server, &[&RETIRE[..], &["--detach"]].concat()).await;
        let found = in_state(&bed, &server, "STATE_DELETING").await;
        assert!(found.contains(&"RS6016".to_owned()), "{found:?}");
    });
}
