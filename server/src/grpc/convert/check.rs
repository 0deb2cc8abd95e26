//! Checks on the wire.

use super::plan::finding;
use crate::control::Checked;
use revshift_core::allowance::Allowance;
use revshift_core::check;
use revshift_proto::v1 as proto;
use revshift_proto::v1::check_migration_response::Part;

/// The parts of what a check tells, in the order in which they are sent.
pub(crate) fn parts(checked: Checked) -> impl Iterator<Item = proto::CheckMigrationResponse> {
    let Checked { scope, findings, allowances } = checked;
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let header = proto::CheckHeader {
        source: scope.source.to_string(),
        target: scope.target.to_string(),
        namespaces: count(scope.namespaces.len()),
        forbidding: count(check::forbidding(&findings, &allowances).len()),
        allowed_findings: allowances.iter().map(allowed).collect(),
    };
    std::iter::once(Part::Header(header))
        .chain(findings.into_iter().map(|found| Part::Finding(finding(found))))
        .map(|part| proto::CheckMigrationResponse { part: Some(part) })
}

/// An error that was allowed.
pub(crate) fn allowed(Allowance { code, reason }: &Allowance) -> proto::AllowedFinding {
    proto::AllowedFinding {
        code: code.as_str().to_owned(),
        reason: reason.clone(),
        by: String::new(),
    }
}
