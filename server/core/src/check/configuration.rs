//! Istio's resources, as the target would take them.

use super::Checks;
use super::surroundings::{Message, Resource};
use crate::plan::Severity;
use crate::problem::Code;

/// Annotations that Istio has deprecated, with what takes their place
/// (`istio.io/api/annotation/annotations.yaml`).
const DEPRECATED: [(&str, &str); 6] = [
    ("sidecar.istio.io/inject", "the label of that name"),
    ("kubernetes.io/ingress.class", "spec.ingressClassName"),
    ("sidecar.istio.io/enableCoreDump", "proxy.istio.io/config"),
    ("sidecar.istio.io/controlPlaneAuthPolicy", "nothing"),
    ("sidecar.istio.io/discoveryAddress", "proxy.istio.io/config"),
    ("policy.istio.io/check", "nothing"),
];

impl Checks<'_> {
    pub(super) fn configuration(&mut self) {
        let around = self.around;
        if let Some(why) = &around.unvalidated {
            let message =
                format!("its validator could not be asked about Istio's resources: {why}");
            self.warn(Code::ValidationImpossible, super::plane(&self.scope.target), message);
        }
        for resource in &around.resources {
            self.resource(resource);
        }
        for workload in &around.workloads {
            let object = format!("{}/{}/{}", workload.kind, workload.namespace, workload.name);
            for (annotation, instead) in DEPRECATED {
                if workload.annotations.contains_key(annotation) {
                    let message = format!(
                        "its pods have the annotation {annotation}; its place is taken by {instead}"
                    );
                    self.note(Code::AnnotationDeprecated, &object, message);
                }
            }
        }
    }

    fn resource(&mut self, resource: &Resource) {
        let object = resource.object();
        let target = self.scope.target.clone();
        if let Some(why) = &resource.refused {
            self.error(
                Code::ConfigurationRefused,
                &object,
                format!("`{target}` would refuse it: {why}"),
            );
        }
        for warning in &resource.warnings {
            self.warn(Code::ConfigurationWarned, &object, format!("`{target}` warns: {warning}"));
        }
        for Message { code, level, url } in &resource.messages {
            let severity = match level.to_ascii_uppercase().as_str() {
                "ERROR" => Severity::Error,
                "INFO" => Severity::Info,
                _ => Severity::Warning,
            };
            let url = if url.is_empty() { String::new() } else { format!(" ({url})") };
            let message = format!("istiod's analysis says {code}{url}");
            self.find(severity, Code::AnalysisMessage, &object, message);
        }
        for version in &resource.api_versions {
            if ["v1alpha1", "v1alpha2", "v1alpha3"].iter().any(|old| version.ends_with(old))
                && served_better(&resource.kind)
            {
                let message = format!("it is written in the old API version {version}");
                self.note(Code::ApiDeprecated, &object, message);
            }
        }
        if let Some(own) = &resource.revision
            && *own != target.0
        {
            let message = format!(
                "its label istio.io/rev={own} has only that plane read it: it does not hold for what has moved to `{target}`"
            );
            self.warn(Code::ResourcePinned, &object, message);
        }
        self.proxy_versions(resource);
    }

    /// An EnvoyFilter that names versions of proxies applies to some of them only.
    fn proxy_versions(&mut self, resource: &Resource) {
        if resource.proxy_versions.is_empty() {
            return;
        }
        let planes = self.cluster.planes();
        let version =
            |revision| planes.get(revision).map(|it| it.version.clone()).unwrap_or_default();
        let (old, new) = (version(&self.scope.source), version(&self.scope.target));
        let named = resource.proxy_versions.join(", ");
        let message = format!(
            "it is tied to proxies of version {named}: make sure that it holds for {new} as it did for {old}"
        );
        self.warn(Code::FilterTiedToVersion, resource.object(), message);
    }
}

/// Kinds of which every Istio that is maintained serves more than alpha.
fn served_better(kind: &str) -> bool {
    !["EnvoyFilter", "WasmPlugin"].contains(&kind)
}
