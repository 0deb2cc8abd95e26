//! The cause that is named when a rollout does not go on.

use super::world::{NEW, deployed, deployment, rev, workload};
use revshift_core::diagnosis::{InspectedPod, Inspection, Trouble, Warning, cause, classify};
use revshift_core::pod::Injected;
use revshift_core::problem::Code;
use revshift_core::workload::WorkloadKind;
use std::time::Duration;

fn look(pods: &[InspectedPod], warnings: Vec<Warning>) -> Inspection {
    Inspection { at: Duration::ZERO, pods: pods.to_vec(), warnings }
}

fn troubled(suffix: &str, trouble: Option<(Trouble, &str)>) -> InspectedPod {
    InspectedPod {
        pod: deployed("web", "bbb", suffix, Injected::By(rev(NEW))),
        ready: trouble.is_none(),
        revision: None,
        restarted: None,
        trouble: trouble.map(|(trouble, message)| (trouble, message.to_owned())),
    }
}

#[test]
fn the_worst_pod_is_named_with_its_own_message() {
    let pods = [
        troubled("1", None),
        troubled("2", Some((Trouble::NotReady, "containers with unready status: [app]"))),
        troubled("3", Some((Trouble::ImagePull, "Back-off pulling image"))),
    ];
    let refs: Vec<&InspectedPod> = pods.iter().collect();
    let found = cause("shop", &deployment("web", 3), &refs, &look(&pods, Vec::new()));
    assert_eq!(found.code, Code::ImagePull);
    assert_eq!(found.object, "Pod/shop/web-bbb-3");
    assert_eq!(found.message, "Back-off pulling image");
}

#[test]
fn a_refused_creation_comes_first() {
    let mut web = deployment("web", 3);
    web.complaints.creation = Some("pods \"x\" is forbidden: exceeded quota: q".to_owned());
    let pods = [troubled("1", Some((Trouble::NotReady, "unready")))];
    let refs: Vec<&InspectedPod> = pods.iter().collect();
    let found = cause("shop", &web, &refs, &look(&pods, Vec::new()));
    assert_eq!((found.code, found.object.as_str()), (Code::QuotaExceeded, "Deployment/shop/web"));
}

#[test]
fn controllers_without_conditions_complain_in_events() {
    let mut db = workload(WorkloadKind::StatefulSet, "db", 2);
    db.total = 1;
    let warning = |name: &str, message: &str| Warning {
        kind: "StatefulSet".to_owned(),
        name: name.to_owned(),
        reason: "FailedCreate".to_owned(),
        message: message.to_owned(),
    };
    let warnings = vec![
        warning("db", "first"),
        warning("db", "failed calling webhook \"rev.namespace\": connection refused"),
        warning("other", "exceeded quota"),
    ];
    let found = cause("shop", &db, &[], &look(&[], warnings));
    assert_eq!(found.code, Code::WebhookUnreachable);
}

#[test]
fn without_any_trace_the_counts_are_told() {
    let mut web = deployment("web", 3);
    web.updated = 1;
    let found = cause("shop", &web, &[], &look(&[], Vec::new()));
    assert_eq!(found.code, Code::RolloutStalled);
    assert!(found.message.contains("1 of 3"), "{}", found.message);
    web.complaints.late = Some("ReplicaSet \"web-1\" has timed out progressing.".to_owned());
    let found = cause("shop", &web, &[], &look(&[], Vec::new()));
    assert_eq!(found.code, Code::RolloutDeadline);
}

#[test]
fn messages_of_the_api_server_are_told_apart() {
    for (message, code) in [
        ("Internal error occurred: failed calling webhook \"x\": EOF", Code::WebhookUnreachable),
        ("pods \"x\" is forbidden: exceeded quota: q, requested: pods=1", Code::QuotaExceeded),
        ("pods \"x\" is forbidden: violates PodSecurity \"restricted\"", Code::AdmissionDenied),
        ("admission webhook \"kyverno\" denied the request: no", Code::AdmissionDenied),
        ("something else", Code::RolloutStalled),
    ] {
        assert_eq!(classify(message), code, "{message}");
    }
}
