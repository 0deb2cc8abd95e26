//! Gates as stored: what has to hold after waves, and what has come of it.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What has to hold after waves before more begins.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct GateRecord {
    /// Numbers of the waves; absent: each of them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub waves: BTreeSet<u32>,
    /// For so many milliseconds what a wave has moved has to stay healthy.
    #[serde(default)]
    pub soak_ms: u64,
    /// Names of checks in the server's configuration, in the order in which they are made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<String>,
}

/// A wave after which what has not passed is made again.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct RerunRecord {
    /// Number of the wave, from 0.
    pub wave: u32,
    /// The run, from 1.
    pub run: u32,
    /// When it was asked for.
    #[schemars(with = "String")]
    pub at: Timestamp,
}

/// What has come of a check after a wave.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct VerdictRecord {
    /// Number of the wave, from 0.
    pub wave: u32,
    /// Name of the check; absent for the soak.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<String>,
    /// The run that it is of, from 0.
    #[serde(default)]
    pub run: u32,
    /// PASS, FAIL or INCONCLUSIVE.
    pub outcome: String,
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Why.
    #[serde(default)]
    pub message: String,
}

/// What a check has measured before a wave.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct BaselineRecord {
    /// Number of the wave, from 0.
    pub wave: u32,
    /// Name of the check.
    pub check: String,
    /// What tells this question from another one that the check may ask later.
    pub question: String,
    /// What was measured, a decimal number; absent where nothing could be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// When.
    #[schemars(with = "String")]
    pub at: Timestamp,
    /// Why nothing could be measured.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}
