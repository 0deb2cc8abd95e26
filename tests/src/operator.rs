//! Calisti's operator for planes that are made of objects alone: its finalizer, the namespaces that it
//! lists, and what it takes away with a plane. No istiod answers for such a plane.

use crate::cluster::{create, deployment};
use crate::mesh;
use anyhow::{Context, Result};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Error, ResourceExt};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::sleep;

/// Holds a plane back until its operator has taken everything away.
const FINALIZER: &str = "istio-controlplane.servicemesh.cisco.com";
/// The namespace of planes.
const HOME: &str = "istio-system";
/// How often the operator looks.
const EVERY: Duration = Duration::from_millis(500);
/// The admission policy, as it is shipped.
const POLICY: &str = include_str!("../../deploy/retirement.yaml");

/// A plane of Calisti without an istiod that would answer.
pub(crate) struct PaperPlane {
    client: Client,
    /// Name of its IstioControlPlane, such as `cp-v112x`.
    pub(crate) name: String,
    /// The value of `istio.io/rev` that names it.
    pub(crate) revision: String,
}

impl PaperPlane {
    /// Creates the plane, and the Deployment of its operator in the namespace `home`.
    pub(crate) async fn create(client: &Client, name: &str, home: &str) -> Result<Self> {
        let revision = format!("{name}.{HOME}");
        let plane = Self { client: client.clone(), name: name.to_owned(), revision };
        let spec = json!({ "version": "1.13.9", "mode": "ACTIVE", "networkName": "network1" });
        mesh::create_in_calisti(client, "IstioControlPlane", name, spec, Value::Null).await?;
        let held = json!({ "metadata": { "finalizers": [FINALIZER] } });
        let api = mesh::calisti(client);
        api.patch(name, &PatchParams::default(), &Patch::Merge(held)).await?;
        mesh::set_calisti_status(client, name, "Available", "").await?;
        let (webhook, revision) = (plane.webhook(), plane.revision.clone());
        mesh::create_injector(client, (HOME, &webhook), &revision, &revision, &[]).await?;
        create::<Deployment>(client, plane.istiod()).await?;
        let operator = name.replace("cp-", "istio-operator-");
        create::<Deployment>(client, deployment(home, &operator, 1)).await?;
        Ok(plane)
    }

    /// Tells a story while the plane's operator runs.
    pub(crate) async fn operated<T>(&self, story: impl Future<Output = Result<T>>) -> Result<T> {
        let operator = async {
            loop {
                // What fails now is tried again, as an operator does.
                let _ = self.reconcile().await;
                sleep(EVERY).await;
            }
        };
        tokio::select! {
            biased;
            told = story => told,
            () = operator => anyhow::bail!("the operator ended"),
        }
    }

    /// Whether its resource is there.
    pub(crate) async fn exists(&self) -> Result<bool> {
        Ok(mesh::calisti(&self.client).get_opt(&self.name).await?.is_some())
    }

    /// Takes the plane away at once, whatever is left of it.
    pub(crate) async fn remove(&self) -> Result<()> {
        let api = mesh::calisti(&self.client);
        if self.exists().await? {
            let free = json!({ "metadata": { "finalizers": null } });
            api.patch(&self.name, &PatchParams::default(), &Patch::Merge(free)).await?;
            api.delete(&self.name, &DeleteParams::default()).await?;
        }
        self.dismantle().await
    }

    async fn reconcile(&self) -> Result<()> {
        let api = mesh::calisti(&self.client);
        let Some(found) = api.get_opt(&self.name).await? else {
            return Ok(());
        };
        if found.metadata.deletion_timestamp.is_some() {
            self.dismantle().await?;
            let free = json!({ "metadata": { "finalizers": null } });
            api.patch(&self.name, &PatchParams::default(), &Patch::Merge(free)).await?;
            return Ok(());
        }
        let mine = ListParams::default().labels(&format!("istio.io/rev={}", self.revision));
        let attached = Api::<Namespace>::all(self.client.clone()).list(&mine).await?;
        let names: Vec<String> = attached.iter().map(ResourceExt::name_any).collect();
        // The real one leaves an empty list out.
        let told = &found.data["status"]["injectionNamespaces"];
        let names = if names.is_empty() { Value::Null } else { json!(names) };
        if *told != names {
            let status = json!({ "status": { "injectionNamespaces": names } });
            api.patch_status(&self.name, &PatchParams::default(), &Patch::Merge(status)).await?;
        }
        Ok(())
    }

    /// Deletes what the plane is made of.
    async fn dismantle(&self) -> Result<()> {
        let hooks = Api::<MutatingWebhookConfiguration>::all(self.client.clone());
        gone(hooks.delete(&self.webhook(), &DeleteParams::default()).await)?;
        let istiods = Api::<Deployment>::namespaced(self.client.clone(), HOME);
        gone(istiods.delete(&self.istiod_name(), &DeleteParams::background()).await)
    }

    fn webhook(&self) -> String {
        format!("istio-sidecar-injector-{}-{HOME}", self.name)
    }

    fn istiod_name(&self) -> String {
        format!("istiod-{}", self.name)
    }

    fn istiod(&self) -> Value {
        let labels = json!({ "app": "istiod", "istio.io/rev": self.revision });
        let mut object = deployment(HOME, &self.istiod_name(), 1);
        object["metadata"]["labels"] = labels.clone();
        object["spec"]["selector"] = json!({ "matchLabels": labels });
        object["spec"]["template"]["metadata"]["labels"] = labels;
        object["spec"]["template"]["metadata"]["labels"]["sidecar.istio.io/inject"] =
            json!("false");
        object
    }
}

/// Puts the admission policy of deploy/ in force.
pub(crate) async fn apply_policy(client: &Client) -> Result<()> {
    for document in serde_norway::Deserializer::from_str(POLICY) {
        let object = Value::deserialize(document).context("deploy/retirement.yaml is YAML")?;
        let params = PostParams::default();
        match object["kind"].as_str() {
            Some("ValidatingAdmissionPolicy") => {
                let api = Api::<ValidatingAdmissionPolicy>::all(client.clone());
                there(api.create(&params, &serde_json::from_value(object)?).await)?;
            }
            Some("ValidatingAdmissionPolicyBinding") => {
                let api = Api::<ValidatingAdmissionPolicyBinding>::all(client.clone());
                there(api.create(&params, &serde_json::from_value(object)?).await)?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Takes the admission policy away.
pub(crate) async fn remove_policy(client: &Client) -> Result<()> {
    let (name, params) = ("revshift-retirement", DeleteParams::default());
    let bindings = Api::<ValidatingAdmissionPolicyBinding>::all(client.clone());
    gone(bindings.delete(name, &params).await)?;
    gone(Api::<ValidatingAdmissionPolicy>::all(client.clone()).delete(name, &params).await)
}

fn gone<T>(deleted: Result<T, Error>) -> Result<()> {
    match deleted {
        Err(Error::Api(status)) if status.is_not_found() => Ok(()),
        deleted => deleted.map(|_| ()).context("cannot delete"),
    }
}

fn there<T>(created: Result<T, Error>) -> Result<()> {
    match created {
        Err(Error::Api(status)) if status.is_already_exists() => Ok(()),
        created => created.map(|_| ()).context("cannot create"),
    }
}
