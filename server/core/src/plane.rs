//! Control planes, and how a user's name for one is resolved.

use crate::refusal::Refusal;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::fmt;

/// The value that `istio.io/rev` carries to name a control plane, such as
/// `cp-v115x.istio-system` or `1-31`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub String);

impl Revision {
    /// The revision of a Calisti plane: its name with dots as dashes, a dot, its namespace
    /// (`IstioControlPlane.NamespacedRevision` of the Cisco operator).
    pub fn of_calisti(name: &str, namespace: &str) -> Self {
        Self(format!("{}.{namespace}", name.replace('.', "-")))
    }

    /// The revision as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a plane was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// An IstioControlPlane of servicemesh.cisco.com/v1alpha1.
    Calisti,
    /// An IstioRevision of sailoperator.io/v1.
    Sail,
    /// An istiod Deployment or an injector webhook with a revision label.
    Istio,
}

/// One istiod with its revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plane {
    /// Names the plane in labels; unique.
    pub revision: Revision,
    /// Where it was found.
    pub source: Source,
    /// Name of the resource that stands for it.
    pub name: String,
    /// Namespace of the control plane.
    pub namespace: String,
    /// Istio's version; empty when unknown.
    pub version: String,
    /// ACTIVE or PASSIVE; empty when the source has no such notion.
    pub mode: String,
    /// Network; empty when not set.
    pub network: String,
    /// The source's own word for its state.
    pub status: String,
    /// Whether namespaces may be moved to it.
    pub available: bool,
    /// Whether mesh expansion is on; none when the source does not say.
    pub mesh_expansion: Option<bool>,
    /// Addresses of the mesh expansion gateway.
    pub gateway_addresses: Vec<String>,
    /// The source's own error message; empty when there is none.
    pub error: String,
    /// When the resource was created.
    pub created: Option<Timestamp>,
}

/// The planes of a cluster by revision.
pub type Planes = BTreeMap<Revision, Plane>;

/// Finds the plane that `name` means: a revision, or the short name of exactly one Calisti plane.
pub fn resolve<'a>(planes: &'a Planes, name: &str) -> Result<&'a Plane, Refusal> {
    if let Some(plane) = planes.get(&Revision(name.to_owned())) {
        return Ok(plane);
    }
    let candidates: Vec<&Plane> = planes
        .values()
        .filter(|plane| plane.source == Source::Calisti && plane.name == name)
        .collect();
    match candidates.as_slice() {
        [plane] => Ok(plane),
        [] => Err(Refusal::PlaneNotFound {
            name: name.to_owned(),
            known: planes.keys().map(ToString::to_string).collect(),
        }),
        _ => Err(Refusal::PlaneAmbiguous {
            name: name.to_owned(),
            candidates: candidates.iter().map(|plane| plane.revision.to_string()).collect(),
        }),
    }
}
