//! Control planes that a scenario adds, changes and takes away again.

use anyhow::{Context, Result};
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
};
use kube::core::GroupVersionKind;
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;

/// The name of Sail's definition of IstioRevision.
pub(crate) const SAIL: &str = "istiorevisions.sailoperator.io";

/// Calisti's planes, where the procedure has them.
pub(crate) fn calisti(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("servicemesh.cisco.com", "v1alpha1", "IstioControlPlane");
    let resource = ApiResource::from_gvk_with_plural(&kind, "istiocontrolplanes");
    Api::namespaced_with(client.clone(), "istio-system", &resource)
}

/// Resources of Calisti by their kind, where the procedure has its planes.
fn of_calisti(client: &Client, kind: &str) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk("servicemesh.cisco.com", "v1alpha1", kind);
    let plural = format!("{}s", kind.to_lowercase());
    let resource = ApiResource::from_gvk_with_plural(&gvk, &plural);
    Api::namespaced_with(client.clone(), "istio-system", &resource)
}

/// Creates a resource of Calisti.
pub(crate) async fn create_in_calisti(
    client: &Client,
    kind: &str,
    name: &str,
    spec: Value,
    annotations: Value,
) -> Result<()> {
    let object: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "servicemesh.cisco.com/v1alpha1",
        "kind": kind,
        "metadata": { "name": name, "annotations": annotations },
        "spec": spec,
    }))?;
    of_calisti(client, kind).create(&PostParams::default(), &object).await?;
    Ok(())
}

/// Deletes a resource of Calisti.
pub(crate) async fn delete_in_calisti(client: &Client, kind: &str, name: &str) -> Result<()> {
    of_calisti(client, kind).delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// Sail's planes.
fn sail(client: &Client) -> Api<DynamicObject> {
    let kind = GroupVersionKind::gvk("sailoperator.io", "v1", "IstioRevision");
    let resource = ApiResource::from_gvk_with_plural(&kind, "istiorevisions");
    Api::all_with(client.clone(), &resource)
}

/// Writes the status of a Calisti plane as its operator would; an empty error for none.
pub(crate) async fn set_calisti_status(
    client: &Client,
    name: &str,
    status: &str,
    error: &str,
) -> Result<()> {
    let error = (!error.is_empty()).then_some(error);
    report_calisti(client, name, json!({ "status": status, "errorMessage": error })).await
}

/// Adds to the status of a Calisti plane as its operator would.
pub(crate) async fn report_calisti(client: &Client, name: &str, status: Value) -> Result<()> {
    let patch = json!({ "status": status });
    calisti(client)
        .patch_status(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .with_context(|| format!("cannot set the status of {name}"))?;
    Ok(())
}

/// Sets the mesh configuration that a Calisti plane has of its own; null for none.
pub(crate) async fn set_calisti_mesh(client: &Client, name: &str, config: Value) -> Result<()> {
    specify_calisti(client, name, json!({ "meshConfig": config })).await
}

/// Changes the specification of a Calisti plane.
pub(crate) async fn specify_calisti(client: &Client, name: &str, spec: Value) -> Result<()> {
    let patch = json!({ "spec": spec });
    calisti(client)
        .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .with_context(|| format!("cannot configure {name}"))?;
    Ok(())
}

/// Version, kind and plural of a kind of `networking.istio.io`.
pub(crate) type Networking = (&'static str, &'static str, &'static str);

/// Resources of Istio in a namespace.
pub(crate) fn networking(
    client: &Client,
    namespace: &str,
    (version, kind, plural): Networking,
) -> Api<DynamicObject> {
    let gvk = GroupVersionKind::gvk("networking.istio.io", version, kind);
    let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
    Api::namespaced_with(client.clone(), namespace, &resource)
}

/// Creates a resource of Istio.
pub(crate) async fn create_networking(
    client: &Client,
    namespace: &str,
    of: Networking,
    name: &str,
    spec: Value,
    labels: Value,
) -> Result<()> {
    let (version, kind, _) = of;
    let object: DynamicObject = serde_json::from_value(json!({
        "apiVersion": format!("networking.istio.io/{version}"), "kind": kind,
        "metadata": { "name": name, "labels": labels }, "spec": spec,
    }))?;
    let created = networking(client, namespace, of).create(&PostParams::default(), &object).await;
    created.with_context(|| format!("cannot create {kind} {name}"))?;
    Ok(())
}

/// Says what becomes of pods while the injection webhooks of a revision do not answer.
pub(crate) async fn set_failure_policy(
    client: &Client,
    revision: &str,
    policy: &str,
) -> Result<()> {
    let api = Api::<MutatingWebhookConfiguration>::all(client.clone());
    let selector = format!("istio.io/rev={revision},!istio.io/tag");
    for mut found in api.list(&ListParams::default().labels(&selector)).await? {
        for webhook in found.webhooks.iter_mut().flatten() {
            webhook.failure_policy = Some(policy.to_owned());
        }
        let name = found.metadata.name.clone().unwrap_or_default();
        api.replace(&name, &PostParams::default(), &found)
            .await
            .with_context(|| format!("cannot change {name}"))?;
    }
    Ok(())
}

/// Leads a tag to a revision, as `istioctl tag set --overwrite` does: its webhooks are those of the
/// revision, for namespaces and pods that name the tag.
pub(crate) async fn lead_tag(client: &Client, tag: &str, revision: &str) -> Result<()> {
    let name = format!("istio-revision-tag-{tag}");
    let labels =
        json!({ "app": "sidecar-injector", "istio.io/rev": revision, "istio.io/tag": tag });
    inject_by(client, &name, tag, revision, labels).await
}

/// Lets a revision inject what is labelled with `value`, by a configuration that no tag names.
pub(crate) async fn inject_for(
    client: &Client,
    configuration: &str,
    value: &str,
    revision: &str,
) -> Result<()> {
    let labels = json!({ "app": "sidecar-injector", "istio.io/rev": revision });
    inject_by(client, configuration, value, revision, labels).await
}

/// Deletes a configuration of webhooks.
pub(crate) async fn remove_injector(client: &Client, configuration: &str) -> Result<()> {
    delete::<MutatingWebhookConfiguration>(client, configuration).await
}

/// A configuration with the webhooks of a revision, for namespaces and pods labelled with `value`.
async fn inject_by(
    client: &Client,
    name: &str,
    value: &str,
    revision: &str,
    labels: Value,
) -> Result<()> {
    let api = Api::<MutatingWebhookConfiguration>::all(client.clone());
    let selector = format!("istio.io/rev={revision},!istio.io/tag");
    let own = api.list(&ListParams::default().labels(&selector)).await?.items;
    let own = own.into_iter().next().context("the revision has no webhooks")?;
    let mut webhooks = own.webhooks;
    for selector in webhooks
        .iter_mut()
        .flatten()
        .flat_map(|webhook| [webhook.namespace_selector.as_mut(), webhook.object_selector.as_mut()])
    {
        let selector = selector.into_iter();
        let all = selector.flat_map(|it| it.match_expressions.iter_mut().flatten());
        for one in all.filter(|one| one.key == "istio.io/rev" && one.operator == "In") {
            one.values = Some(vec![value.to_owned()]);
        }
    }
    if value == "default" {
        let webhooks = webhooks.get_or_insert_default();
        let mut enabled = webhooks.first().context("there are no webhooks")?.clone();
        "namespace.sidecar-injector.istio.io".clone_into(&mut enabled.name);
        enabled.namespace_selector = Some(serde_json::from_value(json!({ "matchExpressions": [
            { "key": "istio-injection", "operator": "In", "values": ["enabled"] },
        ] }))?);
        webhooks.push(enabled);
    }
    let mut object: MutatingWebhookConfiguration =
        serde_json::from_value(json!({ "metadata": { "name": name, "labels": labels } }))?;
    object.metadata.annotations = own.metadata.annotations;
    object.webhooks = webhooks;
    match api.get_opt(name).await? {
        Some(known) => {
            object.metadata.resource_version = known.metadata.resource_version;
            api.replace(name, &PostParams::default(), &object).await?
        }
        None => api.create(&PostParams::default(), &object).await?,
    };
    Ok(())
}

/// Removes a tag.
pub(crate) async fn remove_tag(client: &Client, tag: &str) -> Result<()> {
    remove_injector(client, &format!("istio-revision-tag-{tag}")).await
}

/// The name of the default validator.
const DEFAULT_VALIDATOR: &str = "istiod-default-validator";

/// Creates a default validator that names a revision, and validates nothing.
pub(crate) async fn create_default_validator(client: &Client, revision: &str) -> Result<()> {
    let object = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {
            "name": DEFAULT_VALIDATOR,
            "labels": { "app": "istiod", "istio.io/rev": revision },
        },
    });
    put::<ValidatingWebhookConfiguration>(client, object).await
}

/// Deletes the default validator.
pub(crate) async fn delete_default_validator(client: &Client) -> Result<()> {
    delete::<ValidatingWebhookConfiguration>(client, DEFAULT_VALIDATOR).await
}

/// Installs the definition of IstioRevision.
pub(crate) async fn define_sail(client: &Client) -> Result<()> {
    define(client, "sailoperator.io", "v1", "IstioRevision", "istiorevisions", "Cluster").await
}

/// Installs the definition of a kind of Istio, where the bed has none.
pub(crate) async fn define_unless_there(
    client: &Client,
    group: &str,
    version: &str,
    kind: &str,
    plural: &str,
) -> Result<()> {
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    if definitions.get_opt(&format!("{plural}.{group}")).await?.is_some() {
        return Ok(());
    }
    define(client, group, version, kind, plural, "Namespaced").await
}

/// Installs the definition of a kind whose objects may hold anything.
pub(crate) async fn define(
    client: &Client,
    group: &str,
    version: &str,
    kind: &str,
    plural: &str,
    scope: &str,
) -> Result<()> {
    let schema = json!({ "openAPIV3Schema": {
        "type": "object",
        "x-kubernetes-preserve-unknown-fields": true,
    } });
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}") },
        "spec": {
            "group": group,
            "scope": scope,
            "names": {
                "kind": kind,
                "listKind": format!("{kind}List"),
                "plural": plural,
                "singular": kind.to_lowercase(),
            },
            "versions": [{
                "name": version,
                "served": true,
                "storage": true,
                "subresources": { "status": {} },
                "schema": schema,
            }],
        },
    });
    put::<CustomResourceDefinition>(client, definition).await
}

/// Creates an IstioRevision.
pub(crate) async fn create_sail_plane(client: &Client, name: &str) -> Result<()> {
    let object: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "sailoperator.io/v1",
        "kind": "IstioRevision",
        "metadata": { "name": name },
        "spec": { "version": "v1.27.0", "namespace": "istio-system" },
    }))?;
    sail(client).create(&PostParams::default(), &object).await?;
    Ok(())
}

/// Writes the status of an IstioRevision as its operator would.
pub(crate) async fn set_sail_status(
    client: &Client,
    name: &str,
    state: &str,
    ready: bool,
) -> Result<()> {
    let condition = json!({
        "type": "Ready",
        "status": if ready { "True" } else { "False" },
        "reason": state,
        "message": if ready { "" } else { "istiod is not ready" },
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let patch = json!({ "status": { "state": state, "conditions": [condition] } });
    sail(client).patch_status(name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
    Ok(())
}

/// Creates an injector's webhook of `revision`, for namespaces that are labelled with `selected`.
/// Nothing answers it, so it must not match pods that are meant to start with a sidecar.
pub(crate) async fn create_injector(
    client: &Client,
    (home, name): (&str, &str),
    revision: &str,
    selected: &str,
    labels: &[(&str, &str)],
) -> Result<()> {
    let mut object = json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {
            "name": name,
            "labels": { "app": "sidecar-injector", "istio.io/rev": revision },
        },
        "webhooks": [{
            "name": "rev.namespace.sidecar-injector.istio.io",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Ignore",
            "timeoutSeconds": 1,
            "clientConfig": { "service": {
                "name": "nobody", "namespace": home, "path": "/inject", "port": 443,
            } },
            "rules": [{
                "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                "resources": ["pods"], "scope": "*",
            }],
            "namespaceSelector": { "matchExpressions": [
                { "key": "istio.io/rev", "operator": "In", "values": [selected] },
                { "key": "istio-injection", "operator": "DoesNotExist" },
            ] },
        }],
    });
    for (key, value) in labels {
        object["metadata"]["labels"][*key] = json!(value);
    }
    put::<MutatingWebhookConfiguration>(client, object).await
}

/// Creates a cluster-wide object.
async fn put<K>(client: &Client, object: Value) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned,
{
    let object: K = serde_json::from_value(object)?;
    Api::<K>::all(client.clone()).create(&PostParams::default(), &object).await?;
    Ok(())
}

/// Deletes a cluster-wide object.
pub(crate) async fn delete<K>(client: &Client, name: &str) -> Result<()>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned,
{
    Api::<K>::all(client.clone()).delete(name, &DeleteParams::background()).await?;
    Ok(())
}
