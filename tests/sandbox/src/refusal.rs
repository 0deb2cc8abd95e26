//! The error answers of an API server: HTTP code, reason, message and details.
//!
//! Texts follow apimachinery, since clients show them and some match on them.

use serde_json::{Value, json};

use crate::kind::Kind;
use crate::object;

/// A request that the API server does not grant.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    pub(crate) details: Value,
}

impl Refusal {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null }
    }

    pub(crate) fn not_found(kind: &Kind, name: &str) -> Self {
        Self::about(kind, name, 404, "NotFound", &format!("{} \"{name}\" not found", kind.resource))
    }

    pub(crate) fn already_exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", kind.resource);
        Self::about(kind, name, 409, "AlreadyExists", &message)
    }

    pub(crate) fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message =
            format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.resource);
        Self::about(kind, name, 409, "Conflict", &message)
    }

    pub(crate) fn modified(kind: &Kind, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version \
                   and try again";
        Self::conflict(kind, name, why)
    }

    pub(crate) fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("{} \"{name}\" is forbidden: {why}", kind.resource);
        Self::about(kind, name, 403, "Forbidden", &message)
    }

    pub(crate) fn invalid(kind: &Kind, name: &str, field: &str, why: &str) -> Self {
        let subject = if kind.group.is_empty() {
            kind.kind.clone()
        } else {
            format!("{}.{}", kind.kind, kind.group)
        };
        let message = format!("{subject} \"{name}\" is invalid: {field}: {why}");
        let mut refusal = Self::about(kind, name, 422, "Invalid", &message);
        // What is invalid is the object, not the resource that it was sent to.
        refusal.details["kind"] = json!(kind.kind);
        if name.is_empty() {
            object::remove(&mut refusal.details, "/name");
        }
        refusal.details["causes"] =
            json!([{ "reason": cause(why), "message": why, "field": field }]);
        refusal
    }

    /// Options of a list that do not fit together.
    pub(crate) fn invalid_list_options(field: &str, why: &str) -> Self {
        let message = format!("ListOptions.meta.k8s.io \"\" is invalid: {field}: {why}");
        let mut refusal = Self::new(422, "Invalid", message);
        refusal.details = json!({
            "group": "meta.k8s.io",
            "kind": "ListOptions",
            "causes": [{ "reason": cause(why), "message": why, "field": field }],
        });
        refusal
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn internal(message: &str) -> Self {
        let mut refusal =
            Self::new(500, "InternalError", format!("Internal error occurred: {message}"));
        refusal.details = json!({ "causes": [{ "message": message }] });
        refusal
    }

    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub(crate) fn throttled(retry_after: Option<u64>) -> Self {
        let mut refusal =
            Self::new(429, "TooManyRequests", "Too many requests, please try again later.");
        if let Some(seconds) = retry_after {
            refusal.details = json!({ "retryAfterSeconds": seconds });
        }
        refusal
    }

    pub(crate) fn timeout() -> Self {
        let message = "Timeout: request did not complete within requested timeout - context \
                       deadline exceeded";
        Self::new(504, "Timeout", message)
    }

    /// What the sandbox does not simulate: a test that meets it has found a gap, not a bug.
    pub(crate) fn not_simulated(request: &str) -> Self {
        Self::new(501, "NotImplemented", format!("the sandbox does not simulate {request}"))
    }

    /// The `Status` object that goes over the wire.
    pub(crate) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        });
        if self.details.is_object() {
            status["details"] = self.details.clone();
        }
        if self.reason.is_empty() {
            object::remove(&mut status, "/reason");
        }
        status
    }

    fn about(kind: &Kind, name: &str, code: u16, reason: &'static str, message: &str) -> Self {
        let mut details = json!({ "name": name, "kind": kind.plural });
        if !kind.group.is_empty() {
            details["group"] = json!(kind.group);
        }
        Self { code, reason, message: message.to_owned(), details }
    }
}

/// The reason that goes with the words of a fault.
fn cause(why: &str) -> &'static str {
    if why.starts_with("Required value") {
        "FieldValueRequired"
    } else if why.starts_with("Unsupported value") {
        "FieldValueNotSupported"
    } else if why.starts_with("Too many") {
        "FieldValueTooMany"
    } else if why.starts_with("Forbidden") {
        "FieldValueForbidden"
    } else if why.contains("must be of type") {
        "FieldValueTypeInvalid"
    } else {
        "FieldValueInvalid"
    }
}
