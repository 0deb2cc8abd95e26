//! Istio's own manifest of a revision, edited for the bed: webhooks lead to loopback, and the
//! planes of Calisti's operator get the revision that istioctl refuses, `NAME.NAMESPACE`. Names of
//! objects stay, except of the two ConfigMaps that istiod finds by its revision.

use anyhow::{Context as _, Result};
use serde::Deserialize as _;
use serde_json::{Value, json};

/// The namespace of all planes.
pub(crate) const NAMESPACE: &str = "istio-system";

/// A control plane to install.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plane {
    /// The revision of an upstream plane, or the IstioControlPlane's name.
    pub name: String,
    /// Whether Calisti's operator would run it, with the revision `NAME.NAMESPACE`.
    pub calisti: bool,
    /// The version that images carry as their tag; istiod itself is that of the module.
    pub version: Option<String>,
}

impl Plane {
    /// A plane as Calisti's operator installs it.
    pub fn calisti(name: &str, version: &str) -> Self {
        Self { name: name.into(), calisti: true, version: Some(version.into()) }
    }

    /// A plane as `istioctl install --revision` installs it.
    pub fn upstream(revision: &str) -> Self {
        Self { name: revision.into(), calisti: false, version: None }
    }

    /// The value of the label `istio.io/rev` that attaches a namespace to this plane.
    pub fn revision(&self) -> String {
        if self.calisti { format!("{}.{NAMESPACE}", self.name) } else { self.name.clone() }
    }

    /// Names of the mutating and of the validating webhook configuration.
    pub(crate) fn webhooks(&self) -> [String; 2] {
        let name = &self.name;
        [format!("istio-sidecar-injector-{name}"), format!("istio-validator-{name}-{NAMESPACE}")]
    }

    /// The arguments by which istioctl writes this plane's manifest.
    pub(crate) fn generate(&self) -> Vec<String> {
        let mut args =
            ["manifest", "generate", "--set", "profile=minimal"].map(String::from).to_vec();
        args.extend(["--set".into(), format!("revision={}", self.name)]);
        if let Some(version) = &self.version {
            args.extend(["--set".into(), format!("tag={version}")]);
        }
        args
    }

    /// Edits a generated manifest; `webhook` is the root of the local istiod's HTTPS URL.
    pub(crate) fn edit(&self, manifest: &str, webhook: &str) -> Result<Vec<Value>> {
        let mut objects = Vec::new();
        for document in serde_norway::Deserializer::from_str(manifest) {
            let mut object = Value::deserialize(document).context("the manifest is not YAML")?;
            // Nothing here measures pods, so an autoscaler could only complain.
            if object.is_null() || object["kind"] == "HorizontalPodAutoscaler" {
                continue;
            }
            lead_to(&mut object, webhook)?;
            if self.calisti {
                self.rename(&mut object);
                replace_revision(&mut object, &self.name, &self.revision());
            }
            objects.push(object);
        }
        Ok(objects)
    }

    fn rename(&self, object: &mut Value) {
        let found_by_revision = ["istio", "istio-sidecar-injector"].map(|prefix| {
            (format!("{prefix}-{}", self.name), format!("{prefix}-{}", self.revision()))
        });
        if object["kind"] == "ConfigMap"
            && let Some((_, to)) =
                found_by_revision.into_iter().find(|(from, _)| object["metadata"]["name"] == **from)
        {
            object["metadata"]["name"] = json!(to);
        }
    }
}

/// Replaces a webhook's Service: the bed has no pod network that could lead to one.
fn lead_to(object: &mut Value, url: &str) -> Result<()> {
    for hook in object.get_mut("webhooks").and_then(Value::as_array_mut).into_iter().flatten() {
        let client = hook["clientConfig"].as_object_mut().context("a webhook without client")?;
        let service = client.remove("service").context("a webhook without Service")?;
        let path = service["path"].as_str().unwrap_or_default();
        client.insert("url".into(), json!(format!("{url}{path}")));
    }
    Ok(())
}

/// Replaces the revision in labels, in selectors of both forms and in istiod's environment.
fn replace_revision(value: &mut Value, from: &str, to: &str) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| replace_revision(item, from, to)),
        Value::Object(fields) => {
            if let Some(label) = fields.get_mut("istio.io/rev").filter(|label| **label == from) {
                *label = json!(to);
            }
            if fields.get("key").is_some_and(|key| key == "istio.io/rev") {
                let values = fields.get_mut("values").and_then(Value::as_array_mut);
                for value in values.into_iter().flatten().filter(|value| **value == from) {
                    *value = json!(to);
                }
            }
            if fields.get("name").is_some_and(|name| name == "REVISION") {
                fields.insert("value".into(), json!(to));
            }
            fields.values_mut().for_each(|field| replace_revision(field, from, to));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = r"
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: istio-sidecar-injector-cp-v113x, labels: {istio.io/rev: cp-v113x}}
webhooks:
- name: rev.namespace.sidecar-injector.istio.io
  clientConfig: {service: {name: istiod-cp-v113x, path: /inject, port: 443}}
  namespaceSelector:
    matchExpressions: [{key: istio.io/rev, operator: In, values: [cp-v113x]}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio-cp-v113x, labels: {istio.io/rev: cp-v113x}}
---
kind: HorizontalPodAutoscaler
metadata: {name: istiod-cp-v113x}
---
kind: Deployment
metadata: {name: istiod-cp-v113x, labels: {istio.io/rev: cp-v113x}}
spec:
  selector: {matchLabels: {istio.io/rev: cp-v113x}}
  template: {spec: {containers: [{env: [{name: REVISION, value: cp-v113x}]}]}}
---
";

    #[test]
    fn a_calisti_plane_has_its_namespaced_revision_wherever_pods_and_istiod_meet_it() {
        let plane = Plane::calisti("cp-v113x", "1.13.5");
        let objects = plane.edit(MANIFEST, "https://127.0.0.1:15017").unwrap();
        let [hooks, config, istiod] = objects.as_slice() else { panic!("{objects:?}") };
        let revision = "cp-v113x.istio-system";
        assert_eq!(hooks["metadata"]["name"], "istio-sidecar-injector-cp-v113x");
        assert_eq!(hooks["metadata"]["labels"]["istio.io/rev"], revision);
        let hook = &hooks["webhooks"][0];
        assert_eq!(hook["clientConfig"], json!({"url": "https://127.0.0.1:15017/inject"}));
        assert_eq!(hook["namespaceSelector"]["matchExpressions"][0]["values"], json!([revision]));
        assert_eq!(config["metadata"]["name"], "istio-cp-v113x.istio-system");
        assert_eq!(istiod["metadata"]["name"], "istiod-cp-v113x");
        assert_eq!(istiod["spec"]["selector"]["matchLabels"]["istio.io/rev"], revision);
        let env = &istiod["spec"]["template"]["spec"]["containers"][0]["env"][0];
        assert_eq!(env["value"], revision);
    }

    #[test]
    fn an_upstream_plane_keeps_its_revision() {
        let plane = Plane { name: "cp-v113x".into(), calisti: false, version: None };
        let objects = plane.edit(MANIFEST, "https://127.0.0.1:1").unwrap();
        assert_eq!(objects[1]["metadata"]["name"], "istio-cp-v113x");
        assert_eq!(objects[2]["metadata"]["labels"]["istio.io/rev"], "cp-v113x");
    }
}
