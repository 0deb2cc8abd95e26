//! The retirement of a control plane: proved twice to be unused, behind a cordon, then deleted.
//!
//! A pure state machine: a census of everything that refers to the plane, a look at what is left of it,
//! and time come in; a record to store or a call to make goes out. The same facts give the same answer,
//! so a new leader goes on where the record says, and proves anew what he has not seen himself.

pub mod census;
mod hash;
mod operator;
mod remedy;
mod standing;
mod step;
mod users;

pub use hash::plan_hash;
pub use step::{Call, DeleteRefusal, Look, Memory, Present, Sight, Step, step};
pub use users::judge;

use crate::migration::Approval;
use crate::plane::{Revision, Source};
use crate::problem::Code;
use jiff::Timestamp;
use std::time::Duration;

/// For so long after the last move of a migration its plane is kept, unless asked otherwise.
pub const ROLLBACK_WINDOW: Duration = Duration::from_hours(24);
/// So much time lies between the two proofs that nothing uses the plane.
pub const BETWEEN_PROOFS: Duration = Duration::from_mins(1);
/// A proof that has ended so long ago is none any more: nothing is deleted by it.
pub const PROOF_LASTS: Duration = Duration::from_mins(1);
/// A deletion that takes so long is reported; nothing is done about it.
pub const STUCK: Duration = Duration::from_mins(5);

/// A stored retirement: what was asked for, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retirement {
    /// Its id, also the name of the stored object.
    pub id: String,
    /// What was accepted; never changes.
    pub spec: RetirementSpec,
    /// Who has cancelled it, by a command or by deleting its object; none while nobody has.
    pub cancelled: Option<Approval>,
    /// Where it stands.
    pub record: Record,
}

/// What was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetirementSpec {
    /// The plane.
    pub plane: Subject,
    /// How it is judged.
    pub terms: Terms,
    /// Who asked for it.
    pub requester: String,
    /// When it was stored.
    pub created: Timestamp,
}

/// The plane that is retired: exactly this object of it, and no other of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// Its revision.
    pub revision: Revision,
    /// Where it was found.
    pub source: Source,
    /// Name of the resource that stands for it.
    pub name: String,
    /// Namespace of the plane.
    pub namespace: String,
    /// Uid of that resource.
    pub uid: String,
}

/// What the judgement of a plane's users depends on beside the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// For so long after the last move of a migration its planes are kept.
    pub rollback_window: Duration,
    /// Findings that do not block, though they would.
    pub allowed: Vec<Allowance>,
}

/// A finding that somebody has allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// The finding.
    pub code: Code,
    /// Why it may be.
    pub reason: String,
    /// Who said so.
    pub by: String,
}

/// Findings that can be allowed: each tells of something that the server cannot know, and people may.
pub const ALLOWABLE: [Code; 4] =
    [Code::ConnectionsUnknown, Code::OperatorSilent, Code::PlaneKept, Code::UsedAsCni];

/// Where a retirement stands; the leader alone writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The state.
    pub state: RetirementState,
    /// When it was entered.
    pub since: Timestamp,
    /// The leadership that wrote it; 0 for none yet.
    pub epoch: u32,
    /// Whether new users of the plane are to be kept away.
    pub cordoned: bool,
    /// What was found last, what blocks first.
    pub findings: Vec<Finding>,
    /// When the plane was proved to be unused, for the deletion that follows or followed.
    pub proofs: Vec<Timestamp>,
    /// What is deleted, in this order.
    pub targets: Vec<Target>,
}

/// The states of a retirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RetirementState {
    /// Looks for users of the plane.
    Checking,
    /// Waits until new users are kept away.
    Cordoning,
    /// Proves twice that there are no users.
    Proving,
    /// Deletes the plane. It cannot be cancelled any more.
    Deleting,
    /// Checks that nothing of the plane is left, and that others have what they need.
    Verifying,
    /// Cannot go on until what is found is mended; goes on by itself then, from this step.
    Blocked(Resume),
    /// The plane is gone.
    Retired,
    /// Given up; what was not deleted yet is as it was.
    Cancelled,
}

/// Where a blocked retirement goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resume {
    /// From the first step.
    Checking,
    /// With the deletion that has begun.
    Deleting,
    /// With the last checks.
    Verifying,
}

/// Something that keeps a plane from being retired, or should be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What kind of finding.
    pub code: Code,
    /// The object, as `kind/name` or `kind/namespace/name`.
    pub object: String,
    /// What was found.
    pub message: String,
    /// What to do, the exact command where there is one.
    pub remedy: String,
    /// Whether it blocks.
    pub blocks: bool,
    /// Why it does not, where somebody has allowed it.
    pub allowed: Option<String>,
}

/// An object to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// API group and version, such as `apps/v1`.
    pub api: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty for what is cluster-wide.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid; another object of that name is never deleted.
    pub uid: String,
}

impl Finding {
    /// A finding that blocks.
    pub fn blocker(code: Code, object: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code,
            object: object.into(),
            message: message.into(),
            remedy: code.remedy().to_owned(),
            blocks: true,
            allowed: None,
        }
    }

    /// The same, with the very command that helps.
    #[must_use]
    pub fn mended_by(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }
}

impl Target {
    /// The object as findings name it.
    pub fn object(&self) -> String {
        match self.namespace.as_str() {
            "" => format!("{}/{}", self.kind, self.name),
            namespace => format!("{}/{namespace}/{}", self.kind, self.name),
        }
    }
}

impl Record {
    /// That of a retirement that has just been stored.
    pub fn new(now: Timestamp) -> Self {
        Self {
            state: RetirementState::Checking,
            since: now,
            epoch: 0,
            cordoned: false,
            findings: Vec::new(),
            proofs: Vec::new(),
            targets: Vec::new(),
        }
    }

    /// What blocks.
    pub fn blockers(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.blocks)
    }
}

impl RetirementState {
    /// Its name, as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Checking => "CHECKING",
            Self::Cordoning => "CORDONING",
            Self::Proving => "PROVING",
            Self::Deleting => "DELETING",
            Self::Verifying => "VERIFYING",
            Self::Blocked(_) => "BLOCKED",
            Self::Retired => "RETIRED",
            Self::Cancelled => "CANCELLED",
        }
    }

    /// Whether nothing follows any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Retired | Self::Cancelled)
    }

    /// Whether it can be given up: it does not delete just now. One that has nothing left to delete would
    /// never end where somebody makes the plane anew, and would keep its users away for ever.
    pub fn can_be_cancelled(self) -> bool {
        matches!(
            self,
            Self::Checking
                | Self::Cordoning
                | Self::Proving
                | Self::Blocked(Resume::Checking | Resume::Verifying)
        )
    }
}
