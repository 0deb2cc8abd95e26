//! The stored resources of group `revshift.dev`; the only types that know their storage format.
//!
//! Every replica writes `spec`, the leader alone writes `status`.

mod gate;
mod retirement;
mod shard;
mod tag;

pub use gate::{BaselineRecord, GateRecord, RerunRecord, VerdictRecord};
pub use retirement::{
    AllowanceRecord, FindingRecord, Retirement, RetirementSpec, RetirementStatus, TargetRecord,
};
pub use shard::{
    ClearedRecord, EvictionsRecord, HeadcountRecord, LabelRecord, LeftoverRecord, MigrationShard,
    MigrationShardSpec, MigrationShardStatus, MoveRecord, PlannedMove, ProblemRecord,
    RestartRecord, TakenBackRecord,
};
pub use tag::{DriftRecord, LeadRecord, TagsRecord};

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
    /// How many shards hold its moves, those of its extensions included.
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
    /// What a namespace has to show before it counts as moved: INJECTED or CONNECTED.
    #[serde(default = "injected")]
    pub verification: String,
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
    /// Errors of its check that whoever asked for it has allowed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_findings: Vec<AllowedFindingRecord>,
    /// How its labels get their meaning.
    #[serde(default)]
    pub tags: TagsRecord,
    /// What it took in since it was accepted, in the order of its waves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extensions: Vec<ExtensionRecord>,
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

/// What a migration took in at once. Shards that name an extension which is not recorded do not count: it
/// was never finished.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ExtensionRecord {
    /// Its id, the same for the same request.
    pub id: String,
    /// Position of its first move in the plan.
    pub first: u32,
    /// How many namespaces it takes in.
    pub moves: u32,
    /// Hash of what was shown of it.
    pub plan_hash: String,
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

/// What had to be shown before there was a choice.
fn injected() -> String {
    "INJECTED".to_owned()
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
    /// How often it was to go on after a tag or an injector webhook that it rests on had led elsewhere.
    #[serde(default)]
    pub drifts: u32,
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
    /// PAUSE, RESUME, CANCEL, RETRY, SKIP, APPROVE, ACCEPT or EXTEND.
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
    /// What of its labels was last found to lead elsewhere than planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftRecord>,
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

/// An error of a check that was allowed.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AllowedFindingRecord {
    /// The code of such findings.
    pub code: String,
    /// Why they may be, in the words of the requester.
    pub reason: String,
}
