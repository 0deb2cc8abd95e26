//! Findings whose causes would get in the way of other stories on a cluster that they share.

use crate::operator::{applications, serving};
use crate::simulated::{self, SimulatedBed, SimulatedReplica};
use revshift_sandbox::fixtures;
use revshift_tests::{Bed, NEW, OLD, Replica};
use serde_json::{Value, json};

/// What a check of the namespace `shop` finds: code and object.
async fn found(bed: &SimulatedBed, server: &SimulatedReplica, target: &str) -> Vec<String> {
    let address = server.address();
    let args = ["--server", &address, "check", "--from", OLD, "--to", target, "-n", "shop"];
    let args = args.iter().chain(&["-o", "json"]).map(|it| (*it).to_owned());
    let output = bed.revshift(args.collect()).await.unwrap();
    let found: Value =
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    found["findings"].as_array().into_iter().flatten().map(told).collect()
}

/// The code of a finding and its object.
pub(super) fn told(finding: &Value) -> String {
    let text = |key: &str| finding[key].as_str().unwrap_or_default();
    format!("{} {}", text("code"), text("object"))
}

fn has(found: &[String], one: &str) -> bool {
    found.iter().any(|it| it == one)
}

#[test]
fn rights_that_are_missing_are_told() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        applications(&bed, &["shop"]).await;
        let server = serving(&bed).await;
        let before = found(&bed, &server, NEW).await;
        assert!(!before.iter().any(|it| it.starts_with("RS4005")), "{before:?}");
        bed.sandbox.forbid("create", "pods/eviction");
        let after = found(&bed, &server, NEW).await;
        assert!(after.iter().any(|it| it.starts_with("RS4005")), "{after:?}");
    });
}

/// Also in a version of the Gateway API that only older clusters serve.
#[test]
fn gateways_are_told_by_what_decides_on_them() {
    for version in ["v1", "v1beta1"] {
        simulated::in_virtual_time(async move {
            let bed = SimulatedBed::new();
            let group = "gateway.networking.k8s.io";
            let definition =
                fixtures::definition(group, version, "Gateway", "gateways", "Namespaced", &[]);
            bed.sandbox.apply(definition);
            let definition = fixtures::definition(
                group,
                version,
                "GatewayClass",
                "gatewayclasses",
                "Cluster",
                &[],
            );
            bed.sandbox.apply(definition);
            for (name, controller) in
                [("edge", "istio.io/gateway-controller"), ("nginx", "example.org/nginx")]
            {
                bed.sandbox.apply(json!({
                    "apiVersion": format!("{group}/{version}"),
                    "kind": "GatewayClass",
                    "metadata": { "name": name },
                    "spec": { "controllerName": controller },
                }));
            }
            applications(&bed, &["shop"]).await;
            for (name, class, labels) in [
                ("in", "istio", json!({})),
                ("by-controller", "edge", json!({})),
                ("own", "istio", json!({ "istio.io/rev": OLD })),
                ("nginx", "nginx", json!({})),
            ] {
                bed.sandbox.apply(json!({
                    "apiVersion": format!("{group}/{version}"),
                    "kind": "Gateway",
                    "metadata": { "name": name, "namespace": "shop", "labels": labels },
                    "spec": { "gatewayClassName": class },
                }));
            }
            let server = serving(&bed).await;
            let found = found(&bed, &server, NEW).await;
            assert!(has(&found, "RS1402 Gateway/shop/in"), "{version}: {found:?}");
            assert!(has(&found, "RS1402 Gateway/shop/by-controller"), "{version}: {found:?}");
            assert!(has(&found, "RS1403 Gateway/shop/own"), "{version}: {found:?}");
            assert!(!found.iter().any(|it| it.ends_with("nginx")), "{version}: {found:?}");
        });
    }
}

#[test]
fn a_mesh_configuration_that_is_nowhere_is_told() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        applications(&bed, &["shop"]).await;
        bed.sandbox.apply(fixtures::tag_webhooks("1-30", "1-30", "1.30.0"));
        let hooks = bed
            .sandbox
            .objects("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations");
        let mut plain = hooks.last().cloned().unwrap();
        plain["metadata"]["labels"] = json!({ "istio.io/rev": "1-30" });
        bed.sandbox.apply(plain);
        let server = serving(&bed).await;
        let found = found(&bed, &server, "1-30").await;
        assert!(has(&found, "RS2027 ControlPlane/1-30"), "{found:?}");
    });
}
