//! Who makes a pod anew.

use crate::workload::WorkloadKey;

/// Who controls a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// A workload that can be rolled.
    Workload(WorkloadKey),
    /// A Job of its own.
    Job(String),
    /// A CronJob, through a Job.
    CronJob(String),
    /// Nobody.
    Nobody,
    /// A controller whose pod template is not known here.
    Other {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// Whether it is of a kind that is watched and was not seen: it was deleted, or its pods
        /// were orphaned.
        unseen: bool,
    },
}

impl Controller {
    /// `kind/name` of a controller that makes pods anew; none for any other.
    pub fn label(&self) -> Option<String> {
        match self {
            Self::Workload(key) => Some(key.to_string()),
            Self::Other { kind, name, .. } => Some(format!("{kind}/{name}")),
            Self::Job(_) | Self::CronJob(_) | Self::Nobody => None,
        }
    }
}
