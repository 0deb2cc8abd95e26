//! Dry-run injection: the target's own injector is asked what it makes of each pod template, and the answer
//! put beside a pod that runs. Nothing is created, and no right to create is needed.

use super::workloads::{self, Template};
use super::{Reading, asked, pages};
use crate::webhook::{Webhook, Webhooks};
use json_patch::{Patch, PatchOperation};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use revshift_core::check::surroundings::{Redirection, Sidecar, Trial};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

/// So many workloads are tried in one check; a check of more says so.
const MOST: usize = 2000;
/// Names of pods of which one was chosen for each workload: `(namespace, pod)` to `Kind/namespace/name`.
pub type Samples = BTreeMap<(String, String), String>;

/// Why an injector gave no answer.
enum Refused {
    /// It could not be asked.
    Unreachable(String),
    /// It does not like what it was asked.
    Denied(String),
}

pub(super) async fn make(
    reading: &mut Reading<'_>,
    istiods: &Webhooks,
    injector: Option<&Webhook>,
    samples: &Samples,
    until: Instant,
) {
    let (templates, all) = workloads::templates(reading, MOST).await;
    let Some(injector) = injector else {
        reading.around.untried = Some("the target has no injector webhook".to_owned());
        return;
    };
    reading.around.uncompared = uncompared(samples);
    let running = running(reading, samples).await;
    let answers =
        asked(templates, until, async |template| match ask(istiods, injector, &template).await {
            Ok(sidecar) => Ok((template, Ok(sidecar))),
            Err(Refused::Denied(why)) => Ok((template, Err(why))),
            Err(Refused::Unreachable(why)) => Err(why),
        });
    let (answers, stopped) = answers.await;
    reading.around.untried = stopped;
    let tried = answers.into_iter().map(|(template, outcome)| {
        let Template { namespace, kind, name, .. } = template;
        let mut trial = Trial { namespace, kind, name, outcome, running: None };
        trial.running = running.get(&trial.workload()).cloned();
        trial
    });
    reading.around.trials = tried.collect();
    if all > MOST {
        let why = format!("only the first {MOST} of {all} workloads were tried");
        reading.around.untried.get_or_insert(why);
    }
}

/// Why sidecars are compared with those of some namespaces only.
fn uncompared(samples: &Samples) -> Option<String> {
    let namespaces: BTreeSet<&String> = samples.keys().map(|(namespace, _)| namespace).collect();
    (namespaces.len() > super::FEW).then(|| {
        format!(
            "image, ports and resources of sidecars are compared with pods of the first {} of {} \
             namespaces only",
            super::FEW,
            namespaces.len()
        )
    })
}

/// The sidecars of the chosen pods by workload.
async fn running(
    reading: &mut Reading<'_>,
    samples: &Samples,
) -> BTreeMap<String, Option<Sidecar>> {
    let mut found = BTreeMap::new();
    let by_namespace: BTreeMap<&String, usize> =
        samples.keys().fold(BTreeMap::new(), |mut all, (namespace, _)| {
            *all.entry(namespace).or_default() += 1;
            all
        });
    // Pods are large: of many namespaces the first are looked at; of others the view tells at least whether
    // they have a sidecar.
    for namespace in by_namespace.into_keys().take(super::FEW) {
        let api = Api::<Pod>::namespaced(reading.client.clone(), namespace);
        let read = pages(&api, ListParams::default(), |pod: Pod| {
            if let Some(workload) = samples.get(&(namespace.clone(), pod.name_any())) {
                found.insert(workload.clone(), pod.spec.as_ref().and_then(sidecar));
            }
        });
        let read = read.await;
        if !reading.noted("running pods", read) {
            break;
        }
    }
    found
}

async fn ask(
    istiods: &Webhooks,
    injector: &Webhook,
    of: &Template,
) -> Result<Option<Sidecar>, Refused> {
    let Template { namespace, name, .. } = of;
    let mut pod = of.pod.clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["generateName"] = json!(format!("{name}-"));
    pod["metadata"]["namespace"] = json!(namespace);
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": format!("revshift-{namespace}-{name}"),
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "namespace": namespace,
            "operation": "CREATE",
            "dryRun": true,
            "object": pod,
        },
    });
    let answer = istiods.review(injector, &review).await.map_err(Refused::Unreachable)?;
    let made = injected(pod, &answer["response"]).map_err(Refused::Denied)?;
    let pod: Pod = serde_json::from_value(made)
        .map_err(|error| Refused::Denied(format!("what it makes is no pod: {error}")))?;
    Ok(pod.spec.as_ref().and_then(sidecar))
}

/// The pod that a response makes of `pod`.
fn injected(mut pod: Value, response: &Value) -> Result<Value, String> {
    if response["allowed"].as_bool() == Some(false) {
        let message = response["status"]["message"].as_str().unwrap_or("it does not say why");
        return Err(message.to_owned());
    }
    if response["patch"].is_null() {
        return Ok(pod);
    }
    let patch = serde_json::from_value::<ByteString>(response["patch"].clone())
        .map_err(|error| format!("its patch is not base64: {error}"))?;
    let patch: Patch = serde_json::from_slice(&patch.0)
        .map_err(|error| format!("its patch is no JSON patch: {error}"))?;
    // Istio sends no others, and a few that copy could make a pod of any size.
    let copies =
        |it: &PatchOperation| matches!(it, PatchOperation::Copy(_) | PatchOperation::Move(_));
    if patch.0.iter().any(copies) {
        return Err("its patch copies or moves parts of the pod, as no injector does".to_owned());
    }
    json_patch::patch(&mut pod, &patch)
        .map_err(|error| format!("its patch does not apply: {error}"))?;
    Ok(pod)
}

/// The sidecar of a pod: the container `istio-proxy`, of whichever kind; none where there is none.
fn sidecar(spec: &PodSpec) -> Option<Sidecar> {
    let proxy = |it: &&Container| it.name == "istio-proxy";
    let inner = || spec.init_containers.iter().flatten();
    let native = inner().find(proxy);
    let container = native.or_else(|| spec.containers.iter().find(proxy))?;
    let ports = container.ports.iter().flatten();
    let ports =
        ports.map(|it| format!("{}:{}", it.name.as_deref().unwrap_or_default(), it.container_port));
    let amounts = container.resources.clone().unwrap_or_default();
    let lines = [("requests", amounts.requests), ("limits", amounts.limits)];
    let lines = lines.into_iter().flat_map(|(what, amounts)| {
        amounts
            .unwrap_or_default()
            .into_iter()
            .map(move |(name, amount)| format!("{what}.{name}={}", amount.0))
    });
    let has = |name: &str| inner().any(|it| it.name == name);
    let redirection = match (has("istio-init"), has("istio-validation")) {
        (true, _) => Redirection::Init,
        (false, true) => Redirection::Cni,
        (false, false) => Redirection::None,
    };
    Some(Sidecar {
        image: container.image.clone().unwrap_or_default(),
        native: native.is_some(),
        ports: ports.collect(),
        resources: lines.collect(),
        redirection,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(value: Value) -> PodSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_sidecar_is_found_of_either_kind() {
        let proxy = json!({
            "name": "istio-proxy", "image": "proxyv2:1.15.3",
            "ports": [{ "containerPort": 15090, "name": "http-envoy-prom" }],
            "resources": { "requests": { "cpu": "100m" }, "limits": { "memory": "1Gi" } },
        });
        let ordinary = pod(json!({
            "containers": [{ "name": "app" }, proxy], "initContainers": [{ "name": "istio-init" }],
        }));
        let found = sidecar(&ordinary).unwrap();
        assert_eq!(found.image, "proxyv2:1.15.3");
        assert_eq!(found.ports, ["http-envoy-prom:15090"]);
        assert_eq!(found.resources, ["requests.cpu=100m", "limits.memory=1Gi"]);
        assert!(found.redirection == Redirection::Init && !found.native);
        let native = pod(json!({ "containers": [{ "name": "app" }], "initContainers": [proxy] }));
        let found = sidecar(&native).unwrap();
        assert!(found.native && found.redirection == Redirection::None);
        let by_cni = pod(json!({
            "containers": [{ "name": "app" }, proxy], "initContainers": [{ "name": "istio-validation" }],
        }));
        assert_eq!(sidecar(&by_cni).unwrap().redirection, Redirection::Cni);
        assert_eq!(sidecar(&pod(json!({ "containers": [{ "name": "app" }] }))), None);
    }

    #[test]
    fn a_response_is_applied_or_told() {
        let before = json!({ "spec": { "containers": [] } });
        let encoded = |text: &str| serde_json::to_value(ByteString(text.into())).unwrap();
        let patch = encoded(r#"[{"op":"add","path":"/spec/x","value":1}]"#);
        let made = injected(before.clone(), &json!({ "allowed": true, "patch": patch }));
        assert_eq!(made, Ok(json!({ "spec": { "containers": [], "x": 1 } })));
        assert_eq!(injected(before.clone(), &json!({ "allowed": true })), Ok(before.clone()));
        let refused = json!({ "allowed": false, "status": { "message": "template: bad" } });
        assert_eq!(injected(before.clone(), &refused), Err("template: bad".to_owned()));
        for nonsense in [
            json!("%"),
            encoded("no patch"),
            encoded(r#"[{"op":"remove","path":"/y"}]"#),
            encoded(r#"[{"op":"copy","from":"/spec","path":"/x"}]"#),
        ] {
            let made = injected(before.clone(), &json!({ "allowed": true, "patch": nonsense }));
            assert!(made.is_err(), "{made:?}");
        }
    }
}
