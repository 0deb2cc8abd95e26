//! Resources that are read as plain JSON, as their kinds exist only where somebody has installed them.

use kube::api::ApiResource;
use kube::core::GroupVersionKind;

/// The resource that Argo Rollouts are.
pub fn rollouts() -> ApiResource {
    let gvk = GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Rollout");
    ApiResource::from_gvk_with_plural(&gvk, "rollouts")
}

/// The resource that Calisti's planes are.
pub fn calisti_planes() -> ApiResource {
    let gvk = GroupVersionKind::gvk("servicemesh.cisco.com", "v1alpha1", "IstioControlPlane");
    ApiResource::from_gvk_with_plural(&gvk, "istiocontrolplanes")
}

/// The resource that copies of Calisti's planes in other clusters are.
pub fn peers() -> ApiResource {
    let gvk = GroupVersionKind::gvk("servicemesh.cisco.com", "v1alpha1", "PeerIstioControlPlane");
    ApiResource::from_gvk_with_plural(&gvk, "peeristiocontrolplanes")
}

/// The resource that Sail's planes are.
pub fn sail_planes() -> ApiResource {
    let gvk = GroupVersionKind::gvk("sailoperator.io", "v1", "IstioRevision");
    ApiResource::from_gvk_with_plural(&gvk, "istiorevisions")
}
