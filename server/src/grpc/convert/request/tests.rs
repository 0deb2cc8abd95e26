use super::*;

const HASH: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const UUID: &str = "7D444840-9dc0-11d1-b245-5ffdce74fad2";

fn fields<T: std::fmt::Debug>(parsed: Result<T, Refusal>) -> Vec<String> {
    match parsed {
        Err(Refusal::InvalidFields(violations)) => {
            assert!(violations.iter().all(|violation| !violation.description.is_empty()));
            violations.into_iter().map(|violation| violation.field).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn spec() -> proto::MigrationSpec {
    proto::MigrationSpec {
        source: "1-30".to_owned(),
        target: "1-31".to_owned(),
        namespaces: vec!["shop".to_owned()],
        ..proto::MigrationSpec::default()
    }
}

#[test]
fn a_well_formed_creation_is_taken_as_it_is() {
    let request = proto::CreateMigrationRequest {
        spec: Some(spec()),
        plan_hash: HASH.to_owned(),
        request_id: UUID.to_owned(),
    };
    let creation = create(request).unwrap();
    assert_eq!(creation.request.rollout_timeout, ROLLOUT_TIMEOUT);
    assert_eq!(creation.ticket.request_id, UUID.to_ascii_lowercase());
}

#[test]
fn all_that_is_wrong_with_a_creation_is_said_at_once() {
    let spec = proto::MigrationSpec {
        source: String::new(),
        target: "1-31".to_owned(),
        namespaces: vec!["shop".to_owned(), "Shop".to_owned(), "shop".to_owned()],
        rollout_timeout: Some(well_known::Duration { seconds: -1, nanos: 0 }),
        windows: vec!["daily 22:00-04:00 UTC".to_owned(), "daily".to_owned()],
        ..proto::MigrationSpec::default()
    };
    let request = proto::CreateMigrationRequest {
        spec: Some(spec),
        plan_hash: HASH.to_ascii_uppercase(),
        request_id: "7D444840".to_owned(),
    };
    let mut found = fields(create(request));
    found.sort();
    assert_eq!(
        found,
        [
            "plan_hash",
            "request_id",
            "spec.namespaces[1]",
            "spec.namespaces[2]",
            "spec.rollout_timeout",
            "spec.source",
            "spec.windows[1]"
        ]
    );
    let empty = proto::CreateMigrationRequest::default();
    assert_eq!(fields(create(empty)), ["request_id", "plan_hash", "spec"]);
}

#[test]
fn durations_are_refused_outside_their_range() {
    for (seconds, nanos) in [
        (-1, 0),
        (0, -1),
        (1, -1),
        (i64::MIN, 0),
        (i64::MAX, 0),
        (1, 1_000_000_000),
        (0, 999_999_999),
    ] {
        let rollout_timeout = Some(well_known::Duration { seconds, nanos });
        let spec = Some(proto::MigrationSpec { rollout_timeout, ..spec() });
        let found = fields(plan(spec));
        assert_eq!(found, ["spec.rollout_timeout"], "{seconds} {nanos}");
    }
    let rollout_timeout = Some(well_known::Duration { seconds: 1, nanos: 5 });
    let spec = Some(proto::MigrationSpec { rollout_timeout, ..spec() });
    let request = plan(spec).unwrap();
    assert_eq!(request.rollout_timeout, Duration::new(1, 5));
}

#[test]
fn ids_have_one_form() {
    assert_eq!(id("m-0123456789").unwrap(), "m-0123456789");
    for wrong in ["", "m-", "m-012345678", "m-01234567890", "m-012345678G", "x-0123456789"] {
        assert_eq!(fields(id(wrong)), ["id"], "{wrong}");
    }
}

#[test]
fn request_ids_are_uuids() {
    assert!(is_uuid(UUID));
    for wrong in ["", "7d4448409dc011d1b2455ffdce74fad2", "7d444840-9dc0-11d1-b245-5ffdce74fadg"] {
        assert!(!is_uuid(wrong), "{wrong}");
    }
}

#[test]
fn a_retry_names_each_namespace_once() {
    let request = proto::RetryMovesRequest {
        migration_id: "shop".to_owned(),
        namespaces: vec!["a".to_owned(), "a".to_owned(), String::new()],
        force: false,
    };
    assert_eq!(fields(retry(request)), ["migration_id", "namespaces[1]", "namespaces[2]"]);
    let none = fields(retry(proto::RetryMovesRequest::default()));
    assert_eq!(none, ["migration_id", "namespaces"]);
}

#[test]
fn a_rollback_needs_a_ticket_only_when_it_is_to_be_made() {
    let request = proto::RollbackMigrationRequest {
        id: "m-0123456789".to_owned(),
        reason: "errors in shop".to_owned(),
        validate_only: true,
        ..Default::default()
    };
    assert_eq!(rollback(request.clone()).unwrap().ticket, None);
    let real = proto::RollbackMigrationRequest { validate_only: false, ..request };
    assert_eq!(fields(rollback(real)), ["request_id", "plan_hash"]);
    let empty = fields(rollback(proto::RollbackMigrationRequest::default()));
    assert_eq!(empty, ["id", "reason", "request_id", "plan_hash"]);
}
