//! Requests for retirements, parsed.

use super::{Fields, is_hex};
use crate::control::{RetirementRequest, Ticket};
use revshift_core::problem::Code;
use revshift_core::refusal::Refusal;
use revshift_core::retirement::{ALLOWABLE, ROLLBACK_WINDOW};
use revshift_proto::v1 as proto;
use std::collections::BTreeSet;

/// Bytes of a reason.
const MOST_REASON: usize = 500;

/// What is to be planned.
pub(crate) fn plan(request: proto::PlanRetirementRequest) -> Result<RetirementRequest, Refusal> {
    let mut fields = Fields::default();
    let request = fields.retirement(request.spec);
    fields.finish().map(|()| request)
}

/// What is to be created.
pub(crate) fn create(
    request: proto::CreateRetirementRequest,
) -> Result<(RetirementRequest, Ticket), Refusal> {
    let mut fields = Fields::default();
    let ticket = fields.ticket(&request.request_id, &request.plan_hash);
    let request = fields.retirement(request.spec);
    fields.finish().map(|()| (request, ticket))
}

/// A retirement's id.
pub(crate) fn id(id: &str) -> Result<String, Refusal> {
    let mut fields = Fields::default();
    match id.strip_prefix("r-") {
        _ if id.is_empty() => fields.refuse("id", "is required"),
        Some(digits) if is_hex(digits, 10) => {}
        _ => fields.refuse("id", "must be `r-` and 10 hexadecimal digits"),
    }
    fields.finish().map(|()| id.to_owned())
}

impl Fields {
    fn retirement(&mut self, spec: Option<proto::RetirementSpec>) -> RetirementRequest {
        let spec = spec.unwrap_or_default();
        self.plane("spec.revision", &spec.revision);
        let window = self.duration("spec.rollback_window", spec.rollback_window);
        let mut allowed = Vec::new();
        let mut seen = BTreeSet::new();
        for (index, proto::AllowedFinding { code, reason, .. }) in spec.allowed.iter().enumerate() {
            let field = format!("spec.allowed[{index}]");
            if reason.trim().is_empty() || reason.len() > MOST_REASON {
                let why = format!("must say why, in at most {MOST_REASON} bytes");
                self.refuse(&format!("{field}.reason"), why);
            }
            let known = Code::parse(code).filter(|code| ALLOWABLE.contains(code));
            if let Some(code) = known.filter(|code| seen.insert(*code)) {
                allowed.push((code, reason.trim().to_owned()));
                continue;
            }
            let names: Vec<&str> = ALLOWABLE.iter().map(|code| code.as_str()).collect();
            let why = format!("must be one of {}, and each once", names.join(", "));
            self.refuse(&format!("{field}.code"), why);
        }
        RetirementRequest {
            revision: spec.revision,
            rollback_window: window.unwrap_or(ROLLBACK_WINDOW),
            allowed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(revision: &str, allowed: &[(&str, &str)]) -> proto::RetirementSpec {
        let allowed = allowed.iter().map(|(code, reason)| proto::AllowedFinding {
            code: (*code).to_owned(),
            reason: (*reason).to_owned(),
            by: "somebody else".to_owned(),
        });
        proto::RetirementSpec {
            revision: revision.to_owned(),
            rollback_window: None,
            allowed: allowed.collect(),
        }
    }

    #[test]
    fn what_is_not_said_is_a_day() {
        let request = proto::PlanRetirementRequest { spec: Some(spec("1-30", &[])) };
        let request = plan(request).unwrap();
        assert_eq!(request.rollback_window, ROLLBACK_WINDOW);
        assert_eq!(request.revision, "1-30");
    }

    #[test]
    fn only_what_nobody_can_know_is_allowed_and_with_a_reason() {
        let wrong = [("RS6003", "why not"), ("RS6015", " "), ("RS9999", "x"), ("RS6015", "twice")];
        let request = proto::PlanRetirementRequest { spec: Some(spec("", &wrong)) };
        let Err(Refusal::InvalidFields(violations)) = plan(request) else { panic!() };
        let fields: Vec<&str> = violations.iter().map(|it| it.field.as_str()).collect();
        assert_eq!(
            fields,
            [
                "spec.revision",
                "spec.allowed[0].code",
                "spec.allowed[1].reason",
                "spec.allowed[2].code",
                "spec.allowed[3].code",
            ]
        );
    }

    #[test]
    fn ids_have_one_form() {
        assert_eq!(id("r-0123456789").unwrap(), "r-0123456789");
        for wrong in ["", "r-", "m-0123456789", "r-012345678G"] {
            assert!(id(wrong).is_err(), "{wrong}");
        }
    }
}
