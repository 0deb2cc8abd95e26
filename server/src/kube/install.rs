//! Installs revshift's own CRDs, and the namespace of its Lease, where it was told to.

use crate::kube::client::FIELD_MANAGER;
use crate::kube::crd::{Migration, MigrationShard, Retirement, VERSION_ANNOTATION};
use anyhow::Context;
use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Client, CustomResourceExt, Error, ResourceExt};
use revshift_core::plan::PLAN_VERSION;
use tracing::{info, warn};

/// The highest version of plans that a CRD can store, as it tells itself.
pub fn version(definition: &impl ResourceExt) -> u32 {
    let version = definition.annotations().get(VERSION_ANNOTATION);
    version.and_then(|version| version.parse().ok()).unwrap_or_default()
}

/// The CRDs, as generated from the types that the server stores.
pub fn definitions() -> Vec<CustomResourceDefinition> {
    let mut definitions = vec![Migration::crd(), MigrationShard::crd(), Retirement::crd()];
    for definition in &mut definitions {
        let version = (VERSION_ANNOTATION.to_owned(), PLAN_VERSION.to_string());
        definition.annotations_mut().extend([version]);
    }
    definitions
}

/// The CRDs as one YAML stream: the content of `deploy/crds.yaml`.
pub fn yaml() -> anyhow::Result<String> {
    let mut text =
        "# Generated: cargo run -p revshift-server --bin crds > deploy/crds.yaml\n".to_owned();
    for definition in definitions() {
        text.push_str("---\n");
        text.push_str(&serde_norway::to_string(&definition).context("a CRD is no YAML")?);
    }
    Ok(text)
}

/// Installs or updates the CRDs and creates `namespace` where it is missing. CRDs of a newer revshift are
/// left as they are: older ones would drop what it has stored.
pub async fn install(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    let params = PatchParams::apply(FIELD_MANAGER).force();
    for definition in definitions() {
        let name = definition.name_any();
        let found = api.get_opt(&name).await;
        let found = found.with_context(|| format!("cannot read the CRD {name}"))?;
        let newer = found.as_ref().map(version).filter(|version| *version > PLAN_VERSION);
        if let Some(version) = newer {
            warn!(crd = name, version, mine = PLAN_VERSION, "left as it is: a newer revshift's");
            continue;
        }
        api.patch(&name, &params, &Patch::Apply(&definition))
            .await
            .with_context(|| format!("cannot install the CRD {name}"))?;
        info!(crd = name, "installed");
    }
    let metadata = ObjectMeta { name: Some(namespace.to_owned()), ..ObjectMeta::default() };
    let wanted = Namespace { metadata, ..Namespace::default() };
    match Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &wanted).await {
        Ok(_) => info!(namespace, "created"),
        Err(Error::Api(status)) if status.is_already_exists() => {}
        Err(error) => return Err(error).context(format!("cannot create namespace {namespace}")),
    }
    Ok(())
}

/// Fails when `namespace`, which is to hold the Lease, does not exist.
pub async fn require_namespace(client: &Client, namespace: &str) -> anyhow::Result<()> {
    let found = Api::<Namespace>::all(client.clone())
        .get_opt(namespace)
        .await
        .with_context(|| format!("cannot read namespace {namespace}"))?;
    anyhow::ensure!(
        found.is_some(),
        "namespace {namespace}, which is to hold revshift's Lease, does not exist; \
         create it, name another with --namespace, or start once with --install-crds"
    );
    Ok(())
}
