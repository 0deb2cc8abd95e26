//! Why a request was not carried out, for whatever the reason.

use revshift_core::plan::PLAN_VERSION;
use revshift_core::refusal::Refusal;
use thiserror::Error;

/// A request that failed. `grpc::status` makes a gRPC status of it, and nothing else does.
#[derive(Debug, Error)]
pub enum Failure {
    /// The request is refused; nothing was changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// This replica has not read the whole cluster yet.
    #[error("this replica is still reading the cluster")]
    NotReady,
    /// The cluster does not serve revshift's own resources.
    #[error("the cluster has no revshift CRDs")]
    CrdsMissing,
    /// The cluster's CRDs are those of an older version, and would drop part of what is stored.
    #[error(
        "the cluster's revshift CRDs can store plans up to version {0} only, and this server's are \
         of version {PLAN_VERSION}"
    )]
    CrdsOutdated(u32),
    /// A newer version has accepted the migration, by rules that this one does not know.
    #[error(
        "migration `{migration}` was accepted by a newer revshift: its plan is of version {version}, \
         and this replica knows those up to {PLAN_VERSION}"
    )]
    PlanNewer {
        /// The migration.
        migration: String,
        /// The version of its plan.
        version: u32,
    },
    /// Other writers were faster, several times in a row.
    #[error("others keep writing `{0}`")]
    ConcurrentWrite(String),
    /// Kubernetes refuses revshift's own account.
    #[error("Kubernetes does not allow revshift to {action}")]
    Denied {
        /// What it may not do.
        action: String,
    },
    /// The Kubernetes API does not answer, or not in time.
    #[error("the Kubernetes API did not answer while trying to {action}")]
    Unavailable {
        /// What was tried. Whether it was done is unknown.
        action: String,
        /// What the client says.
        #[source]
        source: kube::Error,
    },
    /// The Kubernetes API answered with an error that nothing above explains.
    #[error("the Kubernetes API refused to {action}")]
    Kubernetes {
        /// What was tried.
        action: String,
        /// What it answered.
        #[source]
        source: kube::Error,
    },
    /// A stored object cannot be understood.
    #[error("the stored {object} is malformed: {why}")]
    Malformed {
        /// The object.
        object: String,
        /// What is wrong with it.
        why: String,
    },
}
