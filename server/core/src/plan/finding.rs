//! What a plan or a check finds.

use super::{Entry, PlannedWorkload};
use crate::migration::{Leftover, LeftoverReason};
use crate::problem::Code;
use crate::refusal::Violation;

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Good to know.
    Info,
    /// May hurt, or is not what somebody might expect.
    Warning,
    /// Would hurt: it stops a migration, unless whoever asks for it allows it.
    Error,
}

/// A result of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How grave it is.
    pub severity: Severity,
    /// What was found.
    pub code: Code,
    /// The object, as `kind/name` or `kind/namespace/name`.
    pub object: String,
    /// What was found, in words.
    pub message: String,
}

impl From<Violation> for Finding {
    /// What forbids a plan, as an error among others.
    fn from(violation: Violation) -> Self {
        let Violation { code, subject: object, description: message } = violation;
        Self { severity: Severity::Error, code, object, message }
    }
}

/// What the entries of a plan tell.
pub(super) fn findings(entry: &Entry) -> Vec<Finding> {
    let external = entry.label_owner.iter().map(|owner| Finding {
        severity: Severity::Warning,
        code: Code::NamespaceExternal,
        object: format!("Namespace/{}", entry.namespace),
        message: format!("its label is kept by {owner}; revshift waits until it is set there"),
    });
    let evicted = entry.workloads.iter().filter_map(|workload| {
        let PlannedWorkload { kind, name, reason, .. } = workload;
        let object = format!("{kind}/{}/{name}", entry.namespace);
        let message = format!("{reason}; its pods are evicted one at a time");
        Some(Finding { severity: Severity::Info, code: workload.code?, object, message })
    });
    let left = entry.leftovers.iter().map(|leftover| {
        let code = match leftover.reason {
            LeftoverReason::Job => Code::LeftoverJob,
            LeftoverReason::CronJob => Code::LeftoverCronJob,
            LeftoverReason::BarePod => Code::LeftoverBarePod,
            LeftoverReason::ScaledToZero => Code::LeftoverScaledToZero,
            LeftoverReason::Skipped => Code::LeftoverSkipped,
        };
        let object = format!("{}/{}/{}", leftover.kind, entry.namespace, leftover.name);
        Finding { severity: Severity::Info, code, object, message: explain(leftover) }
    });
    external.chain(evicted).chain(left).collect()
}

fn explain(leftover: &Leftover) -> String {
    let pods = leftover.pods;
    match leftover.reason {
        LeftoverReason::Job => format!("{pods} of its pods keep their sidecar until they end"),
        LeftoverReason::CronJob => format!("{pods} pods of its present run keep their sidecar"),
        LeftoverReason::BarePod => "it has no controller that would replace it".to_owned(),
        LeftoverReason::ScaledToZero => "it has no replicas to restart".to_owned(),
        LeftoverReason::Skipped => {
            format!("its owner wants it left alone: {pods} pods keep their sidecar")
        }
    }
}
