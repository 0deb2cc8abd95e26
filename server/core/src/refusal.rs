//! Why a request is refused before anything is stored.

use crate::problem::Code;
use thiserror::Error;

/// A refusal; nothing was changed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Refusal {
    /// Fields are missing or malformed.
    #[error("invalid request: {}", join(.0, |v| format!("{}: {}", v.field, v.description)))]
    InvalidFields(Vec<FieldViolation>),
    /// The page token is not one of this method.
    #[error("the page token is malformed or belongs to another call")]
    PageToken,
    /// The resume token is not one of a watch.
    #[error("the resume token is malformed")]
    ResumeToken,
    /// No such plane.
    #[error("no control plane `{name}`; there are {}", list(known))]
    PlaneNotFound {
        /// The name that was given.
        name: String,
        /// The revisions that exist.
        known: Vec<String>,
    },
    /// A short name fits several planes.
    #[error("`{name}` may mean {}; name one of them in full", list(candidates))]
    PlaneAmbiguous {
        /// The name that was given.
        name: String,
        /// The revisions that it may mean.
        candidates: Vec<String>,
    },
    /// Source and target are the same plane.
    #[error("source and target are both `{0}`")]
    PlanesIdentical(String),
    /// The target cannot take namespaces.
    #[error("control plane `{revision}` is not Available but {status}{}", detail(error))]
    PlaneUnavailable {
        /// Its revision.
        revision: String,
        /// Its status.
        status: String,
        /// Its own error message; may be empty.
        error: String,
    },
    /// Namespaces cannot be moved.
    #[error("the plan is refused: {}", join(.0, ToString::to_string))]
    Plan(Vec<Violation>),
    /// Errors of the check that nobody has allowed.
    #[error("the check forbids it: {}", join(.0, ToString::to_string))]
    Findings(Vec<Violation>),
    /// The rule of the selection finds nothing.
    #[error("no namespace that the selection takes is on `{0}`")]
    NothingSelected(String),
    /// The rule of the selection finds too much.
    #[error("the selection takes {found} namespaces; at most {most} fit into one migration")]
    TooMany {
        /// So many were found.
        found: usize,
        /// So many fit.
        most: usize,
    },
    /// Namespaces cannot be rolled back.
    #[error("the rollback is refused: {}", join(.0, ToString::to_string))]
    Rollback(Vec<Violation>),
    /// A plane cannot be retired.
    #[error("the retirement is refused: {}", join(.0, ToString::to_string))]
    Retirement(Vec<Violation>),
    /// No such retirement.
    #[error("no retirement `{0}`")]
    RetirementNotFound(String),
    /// The present state does not allow to cancel the retirement.
    #[error("retirement `{retirement}` is {state}: {why}")]
    RetirementState {
        /// The retirement.
        retirement: String,
        /// Its state.
        state: String,
        /// Why the command makes no sense now.
        why: String,
    },
    /// The plan made now is another one.
    #[error("the plan has changed: its hash is now `{now}`, not `{sent}`; plan again")]
    PlanChanged {
        /// The hash that was sent.
        sent: String,
        /// The hash of the plan made now.
        now: String,
    },
    /// The request id belongs to another request.
    #[error("request id was already used for another request, migration `{0}`")]
    RequestIdReused(String),
    /// No such migration.
    #[error("no migration `{0}`")]
    MigrationNotFound(String),
    /// The present state does not allow the command.
    #[error("migration `{migration}` is {state}: {why}")]
    State {
        /// The migration.
        migration: String,
        /// Its state.
        state: String,
        /// Why the command makes no sense now.
        why: String,
    },
    /// No such namespace.
    #[error("no namespace `{0}`")]
    NamespaceNotFound(String),
    /// The migration does not move this namespace.
    #[error("migration `{migration}` does not move namespace `{namespace}`")]
    MoveNotFound {
        /// The migration.
        migration: String,
        /// The namespace.
        namespace: String,
    },
}

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// Path of the field.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

impl FieldViolation {
    /// A violation of `field`.
    pub fn new(field: &str, description: impl Into<String>) -> Self {
        Self { field: field.to_owned(), description: description.into() }
    }
}

/// Why one object forbids a plan.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{} {subject}: {description}", code.as_str())]
pub struct Violation {
    /// What kind of obstacle.
    pub code: Code,
    /// The object, as `kind/name` or `kind/namespace/name`.
    pub subject: String,
    /// What is wrong.
    pub description: String,
}

fn join<T>(items: &[T], show: impl Fn(&T) -> String) -> String {
    items.iter().map(show).collect::<Vec<_>>().join("; ")
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn detail(error: &str) -> String {
    if error.is_empty() { String::new() } else { format!(": {error}") }
}
