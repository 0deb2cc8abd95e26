//! The one place where failures become gRPC statuses.
//!
//! Clients branch on code and reason; the details carry every variable of the message and what to
//! do. What Kubernetes itself said stays in the log. All of it has to fit into the trailers that
//! common clients accept (8 KiB), so long texts and lists are cut, and the cut is told.

use crate::failure::Failure;
use revshift_core::refusal::{FieldViolation, Refusal, Violation};
use revshift_proto::ERROR_DOMAIN;
use revshift_proto::v1::ErrorReason;
use std::collections::HashMap;
use std::error::Error;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Bytes of a message; it is sent twice.
const MOST_MESSAGE: usize = 800;
/// Bytes of one value among the details.
const MOST_VALUE: usize = 400;
/// Bytes of all violations together.
const MOST_VIOLATIONS: usize = 2_000;
/// When to try again after a passing trouble.
const RETRY: Duration = Duration::from_secs(1);

/// The status of a failed request.
pub(crate) fn status(failure: Failure) -> Status {
    let message = failure.to_string();
    match failure {
        Failure::Refused(refusal) => refused(refusal, &message),
        Failure::NotReady => unavailable(ErrorReason::NotReady, &message).finish(),
        Failure::CrdsMissing => {
            Answer::new(Code::FailedPrecondition, ErrorReason::CrdsMissing, &message).finish()
        }
        Failure::CrdsOutdated(version) => {
            Answer::new(Code::FailedPrecondition, ErrorReason::CrdsOutdated, &message)
                .with("version", &version.to_string())
                .finish()
        }
        Failure::PlanNewer { migration, version } => unavailable(ErrorReason::PlanNewer, &message)
            .with("migration", &migration)
            .with("version", &version.to_string())
            .finish(),
        Failure::ConcurrentWrite(migration) => {
            Answer::new(Code::Aborted, ErrorReason::ConcurrentWrite, &message)
                .with("migration", &migration)
                .finish()
        }
        Failure::Denied { action } => {
            Answer::new(Code::PermissionDenied, ErrorReason::KubernetesDenied, &message)
                .with("permission", &action)
                .finish()
        }
        Failure::Unavailable { action, source } => {
            tracing::warn!(action, error = chain(&source), "the Kubernetes API does not answer");
            unavailable(ErrorReason::KubernetesUnavailable, &message)
                .with("action", &action)
                .finish()
        }
        Failure::Kubernetes { action, source } => internal(&action, &chain(&source)),
        Failure::Malformed { object, why } => internal(&format!("read {object}"), &why),
    }
}

/// The status that ends a stream when the server shuts down.
pub(crate) fn draining() -> Status {
    unavailable(ErrorReason::Draining, "the server is shutting down").finish()
}

/// The status for a replica that does not catch up with a resume token.
pub(crate) fn behind() -> Status {
    let message = "this replica does not hold yet what the resume token says";
    unavailable(ErrorReason::NotReady, message).finish()
}

fn refused(refusal: Refusal, message: &str) -> Status {
    let answer = |code, reason| Answer::new(code, reason, message);
    match refusal {
        Refusal::InvalidFields(violations) => {
            answer(Code::InvalidArgument, ErrorReason::InvalidField).fields(violations)
        }
        Refusal::PageToken => answer(Code::InvalidArgument, ErrorReason::PageTokenInvalid),
        Refusal::ResumeToken => answer(Code::InvalidArgument, ErrorReason::ResumeTokenInvalid),
        Refusal::PlaneNotFound { name, known } => {
            answer(Code::NotFound, ErrorReason::PlaneNotFound)
                .with("name", &name)
                .with("known", &known.join(", "))
        }
        Refusal::PlaneAmbiguous { name, candidates } => {
            answer(Code::InvalidArgument, ErrorReason::PlaneAmbiguous)
                .with("name", &name)
                .with("candidates", &candidates.join(", "))
        }
        Refusal::PlanesIdentical(revision) => {
            answer(Code::InvalidArgument, ErrorReason::PlanesIdentical).with("revision", &revision)
        }
        Refusal::PlaneUnavailable { revision, status, error } => {
            answer(Code::FailedPrecondition, ErrorReason::PlaneUnavailable)
                .with("revision", &revision)
                .with("status", &status)
                .with("error", &error)
        }
        Refusal::Findings(violations) => {
            answer(Code::FailedPrecondition, ErrorReason::CheckRefused).preconditions(violations)
        }
        Refusal::Plan(violations) => {
            answer(Code::FailedPrecondition, ErrorReason::PlanRefused).preconditions(violations)
        }
        Refusal::NothingSelected(source) => {
            answer(Code::FailedPrecondition, ErrorReason::NothingSelected).with("source", &source)
        }
        Refusal::TooMany { found, most } => {
            answer(Code::InvalidArgument, ErrorReason::TooManyNamespaces)
                .with("found", &found.to_string())
                .with("most", &most.to_string())
        }
        Refusal::Rollback(violations) => {
            answer(Code::FailedPrecondition, ErrorReason::RollbackRefused).preconditions(violations)
        }
        Refusal::Retirement(violations) => {
            answer(Code::FailedPrecondition, ErrorReason::RetirementRefused)
                .preconditions(violations)
        }
        Refusal::RetirementNotFound(id) => {
            answer(Code::NotFound, ErrorReason::RetirementNotFound).with("retirement", &id)
        }
        Refusal::RetirementState { retirement, state, why } => {
            answer(Code::FailedPrecondition, ErrorReason::RetirementStateConflict)
                .with("retirement", &retirement)
                .with("state", &state)
                .with("why", &why)
        }
        Refusal::PlanChanged { sent, now } => {
            answer(Code::Aborted, ErrorReason::PlanChanged).with("sent", &sent).with("now", &now)
        }
        Refusal::RequestIdReused(migration) => {
            answer(Code::AlreadyExists, ErrorReason::RequestIdReused).with("migration", &migration)
        }
        Refusal::MigrationNotFound(migration) => {
            answer(Code::NotFound, ErrorReason::MigrationNotFound).with("migration", &migration)
        }
        Refusal::State { migration, state, why } => {
            answer(Code::FailedPrecondition, ErrorReason::StateConflict)
                .with("migration", &migration)
                .with("state", &state)
                .with("why", &why)
        }
        Refusal::NamespaceNotFound(namespace) => {
            answer(Code::NotFound, ErrorReason::NamespaceNotFound).with("namespace", &namespace)
        }
        Refusal::MoveNotFound { migration, namespace } => {
            answer(Code::NotFound, ErrorReason::MoveNotFound)
                .with("migration", &migration)
                .with("namespace", &namespace)
        }
    }
    .finish()
}

fn unavailable(reason: ErrorReason, message: &str) -> Answer {
    let mut answer = Answer::new(Code::Unavailable, reason, message);
    answer.details.set_retry_info(Some(RETRY));
    answer
}

/// A defect: the client learns where the log tells more, and nothing else.
fn internal(action: &str, error: &str) -> Status {
    let id = format!("{:016x}", rand::random::<u64>());
    tracing::error!(id, action, error, "a request failed by a defect");
    let message = format!("internal error `{id}`");
    Answer::new(Code::Internal, ErrorReason::Internal, &message).with("id", &id).finish()
}

/// What to do about each reason.
fn remedy(reason: ErrorReason) -> &'static str {
    match reason {
        ErrorReason::Unspecified => "",
        ErrorReason::InvalidField => "mend the fields that are named",
        ErrorReason::PageTokenInvalid => "list again from the first page",
        ErrorReason::ResumeTokenInvalid => "watch again without a resume token",
        ErrorReason::PlaneNotFound => "name one that ListControlPlanes shows",
        ErrorReason::PlaneAmbiguous => "name one of the candidates by its revision",
        ErrorReason::PlanesIdentical => "name another plane as the target",
        ErrorReason::PlaneUnavailable => "mend the target plane, then repeat",
        ErrorReason::CheckRefused => {
            "mend what is named; or allow it by its code, with a reason, where you know better"
        }
        ErrorReason::PlanRefused => "mend what is named, or leave these namespaces out",
        ErrorReason::NothingSelected => "look at what ListNamespaces shows of the source plane",
        ErrorReason::TooManyNamespaces => "move fewer of them at a time",
        ErrorReason::PlanChanged => "call PlanMigration again and look at what changed",
        ErrorReason::RequestIdReused => "choose a new request id",
        ErrorReason::MigrationNotFound => "name one that ListMigrations shows",
        ErrorReason::StateConflict => "call GetMigration: its message says what helps now",
        ErrorReason::MoveNotFound => "name a namespace that ListMoves shows",
        ErrorReason::RollbackRefused => "mend what is named, or roll back only other namespaces",
        ErrorReason::RetirementRefused => "take away what is named; PlanRetirement says how",
        ErrorReason::RetirementNotFound => "name one that ListRetirements shows",
        ErrorReason::RetirementStateConflict => "call GetRetirement and look where it stands",
        ErrorReason::ConcurrentWrite => "read the migration again, then repeat",
        ErrorReason::NotReady => "repeat in a moment, or at another replica",
        ErrorReason::KubernetesUnavailable => "repeat in a moment; the request may have been done",
        ErrorReason::KubernetesDenied => "grant revshift's account what deploy/ lists",
        ErrorReason::CrdsMissing => {
            "install deploy/crds.yaml, or start the server with --install-crds"
        }
        ErrorReason::CrdsOutdated => {
            "apply this version's deploy/crds.yaml, or start the server once with --install-crds"
        }
        ErrorReason::NamespaceNotFound => "name one that ListNamespaces shows",
        ErrorReason::PlanNewer => "repeat at a replica of the newer version",
        ErrorReason::Draining => "repeat at another replica, or in a moment; resume streams",
        ErrorReason::Internal => "look for the id in the server's log, and report it",
    }
}

/// The name by which a reason is sent.
fn name(reason: ErrorReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("ERROR_REASON_").unwrap_or(name)
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// The longest beginning of `text` that fits, with a mark where it was cut.
fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(most)])
}

struct Answer {
    code: Code,
    reason: ErrorReason,
    message: String,
    metadata: HashMap<String, String>,
    details: ErrorDetails,
    room: usize,
    omitted: usize,
}

impl Answer {
    fn new(code: Code, reason: ErrorReason, message: &str) -> Self {
        Self {
            code,
            reason,
            message: cut(message, MOST_MESSAGE),
            metadata: HashMap::from([("remedy".to_owned(), remedy(reason).to_owned())]),
            details: ErrorDetails::new(),
            room: MOST_VIOLATIONS,
            omitted: 0,
        }
    }

    fn with(mut self, key: &str, value: &str) -> Self {
        self.metadata.insert(key.to_owned(), cut(value, MOST_VALUE));
        self
    }

    fn fields(mut self, violations: Vec<FieldViolation>) -> Self {
        for FieldViolation { field, description } in violations {
            let [field, description] = [field, description].map(|text| cut(&text, MOST_VALUE));
            if self.fits(field.len() + description.len()) {
                self.details.add_bad_request_violation(field, description);
            }
        }
        self
    }

    fn preconditions(mut self, violations: Vec<Violation>) -> Self {
        for Violation { code, subject, description } in violations {
            let [subject, description] = [subject, description].map(|text| cut(&text, MOST_VALUE));
            if self.fits(code.as_str().len() + subject.len() + description.len()) {
                let code = code.as_str();
                self.details.add_precondition_failure_violation(code, subject, description);
            }
        }
        self
    }

    /// Whether a violation of that length still fits; none does after one that did not.
    fn fits(&mut self, length: usize) -> bool {
        /// Bytes of a violation's tags and lengths.
        const FRAME: usize = 10;
        match self.room.checked_sub(length + FRAME).filter(|_| self.omitted == 0) {
            Some(room) => self.room = room,
            None => self.omitted += 1,
        }
        self.omitted == 0
    }

    fn finish(mut self) -> Status {
        if self.omitted > 0 {
            self.metadata.insert("omitted".to_owned(), self.omitted.to_string());
        }
        self.details.set_error_info(name(self.reason), ERROR_DOMAIN, self.metadata);
        Status::with_error_details(self.code, self.message, self.details)
    }
}

#[cfg(test)]
mod tests;
