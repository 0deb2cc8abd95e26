//! Retirements as they are stored. The admission policy of deploy/retirement.yaml reads them, too.

use super::{ApprovalRecord, Condition};
use jiff::Timestamp;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A retirement proves that nothing uses an Istio control plane, and deletes it.
#[derive(CustomResource, Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq)]
#[kube(
    group = "revshift.dev",
    version = "v1alpha1",
    kind = "Retirement",
    plural = "retirements",
    shortname = "ret",
    status = "RetirementStatus",
    derive = "PartialEq",
    printcolumn = r#"{"name":"Plane","type":"string","jsonPath":".spec.revision"}"#,
    printcolumn = r#"{"name":"State","type":"string","jsonPath":".status.state"}"#,
    printcolumn = r#"{"name":"Cordoned","type":"boolean","jsonPath":".status.cordoned","priority":1}"#,
    printcolumn = r#"{"name":"Requester","type":"string","jsonPath":".spec.requester","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
pub struct RetirementSpec {
    /// Revision of the control plane.
    pub revision: String,
    /// Where it was found: CALISTI, SAIL or ISTIO.
    pub source: String,
    /// Name of the resource that stands for it.
    pub name: String,
    /// Namespace of the control plane.
    pub namespace: String,
    /// Uid of that resource; another one of its name is never deleted.
    pub uid: String,
    /// For so many milliseconds after the last move of a migration its planes are kept.
    pub rollback_window_ms: u64,
    /// Findings that do not block.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<AllowanceRecord>,
    /// Who asked for it.
    pub requester: String,
    /// Hash of what was shown.
    pub plan_hash: String,
    /// The rules by which it is carried out.
    pub plan_version: u32,
    /// When it was accepted.
    #[schemars(with = "String")]
    pub created: Timestamp,
    /// Who has cancelled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled: Option<ApprovalRecord>,
}

/// A finding that somebody has allowed.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct AllowanceRecord {
    /// Code of the finding.
    pub code: String,
    /// Why it may be.
    pub reason: String,
    /// Who said so.
    pub by: String,
}

/// Where a retirement stands.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RetirementStatus {
    /// The state, such as PROVING.
    pub state: String,
    /// The state that a blocked one goes on with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<String>,
    /// When the state was entered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
    /// Number of the leadership that wrote this.
    #[serde(default)]
    pub epoch: u32,
    /// Whether the admission policy keeps new users of the plane away.
    #[serde(default)]
    pub cordoned: bool,
    /// What was found last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<FindingRecord>,
    /// When it was proved that nothing uses the plane.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub proofs: Vec<Timestamp>,
    /// What is deleted, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetRecord>,
    /// Whether the state is final.
    #[serde(default)]
    pub ended: bool,
    /// Conditions; `Retired` sums up, `Progressing` tells why it does not go on.
    #[serde(default)]
    pub conditions: Vec<Condition>,
}

/// Something that was found.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct FindingRecord {
    /// Its code.
    pub code: String,
    /// The object, as `kind/name` or `kind/namespace/name`.
    pub object: String,
    /// What was found.
    pub message: String,
    /// What to do.
    pub remedy: String,
    /// Whether it blocks.
    pub blocks: bool,
    /// Why it does not, where somebody has allowed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed: Option<String>,
}

/// An object to delete.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TargetRecord {
    /// API group and version.
    pub api: String,
    /// Kind.
    pub kind: String,
    /// Namespace; empty for what is cluster-wide.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
}
