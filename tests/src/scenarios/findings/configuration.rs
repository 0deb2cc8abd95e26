//! Istio's resources, as the target's validator, istiod's analysis and the other plane see them; gateways and
//! workloads at risk.

use super::told::until_told;
use crate::bed::{Bed, Power, require};
use crate::cluster::{
    FAILS, NEW, OLD, create, deployment, full_autoscaler, namespace, ready, with_pod_label,
};
use crate::mesh::{self, create_networking};
use crate::session::Session;
use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::CronJob;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use serde_json::{Value, json};

const GROUP: &str = "networking.istio.io";

/// Refused, warned of, noted by istiod, old, read by one plane only; beside gateways and workloads that are
/// not well.
pub(crate) async fn configuration_is_read_as_the_target_would(bed: &dyn Bed) -> Result<()> {
    require(bed, Power::FailingPods)?;
    let client = bed.client();
    namespace(&client, "configured", &[("istio.io/rev", OLD)]).await?;
    let mut web = deployment("configured", "web", 2);
    web["spec"]["template"]["metadata"]["annotations"] =
        json!({ "sidecar.istio.io/inject": "true" });
    create::<Deployment>(&client, web).await?;
    let mut gate = with_pod_label(deployment("configured", "gate", 2), "istio", "ingressgateway");
    gate["spec"]["template"]["metadata"]["annotations"] =
        json!({ "inject.istio.io/templates": "gateway" });
    create::<Deployment>(&client, gate).await?;
    ready(bed, "configured", 4).await?;
    let ill = with_pod_label(deployment("configured", "ill", 2), FAILS, "never-ready");
    create::<Deployment>(&client, ill).await?;
    create::<CronJob>(&client, nightly()).await?;
    full_autoscaler(&client, "configured", "web", 2).await?;
    for (group, version, kind, plural) in [
        (GROUP, "v1", "VirtualService", "virtualservices"),
        (GROUP, "v1alpha3", "DestinationRule", "destinationrules"),
        (GROUP, "v1", "Sidecar", "sidecars"),
        ("servicemesh.cisco.com", "v1alpha1", "IstioMeshGateway", "istiomeshgateways"),
    ] {
        mesh::define_unless_there(&client, group, version, kind, plural).await?;
    }
    let route = json!({ "route": [{ "destination": { "host": "web.example" } }] });
    let lacking = json!({ "hosts": ["a.example"], "http": [{ "match": [] }] });
    let double = json!({ "hosts": ["b.example"], "http": [route, route] });
    let noted = json!({ "hosts": ["c.example"], "http": [route] });
    let virtual_service = ("v1", "VirtualService", "virtualservices");
    for (name, spec) in [("lacking", lacking), ("double", double), ("noted", noted)] {
        create_networking(&client, "configured", virtual_service, name, spec, json!({})).await?;
    }
    let rule = ("v1alpha3", "DestinationRule", "destinationrules");
    create_networking(
        &client,
        "configured",
        rule,
        "old",
        json!({ "host": "web.example" }),
        json!({}),
    )
    .await?;
    let sidecar = ("v1", "Sidecar", "sidecars");
    let egress = json!({ "egress": [{ "hosts": ["./*"] }] });
    create_networking(
        &client,
        "configured",
        sidecar,
        "pinned",
        egress,
        json!({ "istio.io/rev": OLD }),
    )
    .await?;
    let message = json!({ "status": { "validationMessages": [{
        "type": { "code": "IST0101", "name": "ReferencedResourceNotFound" }, "level": "ERROR",
    }] } });
    mesh::networking(&client, "configured", virtual_service)
        .patch_status("noted", &PatchParams::default(), &Patch::Merge(&message))
        .await?;
    let gvk = GroupVersionKind::gvk("servicemesh.cisco.com", "v1alpha1", "IstioMeshGateway");
    let resource = ApiResource::from_gvk_with_plural(&gvk, "istiomeshgateways");
    let edge = serde_json::from_value(json!({
        "apiVersion": "servicemesh.cisco.com/v1alpha1", "kind": "IstioMeshGateway",
        "metadata": { "name": "edge" },
        "spec": {
            "type": "ingress", "service": {},
            "istioControlPlane": { "name": "cp-v113x", "namespace": "istio-system" },
        },
    }))?;
    Api::<DynamicObject>::namespaced_with(client.clone(), "configured", &resource)
        .create(&PostParams::default(), &edge)
        .await?;
    let session = Session::start(bed).await?;
    let args = ["check", "--from", OLD, "--to", NEW, "-n", "configured"];
    let expected = [
        ("RS1117", "Deployment/configured/ill", "WARNING"),
        ("RS1118", "HorizontalPodAutoscaler/configured/web", "WARNING"),
        ("RS1120", "CronJob/configured/nightly", "ERROR"),
        ("RS1401", "Deployment/configured/gate", "WARNING"),
        ("RS1404", "IstioMeshGateway/configured/edge", "WARNING"),
        ("RS5001", "VirtualService/configured/lacking", "ERROR"),
        ("RS5002", "VirtualService/configured/double", "WARNING"),
        ("RS5003", "VirtualService/configured/noted", "ERROR"),
        ("RS5005", "DestinationRule/configured/old", "INFO"),
        ("RS5006", "Deployment/configured/web", "INFO"),
        ("RS5007", "Sidecar/configured/pinned", "WARNING"),
    ];
    until_told(&session, &args, &expected).await?;
    session.end_with(&["configured"]).await
}

/// Its next run would be refused.
fn nightly() -> Value {
    json!({
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": { "name": "nightly", "namespace": "configured" },
        "spec": {
            "schedule": "0 0 1 1 *",
            "jobTemplate": { "spec": { "template": {
                "metadata": { "annotations": { "inject.istio.io/templates": "unheard-of" } },
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [{ "name": "app", "image": "registry.k8s.io/pause:3.10" }],
                },
            } } },
        },
    })
}
