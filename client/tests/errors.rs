//! Refusals, servers that do not answer, and arguments that make no sense.

use std::collections::HashMap;

use revshift::ExitStatus::{Done, Failed, Unreachable, Usage};
use revshift_proto::v1 as proto;
use tokio::time::Instant;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, PreconditionViolation, StatusExt};

use crate::{fake::Fake, terminal::revshift};

fn details(reason: &str, metadata: &[(&str, &str)]) -> ErrorDetails {
    let metadata: HashMap<String, String> =
        metadata.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
    ErrorDetails::with_error_info(reason, "revshift.dev", metadata)
}

/// A refusal as revshift-server sends it.
pub(crate) fn refusal(
    code: Code,
    reason: &str,
    message: &str,
    metadata: &[(&str, &str)],
) -> Status {
    Status::with_error_details(code, message, details(reason, metadata))
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_what_happened_and_what_to_do() {
    for (code, reason, metadata, hint) in [
        (Code::NotFound, "MIGRATION_NOT_FOUND", None, "`revshift migrations` lists"),
        (Code::NotFound, "ERROR_REASON_MIGRATION_NOT_FOUND", None, "`revshift migrations` lists"),
        (
            Code::FailedPrecondition,
            "STATE_CONFLICT",
            Some(("state", "SUCCEEDED")),
            "the migration is SUCCEEDED; ",
        ),
        (
            Code::PermissionDenied,
            "KUBERNETES_DENIED",
            Some(("permission", "patch namespaces")),
            "grant revshift's own account in the cluster: patch namespaces",
        ),
        (Code::Internal, "INTERNAL", Some(("id", "e-42")), "the server's log has `e-42`"),
        (Code::Aborted, "SOMETHING_NEW", Some(("remedy", "do this")), "do this"),
        (Code::Unavailable, "KUBERNETES_UNAVAILABLE", None, "repeat in a moment"),
    ] {
        let status = refusal(code, reason, "it was refused", metadata.as_slice());
        let server = Fake::default().refuse::<proto::GetMigrationResponse>(status.clone());
        let server = (0..9)
            .fold(server, |server, _| server.refuse::<proto::GetMigrationResponse>(status.clone()));
        let end = revshift("status m-7").at(&server).run().await;
        end.is(Failed).printed("").mentions("error: it was refused\nhint: ").mentions(hint);
    }
}

#[tokio::test(start_paused = true)]
async fn every_violation_has_a_line() {
    let mut details = details("PLAN_REFUSED", &[("omitted", "7")]);
    details.set_precondition_failure(vec![
        PreconditionViolation::new("RS1101", "Namespace/a", "is labelled by a tag"),
        PreconditionViolation::new("RS1102", "Namespace/b", "does not exist"),
    ]);
    let status = Status::with_error_details(Code::FailedPrecondition, "cannot be moved", details);
    let server = Fake::default().refuse_stream::<proto::PlanMigrationResponse>(status);
    let end = revshift("migrate --from x --to y -n a -n b --dry-run").at(&server).run().await;
    end.is(Failed).said(
        "
        error: cannot be moved
          RS1101 Namespace/a: is labelled by a tag
          RS1102 Namespace/b: does not exist
          … and 7 more
        hint: mend what is listed, or leave these namespaces out; --dry-run checks again
        ",
    );
}

#[tokio::test(start_paused = true)]
async fn malformed_fields_are_named() {
    let mut details = details("INVALID_FIELD", &[]);
    details.set_bad_request(vec![FieldViolation::new("spec.namespaces[1]", "is a duplicate")]);
    let status = Status::with_error_details(Code::InvalidArgument, "malformed request", details);
    let server = Fake::default().refuse_stream::<proto::PlanMigrationResponse>(status);
    let end = revshift("migrate --from x --to y -n a -n a --yes").at(&server).run().await;
    end.is(Failed).said("error: malformed request\n  spec.namespaces[1]: is a duplicate\n");
}

#[tokio::test(start_paused = true)]
async fn a_reason_of_another_domain_is_no_reason_of_ours() {
    let details = ErrorDetails::with_error_info("PLANE_NOT_FOUND", "example.com", HashMap::new());
    let status = Status::with_error_details(Code::NotFound, "no such route", details);
    let server = Fake::default().refuse::<proto::GetMigrationResponse>(status);
    revshift("status m-7").at(&server).run().await.is(Failed).said("error: no such route\n");
}

#[tokio::test(start_paused = true)]
async fn nobody_answers() {
    let started = Instant::now();
    let end = revshift("planes --server a:1,http://b:2").run().await;
    end.is(Unreachable).printed("").said(
        "
        error: no server answered
          a:1: connection refused
          http://b:2: connection refused
        hint: start revshift-server, or say with --server or REVSHIFT_SERVER where it listens
        ",
    );
    assert_eq!(started.elapsed().as_secs(), 0);
    let end = revshift("version").run().await;
    end.is(Unreachable).printed("client 0.1.0\n");
}

#[tokio::test(start_paused = true)]
async fn the_next_server_is_asked_when_one_is_down_or_not_ready() {
    let status = refusal(Code::Unavailable, "NOT_READY", "still reading", &[]);
    let starting = Fake::default().refuse::<proto::ListMigrationsResponse>(status);
    let ready = Fake::default().answer(proto::ListMigrationsResponse::default());
    let run = revshift("migrations").settings(|it| it.server = Some("a:1, b:2 ,c:3".into()));
    let end = run.with("b:2", &starting).with("c:3", &ready).run().await;
    end.is(Done);
    assert_eq!((starting.number_of_requests(), ready.number_of_requests()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn addresses_that_make_no_sense_are_a_usage_error() {
    for (server, why) in [
        ("https://a:1", "TLS is not supported yet"),
        ("a:1,https://b:1", "`https://b:1`: TLS is not supported yet"),
        ("a", "`a` is neither ADDR:PORT nor http://ADDR:PORT"),
        ("ftp://a:1", "is neither"),
        ("http://a:1/path", "is neither"),
        ("a b:1", "is not ADDR:PORT"),
        (",", "names no server"),
    ] {
        let end = revshift("planes --server").arg(server).run().await;
        end.is(Usage).printed("").mentions(why);
    }
}

#[tokio::test(start_paused = true)]
async fn durations_that_make_no_sense_are_a_usage_error() {
    for text in ["10", "-5m", "soon"] {
        let run = revshift("migrate --from a --to b -n c --dry-run");
        let end = run.arg(&format!("--rollout-timeout={text}")).run().await;
        end.is(Usage).mentions("write a duration such as 90s, 10m or 1h30m");
    }
}
