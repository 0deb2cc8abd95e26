//! How namespaces are attached to control planes: what the labels ask for against what the pods
//! carry.

use crate::cluster::{Cluster, Namespace, NamespaceMeta};
use crate::injection::{self, Injection};
use crate::label::InjectionLabels;
use crate::plane::Revision;
use crate::pod::{Injected, InjectionWish};
use std::collections::{BTreeMap, BTreeSet};

/// One namespace's attachment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The deciding label as `key=value`; none when no label decides.
    pub label: Option<String>,
    /// The tag through which its labels lead to the desired plane; none where they name a revision.
    pub tag: Option<String>,
    /// The plane that would inject an ordinary pod created now.
    pub desired: Injection,
    /// Pods that are not terminating, by what injected them.
    pub pods: BTreeMap<Injected, u32>,
    /// How the two compare.
    pub state: AttachmentState,
}

/// How a namespace's pods compare with its labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttachmentState {
    /// No pod that should be injected differs from the desired plane.
    Attached,
    /// All of them differ, on one other plane or without a sidecar.
    PendingRestart,
    /// Anything else.
    Mixed,
    /// No webhook serves the label.
    Dangling,
    /// The labels ask for no injection.
    NotInjected,
}

/// The attachment of one namespace.
pub fn attachment(cluster: &Cluster, meta: &NamespaceMeta, namespace: &Namespace) -> Attachment {
    let desired = cluster.injection_of_labels(&meta.labels);
    let mut pods = BTreeMap::new();
    let mut same = 0_u32;
    let mut different: BTreeSet<&Injected> = BTreeSet::new();
    for pod in namespace.pods.values().filter(|pod| !pod.terminating) {
        *pods.entry(pod.make.injected.clone()).or_default() += 1;
        match cluster.injection_of_pod(&meta.labels, namespace, pod) {
            Injection::By(revision) if pod.make.injected.revision() == Some(&revision) => same += 1,
            Injection::By(_) | Injection::Dangling(_) | Injection::Conflict(_) => {
                different.insert(&pod.make.injected);
            }
            Injection::None => {}
        }
    }
    let state = match (&desired, different.len()) {
        (Injection::Dangling(_), _) => AttachmentState::Dangling,
        (Injection::None, _) => AttachmentState::NotInjected,
        (_, 0) => AttachmentState::Attached,
        (_, 1) if same == 0 => AttachmentState::PendingRestart,
        _ => AttachmentState::Mixed,
    };
    let label = InjectionLabels::among(&meta.labels).deciding();
    let wish = InjectionWish::default();
    let tag = injection::tag(cluster.injectors(), &meta.labels, &wish).map(str::to_owned);
    Attachment { label, tag, desired, pods, state }
}

/// How many namespaces and pods are attached to a plane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Population {
    /// Namespaces whose labels resolve to it.
    pub namespaces: u32,
    /// Pods, not terminating, that it injected.
    pub pods: u32,
}

/// What is attached to each plane.
pub fn populations(cluster: &Cluster) -> BTreeMap<Revision, Population> {
    let mut populations: BTreeMap<Revision, Population> = BTreeMap::new();
    for (_, meta, namespace) in cluster.namespaces() {
        let attachment = attachment(cluster, meta, namespace);
        if let Injection::By(revision) = attachment.desired {
            populations.entry(revision).or_default().namespaces += 1;
        }
        for (injected, pods) in attachment.pods {
            if let Injected::By(revision) = injected {
                populations.entry(revision).or_default().pods += pods;
            }
        }
    }
    populations
}
