//! Pods as far as injection and rollouts are concerned.

use crate::label::{self, Labels};
use crate::plane::Revision;
use std::sync::Arc;

/// An unfinished pod, from its metadata alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Name.
    pub name: String,
    /// Uid.
    pub uid: String,
    /// What the pods of one template have in common; the view holds it once for all of them.
    pub make: Arc<Make>,
    /// Whether it is being deleted.
    pub terminating: bool,
}

/// What a pod has from its controller, and from the injector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Make {
    /// The controller that owns it; none for a bare pod.
    pub owner: Option<Owner>,
    /// Which plane injected it.
    pub injected: Injected,
    /// Its labels that decide on injection.
    pub wish: InjectionWish,
    /// The restart that created it: the value of `revshift.dev/restart`.
    pub restart: Option<String>,
}

/// The controller of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// API group of the controller; empty for the core group.
    pub group: String,
    /// Kind of the controller.
    pub kind: String,
    /// Name of the controller.
    pub name: String,
    /// The hash of the pod template that the controller of a ReplicaSet gave the pod; it ends the
    /// ReplicaSet's name.
    pub template_hash: Option<TemplateHash>,
}

/// Which kind of controller made a pod's ReplicaSet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TemplateHash {
    /// `pod-template-hash`: a Deployment.
    Deployment(String),
    /// `rollouts-pod-template-hash`: an Argo Rollout.
    Rollout(String),
}

/// What a pod's metadata says of its sidecar.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Injected {
    /// No sidecar.
    No,
    /// Injected by this revision.
    By(Revision),
    /// A sidecar whose injection record names no revision (Istio before 1.11).
    Unknown,
}

/// What a pod's own metadata asks of the injector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InjectionWish {
    /// Its labels `istio.io/rev` and `sidecar.istio.io/inject`.
    pub labels: Labels,
    /// The legacy annotation `sidecar.istio.io/inject`.
    pub annotation: Option<String>,
}

impl Pod {
    /// Its make, to be changed for this pod alone.
    pub fn make_mut(&mut self) -> &mut Make {
        Arc::make_mut(&mut self.make)
    }
}

impl InjectionWish {
    /// The wish in these labels and annotations.
    pub fn among(labels: &Labels, annotations: &Labels) -> Self {
        Self {
            labels: labels
                .iter()
                .filter(|(key, _)| [label::REVISION, label::SIDECAR_INJECT].contains(&key.as_str()))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            annotation: annotations.get(label::SIDECAR_INJECT).cloned(),
        }
    }
}

impl Injected {
    /// Reads the injection record. Order of trust: the `revision` of `sidecar.istio.io/status`
    /// (1.11 and later, never a tag), the annotation `istio.io/rev` (1.18 and later), the label
    /// `istio.io/rev` (Calisti's templates, and only where a record shows that there is a sidecar,
    /// since a label alone may be a wish).
    ///
    /// `status` is the record's revision: none without a record, some empty text for a record
    /// that names none.
    pub fn read(status: Option<&str>, annotation: Option<&str>, label: Option<&str>) -> Self {
        let Some(status) = status else {
            return Self::No;
        };
        [Some(status), annotation, label]
            .into_iter()
            .flatten()
            .find(|revision| !revision.is_empty())
            .map_or(Self::Unknown, |revision| Self::By(Revision(revision.to_owned())))
    }

    /// The revision, where it is known.
    pub fn revision(&self) -> Option<&Revision> {
        match self {
            Self::By(revision) => Some(revision),
            Self::No | Self::Unknown => None,
        }
    }
}
