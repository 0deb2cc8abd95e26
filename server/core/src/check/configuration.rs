//! Istio's resources, as the target would take them.

use super::Checks;
use super::surroundings::{Message, Resource};
use crate::plan::Severity;
use crate::problem::Code;
use regex::{Regex, RegexBuilder};

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

    /// An EnvoyFilter that names versions of proxies applies to some of them only. As istiod does, the
    /// expressions are searched in the version (`pilot/pkg/model/envoyfilter.go`).
    fn proxy_versions(&mut self, resource: &Resource) {
        let planes = self.cluster.planes();
        let version = |revision| planes.get(revision).map_or("", |it| it.version.as_str());
        let (old, new) = (version(&self.scope.source), version(&self.scope.target));
        for expression in &resource.proxy_versions {
            let tied = format!("it is tied to proxies of version {expression}");
            let search = search(expression);
            let holds = |version| holds(search.as_ref(), version);
            let (severity, message) = match (holds(old), holds(new)) {
                (Some(true), Some(true)) => {
                    (Severity::Info, format!("{tied}, which holds for {new} as it did for {old}"))
                }
                (Some(true), Some(false)) => (
                    Severity::Warning,
                    format!("{tied}: it holds for {old}, and no longer for {new}"),
                ),
                (Some(false), Some(true)) => (
                    Severity::Warning,
                    format!("{tied}: it did not hold for {old}, and will for {new}"),
                ),
                (Some(false), Some(false)) => continue,
                _ => (
                    Severity::Warning,
                    format!("{tied}: whether it holds for {new} cannot be told"),
                ),
            };
            self.find(severity, Code::FilterTiedToVersion, resource.object(), message);
        }
    }
}

/// What an expression searches; none where it is none, or larger than a version can be.
fn search(expression: &str) -> Option<Regex> {
    RegexBuilder::new(expression).size_limit(1 << 18).build().ok()
}

/// Whether it is found in a version; none where either is not known.
fn holds(search: Option<&Regex>, version: &str) -> Option<bool> {
    search.filter(|_| !version.is_empty()).map(|search| search.is_match(version))
}

/// Kinds of which every Istio that is maintained serves more than alpha.
fn served_better(kind: &str) -> bool {
    !["EnvoyFilter", "WasmPlugin"].contains(&kind)
}
