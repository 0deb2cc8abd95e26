//! Calisti's face of a control plane: the IstioControlPlane kind and its objects. No operator runs
//! in a bed, so the harness says what the operator would have written into their status.

use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, Client,
    api::{ApiResource, DynamicObject, Patch, PatchParams},
    core::GroupVersionKind,
};
use serde_json::{Value, json};

use crate::{deadline::until, manifest::NAMESPACE};

const CRD: &str = include_str!("../crds/istiocontrolplanes.yaml");
const OWNER: &str = "revshift-testbed";

/// An IstioControlPlane to create.
#[derive(Clone, Debug)]
pub struct ControlPlane {
    /// The object's name, and with its namespace the plane's revision.
    pub name: String,
    /// `spec.version`, a full Istio version.
    pub version: String,
    /// Addresses of the plane's mesh expansion gateway, for `status.gatewayAddress`.
    pub gateway_addresses: Vec<String>,
}

/// What the operator would report of a plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaneStatus {
    /// The plane works.
    Available,
    /// The operator is at it.
    Reconciling,
    /// The operator could not, for this reason.
    ReconcileFailed(String),
}

impl ControlPlane {
    /// The two planes of Calisti's upgrade procedure, the old and the new.
    pub fn of_procedure() -> [Self; 2] {
        let plane = |name: &str, version: &str, addresses: [&str; 2]| Self {
            name: name.into(),
            version: version.into(),
            gateway_addresses: addresses.map(String::from).to_vec(),
        };
        [
            plane("cp-v113x", "1.13.5", ["3.122.28.53", "3.122.43.249"]),
            plane("cp-v115x", "1.15.3", ["3.122.31.252", "18.195.79.209"]),
        ]
    }

    /// Creates the object in istio-system with the status Available.
    pub(crate) async fn create(&self, client: &Client) -> Result<()> {
        let object = json!({
            "apiVersion": "servicemesh.cisco.com/v1alpha1",
            "kind": "IstioControlPlane",
            "metadata": {"name": self.name},
            "spec": {
                "version": self.version,
                "mode": "ACTIVE",
                "networkName": "network1",
                "meshExpansion": {"enabled": true},
            },
        });
        let api = api(client);
        let apply = PatchParams::apply(OWNER);
        api.patch(&self.name, &apply, &Patch::Apply(object)).await?;
        let status = json!({"status": {
            "gatewayAddress": self.gateway_addresses,
            "istioControlPlaneName": self.name,
        }});
        api.patch_status(&self.name, &PatchParams::default(), &Patch::Merge(status)).await?;
        set_status(client, &self.name, &PlaneStatus::Available).await
    }
}

/// Installs the kind and waits until it is served.
pub(crate) async fn install(client: &Client) -> Result<()> {
    let crd: Value = serde_norway::from_str(CRD).context("the IstioControlPlane CRD")?;
    let crds = Api::<CustomResourceDefinition>::all(client.clone());
    let name = crd["metadata"]["name"].as_str().unwrap_or_default();
    crds.patch(name, &PatchParams::apply(OWNER), &Patch::Apply(&crd)).await?;
    let planes = api(client);
    until("the IstioControlPlane kind", Duration::from_mins(2), async || {
        planes.list(&kube::api::ListParams::default()).await.context("not served yet")
    })
    .await?;
    Ok(())
}

/// Writes what the operator would.
pub(crate) async fn set_status(client: &Client, name: &str, status: &PlaneStatus) -> Result<()> {
    let (status, error) = match status {
        PlaneStatus::Available => ("Available", None),
        PlaneStatus::Reconciling => ("Reconciling", None),
        PlaneStatus::ReconcileFailed(reason) => ("ReconcileFailed", Some(reason)),
    };
    let status = json!({"status": {"status": status, "errorMessage": error}});
    api(client)
        .patch_status(name, &PatchParams::default(), &Patch::Merge(status))
        .await
        .with_context(|| format!("cannot set the status of IstioControlPlane {name}"))?;
    Ok(())
}

fn api(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("servicemesh.cisco.com", "v1alpha1", "IstioControlPlane");
    let resource = ApiResource::from_gvk_with_plural(&kind, "istiocontrolplanes");
    Api::namespaced_with(client.clone(), NAMESPACE, &resource)
}
