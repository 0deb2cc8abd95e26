//! Migrations, their moves, and the states that follow from them.

mod cleared;
mod gating;
mod issued;
mod moves;
mod restart;
mod state;
mod taken_back;
mod verification;

pub use cleared::Cleared;
pub use gating::{DueCheck, Rerun};
pub use issued::{Issued, MOST_COMMANDS, Verb};
pub use moves::Moves;
pub use restart::{parse_restart_id, restart_id};
pub use state::{MigrationState, MoveCounts, PauseReason};
pub use taken_back::{OnFailure, Stage, TakenBack};
pub use verification::Verification;

use crate::allowance::Allowance;
use crate::calendar::{Hold, Window};
use crate::gate::{Baseline, Check, Gate, Verdict};
use crate::headcount::Headcount;
use crate::label::InjectionLabels;
use crate::plane::Revision;
use crate::problem::Problem;
use crate::selection::Matching;
use crate::tag::{Drift, Tags};
use crate::workload::WorkloadKey;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A stored migration: what was asked for, what was commanded since, and its moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    /// Its id, also the name of the stored object.
    pub id: String,
    /// What was accepted; never changes.
    pub spec: MigrationSpec,
    /// What was commanded since.
    pub control: Control,
    /// Its moves, in the order of the plan.
    pub moves: Moves,
    /// When it reached a final state; a final state never changes.
    pub ended: Option<Ended>,
    /// What kept it from beginning more when the acting replica stored that last.
    pub hold: Option<Hold>,
    /// What has come of checks after waves, by wave; of each the last run.
    pub verdicts: BTreeMap<(u32, Check), Verdict>,
    /// What checks have measured before waves, by wave and by the check's name.
    pub baselines: BTreeMap<(u32, String), Baseline>,
    /// What of its labels was last found to lead elsewhere than planned.
    pub drift: Option<Drift>,
}

/// A final state, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// SUCCEEDED, COMPLETED_WITH_EXCEPTIONS or CANCELLED.
    pub state: MigrationState,
    /// When it was reached.
    pub at: Timestamp,
    /// Number of the last record.
    pub sequence: u64,
}

/// What was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationSpec {
    /// The plane to leave.
    pub source: Revision,
    /// The plane to move to.
    pub target: Revision,
    /// How long a rollout may make no progress.
    pub rollout_timeout: Duration,
    /// So many failed moves that nobody has answered do not pause it.
    pub failure_budget: u32,
    /// Waves that start only once somebody has approved them.
    pub approvals: BTreeSet<u32>,
    /// Whether the only ready pod of a workload may be evicted.
    pub allow_downtime: bool,
    /// Whether a broken pod that a StatefulSet is stuck on is deleted instead of being evicted.
    pub force: bool,
    /// What becomes of failed moves.
    pub on_failure: OnFailure,
    /// What a namespace has to show before it counts as moved.
    pub verification: Verification,
    /// The migration that this one rolls back.
    pub rollback_of: Option<String>,
    /// The rule that has found its namespaces; none where they were named.
    pub rule: Option<Matching>,
    /// When moves may begin; empty: at any time.
    pub windows: Vec<Window>,
    /// What has to hold after waves before more begins.
    pub gates: Vec<Gate>,
    /// Errors of its check that whoever asked for it has allowed.
    pub allowances: Vec<Allowance>,
    /// How its labels get their meaning.
    pub tags: Tags,
    /// Who asked for it.
    pub requester: String,
    /// Why; empty unless it is a rollback.
    pub reason: String,
    /// Hash of its plan.
    pub plan_hash: String,
    /// When it was stored.
    pub created: Timestamp,
}

/// What clients have commanded since; each command is durable before it is answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Control {
    /// Start nothing new until resumed.
    pub paused: bool,
    /// Start nothing any more.
    pub cancelled: bool,
    /// Moves, by namespace, whose failure at this attempt no longer pauses the migration.
    pub tolerated: BTreeMap<String, u32>,
    /// The attempt, by namespace, up to which a failed move is to be tried.
    pub retries: BTreeMap<String, u32>,
    /// The attempt, by namespace, in which a broken pod that a StatefulSet is stuck on is deleted
    /// instead of being evicted.
    pub forced: BTreeMap<String, u32>,
    /// Waves that were approved, by number.
    pub approved: BTreeMap<u32, Approval>,
    /// Waves after which what has not passed is made again, by number.
    pub reruns: BTreeMap<u32, Rerun>,
    /// Waves after which the migration goes on whatever the checks say, by number.
    pub accepted: BTreeMap<u32, Approval>,
    /// How often it was to go on after a drift.
    pub drifts: u32,
    /// Namespaces that are not to be moved after all.
    pub skipped: BTreeSet<String>,
    /// The commands that made all this, oldest first; of very many, the latest.
    pub commands: Vec<Issued>,
}

/// Who has approved a wave, or accepted what came of its checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// One namespace's passage through a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// The namespace.
    pub namespace: String,
    /// Its uid; another namespace of that name is never touched.
    pub uid: String,
    /// The wave in which it moves, from 0.
    pub wave: u32,
    /// Its labels before.
    pub before: InjectionLabels,
    /// Its labels after.
    pub after: InjectionLabels,
    /// Where it stands.
    pub state: MoveState,
    /// 1 for the first attempt, 0 before it.
    pub attempt: u32,
    /// Number of this record in the migration's stream, given when it is stored.
    pub sequence: u64,
    /// When the state was entered.
    pub since: Timestamp,
    /// When the first attempt began.
    pub started: Option<Timestamp>,
    /// Whether this migration wrote the namespace's label or lock, or has seen the label that it waited
    /// for.
    pub relabelled: bool,
    /// What the namespace had before it was touched.
    pub headcount: Option<Headcount>,
    /// Workloads that were restarted, and in which attempt last.
    pub restarts: BTreeMap<WorkloadKey, u32>,
    /// Which pods may be evicted, by their controller as `kind/name`; decided before the first of
    /// them goes.
    pub evictions: BTreeMap<String, Evictions>,
    /// Broken pods that StatefulSets were stuck on, by their controller as `kind/name`; decided
    /// before each of them goes.
    pub cleared: BTreeMap<String, Cleared>,
    /// The rollback by which the migration has answered its last failure.
    pub taken_back: Option<TakenBack>,
}

/// The evictions of one controller's pods: the cluster does not show afterwards which pods were
/// there before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evictions {
    /// The attempt that they are of.
    pub attempt: u32,
    /// How many pods the controller had.
    pub pods: u32,
    /// Uids of its pods that were off the target.
    pub planned: BTreeSet<String>,
    /// Uids of pods that it made anew and that came off the target again. Each is evicted once;
    /// whatever comes off the target after them fails the move.
    pub stragglers: BTreeSet<String>,
}

/// Where a move stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MoveState {
    /// Not started.
    Pending,
    /// Checks that planes and namespace are as planned.
    Checking,
    /// Writes the label.
    Relabeling,
    /// Waits until the label is set by whoever owns it, named here for people.
    AwaitingLabel(String),
    /// Restarts workloads and waits for their rollouts.
    Restarting,
    /// Checks every pod.
    Verifying,
    /// Every pod that can be moved is on the target.
    Moved(Vec<Leftover>),
    /// Cannot go on until the problem is mended and the move retried.
    Blocked(Problem),
    /// Did not reach the target.
    Failed(Problem),
    /// Was not moved, and need not be.
    Skipped(Skip),
    /// Never started.
    Cancelled,
    /// The namespace was deleted, or recreated.
    Gone,
    /// A rollback took it over.
    Superseded,
}

/// Why a namespace was not moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// It was already wholly on the target.
    Unneeded,
    /// Somebody asked for it.
    Asked,
}

/// Something that a move leaves as it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Leftover {
    /// Why it is left.
    pub reason: LeftoverReason,
    /// Kind of the object.
    pub kind: String,
    /// Name of the object.
    pub name: String,
    /// Its pods that are off the target.
    pub pods: u32,
}

/// Why something is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LeftoverReason {
    /// Runs to its end with the old sidecar.
    Job,
    /// Its next run uses the target.
    CronJob,
    /// Would not come back.
    BarePod,
    /// Uses the target when it is scaled up.
    ScaledToZero,
    /// Its owner wants it left alone.
    Skipped,
}

impl Migration {
    /// Where it stands, waiting for the migrations `waiting_for`.
    pub fn state(&self, waiting_for: &BTreeSet<String>) -> MigrationState {
        if let Some(ended) = &self.ended {
            return ended.state;
        }
        let counts = self.counts();
        let unfinished = counts.unfinished();
        if self.control.cancelled {
            return if unfinished == 0 {
                MigrationState::Cancelled
            } else {
                MigrationState::Cancelling
            };
        }
        if unfinished + counts.failed + counts.blocked == 0 && self.gating().is_none() {
            return if counts.other == 0 {
                MigrationState::Succeeded
            } else {
                MigrationState::CompletedWithExceptions
            };
        }
        if let Some(reason) = self.pause(unfinished) {
            // What was asked to be tried again goes on, whatever else has failed.
            let retries = counts.active > 0 || self.retried().next().is_some();
            let held = matches!(reason, PauseReason::User | PauseReason::Drift);
            if held || !retries {
                return MigrationState::Paused(reason);
            }
        }
        if !self.moves.begun() && !waiting_for.is_empty() {
            return MigrationState::Pending;
        }
        match self.wave_to_approve() {
            Some(wave) => MigrationState::WaitingApproval(wave),
            None => MigrationState::Running,
        }
    }

    /// Why nothing new may start; none when it may.
    pub fn paused(&self) -> Option<PauseReason> {
        self.pause(self.counts().unfinished())
    }

    /// What leads elsewhere than planned, until somebody has it go on.
    pub fn drifted(&self) -> Option<&Drift> {
        self.drift.as_ref().filter(|drift| drift.run >= self.control.drifts)
    }

    /// How many moves are in which state.
    pub fn counts(&self) -> MoveCounts {
        self.moves.counts()
    }

    /// The moves that are under way, with their places in the plan.
    pub fn active(&self) -> impl Iterator<Item = (usize, &Move)> {
        self.moves.active()
    }

    /// The move of a namespace.
    pub fn find(&self, namespace: &str) -> Option<&Move> {
        self.moves.get(self.moves.place(namespace)?)
    }

    /// How many waves it has.
    pub fn waves(&self) -> u32 {
        self.moves.waves()
    }

    /// The wave whose moves may start: the first that is not over. None when all are.
    ///
    /// A failure that does not pause the migration does not hold its wave either.
    pub fn wave(&self) -> Option<u32> {
        let active = self.active().map(|(_, m)| m.wave);
        let retried = self.retried().map(|m| m.wave);
        active.chain(retried).chain(self.moves.first_pending()).min()
    }

    /// The wave that would start now if somebody approved it.
    pub fn wave_to_approve(&self) -> Option<u32> {
        let wave = self.wave().filter(|wave| {
            self.spec.approvals.contains(wave) && !self.control.approved.contains_key(wave)
        });
        // Whoever approves a wave wants to know how the one before it has done.
        wave.filter(|_| self.gating().is_none())
    }

    /// Whether the present attempt of `m` deletes the broken pods that StatefulSets are stuck on.
    pub fn forces(&self, m: &Move) -> bool {
        self.spec.force || self.control.forced.get(&m.namespace) == Some(&m.attempt)
    }

    /// Whether another attempt was asked for a failed or blocked move.
    pub fn retry_wanted(&self, m: &Move) -> bool {
        m.needs_help()
            && !self.control.cancelled
            && self.control.retries.get(&m.namespace).is_some_and(|attempt| *attempt > m.attempt)
    }

    /// The failed moves for which another attempt was asked.
    pub fn retried(&self) -> impl Iterator<Item = &Move> {
        self.moves.failed().map(|(_, m)| m).filter(|m| self.retry_wanted(m))
    }

    /// How many failures wait for an answer, those included that were rolled back without asking.
    pub fn unanswered_failures(&self) -> usize {
        let failed = self.moves.failed().filter(|(_, m)| !self.retry_wanted(m));
        let taken = self.moves.superseded().filter(|(_, m)| m.was_taken_back());
        failed.chain(taken).filter(|(_, m)| self.unanswered(m)).count()
    }

    /// Whether more has failed than may.
    pub fn over_budget(&self) -> bool {
        let budget = usize::try_from(self.spec.failure_budget).unwrap_or(usize::MAX);
        self.unanswered_failures() > budget
    }

    fn unanswered(&self, m: &Move) -> bool {
        self.control.tolerated.get(&m.namespace).is_none_or(|attempt| *attempt < m.attempt)
    }

    /// A failure that nobody has answered yet pauses; so does a namespace taken back, since whoever
    /// did that will want to look before the others go on. With only failures left there is
    /// nothing to go on with, tolerated or not.
    fn pause(&self, unfinished: u32) -> Option<PauseReason> {
        if self.control.paused {
            return Some(PauseReason::User);
        }
        if self.drifted().is_some() {
            return Some(PauseReason::Drift);
        }
        if self.over_budget() {
            return Some(PauseReason::FailureBudget);
        }
        let retried = self.retried().next().is_some();
        if unfinished == 0 && !retried && self.moves.failed().next().is_some() {
            return Some(PauseReason::FailureBudget);
        }
        let mut taken = self.moves.superseded().filter(|(_, m)| m.taken_back.is_none());
        if unfinished > 0 && taken.any(|(_, m)| self.unanswered(m)) {
            return Some(PauseReason::User);
        }
        self.stopped_by().map(|_| PauseReason::Gate)
    }
}

impl Move {
    /// A move that has not begun.
    pub fn pending(
        namespace: &str,
        uid: &str,
        before: InjectionLabels,
        after: InjectionLabels,
        now: Timestamp,
    ) -> Self {
        Self {
            namespace: namespace.to_owned(),
            uid: uid.to_owned(),
            wave: 0,
            before,
            after,
            state: MoveState::Pending,
            attempt: 0,
            sequence: 0,
            since: now,
            started: None,
            relabelled: false,
            headcount: None,
            restarts: BTreeMap::new(),
            evictions: BTreeMap::new(),
            cleared: BTreeMap::new(),
            taken_back: None,
        }
    }

    /// The same move in another state, entered now.
    #[must_use]
    pub fn enter(&self, state: MoveState, now: Timestamp) -> Self {
        Self { state, since: now, ..self.clone() }
    }

    /// Whether nothing was begun with its namespace that a skip would leave half done.
    pub fn may_be_skipped(&self) -> bool {
        match self.state {
            MoveState::Pending => true,
            MoveState::AwaitingLabel(_) | MoveState::Failed(_) | MoveState::Blocked(_) => {
                !self.relabelled
            }
            _ => false,
        }
    }

    /// Whether it cannot go on by itself.
    pub fn needs_help(&self) -> bool {
        matches!(self.state, MoveState::Failed(_) | MoveState::Blocked(_))
    }

    /// Whether it failed, and a rollback that nobody had to ask for has taken it over.
    pub fn was_taken_back(&self) -> bool {
        self.state == MoveState::Superseded && self.taken_back.is_some()
    }

    /// What is wrong with it, or was before it was rolled back for that.
    pub fn problem(&self) -> Option<&Problem> {
        match &self.state {
            MoveState::Failed(problem) | MoveState::Blocked(problem) => Some(problem),
            MoveState::Superseded => self.taken_back.as_ref().map(|it| &it.problem),
            _ => None,
        }
    }

    /// The evictions that the present attempt has decided on for a controller.
    pub fn evictions_of(&self, controller: &str) -> Option<&Evictions> {
        self.evictions.get(controller).filter(|evictions| evictions.attempt == self.attempt)
    }

    /// The value of `revshift.dev/restart` that this attempt gives a pod template.
    pub fn restart_id(&self, migration: &str) -> String {
        restart_id(migration, self.attempt)
    }
}
