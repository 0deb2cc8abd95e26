//! How the labels of a plan get their meaning, as stored.

use super::LabelRecord;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the labels of a plan get their meaning.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TagsRecord {
    /// What becomes of namespaces that are on the source by a tag or by `istio-injection`: REFUSE or
    /// REWRITE.
    #[serde(default)]
    pub policy: String,
    /// The tag by which the source was named; absent where its revision was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The tag by which the target was named; absent where its revision was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Where the labels of the plan led when it was made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leads: Vec<LeadRecord>,
}

/// Labels of a namespace, and where they led.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LeadRecord {
    /// The labels.
    pub labels: LabelRecord,
    /// The tag that made that of them; absent where a revision's own webhook did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Revision of the plane that injected pods under them.
    pub plane: String,
}

/// A lead that was found to lead elsewhere.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct DriftRecord {
    /// How often the migration had gone on after a drift before.
    #[serde(default)]
    pub run: u32,
    /// The lead as planned.
    pub lead: LeadRecord,
    /// Where it led then.
    pub found: String,
    /// When that was found.
    #[schemars(with = "String")]
    pub at: Timestamp,
}
