//! What is read of objects as real clusters hold them.

use super::*;
use revshift_core::injection::Injection;
use serde_json::{from_value, json};

fn workload_of(object: Object) -> Workload {
    match object {
        Object::Workload(workload, _) => *workload,
        other => panic!("no workload: {other:?}"),
    }
}

fn plane_of(object: Object) -> Plane {
    match object {
        Object::Plane(plane) => *plane,
        other => panic!("no plane: {other:?}"),
    }
}

#[test]
fn a_deployment_is_rolled_out_as_kubectl_judges_it() {
    let rolled = |status: Value| {
        workload_of(deployment(
            &from_value(json!({
                "metadata": { "name": "web", "generation": 2 },
                "spec": {
                    "replicas": 3,
                    "selector": {},
                    "template": { "metadata": { "annotations": { "revshift.dev/restart": "m.1" } } },
                },
                "status": status,
            }))
            .unwrap(),
        ))
    };
    let status = |generation, replicas, updated, available| {
        json!({
            "observedGeneration": generation,
            "replicas": replicas,
            "updatedReplicas": updated,
            "availableReplicas": available,
        })
    };
    assert!(rolled(status(2, 3, 3, 3)).rolled_out());
    assert!(!rolled(status(1, 3, 3, 3)).rolled_out(), "the controller has not seen it");
    assert!(!rolled(status(2, 4, 3, 3)).rolled_out(), "an old pod is left");
    assert!(!rolled(status(2, 3, 2, 3)).rolled_out(), "one is not updated");
    assert!(!rolled(status(2, 3, 3, 2)).rolled_out(), "one is not available");
    assert_eq!(rolled(json!({})).restart.as_deref(), Some("m.1"));
    let late = rolled(json!({ "conditions": [
        { "type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded",
          "message": "timed out" },
        { "type": "ReplicaFailure", "status": "True", "message": "exceeded quota" },
    ]}));
    assert_eq!(late.complaints.late.as_deref(), Some("timed out"));
    assert_eq!(late.complaints.creation.as_deref(), Some("exceeded quota"));
}

#[test]
fn obstacles_are_read_from_specifications() {
    let set = |strategy: Value| {
        workload_of(stateful_set(
            &from_value(json!({
                "metadata": { "name": "db" },
                "spec": {
                    "serviceName": "db", "selector": {}, "template": {}, "updateStrategy": strategy,
                },
            }))
            .unwrap(),
        ))
        .obstacle
    };
    assert_eq!(set(json!({ "type": "OnDelete" })), Some(Obstacle::OnDelete));
    let partition = json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 1 } });
    assert_eq!(set(partition), Some(Obstacle::Partition));
    let none = json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 0 } });
    assert_eq!(set(none), None);
    let daemon = daemon_set(
        &from_value(json!({
            "metadata": { "name": "agent" },
            "spec": { "selector": {}, "template": {}, "updateStrategy": { "type": "OnDelete" } },
        }))
        .unwrap(),
    );
    assert_eq!(workload_of(daemon).obstacle, Some(Obstacle::OnDelete));
    let paused = deployment(
        &from_value(json!({
            "metadata": { "name": "web" },
            "spec": { "selector": {}, "template": {}, "paused": true },
        }))
        .unwrap(),
    );
    assert_eq!(workload_of(paused).obstacle, Some(Obstacle::Paused));
}

#[test]
fn a_set_that_waits_for_each_pod_tells_its_current_template() {
    let ordered = |spec: Value| {
        let mut object = json!({
            "metadata": { "name": "db" },
            "spec": { "serviceName": "db", "selector": {}, "template": {} },
            "status": { "replicas": 2, "updateRevision": "db-2" },
        });
        object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        workload_of(stateful_set(&from_value(object).unwrap())).ordered
    };
    assert_eq!(ordered(json!({})).as_deref(), Some("db-2"));
    assert_eq!(ordered(json!({ "podManagementPolicy": "OrderedReady" })).as_deref(), Some("db-2"));
    assert_eq!(ordered(json!({ "podManagementPolicy": "Parallel" })), None);
    assert_eq!(ordered(json!({ "updateStrategy": { "type": "OnDelete" } })), None);
}

#[test]
fn a_rollout_tells_its_restart_and_whose_template_it_has() {
    let read = |spec: Value, status: Value| {
        workload_of(rollout(
            &from_value(json!({
                "apiVersion": "argoproj.io/v1alpha1",
                "kind": "Rollout",
                "metadata": {
                    "name": "web", "namespace": "shop", "generation": 4,
                    "annotations": { "revshift.dev/restart": "m.1" },
                },
                "spec": spec,
                "status": status,
            }))
            .unwrap(),
        ))
    };
    let own = json!({ "replicas": 3, "restartAt": "2026-07-01T12:00:01Z", "template": {
        "metadata": { "labels": { "sidecar.istio.io/inject": "false" } },
        "spec": { "containers": [], "hostNetwork": true },
    } });
    let status = json!({
        "observedGeneration": "4", "phase": "Healthy", "replicas": 3, "updatedReplicas": 3,
        "availableReplicas": 3, "restartedAt": "2026-07-01T12:00:01Z",
    });
    let healthy = read(own.clone(), status.clone());
    assert!(
        healthy.rolled_out() && !healthy.restart_pending() && healthy.host_network,
        "{healthy:?}"
    );
    assert_eq!(healthy.restart.as_deref(), Some("m.1"));
    assert_eq!(healthy.wish.labels["sidecar.istio.io/inject"], "false");
    let with = |field: &str, value: Value| {
        let mut status = status.clone();
        status[field] = value;
        read(own.clone(), status)
    };
    assert!(with("restartedAt", json!("2026-06-01T12:00:01Z")).restart_pending());
    assert!(!with("observedGeneration", json!("3")).observed);
    // That of versions before 1.0 is a hash.
    assert!(with("observedGeneration", json!("7d9f8c6b5")).observed);
    assert!(!with("observedGeneration", Value::Null).observed);
    let mut canary = status.clone();
    canary["updatedReplicas"] = json!(1);
    for (phase, rolls) in [("Progressing", true), ("Paused", false), ("Degraded", true)] {
        canary["phase"] = json!(phase);
        assert_eq!(read(own.clone(), canary.clone()).rolling(), rolls, "{phase}");
    }
    canary["abort"] = json!(true);
    assert!(!read(own, canary).rolling(), "it was given up");

    let lent = json!({ "workloadRef": {
        "apiVersion": "apps/v1", "kind": "Deployment", "name": "lender" }, "paused": true });
    let borrower = read(
        lent,
        json!({ "conditions": [
        { "type": "InvalidSpec", "status": "True", "message": "no such service" },
    ] }),
    );
    let lender = WorkloadKey { kind: WorkloadKind::Deployment, name: "lender".to_owned() };
    assert_eq!((borrower.template_of(), borrower.desired), (Some(&lender), 1));
    assert_eq!(borrower.obstacle, Some(Obstacle::Paused));
    assert_eq!(borrower.complaints.creation.as_deref(), Some("no such service"));
    assert!(!borrower.restart_pending(), "nobody has asked for one");
}

#[test]
fn owners_and_their_wishes_are_found() {
    let obstacle = |metadata: Value, paused: bool| {
        let spec = json!({ "paused": paused, "selector": {}, "template": {} });
        let object = json!({ "metadata": metadata, "spec": spec });
        workload_of(deployment(&from_value(object).unwrap())).obstacle
    };
    let owner = |controller: bool| {
        json!({ "ownerReferences": [{
            "apiVersion": "v1", "kind": "Kiali", "name": "kiali", "uid": "1", "controller": controller,
        }] })
    };
    assert_eq!(obstacle(owner(true), false), Some(Obstacle::Owned("Kiali/kiali".to_owned())));
    assert_eq!(obstacle(owner(true), true), Some(Obstacle::Paused));
    assert_eq!(obstacle(owner(false), false), None);
    let skip = |value: &str| json!({ "annotations": { "revshift.dev/skip": value } });
    assert_eq!(obstacle(skip("true"), true), Some(Obstacle::Skipped));
    assert_eq!(obstacle(skip("no"), false), None);
}

#[test]
fn an_istiod_is_known_by_its_labels_and_its_version_by_its_image() {
    for (image, version) in [
        ("docker.io/istio/pilot:1.30.2", "1.30.2"),
        ("registry:5000/istio/pilot:1.31.0-distroless", "1.31.0"),
        ("istio/pilot@sha256:0123", ""),
        ("pilot", ""),
    ] {
        let object = deployment(
            &from_value(json!({
                "metadata": {
                    "name": "istiod-1-30", "namespace": "istio-system",
                    "labels": { "app": "istiod", "istio.io/rev": "1-30" },
                },
                "spec": {
                    "selector": {},
                    "template": { "spec": { "containers": [{ "name": "d", "image": image }] } },
                },
                "status": { "availableReplicas": 1 },
            }))
            .unwrap(),
        );
        let Object::Workload(_, Some(istiod)) = object else { panic!("no istiod") };
        assert_eq!((istiod.revision.as_str(), istiod.version.as_str()), ("1-30", version));
    }
}

#[test]
fn a_pod_tells_who_injected_it_in_every_version() {
    let pod = |labels: Value, annotations: Value| {
        pod_of(&from_value(json!({ "labels": labels, "annotations": annotations })).unwrap())
            .make
            .injected
            .clone()
    };
    let by = |revision: &str| Injected::By(Revision(revision.to_owned()));
    let record = |text: &str| json!({ "sidecar.istio.io/status": text });
    assert_eq!(pod(json!({}), record(r#"{"revision":"1-30"}"#)), by("1-30"));
    // Istio before 1.11 names no revision; Calisti's templates have it as a label.
    assert_eq!(pod(json!({}), record(r#"{"initContainers":["istio-init"]}"#)), Injected::Unknown);
    let label = json!({ "istio.io/rev": "cp-v117x.istio-system" });
    assert_eq!(pod(label.clone(), record("{}")), by("cp-v117x.istio-system"));
    assert_eq!(pod(label, json!({})), Injected::No);
    assert_eq!(pod(json!({}), record("no JSON")), Injected::Unknown);
}

#[test]
fn webhooks_are_read_with_their_selectors() {
    let object = injectors(
        &from_value(json!({
            "metadata": {
                "name": "istio-revision-tag-prod",
                "labels": { "istio.io/rev": "1-30", "istio.io/tag": "prod" },
            },
            "webhooks": [
                {
                    "name": "rev.namespace.sidecar-injector.istio.io",
                    "admissionReviewVersions": ["v1"], "sideEffects": "None",
                    "clientConfig": { "url": "https://istiod/inject", "caBundle": "QQ==" },
                    "namespaceSelector": { "matchExpressions": [
                        { "key": "istio.io/rev", "operator": "In", "values": ["prod"] },
                    ]},
                    "objectSelector": { "matchLabels": { "tier": "web" } },
                },
                {
                    "name": "something.else",
                    "admissionReviewVersions": ["v1"], "sideEffects": "None",
                    "clientConfig": { "url": "https://other" },
                },
            ],
        }))
        .unwrap(),
    );
    let Object::Injectors(injectors) = object else { panic!("no injectors") };
    assert_eq!(injectors.len(), 1);
    assert!(injectors[0].trusted);
    assert_eq!(injectors[0].tag.as_deref(), Some("prod"));
    let labels = Labels::from([("istio.io/rev".to_owned(), "prod".to_owned())]);
    let tier = Labels::from([("tier".to_owned(), "web".to_owned())]);
    assert!(injectors[0].object_selector.matches(&tier));
    let plain = InjectionWish::default();
    let dangling = Injection::Dangling("prod".to_owned());
    assert_eq!(revshift_core::injection::resolve(&injectors, &labels, &plain, false), dangling);
}

#[test]
fn a_calisti_plane_is_read_as_its_operator_writes_it() {
    let plane = plane_of(calisti_plane(
        &from_value(json!({
            "apiVersion": "servicemesh.cisco.com/v1alpha1", "kind": "IstioControlPlane",
            "metadata": { "name": "cp.v115x", "namespace": "istio-system" },
            "spec": {
                "version": "1.15.3", "mode": "ACTIVE", "networkName": "network1",
                "meshExpansion": { "enabled": true },
            },
            "status": { "status": "Available", "gatewayAddress": ["3.122.31.252"] },
        }))
        .unwrap(),
    ));
    assert_eq!(plane.revision.as_str(), "cp-v115x.istio-system");
    assert!(plane.available);
    assert_eq!((plane.version.as_str(), plane.mesh_expansion), ("1.15.3", Some(true)));
    let young = plane_of(calisti_plane(
        &from_value(json!({
            "apiVersion": "servicemesh.cisco.com/v1alpha1", "kind": "IstioControlPlane",
            "metadata": { "name": "cp", "namespace": "x" },
        }))
        .unwrap(),
    ));
    assert_eq!((young.status.as_str(), young.available), ("Unspecified", false));
}

#[test]
fn a_sail_revision_is_available_when_it_is_ready() {
    let plane = |status: &str| {
        plane_of(sail_plane(
            &from_value(json!({
                "apiVersion": "sailoperator.io/v1", "kind": "IstioRevision",
                "metadata": { "name": "default-v1-26-0" },
                "spec": { "version": "v1.26.0", "namespace": "istio-system" },
                "status": {
                    "state": "Healthy",
                    "conditions": [{ "type": "Ready", "status": status, "message": "no replica" }],
                },
            }))
            .unwrap(),
        ))
    };
    let ready = plane("True");
    assert_eq!(
        (ready.available, ready.version.as_str(), ready.error.as_str()),
        (true, "1.26.0", "")
    );
    let unready = plane("False");
    assert_eq!((unready.available, unready.error.as_str()), (false, "no replica"));
}

#[test]
fn the_manager_of_a_label_is_the_one_who_wrote_it_last() {
    let Object::Namespace(meta) = namespace(
        &from_value(json!({ "metadata": { "name": "shop", "managedFields": [
            { "manager": "helm", "time": "2026-01-02T00:00:00Z", "operation": "Apply",
              "fieldsV1": { "f:metadata": { "f:labels": { "f:istio.io/rev": {} } } } },
            { "manager": "kubectl", "time": "2026-01-03T00:00:00Z", "operation": "Update",
              "fieldsV1": { "f:metadata": { "f:labels": { "f:team": {} } } } },
        ]}}))
        .unwrap(),
    ) else {
        panic!("no namespace");
    };
    assert_eq!(meta.label_manager.as_deref(), Some("helm"));
}

#[test]
fn of_managers_in_one_second_the_one_who_owns_least_wrote_last() {
    let time = "2026-01-02T00:00:00Z";
    let all = json!({ "f:istio.io/rev": {}, "f:team": {}, "f:kubernetes.io/metadata.name": {} });
    let made = json!({ "manager": "helm", "time": time, "operation": "Update",
        "fieldsV1": { "f:metadata": { "f:labels": all } } });
    let edited = json!({ "manager": "kubectl-label", "time": time, "operation": "Update",
        "fieldsV1": { "f:metadata": { "f:labels": { "f:istio.io/rev": {} } } } });
    for entries in [json!([made, edited]), json!([edited, made])] {
        let object = json!({ "metadata": { "name": "shop", "managedFields": entries } });
        let Object::Namespace(meta) = namespace(&from_value(object).unwrap()) else {
            panic!("no namespace");
        };
        assert_eq!(meta.label_manager.as_deref(), Some("kubectl-label"));
    }
}

#[test]
fn a_lock_that_cannot_be_read_is_nobodys() {
    assert_eq!(read_lock(r#"{"migration":"m-1","attempt":2}"#).migration, "m-1");
    assert_eq!(read_lock("nonsense").migration, "");
    assert_eq!(read_lock(r#"{"migration":7}"#).attempt, 0);
}
