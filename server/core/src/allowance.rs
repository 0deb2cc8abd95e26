//! Errors that whoever asks for a migration takes upon himself.

use crate::problem::Code;
use crate::refusal::FieldViolation;

/// A finding that does not stop a migration, though it is an error, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// The code of such findings.
    pub code: Code,
    /// Why they may be, in the words of whoever asks for the migration.
    pub reason: String,
}

/// Reads allowances as they are asked for: code and reason.
pub fn parse(asked: &[(String, String)]) -> Result<Vec<Allowance>, Vec<FieldViolation>> {
    let (mut allowances, mut violations) = (Vec::new(), Vec::new());
    for (index, (code, reason)) in asked.iter().enumerate() {
        let field = |name: &str| format!("spec.allowed_findings[{index}].{name}");
        if reason.trim().is_empty() {
            violations.push(FieldViolation::new(&field("reason"), "must say why"));
        }
        if reason.len() > MOST_BYTES {
            let why = format!("must be at most {MOST_BYTES} bytes");
            violations.push(FieldViolation::new(&field("reason"), why));
        }
        let Some(code) = Code::parse(code) else {
            let why = format!("`{code}` is no code of a finding, such as RS2013");
            violations.push(FieldViolation::new(&field("code"), why));
            continue;
        };
        if !code.can_be_allowed() {
            let why = format!(
                "`{}` cannot be allowed: it makes a move impossible; {}",
                code.as_str(),
                code.remedy()
            );
            violations.push(FieldViolation::new(&field("code"), why));
        }
        if allowances.iter().any(|it: &Allowance| it.code == code) {
            violations.push(FieldViolation::new(&field("code"), "is named twice"));
        }
        allowances.push(Allowance { code, reason: reason.clone() });
    }
    if violations.is_empty() { Ok(allowances) } else { Err(violations) }
}

/// The longest reason.
const MOST_BYTES: usize = 500;
