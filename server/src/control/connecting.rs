//! Plans that want live connections, while istiods may not be there to tell of them.

use super::{Control, Planned};
use revshift_core::migration::Verification;
use revshift_core::plan::{Finding, Severity};
use revshift_core::problem::Code;
use std::time::Duration;

/// How long whoever plans waits for istiods.
const PATIENCE: Duration = Duration::from_secs(5);

impl Control {
    /// Tells in a plan that wants connections whether they could be asked for now.
    pub async fn ask_ahead(&self, planned: &mut Planned) {
        let plan = &mut planned.plan;
        if plan.verification != Verification::Connected {
            return;
        }
        if let Some(why) = self.proxies.recent(&plan.target, PATIENCE).await.incomplete() {
            plan.findings.push(Finding {
                severity: Severity::Warning,
                code: Code::IstiodUnreachable,
                object: format!("ControlPlane/{}", plan.target),
                message: format!("who is connected to it cannot be told: {why}"),
            });
        }
    }
}
