//! What KWOK plays: the stages of pods are the bed's own, which let labels choose failures and
//! delays; those of nodes are KWOK's. Every pod stage's keys are prefixed with the shared jq
//! definitions, and its status is written by the one shared template.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::binaries::Binaries;

const POD_STAGES: [&str; 6] = [
    include_str!("../stages/pod-ready.yaml"),
    include_str!("../stages/pod-starting.yaml"),
    include_str!("../stages/pod-image-pull.yaml"),
    include_str!("../stages/pod-crash-loop.yaml"),
    include_str!("../stages/pod-complete.yaml"),
    include_str!("../stages/pod-delete.yaml"),
];
const POD_DEFINITIONS: &str = include_str!("../stages/pod.jq");
const POD_STATUS: &str = include_str!("../stages/pod-status.tmpl");

const NODE_STAGES: [&str; 2] = [
    "stages/node/fast/node-initialize.yaml",
    "stages/node/heartbeat-with-lease/node-heartbeat-with-lease.yaml",
];

/// All stages as one file for `kwok --config`.
pub(crate) fn config(binaries: &Binaries) -> Result<String> {
    let mut config = String::new();
    for stage in POD_STAGES {
        config.push_str("---\n");
        config.push_str(&serde_norway::to_string(&pod_stage(stage)?)?);
    }
    for stage in NODE_STAGES {
        config.push_str("---\n");
        config.push_str(&binaries.file(stage)?);
    }
    Ok(config)
}

fn pod_stage(yaml: &str) -> Result<Value> {
    let mut stage: Value = serde_norway::from_str(yaml).context("a pod stage is not YAML")?;
    let prefix = |key: &mut Value| {
        if let Some(text) = key.as_str() {
            *key = json!(format!("{POD_DEFINITIONS}{text}"));
        }
    };
    if let Some(expressions) = stage.pointer_mut("/spec/selector/matchExpressions") {
        for expression in expressions.as_array_mut().into_iter().flatten() {
            prefix(&mut expression["key"]);
        }
    }
    if let Some(delay) = stage.pointer_mut("/spec/delay/durationFrom/expressionFrom") {
        prefix(delay);
    }
    if let Some(template) = stage.pointer_mut("/spec/next/statusTemplate") {
        let choice = template.as_str().context("a status template is a string")?;
        *template = json!(format!("{choice}\n{POD_STATUS}"));
    }
    Ok(stage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_a_name_of_its_own_and_spares_deleted_pods() {
        let stages = POD_STAGES.map(|stage| pod_stage(stage).unwrap());
        for (index, stage) in stages.iter().enumerate() {
            assert!(stages[..index].iter().all(|other| other["metadata"] != stage["metadata"]));
            let first = &stage["spec"]["selector"]["matchExpressions"][0];
            assert!(first["key"].as_str().unwrap().ends_with(".metadata.deletionTimestamp"));
            let deletes = stage["spec"]["next"]["delete"] == true;
            assert_eq!(first["operator"], if deletes { "Exists" } else { "DoesNotExist" });
            assert_eq!(deletes, stage["spec"]["next"]["statusTemplate"].is_null());
        }
    }
}
