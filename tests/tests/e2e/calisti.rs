//! What Calisti keeps of its old plane on a simulated cluster, and what its operator does.

use crate::simulated::SimulatedBed;
use revshift_sandbox::fixtures;
use std::time::Duration;
use tokio::time::sleep;

/// The old plane.
pub(crate) const PLANE: &str =
    "/apis/servicemesh.cisco.com/v1alpha1/namespaces/istio-system/istiocontrolplanes/cp-v113x";

/// Webhooks of the old plane.
pub(crate) const HOOKS: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/\
    istio-sidecar-injector-cp-v113x-istio-system";

pub(crate) const VALIDATOR: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/\
    istio-validator-cp-v113x-istio-system-istio-system";

/// The Deployment of an operator, which is available after a while. What it keeps for the old plane goes
/// with the plane.
pub(crate) async fn operator(bed: &SimulatedBed, name: &str) {
    let sandbox = bed.sandbox.clone();
    tokio::spawn(async move {
        while sandbox.object(PLANE).is_some() {
            sleep(Duration::from_secs(1)).await;
        }
        sandbox.remove(HOOKS);
        sandbox.remove(VALIDATOR);
    });
    idle_operator(bed, name).await;
}

/// The Deployment of an operator that does nothing.
pub(crate) async fn idle_operator(bed: &SimulatedBed, name: &str) {
    bed.sandbox.apply(fixtures::namespace("operators", &[]));
    bed.sandbox.apply(fixtures::deployment("operators", name, 1));
    sleep(Duration::from_secs(10)).await;
}
