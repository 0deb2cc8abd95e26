//! What revshift itself may not do or see.

use super::Checks;
use crate::problem::Code;

impl Checks<'_> {
    pub(super) fn permissions(&mut self) {
        let around = self.around;
        for what in &around.denied {
            let message = format!("revshift's account may not {what}, which this needs");
            self.error(Code::PermissionMissing, "ServiceAccount/revshift-server", message);
        }
        for unread in &around.unread {
            let message = format!(
                "{} could not be read, so nothing is said of them: {}",
                unread.what, unread.why
            );
            self.warn(Code::CheckIncomplete, "ServiceAccount/revshift-server", message);
        }
    }
}
