//! Broken pods that had to go before a StatefulSet could go on.

use std::collections::BTreeSet;

/// The broken pods of one StatefulSet that were in its way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleared {
    /// The attempt that they are of.
    pub attempt: u32,
    /// Uids of those that are evicted, as far as the budgets let them go.
    pub evicted: BTreeSet<String>,
    /// Uids of those that are deleted, whatever the budgets say.
    pub deleted: BTreeSet<String>,
}
