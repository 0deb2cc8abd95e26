//! Plans that want live connections, while istiods may not be there to tell of them.

use super::Control;
use revshift_core::migration::Verification;
use revshift_core::plan::{Finding, Severity};
use revshift_core::plane::Revision;
use revshift_core::problem::Code;
use std::time::Duration;

/// How long whoever plans waits for istiods.
const PATIENCE: Duration = Duration::from_secs(5);

impl Control {
    /// What a migration that wants connections has to expect where they cannot be asked for now.
    pub(super) async fn ask_ahead(
        &self,
        target: &Revision,
        verification: Verification,
    ) -> Option<Finding> {
        if verification != Verification::Connected {
            return None;
        }
        let asked = self.proxies.recent(target, PATIENCE).await;
        asked.incomplete().map(|why| Finding {
            severity: Severity::Warning,
            code: Code::IstiodUnreachable,
            object: format!("ControlPlane/{target}"),
            message: format!("who is connected to it cannot be told: {why}"),
        })
    }
}
