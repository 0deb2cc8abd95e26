//! Why a rollout does not go on, from one look at a namespace's full pods and its events.

use crate::pod::Pod;
use crate::problem::Code;
use crate::workload::{Workload, WorkloadKey};
use jiff::Timestamp;
use std::time::Duration;

/// One look at a namespace: the reply to a call, as all its pods stood at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// When it was asked for, on the engine's clock.
    pub at: Duration,
    /// Every unfinished pod.
    pub pods: Vec<InspectedPod>,
    /// Warning events, newest last.
    pub warnings: Vec<Warning>,
}

/// A pod with what its status says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InspectedPod {
    /// The pod.
    pub pod: Pod,
    /// Whether it is ready.
    pub ready: bool,
    /// What keeps it from being ready, in Kubernetes' own words; none when nothing tells.
    pub trouble: Option<(Trouble, String)>,
    /// The revision of the template that it was made of; none for kinds without revisions.
    pub revision: Option<String>,
    /// The container that has restarted last; none where none has.
    pub restarted: Option<Restarted>,
}

/// A container that has restarted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restarted {
    /// Its name.
    pub container: String,
    /// How often.
    pub times: u32,
    /// When it did so last; none where that is not told.
    pub last: Option<Timestamp>,
}

/// What keeps a pod from being ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// Its image cannot be pulled.
    ImagePull,
    /// A container crashes again and again.
    CrashLoop,
    /// No node takes it.
    Unschedulable,
    /// It runs and is not ready.
    NotReady,
}

/// A Warning event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Kind of the object.
    pub kind: String,
    /// Name of the object.
    pub name: String,
    /// Reason.
    pub reason: String,
    /// Message.
    pub message: String,
}

/// The cause, and the object that has it, as `kind/namespace/name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What kind of problem.
    pub code: Code,
    /// The object.
    pub object: String,
    /// The object's own message.
    pub message: String,
}

/// Why `workload` does not go on: pods that cannot be created come before pods that are in
/// trouble, and those before a mere lack of progress.
pub fn cause(
    namespace: &str,
    workload: &Workload,
    pods: &[&InspectedPod],
    look: &Inspection,
) -> Cause {
    let own = format!("{}/{namespace}/{}", workload.key.kind.as_str(), workload.key.name);
    if let Some(message) = creation_failure(workload, look) {
        return Cause { code: classify(&message), object: own, message };
    }
    if let Some(cause) = worst(namespace, pods) {
        return cause;
    }
    if let Some(message) = &workload.complaints.late {
        return Cause { code: Code::RolloutDeadline, object: own, message: message.clone() };
    }
    if workload.restart_pending() {
        let message =
            "its controller has not replaced all pods that are older than `spec.restartAt`; \
                       it may not run, or a PodDisruptionBudget may forbid it"
                .to_owned();
        return Cause { code: Code::RestartPending, object: own, message };
    }
    let Workload { desired, updated, available, .. } = workload;
    let message =
        format!("{updated} of {desired} pods are of the new template, {available} are available");
    Cause { code: Code::RolloutStalled, object: own, message }
}

/// The same for a controller of which nothing but its pods is known.
pub fn cause_of_pods(
    namespace: &str,
    controller: &str,
    pods: &[&InspectedPod],
    look: &Inspection,
) -> Cause {
    let (kind, name) = controller.split_once('/').unwrap_or(("", controller));
    let own = format!("{kind}/{namespace}/{name}");
    if let Some(cause) = worst(namespace, pods) {
        return cause;
    }
    if let Some(message) = failed_creation(kind, name, look) {
        return Cause { code: classify(&message), object: own, message };
    }
    let message = format!("{} pods are there, and no other one comes", pods.len());
    Cause { code: Code::RolloutStalled, object: own, message }
}

/// The pod that is in the worst trouble.
fn worst(namespace: &str, pods: &[&InspectedPod]) -> Option<Cause> {
    let ((trouble, message), pod) = pods
        .iter()
        .filter(|pod| !pod.ready)
        .filter_map(|pod| Some((pod.trouble.as_ref()?, &pod.pod.name)))
        .min()?;
    let code = match trouble {
        Trouble::ImagePull => Code::ImagePull,
        Trouble::CrashLoop => Code::CrashLoop,
        Trouble::Unschedulable => Code::Unschedulable,
        Trouble::NotReady => Code::NotReady,
    };
    Some(Cause { code, object: format!("Pod/{namespace}/{pod}"), message: message.clone() })
}

/// The message with which the creation of the workload's pods is refused: a Deployment says so
/// itself, other controllers in events.
fn creation_failure(workload: &Workload, look: &Inspection) -> Option<String> {
    if let Some(message) = &workload.complaints.creation {
        return Some(message.clone());
    }
    let missing = workload.total < workload.desired;
    let WorkloadKey { kind, name } = &workload.key;
    failed_creation(kind.as_str(), name, look).filter(|_| missing)
}

fn failed_creation(kind: &str, name: &str, look: &Inspection) -> Option<String> {
    let concerns = |warning: &&Warning| {
        warning.reason == "FailedCreate" && warning.kind == kind && warning.name == name
    };
    look.warnings.iter().rev().find(concerns).map(|warning| warning.message.clone())
}

/// The kind of refusal, from the API server's message; nothing else tells them apart.
pub fn classify(message: &str) -> Code {
    let says = |text: &str| message.contains(text);
    if says("failed calling webhook") || says("failed to call webhook") {
        Code::WebhookUnreachable
    } else if says("exceeded quota") || says("must specify limits") || says("maximum cpu") {
        Code::QuotaExceeded
    } else if says("denied the request") || says("is forbidden") || says("violates PodSecurity") {
        Code::AdmissionDenied
    } else {
        Code::RolloutStalled
    }
}
