//! Checks: what is to be known before namespaces move, read live.

use super::{Control, Planned, retiring};
use crate::failure::Failure;
use revshift_core::allowance::Allowance;
use revshift_core::check::{self, Scope};
use revshift_core::migration::Verification;
use revshift_core::plan::{self, Finding};
use revshift_core::refusal::Refusal;

/// What a check tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// What was looked at.
    pub scope: Scope,
    /// What was found, the gravest first.
    pub findings: Vec<Finding>,
    /// Errors that the request allows.
    pub allowances: Vec<Allowance>,
}

impl Control {
    /// Everything that is to be known before `request`, also where it would be refused.
    pub async fn check(&self, request: &plan::Request) -> Result<Checked, Failure> {
        self.known(&request.gates)?;
        let request = request.sparing(&self.home);
        let (scope, findings) = {
            let state = self.ready()?;
            let (scope, mut findings) = check::scope(&state.cluster, &request)?;
            let spared = retiring::spare(&state, [&request.source, &request.target]);
            if let Err(Failure::Refused(Refusal::Plan(violations))) = spared {
                findings.extend(violations.into_iter().map(Finding::from));
            }
            (scope, findings)
        };
        // Each holds lists of the whole cluster meanwhile.
        let _turn = self.checking.acquire().await;
        let findings = self.findings(&scope, request.verification, findings).await?;
        Ok(Checked { scope, findings, allowances: request.allowances })
    }

    /// A plan with the findings of its check.
    pub(super) async fn checked(&self, mut planned: Planned) -> Result<Planned, Failure> {
        let found = std::mem::take(&mut planned.plan.findings);
        let scope = check::of_plan(&planned.plan);
        planned.plan.findings = self.findings(&scope, planned.plan.verification, found).await?;
        Ok(planned)
    }

    /// Refuses a plan that the findings of its check forbid.
    pub(super) fn refuse_forbidden(plan: &plan::Plan) -> Result<(), Failure> {
        let forbidding = check::forbidding(&plan.findings, &plan.allowances);
        if forbidding.is_empty() { Ok(()) } else { Err(Refusal::Findings(forbidding).into()) }
    }

    /// What the plan has found, and what is found around `scope`.
    async fn findings(
        &self,
        scope: &Scope,
        verification: Verification,
        mut found: Vec<Finding>,
    ) -> Result<Vec<Finding>, Failure> {
        found.extend(self.ask_ahead(&scope.target, verification).await);
        let (planes, samples) = {
            let state = self.ready()?;
            (state.cluster.planes().clone(), check::samples(&state.cluster, scope))
        };
        let around = self.look.around(&planes, scope, &samples).await;
        let state = self.ready()?;
        Ok(check::check(&state.cluster, scope, &around, found))
    }
}
