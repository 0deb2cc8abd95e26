//! Shards: the moves of a migration as stored.

use jiff::Timestamp;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

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
    /// Id of the extension that it is of; absent for what was accepted at first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extension: Option<String>,
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
