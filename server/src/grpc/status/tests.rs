use super::*;
use revshift_core::problem::Code as Finding;
use std::collections::BTreeSet;

fn violation(description: &str) -> Violation {
    let (code, subject) = (Finding::NamespaceNotFound, "Namespace/shop".to_owned());
    Violation { code, subject, description: description.to_owned() }
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn kubernetes() -> kube::Error {
    kube::Error::Service("connection refused by 10.0.0.1".into())
}

/// Every refusal and failure, with its code and reason.
fn table() -> Vec<(Failure, Code, &'static str)> {
    let field = FieldViolation::new("id", "is required");
    let refusals = [
        (Refusal::InvalidFields(vec![field]), Code::InvalidArgument, "INVALID_FIELD"),
        (Refusal::PageToken, Code::InvalidArgument, "PAGE_TOKEN_INVALID"),
        (Refusal::ResumeToken, Code::InvalidArgument, "RESUME_TOKEN_INVALID"),
        (
            Refusal::PlaneNotFound { name: text("x"), known: vec![text("1-30"), text("1-31")] },
            Code::NotFound,
            "PLANE_NOT_FOUND",
        ),
        (
            Refusal::PlaneAmbiguous { name: text("cp"), candidates: vec![text("cp.a")] },
            Code::InvalidArgument,
            "PLANE_AMBIGUOUS",
        ),
        (Refusal::PlanesIdentical(text("1-30")), Code::InvalidArgument, "PLANES_IDENTICAL"),
        (
            Refusal::PlaneUnavailable {
                revision: text("1-31"),
                status: text("Reconciling"),
                error: text("no quota"),
            },
            Code::FailedPrecondition,
            "PLANE_UNAVAILABLE",
        ),
        (
            Refusal::Plan(vec![violation("there is no such namespace")]),
            Code::FailedPrecondition,
            "PLAN_REFUSED",
        ),
        (
            Refusal::Findings(vec![violation("it is too far")]),
            Code::FailedPrecondition,
            "CHECK_REFUSED",
        ),
        (
            Refusal::Rollback(vec![violation("there is no such namespace")]),
            Code::FailedPrecondition,
            "ROLLBACK_REFUSED",
        ),
        (Refusal::PlanChanged { sent: text("aa"), now: text("bb") }, Code::Aborted, "PLAN_CHANGED"),
        (Refusal::RequestIdReused(text("m-1")), Code::AlreadyExists, "REQUEST_ID_REUSED"),
        (Refusal::MigrationNotFound(text("m-1")), Code::NotFound, "MIGRATION_NOT_FOUND"),
        (Refusal::NamespaceNotFound(text("shop")), Code::NotFound, "NAMESPACE_NOT_FOUND"),
        (
            Refusal::Retirement(vec![violation("it is in use")]),
            Code::FailedPrecondition,
            "RETIREMENT_REFUSED",
        ),
        (Refusal::RetirementNotFound(text("r-1")), Code::NotFound, "RETIREMENT_NOT_FOUND"),
        (
            Refusal::RetirementState {
                retirement: text("r-1"),
                state: text("RETIRED"),
                why: text("so"),
            },
            Code::FailedPrecondition,
            "RETIREMENT_STATE_CONFLICT",
        ),
        (
            Refusal::State { migration: text("m-1"), state: text("PAUSED"), why: text("so") },
            Code::FailedPrecondition,
            "STATE_CONFLICT",
        ),
        (Refusal::NothingSelected(text("1-30")), Code::FailedPrecondition, "NOTHING_SELECTED"),
        (Refusal::TooMany { found: 9, most: 5 }, Code::InvalidArgument, "TOO_MANY_NAMESPACES"),
        (
            Refusal::MoveNotFound { migration: text("m-1"), namespace: text("shop") },
            Code::NotFound,
            "MOVE_NOT_FOUND",
        ),
    ];
    let failures = [
        (Failure::NotReady, Code::Unavailable, "NOT_READY"),
        (Failure::CrdsMissing, Code::FailedPrecondition, "CRDS_MISSING"),
        (Failure::CrdsOutdated(1), Code::FailedPrecondition, "CRDS_OUTDATED"),
        (
            Failure::PlanNewer { migration: text("m-1"), version: 1000 },
            Code::Unavailable,
            "PLAN_NEWER",
        ),
        (Failure::ConcurrentWrite(text("m-1")), Code::Aborted, "CONCURRENT_WRITE"),
        (
            Failure::Denied { action: text("patch namespaces") },
            Code::PermissionDenied,
            "KUBERNETES_DENIED",
        ),
        (
            Failure::Unavailable { action: text("read"), source: kubernetes() },
            Code::Unavailable,
            "KUBERNETES_UNAVAILABLE",
        ),
        (
            Failure::Kubernetes { action: text("read"), source: kubernetes() },
            Code::Internal,
            "INTERNAL",
        ),
        (
            Failure::Malformed { object: text("shard"), why: text("no moves") },
            Code::Internal,
            "INTERNAL",
        ),
    ];
    let refusals = refusals.map(|(refusal, code, reason)| (refusal.into(), code, reason));
    refusals.into_iter().chain(failures).collect()
}

#[test]
fn every_failure_has_its_code_reason_and_remedy() {
    for (failure, code, reason) in table() {
        let name = format!("{failure:?}");
        let status = status(failure);
        assert_eq!(status.code(), code, "{name}");
        assert!(!status.message().is_empty(), "{name}");
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.reason.as_str(), info.domain.as_str()), (reason, ERROR_DOMAIN), "{name}");
        assert!(!info.metadata["remedy"].is_empty(), "{name}");
        let retried = details.retry_info().and_then(|info| info.retry_delay);
        assert_eq!(retried.is_some(), code == Code::Unavailable, "{name}");
    }
}

#[test]
fn every_reason_of_the_api_is_sent_for_something() {
    let mut sent: BTreeSet<String> =
        table().into_iter().map(|(_, _, reason)| reason.to_owned()).collect();
    for status in [draining(), behind()] {
        assert_eq!(status.code(), Code::Unavailable);
        sent.insert(status.get_error_details().error_info().unwrap().reason.clone());
    }
    let known: BTreeSet<String> = (1..)
        .map_while(|number| ErrorReason::try_from(number).ok())
        .map(|reason| name(reason).to_owned())
        .collect();
    assert_eq!(sent, known);
    assert!(known.iter().all(|name| name.len() <= 63 && !name.starts_with("ERROR_REASON")));
}

#[test]
fn details_carry_the_variables_of_the_message() {
    let metadata = |failure| {
        status(failure).get_error_details().error_info().map(|info| info.metadata.clone()).unwrap()
    };
    let candidates = vec![text("cp.a"), text("cp.b")];
    let found = metadata(Refusal::PlaneAmbiguous { name: text("cp"), candidates }.into());
    assert_eq!(found["candidates"], "cp.a, cp.b");
    let unavailable = Refusal::PlaneUnavailable {
        revision: text("1-31"),
        status: text("Reconciling"),
        error: text("no quota"),
    };
    assert_eq!(metadata(unavailable.into())["status"], "Reconciling");
    let denied = Failure::Denied { action: text("patch namespaces") };
    assert_eq!(metadata(denied)["permission"], "patch namespaces");
    let state = Refusal::State { migration: text("m-1"), state: text("PAUSED"), why: text("so") };
    assert_eq!(metadata(state.into())["state"], "PAUSED");
}

#[test]
fn violations_are_named_one_by_one() {
    let fields = vec![FieldViolation::new("id", "is required"), FieldViolation::new("b", "is bad")];
    let details = status(Refusal::InvalidFields(fields).into()).get_error_details();
    let bad = &details.bad_request().unwrap().field_violations;
    assert_eq!(bad.iter().map(|one| one.field.as_str()).collect::<Vec<_>>(), ["id", "b"]);
    let details = status(Refusal::Plan(vec![violation("gone")]).into()).get_error_details();
    let found = &details.precondition_failure().unwrap().violations[0];
    assert_eq!(
        (found.r#type.as_str(), found.subject.as_str(), found.description.as_str()),
        ("RS1001", "Namespace/shop", "gone")
    );
}

#[test]
fn what_kubernetes_said_stays_in_the_log() {
    let failures = [
        Failure::Kubernetes { action: text("read"), source: kubernetes() },
        Failure::Unavailable { action: text("read"), source: kubernetes() },
        Failure::Malformed { object: text("shard"), why: text("10.0.0.1") },
    ];
    for failure in failures {
        let status = status(failure);
        assert!(!format!("{status:?}").contains("10.0.0.1"), "{status:?}");
        if status.code() == Code::Internal {
            let details = status.get_error_details();
            let id = &details.error_info().unwrap().metadata["id"];
            assert!(status.message().contains(id.as_str()));
        }
    }
}

#[test]
fn a_status_fits_into_the_trailers_that_clients_accept() {
    let violations: Vec<Violation> = (0..10_000).map(|_| violation(&"ü ".repeat(300))).collect();
    let fields = (0..10_000).map(|n| FieldViolation::new(&format!("f[{n}]"), "%".repeat(99)));
    let known = (0..10_000).map(|n| format!("cp-{n}.istio-system")).collect();
    let refusals = [
        Refusal::Plan(violations.clone()),
        Refusal::Rollback(violations),
        Refusal::InvalidFields(fields.collect()),
        Refusal::PlaneNotFound { name: "`".repeat(5_000), known },
    ];
    for refusal in refusals {
        let many = !matches!(refusal, Refusal::PlaneNotFound { .. });
        let status = status(refusal.into());
        let headers = status.clone().into_http::<String>().into_parts().0.headers;
        // As HTTP/2 counts a list of headers.
        let size: usize =
            headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        assert!(size < 8_192, "{size}");
        let details = status.get_error_details();
        let omitted = details.error_info().unwrap().metadata.get("omitted").cloned();
        assert_eq!(omitted.is_some(), many);
    }
}
