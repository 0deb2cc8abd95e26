//! Admission of new objects: the namespace's life cycle, sidecar injection.
//!
//! Injection sees namespaces through a cache that lags behind, as the API server's does; a
//! namespace that the cache lacks is read live.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::Cluster;
use crate::faults::FaultKind;
use crate::kind::{self, Kind};
use crate::object;
use crate::refusal::Refusal;
use crate::selector::LabelSelector;

/// On a webhook configuration: the Istio version whose traces its injections leave.
pub(crate) const VERSION_ANNOTATION: &str = "sandbox.revshift.dev/istio-version";
/// On a webhook configuration: the template writes the pod label `istio.io/rev` too.
pub(crate) const POD_LABEL_ANNOTATION: &str = "sandbox.revshift.dev/sets-pod-label";

const REVISION: &str = "istio.io/rev";
/// On a pod: how it fails, as the kubelet reads it.
const FAILS: &str = "bed.revshift.dev/fails";
const STATUS: &str = "sidecar.istio.io/status";

impl Cluster {
    pub(super) fn admit_into_namespace(
        &self,
        kind: &Kind,
        namespace: &str,
        name: &str,
    ) -> Result<(), Refusal> {
        let Some(found) = self.store.find(kind::NAMESPACES, "", namespace) else {
            let mut refusal =
                Refusal::new(404, "NotFound", format!("namespaces \"{namespace}\" not found"));
            refusal.details = json!({ "name": namespace, "kind": "namespaces" });
            return Err(refusal);
        };
        if object::deleting(found) {
            let why = format!(
                "unable to create new content in namespace {namespace} because it is being \
                 terminated"
            );
            let mut refusal = Refusal::forbidden(kind, name, &why);
            refusal.details["causes"] = json!([{
                "reason": "NamespaceTerminating",
                "message": format!("namespace {namespace} is being terminated"),
                "field": "metadata.namespace",
            }]);
            return Err(refusal);
        }
        Ok(())
    }

    /// Calls the injectors whose webhooks match, in the order of their configurations.
    pub(super) fn inject(
        &self,
        namespace: &str,
        pod: &mut Value,
        troubles: &[FaultKind],
    ) -> Result<(), Refusal> {
        let down = troubles.contains(&FaultKind::InjectorDown);
        let ignored = troubles.contains(&FaultKind::InjectorIgnored);
        let wrong = troubles.contains(&FaultKind::WrongInjector);
        let seen = Instant::now()
            .checked_sub(self.options.label_lag)
            .and_then(|moment| self.store.namespace_at(namespace, moment))
            .or_else(|| self.store.find(kind::NAMESPACES, "", namespace).cloned())
            .unwrap_or_default();
        for configuration in self.store.list(kind::WEBHOOKS, None) {
            for webhook in object::list(configuration, "/webhooks") {
                let name = object::text(webhook, "/name");
                let selects = |field: &str| LabelSelector::structured(webhook.get(field));
                if !name.ends_with("sidecar-injector.istio.io")
                    || !selects("namespaceSelector").matches_object(&seen)
                    || !selects("objectSelector").matches_object(pod)
                {
                    continue;
                }
                let revision = object::label(configuration, REVISION).unwrap_or("default");
                let ignore = ignored || object::text(webhook, "/failurePolicy") == "Ignore";
                if !(down || ignored || !self.answers(revision, webhook)) {
                    let other = self.other_injector(revision).filter(|_| wrong);
                    let (configuration, webhook, revision) =
                        other.unwrap_or((configuration, webhook, revision));
                    add_sidecar(configuration, webhook, revision, pod)
                        .map_err(|why| denied(name, &why))?;
                } else if !ignore {
                    return Err(unreachable(webhook, name));
                }
            }
        }
        Ok(())
    }

    /// Whether somebody is behind a webhook: a Service, and an istiod that is not down.
    fn answers(&self, revision: &str, webhook: &Value) -> bool {
        let service =
            |field: &str| object::text(webhook, &format!("/clientConfig/service/{field}"));
        let found = self.store.find(kind::SERVICES, service("namespace"), service("name"));
        found.is_some() && !self.injectors_down.contains(revision)
    }

    /// The revision whose injector is served by a Service.
    pub(crate) fn revision_behind(&self, service: &str, namespace: &str) -> Option<String> {
        self.store.find(kind::SERVICES, namespace, service)?;
        self.store.list(kind::WEBHOOKS, None).find_map(|configuration| {
            let of = |webhook: &Value, field: &str| {
                let found = object::at(webhook, &format!("/clientConfig/service/{field}"));
                found.and_then(Value::as_str).map(str::to_owned)
            };
            let leads = |webhook: &Value| {
                of(webhook, "name").as_deref() == Some(service)
                    && of(webhook, "namespace").as_deref() == Some(namespace)
            };
            let found = object::list(configuration, "/webhooks").iter().any(leads);
            object::label(configuration, REVISION).filter(|_| found).map(str::to_owned)
        })
    }

    /// What the injector of a revision makes of a pod.
    ///
    /// # Errors
    /// Why it refuses the pod.
    pub(crate) fn inject_by(&self, revision: &str, pod: &mut Value) -> Result<(), String> {
        let own = |one: &&Arc<Value>| object::label(one, REVISION) == Some(revision);
        if let Some(configuration) = self.store.list(kind::WEBHOOKS, None).find(own)
            && let Some(webhook) = object::list(configuration, "/webhooks").first()
        {
            add_sidecar(configuration, webhook, revision, pod)?;
        }
        Ok(())
    }

    /// An injector of another revision than this one, and its first webhook.
    fn other_injector(&self, revision: &str) -> Option<(&Value, &Value, &str)> {
        self.store.list(kind::WEBHOOKS, None).find_map(|configuration| {
            let other = object::label(configuration, REVISION).filter(|one| *one != revision)?;
            let webhook = object::list(configuration, "/webhooks").first()?;
            Some((configuration.as_ref(), webhook, other))
        })
    }

    /// What faults make of a pod before it is injected.
    pub(super) fn trouble(
        &self,
        kind: &Kind,
        name: &str,
        pod: &mut Value,
        troubles: &[FaultKind],
    ) -> Result<(), Refusal> {
        for trouble in troubles {
            let fails = match trouble {
                FaultKind::ImagePull => "image-pull",
                FaultKind::CrashLoop => "crash-loop",
                FaultKind::NeverReady => "never-ready",
                FaultKind::Unschedulable => "unschedulable",
                FaultKind::QuotaExceeded => {
                    let used = self.store.list(kind::PODS, Some(object::namespace(pod))).count();
                    let why = format!(
                        "exceeded quota: pods, requested: pods=1, used: pods={used}, limited: \
                         pods={used}"
                    );
                    return Err(Refusal::forbidden(kind, name, &why));
                }
                FaultKind::PodSecurity => {
                    let why = "violates PodSecurity \"restricted:latest\": \
                               allowPrivilegeEscalation != false (container \"app\" must set \
                               securityContext.allowPrivilegeEscalation=false)";
                    return Err(Refusal::forbidden(kind, name, why));
                }
                FaultKind::PodDenied => {
                    let message = "admission webhook \"validation.policy.example.com\" denied \
                                   the request: no new pods today";
                    return Err(Refusal::new(403, "Forbidden", message));
                }
                _ => continue,
            };
            object::set_label(pod, FAILS, fails);
        }
        Ok(())
    }
}

/// Injects as istiod does, as far as the annotations of a pod ask for something.
fn add_sidecar(
    configuration: &Value,
    webhook: &Value,
    revision: &str,
    pod: &mut Value,
) -> Result<(), String> {
    let refused = object::annotation(pod, "sidecar.istio.io/inject") == Some("false")
        && object::label(pod, "sidecar.istio.io/inject").is_none();
    if refused
        || object::flag(pod, "/spec/hostNetwork")
        || object::annotation(pod, STATUS).is_some()
    {
        return Ok(());
    }
    let asked = object::annotation(pod, "inject.istio.io/templates").unwrap_or("sidecar");
    if let Some(unknown) = asked.split(',').find(|it| !TEMPLATES.contains(&it.trim())) {
        return Err(format!("requested template {unknown:?} not found; have {TEMPLATES:?}"));
    }
    let version = object::annotation(configuration, VERSION_ANNOTATION).unwrap_or("1.27.0");
    let service = object::text(webhook, "/clientConfig/service/name");
    let namespace = object::text(webhook, "/clientConfig/service/namespace");
    let discovery = format!("{service}.{namespace}.svc:15012");
    // A container of that name in the template is what its owner adds to the sidecar.
    let (own, mut containers): (Vec<Value>, Vec<Value>) = object::list(pod, "/spec/containers")
        .iter()
        .cloned()
        .partition(|one| object::text(one, "/name") == "istio-proxy");
    let mut ports = vec![json!({ "containerPort": 15090, "name": "http-envoy-prom" })];
    ports.extend(own.iter().flat_map(|one| object::list(one, "/ports").to_vec()));
    let cpu = object::annotation(pod, "sidecar.istio.io/proxyCPU");
    let resources = cpu.map_or_else(|| json!({}), |cpu| json!({ "requests": { "cpu": cpu } }));
    let mut proxy = json!({
        "name": "istio-proxy",
        "image": format!("docker.io/istio/proxyv2:{version}"),
        "imagePullPolicy": "IfNotPresent",
        "args": ["proxy", "sidecar", "--domain", "$(POD_NAMESPACE).svc.cluster.local"],
        "env": [
            { "name": "CA_ADDR", "value": discovery },
            {
                "name": "PROXY_CONFIG",
                "value": json!({ "discoveryAddress": discovery }).to_string(),
            },
        ],
        "ports": ports,
        "resources": resources,
    });
    let mut inits = object::list(pod, "/spec/initContainers").to_vec();
    if object::annotation(pod, "sidecar.istio.io/interceptionMode") != Some("NONE") {
        inits.push(json!({
            "name": "istio-init",
            "image": format!("docker.io/istio/proxyv2:{version}"),
            "args": ["istio-iptables", "-p", "15001"],
        }));
    }
    if object::annotation(pod, "sidecar.istio.io/nativeSidecar") == Some("true") {
        proxy["restartPolicy"] = json!("Always");
        inits.push(proxy);
    } else {
        containers.push(proxy);
    }
    object::set(pod, "/spec/containers", containers);
    object::set(pod, "/spec/initContainers", inits);
    let status = json!({
        "initContainers": ["istio-init"],
        "containers": ["istio-proxy"],
        "volumes": ["workload-socket", "istio-envoy", "istio-data", "istiod-ca-cert"],
        "imagePullSecrets": null,
        "revision": revision,
    });
    object::set_annotation(pod, STATUS, &status.to_string());
    // Up to 1.17 the annotation does not exist; the chart of that time set a label.
    let minor = version.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
    if minor.is_none_or(|minor| minor >= 18) {
        object::set_annotation(pod, REVISION, revision);
    }
    if object::annotation(configuration, POD_LABEL_ANNOTATION) == Some("true") {
        object::set_label(pod, REVISION, revision);
    }
    Ok(())
}

/// What a pod may ask for by `inject.istio.io/templates`.
const TEMPLATES: [&str; 6] =
    ["gateway", "gatewayOverrides", "grpc-agent", "grpc-simple", "sidecar", "waypoint"];

fn denied(webhook: &str, why: &str) -> Refusal {
    let message = format!("admission webhook {webhook:?} denied the request: {why}");
    Refusal::new(400, "BadRequest", &message)
}

fn unreachable(webhook: &Value, name: &str) -> Refusal {
    let service = object::text(webhook, "/clientConfig/service/name");
    let namespace = object::text(webhook, "/clientConfig/service/namespace");
    let seconds = object::integer(webhook, "/timeoutSeconds").unwrap_or(10);
    Refusal::internal(&format!(
        "failed calling webhook \"{name}\": failed to call webhook: Post \
         \"https://{service}.{namespace}.svc:443/inject?timeout={seconds}s\": dial tcp \
         10.96.31.7:443: connect: connection refused"
    ))
}

/// The revision that injected a pod, from the record that every version leaves.
pub(crate) fn injected_by(pod: &Value) -> Option<String> {
    let status: Value = serde_json::from_str(object::annotation(pod, STATUS)?).ok()?;
    Some(object::text(&status, "/revision").to_owned())
}
