//! The stored resources of group `revshift.dev`; the only types that know their storage format.
//!
//! Every replica writes `spec`, the leader alone writes `status`.

mod gate;

pub use gate::{BaselineRecord, GateRecord, RerunRecord, VerdictRecord};

use jiff::Timestamp;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The label by which a shard names its migration.
pub const MIGRATION_LABEL: &str = "revshift.dev/migration";
/// The finalizer that turns the deletion of a migration into its cancellation.
pub const FINALIZER: &str = "revshift.dev/finish";
/// The annotation by which a CRD tells the highest version of plans that it can store.
pub const VERSION_ANNOTATION: &str = "revshift.dev/plan-version";
/// At most so many moves are stored in one shard.
pub const MOVES_PER_SHARD: usize = 250;

/// A migration moves namespaces from one Istio control plane to another.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
#[kube(
    group = "revshift.dev",
    version = "v1alpha1",
    kind = "Migration",
    plural = "migrations",
    shortname = "mig",
    status = "MigrationStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"From","type":"string","jsonPath":".spec.source"}"#,
    printcolumn = r#"{"name":"To","type":"string","jsonPath":".spec.target"}"#,
    printcolumn = r#"{"name":"State","type":"string","jsonPath":".status.state"}"#,
    printcolumn = r#"{"name":"Moved","type":"integer","jsonPath":".status.moved"}"#,
    printcolumn = r#"{"name":"Failed","type":"integer","jsonPath":".status.failed"}"#,
    printcolumn = r#"{"name":"Total","type":"integer","jsonPath":".spec.moves"}"#,
    printcolumn = r#"{"name":"Held-By","type":"string","jsonPath":".status.hold.cause","priority":1}"#,
    printcolumn = r#"{"name":"Until","type":"string","jsonPath":".status.hold.until","priority":1}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".spec.reason","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct MigrationSpec {
    /// Revision of the control plane to leave.
    pub source: String,
    /// Revision of the control plane to move to.
    pub target: String,
    /// How many namespaces it moves; its shards name them.
    pub moves: u32,
    /// How many shards hold its moves.
    pub shards: u32,
    /// A move fails when its rollouts make no progress for so many milliseconds.
    pub rollout_timeout_ms: u64,
    /// So many failed moves do not pause it.
    #[serde(default)]
    pub failure_budget: u32,
    /// Numbers of the waves that start only once somebody has approved them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub approval_waves: BTreeSet<u32>,
    /// Whether the only ready pod of a workload may be evicted.
    #[serde(default)]
    pub allow_downtime: bool,
    /// Whether a broken pod that a StatefulSet is stuck on is deleted instead of being evicted.
    #[serde(default)]
    pub force: bool,
    /// What becomes of failed moves: PAUSE, ROLLBACK_NAMESPACE or ROLLBACK_WAVE.
    #[serde(default = "pause")]
    pub on_failure: String,
    /// Name of the migration that this one rolls back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_of: Option<String>,
    /// The rule that has found its namespaces; absent where they were named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleRecord>,
    /// When moves may begin, such as `Mon-Fri 22:00-04:00 Europe/Berlin`; absent: at any time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<String>,
    /// What has to hold after waves before more begins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<GateRecord>,
    /// Who asked for it.
    pub requester: String,
    /// Why it was asked for; given for a rollback.
    #[serde(default)]
    pub reason: String,
    /// Hash of the plan that it executes.
    pub plan_hash: String,
    /// The rules by which the plan is executed.
    pub plan_version: u32,
    /// When it was accepted.
    #[schemars(with = "String")]
    pub created: Timestamp,
    /// Whether all its shards are stored; until then it is ignored.
    pub sealed: bool,
    /// What was commanded since.
    #[serde(default)]
    pub control: ControlRecord,
}

/// Which namespaces of the source plane a migration was to take.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RuleRecord {
    /// What their labels must be, as a label selector; empty for all.
    #[serde(default)]
    pub selector: String,
    /// Namespaces that are never taken.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub exclude: BTreeSet<String>,
}

/// What became of failures before there was a choice.
fn pause() -> String {
    "PAUSE".to_owned()
}

/// Commands on a migration.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ControlRecord {
    /// Start nothing new until resumed.
    #[serde(default)]
    pub paused: bool,
    /// Start nothing any more.
    #[serde(default)]
    pub cancelled: bool,
    /// Attempt, by namespace, whose failure no longer pauses the migration.
    #[serde(default)]
    pub tolerated: BTreeMap<String, u32>,
    /// Attempt, by namespace, up to which a failed move is to be tried.
    #[serde(default)]
    pub retries: BTreeMap<String, u32>,
    /// Attempt, by namespace, in which broken pods are deleted instead of being evicted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub forced: BTreeMap<String, u32>,
    /// Waves that were approved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<ApprovalRecord>,
    /// Waves after which what has not passed is made again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reruns: Vec<RerunRecord>,
    /// Waves after which the migration goes on whatever the checks say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted: Vec<ApprovalRecord>,
    /// Namespaces that are not to be moved after all.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub skipped: BTreeSet<String>,
    /// The commands that made all this, oldest first; of more than 100 the latest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<CommandRecord>,
}

/// A command, and who gave it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CommandRecord {
    /// PAUSE, RESUME, CANCEL, RETRY, SKIP, APPROVE or ACCEPT.
    pub verb: String,
    /// Who gave it.
    pub by: String,
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Number of the wave that was approved, or whose checks were accepted or are made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<u32>,
    /// The namespaces that it names, at most the first 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<String>,
    /// How many namespaces it names.
    #[serde(default)]
    pub named: u32,
    /// Whether a retry deletes broken pods.
    #[serde(default)]
    pub force: bool,
}

/// Who let a wave start, or accepted what came of the checks after it.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ApprovalRecord {
    /// Number of the wave, from 0.
    pub wave: u32,
    /// Who did.
    pub by: String,
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
}

/// Where a migration stands.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MigrationStatus {
    /// The state, such as RUNNING.
    pub state: String,
    /// Migrations that it waits for.
    #[serde(default)]
    pub waiting_for: Vec<String>,
    /// What keeps it from beginning more for a while.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<HoldRecord>,
    /// What has come of checks after waves, of each the last run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub verdicts: Vec<VerdictRecord>,
    /// What checks have measured before waves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub baselines: Vec<BaselineRecord>,
    /// Namespaces moved or already there.
    pub moved: u32,
    /// Namespaces whose move failed or is blocked.
    pub failed: u32,
    /// Whether the state is final.
    #[serde(default)]
    pub ended: bool,
    /// When it reached its final state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub end_time: Option<Timestamp>,
    /// Number of the last record; set with the final state.
    #[serde(default)]
    pub final_sequence: u64,
    /// Generation of the specification that this status follows from.
    #[serde(default)]
    pub observed_generation: i64,
    /// Conditions; `Succeeded` sums up, `Progressing` and `Paused` tell why it does not go on.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// What keeps a migration from beginning moves for a while.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HoldRecord {
    /// WINDOW: none of its windows is open; FREEZE: the server's configuration freezes everything.
    pub cause: String,
    /// Why everything is frozen.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When that is over; absent when that is too far away to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub until: Option<Timestamp>,
}

/// A condition, as in metav1.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Name of the condition.
    #[serde(rename = "type")]
    pub kind: String,
    /// True, False or Unknown.
    pub status: String,
    /// Reason in CamelCase.
    pub reason: String,
    /// Explanation.
    pub message: String,
    /// When the status changed last.
    #[schemars(with = "String")]
    pub last_transition_time: Timestamp,
    /// Generation that it is about.
    #[serde(default)]
    pub observed_generation: i64,
}

/// A shard holds up to 250 moves of a migration.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
#[kube(
    group = "revshift.dev",
    version = "v1alpha1",
    kind = "MigrationShard",
    plural = "migrationshards",
    status = "MigrationShardStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Migration","type":"string","jsonPath":".spec.migration"}"#,
    printcolumn = r#"{"name":"Epoch","type":"integer","jsonPath":".status.epoch"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct MigrationShardSpec {
    /// Name of the migration.
    pub migration: String,
    /// Position of the shard's first move in the plan.
    pub first: u32,
    /// Its moves, in the order of the plan.
    pub moves: Vec<PlannedMove>,
}

/// What a move is to do; never changes.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PlannedMove {
    /// The namespace.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
    /// The wave in which it moves, from 0.
    #[serde(default)]
    pub wave: u32,
    /// Its deciding labels before; exactly these are restored by a rollback.
    pub before: LabelRecord,
    /// Its deciding labels after.
    pub after: LabelRecord,
}

/// The labels that decide on injection; an absent one is not set.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LabelRecord {
    /// Value of `istio.io/rev`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Value of `istio-injection`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub injection: Option<String>,
}

/// Where the moves of a shard stand.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MigrationShardStatus {
    /// The leader that wrote it: the number of the Lease's transitions.
    pub epoch: u32,
    /// One record a move, in the order of the specification.
    pub moves: Vec<MoveRecord>,
}

/// Where a move stands.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct MoveRecord {
    /// The state, such as RESTARTING.
    pub state: String,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// Number of this record in the migration's stream.
    pub sequence: u64,
    /// When the state was entered.
    #[schemars(with = "String")]
    pub since: Timestamp,
    /// When the first attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub started: Option<Timestamp>,
    /// Whether this migration wrote the namespace's label.
    #[serde(default)]
    pub relabelled: bool,
    /// What the namespace had before it was touched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headcount: Option<HeadcountRecord>,
    /// Workloads that were restarted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restarts: Vec<RestartRecord>,
    /// Controllers whose pods may be evicted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub evictions: Vec<EvictionsRecord>,
    /// Broken pods that StatefulSets were stuck on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cleared: Vec<ClearedRecord>,
    /// The rollback by which the migration has answered its last failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_back: Option<TakenBackRecord>,
    /// What stays off the target.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leftovers: Vec<LeftoverRecord>,
    /// Who has to set the label, while that is waited for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label_owner: Option<String>,
    /// UNNEEDED or ASKED, when it was skipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip_reason: Option<String>,
    /// What is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<ProblemRecord>,
}

/// What a namespace had before it was touched.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HeadcountRecord {
    /// Ready endpoints by Service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub endpoints: BTreeMap<String, u32>,
    /// Pods by controller, as `kind/name`; those of Jobs and of nobody under the empty name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pods: BTreeMap<String, u32>,
}

/// A restarted workload.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RestartRecord {
    /// Kind of the workload.
    pub kind: String,
    /// Name of the workload.
    pub name: String,
    /// Attempt in which it was restarted last.
    pub attempt: u32,
}

/// The evictions of one controller's pods.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct EvictionsRecord {
    /// The controller, as `kind/name`.
    pub controller: String,
    /// The attempt that they are of.
    pub attempt: u32,
    /// How many pods the controller had.
    pub pods: u32,
    /// Uids of its pods that were off the target.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub planned: BTreeSet<String>,
    /// Uids of pods that came off the target afterwards.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub stragglers: BTreeSet<String>,
}

/// Broken pods that one StatefulSet was stuck on.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ClearedRecord {
    /// The StatefulSet, as `kind/name`.
    pub controller: String,
    /// The attempt that they are of.
    pub attempt: u32,
    /// Uids of those that are evicted.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub evicted: BTreeSet<String>,
    /// Uids of those that are deleted, whatever the budgets say.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub deleted: BTreeSet<String>,
}

/// The rollback that answers a failure.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TakenBackRecord {
    /// The attempt that failed.
    pub attempt: u32,
    /// What was wrong with it.
    pub problem: ProblemRecord,
    /// Name of the rollback, a migration of its own.
    pub rollback: String,
    /// WANTED, MADE or REFUSED.
    pub stage: String,
    /// Why it cannot be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
}

/// Something that stays off the target.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LeftoverRecord {
    /// JOB, CRON_JOB, BARE_POD, SCALED_TO_ZERO or SKIPPED.
    pub reason: String,
    /// Kind of the object.
    pub kind: String,
    /// Name of the object.
    pub name: String,
    /// Its pods off the target.
    pub pods: u32,
}

/// What is wrong with a move.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ProblemRecord {
    /// Finding code, such as RS3003.
    pub code: String,
    /// The object.
    pub object: String,
    /// What happened.
    pub message: String,
    /// Field manager that caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<String>,
    /// When it was found.
    #[schemars(with = "String")]
    pub since: Timestamp,
}
