//! Retirements on the simulated cluster: every user that a census has to find, planes of every source,
//! and a leader that dies at each write.

use crate::calisti::{PLANE, operator};
use crate::findings::told;
use crate::operator::{applications, refused, run, serving};
use crate::simulated::{self, SimulatedBed, SimulatedReplica};
use revshift_sandbox::{Exchange, Verdict, fixtures};
use revshift_tests::{Bed, NEW, OLD, Replica};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::sleep;

pub(super) const ALLOW: &str = "RS6015=no istiod can be asked";
const RETIREMENTS: &str = "/apis/revshift.dev/v1alpha1/retirements";

/// What a dry run finds: the codes and objects that block, in the order of their codes.
pub(super) async fn blockers(
    bed: &SimulatedBed,
    server: &SimulatedReplica,
    plane: &str,
) -> Vec<String> {
    let address = server.address();
    let args = ["--server", &address, "retire", plane, "--dry-run", "-o", "json", "--allow", ALLOW];
    let output = bed.revshift(args.map(str::to_owned).to_vec()).await.unwrap();
    let found: Value =
        serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let findings = found["findings"].as_array().into_iter().flatten();
    let mut all: Vec<String> = findings.filter(|it| it["blocks"] == true).map(told).collect();
    all.sort();
    assert_eq!(output.status, i32::from(!all.is_empty()), "{output:?}");
    all
}

fn custom(group: &str, version: &str, kind: &str, plural: &str) -> Value {
    fixtures::definition(group, version, kind, plural, "Namespaced", &[])
}

#[allow(clippy::needless_pass_by_value, reason = "each is made for one object")]
fn object(api: &str, kind: &str, name: &str, spec: Value, labels: Value) -> Value {
    json!({
        "apiVersion": api,
        "kind": kind,
        "metadata": { "name": name, "namespace": "shop", "labels": labels },
        "spec": spec,
    })
}

fn template() -> Value {
    json!({
        "metadata": { "labels": { "app": "it", "istio.io/rev": OLD } },
        "spec": { "containers": [{ "name": "app", "image": "app" }], "restartPolicy": "Never" },
    })
}

/// One thing of each kind that uses the old plane, and what is found of it.
#[test]
#[allow(clippy::too_many_lines, reason = "a list of everything that may use a plane")]
fn every_user_is_found_and_named() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        operator(&bed, "istio-operator-v113x").await;
        for definition in [
            custom("gateway.networking.k8s.io", "v1beta1", "Gateway", "gateways"),
            custom("networking.istio.io", "v1alpha3", "WorkloadGroup", "workloadgroups"),
            custom("networking.istio.io", "v1", "WorkloadEntry", "workloadentries"),
            custom("servicemesh.cisco.com", "v1alpha1", "IstioMeshGateway", "istiomeshgateways"),
        ] {
            bed.sandbox.apply(definition);
        }
        bed.sandbox.apply(fixtures::namespace("shop", &[]));
        let server = serving(&bed).await;
        assert_eq!(blockers(&bed, &server, "cp-v113x").await, [""; 0]);

        let rev = || json!({ "istio.io/rev": OLD });
        let replicas = json!({ "matchLabels": { "app": "it" } });
        let none = json!({ "replicas": 0, "selector": replicas, "template": template() });
        let job = json!({ "suspend": true, "template": template() });
        let cron = json!({
            "schedule": "0 0 1 1 *",
            "jobTemplate": { "spec": { "template": template() } },
        });
        let mut done = object("batch/v1", "Job", "done", job.clone(), json!({}));
        done["status"] = json!({ "conditions": [{ "type": "Complete", "status": "True" }] });
        let gateway = json!({ "gatewayClassName": "istio" });
        let plane =
            json!({ "istioControlPlane": { "name": "cp-v113x", "namespace": "istio-system" } });
        let own = json!({ "app": "istio-meshexpansion-gateway", "istio.io/rev": OLD });
        let other = json!({ "gatewayClassName": "nginx" });
        let (api, kind) = ("servicemesh.cisco.com/v1alpha1", "IstioMeshGateway");
        let mut at_home = object(api, kind, "own", plane.clone(), own.clone());
        at_home["metadata"]["namespace"] = json!("istio-system");
        for one in [
            object("apps/v1", "Deployment", "web", none.clone(), json!({})),
            object("apps/v1", "StatefulSet", "db", none.clone(), json!({})),
            object("apps/v1", "ReplicaSet", "bare", none, json!({})),
            object("batch/v1", "Job", "waits", job, json!({})),
            done,
            object("batch/v1", "CronJob", "nightly", cron, json!({})),
            object("gateway.networking.k8s.io/v1beta1", "Gateway", "in", gateway, rev()),
            object("gateway.networking.k8s.io/v1beta1", "Gateway", "nginx", other, rev()),
            object("networking.istio.io/v1alpha3", "WorkloadGroup", "vms", json!({}), rev()),
            object("networking.istio.io/v1", "WorkloadEntry", "vm", json!({}), rev()),
            object(
                "servicemesh.cisco.com/v1alpha1",
                "IstioMeshGateway",
                "edge",
                plane.clone(),
                json!({}),
            ),
            // By its looks alone nobody's gateway is the plane's own.
            object(api, kind, "feigned", plane, own),
            at_home,
        ] {
            bed.sandbox.apply(one);
        }
        for (tag, name) in [("prod", OLD), ("default", OLD)] {
            let mut webhooks = fixtures::tag_webhooks(tag, name, "1.13.5");
            webhooks["metadata"]["labels"]["istio.io/rev"] = json!(OLD);
            bed.sandbox.apply(webhooks);
        }
        bed.sandbox.apply(fixtures::namespace("by-label", &[("istio.io/rev", OLD)]));
        bed.sandbox.apply(fixtures::namespace("by-tag", &[("istio.io/rev", "prod")]));
        bed.sandbox.apply(fixtures::namespace("by-default", &[("istio-injection", "enabled")]));
        bed.sandbox.apply(json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": { "name": "istiod-default-validator", "labels": { "istio.io/rev": OLD } },
            "webhooks": [],
        }));
        bed.sandbox.apply(json!({
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {
                "name": "istio-cni-node",
                "namespace": "istio-system",
                "labels": { "k8s-app": "istio-cni-node", "istio.io/rev": OLD },
            },
            "spec": {
                "selector": { "matchLabels": { "app": "cni" } },
                "template": {
                    "metadata": { "labels": { "app": "cni" } },
                    "spec": {
                        "containers": [],
                        "volumes": [{ "name": "bin", "hostPath": { "path": "/opt/cni/bin" } }],
                    },
                },
            },
        }));
        let record = json!({ "revision": OLD }).to_string();
        for (name, phase) in [("left", "Running"), ("over", "Succeeded")] {
            bed.sandbox.apply(json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "name": name,
                    "namespace": "shop",
                    "annotations": { "sidecar.istio.io/status": record },
                },
                "spec": { "containers": [] },
                "status": { "phase": phase },
            }));
        }
        let found = blockers(&bed, &server, "cp-v113x").await;
        let expected = [
            "RS6003 Namespace/by-default",
            "RS6003 Namespace/by-label",
            "RS6003 Namespace/by-tag",
            "RS6004 Tag/prod",
            "RS6005 Pod/shop/left",
            "RS6006 Gateway/shop/in",
            "RS6006 IstioMeshGateway/shop/edge",
            "RS6006 IstioMeshGateway/shop/feigned",
            "RS6007 CronJob/shop/nightly",
            "RS6007 Deployment/shop/web",
            "RS6007 Job/shop/waits",
            "RS6007 ReplicaSet/shop/bare",
            "RS6007 StatefulSet/shop/db",
            "RS6008 Tag/default",
            "RS6009 ValidatingWebhookConfiguration/istiod-default-validator",
            "RS6010 DaemonSet/istio-system/istio-cni-node",
            "RS6013 WorkloadEntry/shop/vm",
            "RS6013 WorkloadGroup/shop/vms",
            "RS6019 IstioControlPlane/istio-system/cp-v113x",
        ];
        assert_eq!(found, expected);
        // Without an operator that runs, and without another plane.
        let other = PLANE.replace("cp-v113x", "cp-v115x");
        let mut broken = bed.sandbox.object(&other).unwrap();
        broken["status"]["status"] = json!("Reconciling");
        bed.sandbox.apply(broken);
        let found = blockers(&bed, &server, "cp-v113x").await;
        assert!(found.contains(&format!("RS6002 ControlPlane/{OLD}")), "{found:?}");
        // A kind that cannot be read is named.
        bed.sandbox.intercept(|exchange| {
            if exchange.verb == "list" && exchange.path.ends_with("/cronjobs") {
                let message = "cronjobs.batch is forbidden".to_owned();
                return Verdict::Refuse { code: 403, reason: "Forbidden", message };
            }
            Verdict::Pass
        });
        let found = blockers(&bed, &server, "cp-v113x").await;
        assert!(found.contains(&"RS6017 cronjobs".to_owned()), "{found:?}");
    });
}

#[test]
fn a_migration_and_a_retirement_of_its_plane_exclude_each_other() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        operator(&bed, "istio-operator-v113x").await;
        // Of an operator that is gone, the list stays as it was.
        let mut plane = bed.sandbox.object(PLANE).unwrap();
        plane["status"]["injectionNamespaces"] = json!([]);
        bed.sandbox.apply(plane);
        applications(&bed, &["a"]).await;
        let server = serving(&bed).await;
        let migrate = ["migrate", "--from", OLD, "--to", NEW, "-n", "a", "--yes", "--detach"];
        let soaking = [&migrate[..], &["--soak", "5m"]].concat();
        let id = run(&bed, &server, &soaking).await.stdout.trim().to_owned();
        sleep(Duration::from_mins(2)).await;
        let found = blockers(&bed, &server, "cp-v113x").await;
        assert!(found.contains(&format!("RS6011 Migration/{id}")), "{found:?}");
        run(&bed, &server, &["watch", &id]).await;
        let found = blockers(&bed, &server, "cp-v113x").await;
        assert!(found.contains(&format!("RS6012 Migration/{id}")), "{found:?}");
        // Nobody has written the plane's status since its labels changed.
        assert!(found.iter().any(|it| it.starts_with("RS6019")), "{found:?}");
        let retire = ["retire", "cp-v113x", "--yes", "--allow", ALLOW];
        refused(&bed, &server, &retire, 1).await;
        assert!(bed.sandbox.objects(RETIREMENTS).is_empty());
        sleep(Duration::from_hours(25)).await;
        let found = blockers(&bed, &server, "cp-v113x").await;
        assert!(!found.iter().any(|it| it.starts_with("RS6012")), "{found:?}");
        let known = ["--allow", "RS6019=it was restarted meanwhile", "--detach"];
        run(&bed, &server, &[&retire[..], &known].concat()).await;
        // It would go back to a plane that is on its way out.
        let back = ["rollback", &id, "--reason", "errors", "--yes"];
        let output = refused(&bed, &server, &back, 1).await;
        assert!(output.stderr.contains("RS6026"), "{output:?}");
        run(&bed, &server, &["retire", "cp-v113x", "--watch"]).await;
        assert_eq!(bed.sandbox.object(PLANE), None);
    });
}

/// The census sees a migration that is just being stored; the creation sees the retirement.
#[test]
fn a_migration_that_is_stored_at_the_same_time_does_not_slip_through() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        operator(&bed, "istio-operator-v113x").await;
        applications(&bed, &["a"]).await;
        bed.sandbox.apply(fixtures::namespace("a", &[("istio.io/rev", NEW)]));
        let server = serving(&bed).await;
        let plane = "cp-v113x";
        // Nothing of the migration may be there yet when the retirement is stored, and it must not have
        // been seen by the replica that stores the migration.
        let blind = serving(&bed).await;
        let host = blind.host().to_owned();
        bed.sandbox.intercept(move |exchange| {
            let watches = exchange.verb == "watch" && exchange.path == RETIREMENTS;
            if watches && exchange.tag == host {
                return Verdict::Watch(revshift_sandbox::WatchFault::Silent(None));
            }
            Verdict::Pass
        });
        bed.sandbox.drop_watches();
        sleep(Duration::from_secs(5)).await;
        let pods = bed.sandbox.objects("/api/v1/namespaces/a/pods");
        for pod in pods {
            let name = pod["metadata"]["name"].as_str().unwrap();
            bed.sandbox.remove(&format!("/api/v1/namespaces/a/pods/{name}"));
        }
        sleep(Duration::from_secs(20)).await;
        let retire = ["retire", plane, "--yes", "--detach", "--allow", ALLOW];
        run(&bed, &server, &retire).await;
        let back = ["migrate", "--from", NEW, "--to", OLD, "-n", "a", "--yes", "--detach"];
        let output = refused(&bed, &blind, &back, 1).await;
        assert!(output.stderr.contains("RS6026"), "{output:?}");
        assert!(bed.sandbox.objects("/apis/revshift.dev/v1alpha1/migrations").is_empty());
        run(&bed, &server, &["retire", plane, "--watch"]).await;
    });
}

/// Counts writes of a retirement, and lets one of them hang.
#[derive(Clone, Default)]
struct Death(Arc<AtomicUsize>);

impl Death {
    fn judge(&self, exchange: &Exchange, at: usize, applied: bool) -> Verdict {
        let ours = exchange.path.contains("retirements") || exchange.verb == "delete";
        if !exchange.writes() || exchange.dry() || !ours {
            return Verdict::Pass;
        }
        match self.0.fetch_add(1, Ordering::Relaxed) {
            before if before < at => Verdict::Pass,
            before if before == at && applied => Verdict::HangAfter,
            _ => Verdict::HangBefore,
        }
    }

    async fn comes(&self, at: usize) {
        for _ in 0..3000 {
            if self.0.load(Ordering::Relaxed) > at {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Writes of a leader: its epoch, CORDONING, PROVING, DELETING, the deletion, VERIFYING, RETIRED.
const WRITES: usize = 7;

#[test]
fn a_plane_is_retired_once_wherever_the_leader_dies() {
    for at in 0..WRITES {
        for applied in [false, true] {
            simulated::in_virtual_time(die(at, applied));
        }
    }
}

async fn die(at: usize, applied: bool) {
    let what = format!("at write {at}, {}", if applied { "after it" } else { "before it" });
    let bed = SimulatedBed::new();
    operator(&bed, "istio-operator-v113x").await;
    let server = serving(&bed).await;
    let retire = ["retire", "cp-v113x", "--yes", "--detach", "--allow", ALLOW];
    let id = run(&bed, &server, &retire).await.stdout.trim().to_owned();
    let death = Death::default();
    let judge = death.clone();
    bed.sandbox.intercept(move |exchange| judge.judge(exchange, at, applied));
    death.comes(at).await;
    drop(server);
    bed.sandbox.clear_intercept();
    let server = serving(&bed).await;
    run(&bed, &server, &["retire", "cp-v113x", "--watch"]).await;
    let stored = bed.sandbox.object(&format!("{RETIREMENTS}/{id}")).unwrap();
    assert_eq!(stored["status"]["state"], "RETIRED", "{what}");
    assert_eq!(stored["status"]["cordoned"], false, "{what}");
    assert_eq!(bed.sandbox.object(PLANE), None, "{what}");
    // Nothing else is gone.
    assert!(bed.sandbox.object(&PLANE.replace("cp-v113x", "cp-v115x")).is_some(), "{what}");
}

#[test]
fn a_plane_that_nobody_operates_goes_object_by_object() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        for one in fixtures::upstream_plane("1-30", "1.30.1") {
            bed.sandbox.apply(one);
        }
        let shared = json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": "istio-ca-root-cert", "namespace": "istio-system" },
        });
        let mut mine = shared.clone();
        mine["metadata"] = json!({
            "name": "istio-1-30",
            "namespace": "istio-system",
            "labels": { "istio.io/rev": "1-30", "operator.istio.io/component": "Pilot" },
        });
        let mut other = shared.clone();
        other["metadata"] = json!({
            "name": "notes", "namespace": "istio-system", "labels": { "istio.io/rev": "1-30" },
        });
        bed.sandbox.apply(other);
        bed.sandbox.apply(shared);
        bed.sandbox.apply(mine);
        sleep(Duration::from_secs(10)).await;
        let server = serving(&bed).await;
        let beginning = bed.sandbox.version();
        run(&bed, &server, &["retire", "1-30", "--yes", "--allow", ALLOW]).await;
        let changes = bed.sandbox.changes_after(beginning);
        let gone = |kind: &str, name: &str| {
            changes.iter().position(|it| {
                it.kind == kind
                    && it.reference.name == name
                    && it.change == revshift_sandbox::ChangeKind::Deleted
            })
        };
        let hook = gone("MutatingWebhookConfiguration", "istio-sidecar-injector-1-30").unwrap();
        let istiod = gone("Deployment", "istiod-1-30").unwrap();
        assert!(hook < istiod, "a webhook that nobody answers refuses pods");
        assert!(gone("ConfigMap", "istio-1-30").is_some());
        assert!(gone("ConfigMap", "istio-ca-root-cert").is_none(), "others share it");
        assert!(gone("ConfigMap", "notes").is_none(), "it is somebody's own");
        assert!(
            gone("MutatingWebhookConfiguration", "istio-sidecar-injector-cp-v113x-istio-system")
                .is_none()
        );
    });
}

#[test]
fn a_plane_of_sail_goes_by_its_operator_unless_its_parent_would_make_it_anew() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        bed.sandbox.apply(fixtures::istio_revision_definition());
        let parents =
            fixtures::definition("sailoperator.io", "v1", "Istio", "istios", "Cluster", &[]);
        bed.sandbox.apply(parents);
        let path = "/apis/sailoperator.io/v1/istios/default";
        bed.sandbox.apply(json!({
            "apiVersion": "sailoperator.io/v1",
            "kind": "Istio",
            "metadata": { "name": "default" },
            "spec": {},
            "status": { "activeRevisionName": "default-v1-27-0" },
        }));
        let mut parent = bed.sandbox.object(path).unwrap();
        let mut plane = fixtures::istio_revision("default-v1-27-0", "istio-system", "v1.27.0");
        plane["metadata"]["ownerReferences"] = json!([{
            "apiVersion": "sailoperator.io/v1",
            "kind": "Istio",
            "name": "default",
            "uid": parent["metadata"]["uid"],
        }]);
        bed.sandbox.apply(plane);
        let server = serving(&bed).await;
        let plane = "default-v1-27-0";
        let found = blockers(&bed, &server, plane).await;
        let expected =
            ["RS6019 IstioRevision/default-v1-27-0", "RS6024 ControlPlane/default-v1-27-0"];
        assert_eq!(found, expected);
        operator(&bed, "sail-operator").await;
        parent["status"]["activeRevisionName"] = json!("default-v1-28-0");
        bed.sandbox.apply(parent);
        run(&bed, &server, &["retire", plane, "--yes", "--allow", ALLOW]).await;
        let path = format!("/apis/sailoperator.io/v1/istiorevisions/{plane}");
        assert_eq!(bed.sandbox.object(&path), None);
    });
}

#[test]
fn a_finalizer_that_hangs_is_named_and_left() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        operator(&bed, "istio-operator-v113x").await;
        let mut plane = bed.sandbox.object(PLANE).unwrap();
        plane["metadata"]["finalizers"] = json!(["istio-controlplane.servicemesh.cisco.com"]);
        bed.sandbox.apply(plane);
        let server = serving(&bed).await;
        let retire = ["retire", "cp-v113x", "--yes", "--allow", ALLOW];
        let output = refused(&bed, &server, &retire, 1).await;
        assert!(output.stderr.contains("RS6020"), "{output:?}");
        assert!(output.stderr.contains("istio-controlplane.servicemesh.cisco.com"), "{output:?}");
        let cancel = ["retire", "cp-v113x", "--cancel", "--yes"];
        let output = refused(&bed, &server, &cancel, 1).await;
        assert!(output.stderr.contains("it deletes the plane already"), "{output:?}");
        bed.sandbox.remove(PLANE);
        sleep(Duration::from_mins(1)).await;
        run(&bed, &server, &["retire", "cp-v113x", "--watch"]).await;
    });
}

#[test]
fn without_the_right_to_delete_nothing_is_begun() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        operator(&bed, "istio-operator-v113x").await;
        let server = serving(&bed).await;
        bed.sandbox.intercept(|exchange| {
            if exchange.verb == "delete" && exchange.path.contains("istiocontrolplanes") {
                let message = "istiocontrolplanes is forbidden: cannot delete".to_owned();
                return Verdict::Refuse { code: 403, reason: "Forbidden", message };
            }
            Verdict::Pass
        });
        let found = blockers(&bed, &server, "cp-v113x").await;
        assert_eq!(found, ["RS6018 IstioControlPlane/istio-system/cp-v113x"]);
        let retire = ["retire", "cp-v113x", "--yes", "--allow", ALLOW];
        refused(&bed, &server, &retire, 1).await;
        assert!(bed.sandbox.objects(RETIREMENTS).is_empty());
    });
}
