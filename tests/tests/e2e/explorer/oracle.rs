//! What must hold after every run.

use super::client::{Stream, records};
use super::schedule::Schedule;
use super::world::{BYSTANDER, NAMESPACES};
use anyhow::{Context, Result, ensure};
use revshift_sandbox::{Change, ChangeKind, Sandbox};
use revshift_tests::{NEW, OLD};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Looks at a cluster and its history; answers the end by what must not depend on the schedule.
pub(crate) fn check(
    sandbox: &Sandbox,
    schedule: &Schedule,
    stream: &Stream,
    changes: &[Change],
) -> Result<BTreeMap<String, String>> {
    stayed(changes)?;
    inside(changes)?;
    let mut end = state(sandbox)?;
    let id = &stream.id;
    let shard = sandbox.object(&format!("/apis/revshift.dev/v1alpha1/migrationshards/{id}-0"));
    for (namespace, record) in records(&shard.context("the shard is not stored")?) {
        let m = stream.held.get(&namespace);
        let m = m.with_context(|| format!("I8: no record of {namespace}"))?;
        ensure!(record["sequence"] == m.sequence, "I8: {namespace}: {record} is not {m:?}");
        if !schedule.is_story() {
            end.insert(
                format!("move of {namespace}"),
                format!("{} {}", record["state"], record["attempt"]),
            );
        }
    }
    if !schedule.is_story() {
        let path = format!("/apis/revshift.dev/v1alpha1/migrations/{id}");
        let migration = sandbox.object(&path).context("I6: the migration is not stored")?;
        ensure!(migration["status"]["state"] == "SUCCEEDED", "I7: {}", migration["status"]);
        once(changes)?;
    }
    Ok(end)
}

/// I7: how an end differs from that of an undisturbed run.
pub(crate) fn differs(
    calm: &BTreeMap<String, String>,
    end: &BTreeMap<String, String>,
) -> Option<String> {
    let differs = end.iter().find(|(what, how)| calm.get(*what) != Some(*how));
    differs.map(|(what, how)| format!("I7: {what}: {how}, not {:?}", calm.get(what)))
}

/// Whether a pod is ready.
pub(crate) fn ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// The plane that injected a pod, by the pod's own record; empty without one.
pub(crate) fn injected_by(pod: &Value) -> String {
    let record = pod["metadata"]["annotations"]["sidecar.istio.io/status"].as_str();
    let record: Value = serde_json::from_str(record.unwrap_or("{}")).unwrap_or_default();
    record["revision"].as_str().unwrap_or_default().to_owned()
}

/// I7: namespaces, workloads and pods as they are now.
fn state(sandbox: &Sandbox) -> Result<BTreeMap<String, String>> {
    let mut end = BTreeMap::new();
    for namespace in NAMESPACES.iter().chain([&BYSTANDER]) {
        let wanted = if *namespace == BYSTANDER { OLD } else { NEW };
        let object = sandbox.object(&format!("/api/v1/namespaces/{namespace}"));
        let object = object.with_context(|| format!("{namespace} is gone"))?;
        let label = &object["metadata"]["labels"]["istio.io/rev"];
        ensure!(label == wanted, "I7: {namespace} is labelled {label}");
        end.insert(format!("labels of {namespace}"), object["metadata"]["labels"].to_string());

        let path = format!("/apis/apps/v1/namespaces/{namespace}/deployments/web");
        let mut web = sandbox.object(&path).context("a Deployment is gone")?;
        let restart =
            &mut web["spec"]["template"]["metadata"]["annotations"]["revshift.dev/restart"];
        *restart = restart.is_string().into();
        end.insert(format!("workload of {namespace}"), web["spec"].to_string());

        let pods = sandbox.objects(&format!("/api/v1/namespaces/{namespace}/pods"));
        let staying = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        let mut injected = Vec::new();
        for pod in staying {
            let by = injected_by(pod);
            ensure!(by == wanted, "I7: a pod of {namespace} was injected by `{by}`");
            injected.push(format!("{by} {}", ready(pod)));
        }
        end.insert(format!("pods of {namespace}"), injected.join(", "));
    }
    Ok(end)
}

/// I2: no pod of a restart goes while its workload still has that restart.
fn stayed(changes: &[Change]) -> Result<()> {
    let mut current: BTreeMap<&str, &Value> = BTreeMap::new();
    for change in changes {
        let namespace = change.reference.namespace.as_str();
        match (change.kind.as_str(), change.change) {
            ("Deployment", _) => {
                let template = &change.object["spec"]["template"]["metadata"];
                current.insert(namespace, &template["annotations"]["revshift.dev/restart"]);
            }
            ("Pod", ChangeKind::Deleted) => {
                let restart = &change.object["metadata"]["annotations"]["revshift.dev/restart"];
                let replaced = current.get(namespace).is_none_or(|current| *current != restart);
                ensure!(restart.is_null() || replaced, "I2: a pod of {restart} was replaced");
            }
            _ => {}
        }
    }
    Ok(())
}

/// I2: every workload was restarted once, and each namespace relabelled once.
fn once(changes: &[Change]) -> Result<()> {
    let mut restarts: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut labels: BTreeMap<&str, u32> = BTreeMap::new();
    for change in changes {
        let reference = &change.reference;
        match change.kind.as_str() {
            "Deployment" => {
                let template = &change.object["spec"]["template"]["metadata"]["annotations"];
                if let Some(restart) = template["revshift.dev/restart"].as_str() {
                    restarts.entry(&reference.namespace).or_default().insert(restart);
                }
            }
            "Namespace" if change.manager == "revshift" && reference.name != "revshift-system" => {
                *labels.entry(&reference.name).or_default() += 1;
            }
            _ => {}
        }
    }
    let counts: Vec<usize> = restarts.values().map(BTreeSet::len).collect();
    ensure!(counts == [1; NAMESPACES.len()], "I2: {restarts:?}");
    let once: BTreeMap<&str, u32> = NAMESPACES.iter().map(|namespace| (*namespace, 1)).collect();
    ensure!(labels == once, "I4: namespaces were written {labels:?} times");
    Ok(())
}

/// I4: nothing outside the plan was written.
fn inside(changes: &[Change]) -> Result<()> {
    for change in changes.iter().filter(|change| change.manager == "revshift") {
        let reference = &change.reference;
        let about = match change.kind.as_str() {
            "Namespace" if reference.name != "revshift-system" => &reference.name,
            "Deployment" => &reference.namespace,
            _ => continue,
        };
        ensure!(NAMESPACES.contains(&about.as_str()), "I4: {reference:?} was written");
    }
    Ok(())
}
