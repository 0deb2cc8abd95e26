//! How commands fail, and what is said then: what happened, why, and what to do.
//!
//! Branches on the reason that the server sends, never on the text of its message.

mod hint;

use std::{error::Error, io};

use revshift_proto::{ERROR_DOMAIN, v1::ErrorReason};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, ErrorInfo, StatusExt};

use crate::{
    ExitStatus,
    output::{
        Io,
        style::{self, Tone},
    },
};

/// Why a command did not do what it was told.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command cannot be carried out as it was given.
    Usage(String),
    /// A server refused.
    Refused(Box<Status>),
    /// A server's answer makes no sense.
    Broken(String),
    /// No server answered: their addresses with what happened there.
    Unreachable(Vec<(String, String)>),
    /// The output could not be written.
    Output(io::Error),
}

impl Failure {
    /// The reason that the server gave.
    pub(crate) fn reason(&self) -> Option<ErrorReason> {
        match self {
            Self::Refused(status) => reason(status),
            Self::Usage(_) | Self::Broken(_) | Self::Unreachable(_) | Self::Output(_) => None,
        }
    }

    /// Says what went wrong, and how the program ends by it.
    pub(crate) fn report(&self, io: &mut Io) -> ExitStatus {
        let (status, message, mut lines, hint) = match self {
            Self::Usage(message) => {
                let hint = "`revshift help` explains the commands and their options";
                (ExitStatus::Usage, message.clone(), Vec::new(), Some(hint.to_owned()))
            }
            Self::Refused(status) => {
                let details = status.get_error_details();
                let hint = hint(status, &details);
                let violations = violations(&details);
                (ExitStatus::Failed, summary(&message(status), &violations), violations, hint)
            }
            Self::Broken(message) => {
                let hint = "`revshift version` shows whether client and server fit each other";
                (ExitStatus::Failed, message.clone(), Vec::new(), Some(hint.to_owned()))
            }
            Self::Unreachable(causes) => {
                let lines = causes.iter().map(|(server, why)| format!("{server}: {why}")).collect();
                let hint = "start revshift-server, or say with --server or REVSHIFT_SERVER where \
                            it listens";
                let message = "no server answered".to_owned();
                (ExitStatus::Unreachable, message, lines, Some(hint.to_owned()))
            }
            // Whoever reads the output has seen enough.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                return ExitStatus::Done;
            }
            Self::Output(error) => {
                let message = format!("cannot write the output: {error}");
                (ExitStatus::Failed, message, Vec::new(), None)
            }
        };
        let color = io.stderr.is_colored();
        io.stderr.say(&format!(
            "{} {}",
            style::paint("error:", Tone::Bad, color),
            style::one_line(&message)
        ));
        for line in &mut lines {
            io.stderr.say(&format!("  {}", style::one_line(line)));
        }
        if let Some(hint) = hint {
            let label = style::paint("hint:", Tone::Note, color);
            io.stderr.say(&format!("{label} {}", style::one_line(&hint)));
        }
        status
    }
}

/// The reason in a status of a revshift server.
pub(crate) fn reason(status: &Status) -> Option<ErrorReason> {
    let details = status.get_error_details();
    let info = ours(&details)?;
    ErrorReason::from_str_name(&info.reason)
        .or_else(|| ErrorReason::from_str_name(&format!("ERROR_REASON_{}", info.reason)))
}

fn ours(details: &ErrorDetails) -> Option<&ErrorInfo> {
    details.error_info().filter(|info| info.domain == ERROR_DOMAIN)
}

/// An error with all its causes.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = match error.downcast_ref::<Status>() {
        // A status displays its code, details and metadata too.
        Some(status) => message(status),
        None => error.to_string(),
    };
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        // Some libraries repeat the cause in their own text.
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

fn message(status: &Status) -> String {
    match status.message() {
        "" => match status.code() {
            Code::Unimplemented => "the server does not know this method".to_owned(),
            code => code.description().to_owned(),
        },
        message => message.to_owned(),
    }
}

/// The message up to where it begins to tell the violations, which follow one a line: servers repeat
/// them for clients that show nothing else.
fn summary(message: &str, violations: &[String]) -> String {
    let told = violations.first().and_then(|first| message.find(first.as_str()));
    let end = told.filter(|end| *end > 0).unwrap_or(message.len());
    message[..end].trim_end_matches([' ', ':']).to_owned()
}

fn violations(details: &ErrorDetails) -> Vec<String> {
    let fields = details.bad_request().into_iter().flat_map(|bad| &bad.field_violations);
    let preconditions = details.precondition_failure().into_iter().flat_map(|bad| &bad.violations);
    let omitted = ours(details).and_then(|info| info.metadata.get("omitted"));
    fields
        .map(|one| format!("{}: {}", one.field, one.description))
        .chain(
            preconditions.map(|one| format!("{} {}: {}", one.r#type, one.subject, one.description)),
        )
        .chain(omitted.map(|number| format!("… and {number} more")))
        .collect()
}

fn hint(status: &Status, details: &ErrorDetails) -> Option<String> {
    match (reason(status), ours(details)) {
        (Some(reason), Some(info)) => hint::of(reason, &info.metadata),
        // A reason that only newer servers know comes with its remedy.
        (None, Some(info)) => info.metadata.get("remedy").cloned(),
        _ if status.code() == Code::Unimplemented => {
            Some("`revshift version` shows whether the server is older than this client".to_owned())
        }
        _ => None,
    }
}
