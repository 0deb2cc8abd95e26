//! Istio's resources in the namespaces, each sent to the target's own validator.

use super::{Reading, asked};
use crate::webhook::{Webhook, Webhooks};
use k8s_openapi::api::core::v1::Service;
use kube::api::{ApiResource, DynamicObject, TypeMeta};
use kube::discovery::{Scope, oneshot};
use kube::{Error, ResourceExt as _};
use revshift_core::check::surroundings::{Message, Resource};
use revshift_core::label;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tokio::time::Instant;

/// The groups of Istio's resources.
const GROUPS: [&str; 4] =
    ["extensions.istio.io", "networking.istio.io", "security.istio.io", "telemetry.istio.io"];
/// So many resources are validated in one check; a check of more says so.
const MOST: usize = 2000;

pub(super) async fn read(
    reading: &mut Reading<'_>,
    istiods: &Webhooks,
    validator: Option<&Webhook>,
    root: Option<String>,
    until: Instant,
) {
    let mut objects = Vec::new();
    let kinds = served(reading).await;
    // What is in the target's root namespace holds for all others.
    let places: BTreeSet<String> = reading.namespaces.iter().cloned().chain(root).collect();
    let mut gateways = true;
    for resource in &kinds {
        let what = format!("{}s", resource.kind);
        let take = |mut object: DynamicObject| {
            // Items of a list do not say of what type they are.
            object.types = Some(TypeMeta {
                api_version: resource.api_version.clone(),
                kind: resource.kind.clone(),
            });
            objects.push((object, resource.plural.clone()));
        };
        let read = reading.each_dynamic(&what, resource, &places, take).await;
        gateways &= read || resource.kind != "Gateway";
    }
    if objects.is_empty() {
        return;
    }
    hosts(reading, &kinds, &objects).await;
    let mut found: Vec<Resource> = objects.iter().map(|(object, _)| described(object)).collect();
    if !gateways {
        // Nothing is said of references to what could not be read.
        for it in &mut found {
            it.gateways.clear();
        }
    }
    if let Some(validator) = validator {
        validate(reading, (istiods, validator), until, &objects, &mut found).await;
    } else {
        let why = "the target has no validating webhook".to_owned();
        reading.around.unvalidated = Some(why);
    }
    reading.around.resources = found;
}

/// Istio's kinds that the cluster serves, each in its most stable version: not all have the group's own.
async fn served(reading: &mut Reading<'_>) -> Vec<ApiResource> {
    let mut kinds = Vec::new();
    let groups = match reading.client.list_api_groups().await {
        Ok(groups) => groups,
        Err(error) => {
            reading.noted::<()>("the API groups", Err(error));
            return kinds;
        }
    };
    for group in groups.groups.iter().filter(|group| GROUPS.contains(&group.name.as_str())) {
        match oneshot::group(reading.client, &group.name).await {
            Ok(group) => {
                let of_namespaces = group.resources_by_stability().into_iter();
                let of_namespaces = of_namespaces.filter(|(_, it)| it.scope == Scope::Namespaced);
                kinds.extend(of_namespaces.map(|(resource, _)| resource));
            }
            Err(error) => {
                reading.noted::<()>(&group.name, Err(error));
            }
        }
    }
    kinds
}

/// Hosts that can be routed to, anywhere in the cluster: only where something routes.
async fn hosts(
    reading: &mut Reading<'_>,
    kinds: &[ApiResource],
    objects: &[(DynamicObject, String)],
) {
    let routes = |object: &DynamicObject| !destinations(object).is_empty();
    if !objects.iter().any(|(object, _)| routes(object)) {
        return;
    }
    let mut hosts = BTreeSet::new();
    let services = kube::Api::<Service>::all(reading.client.clone());
    let read = super::pages(&services, kube::api::ListParams::default(), |service: Service| {
        let namespace = service.namespace().unwrap_or_default();
        hosts.insert(format!("{}.{namespace}.svc.cluster.local", service.name_any()));
    });
    let read = read.await;
    let services = reading.noted("Services", read);
    let Some(resource) = kinds.iter().find(|it| it.kind == "ServiceEntry") else {
        reading.around.hosts = services.then_some(hosts);
        return;
    };
    let entries = kube::Api::<DynamicObject>::all_with(reading.client.clone(), resource);
    let read = super::pages(&entries, kube::api::ListParams::default(), |entry: DynamicObject| {
        let named = entry.data["spec"]["hosts"].as_array().cloned().unwrap_or_default();
        hosts.extend(named.iter().filter_map(|it| it.as_str().map(str::to_owned)));
    });
    let read: Result<(), Error> = read.await;
    if reading.noted("ServiceEntries", read) && services {
        reading.around.hosts = Some(hosts);
    }
}

/// Sends `objects` to the validator, and notes in `found` what it says of them.
async fn validate(
    reading: &mut Reading<'_>,
    (istiods, validator): (&Webhooks, &Webhook),
    until: Instant,
    objects: &[(DynamicObject, String)],
    found: &mut [Resource],
) {
    // Questions are made one by one: together they are as large as everything that was read.
    let questions: Vec<usize> = (0..objects.len().min(MOST)).collect();
    let answers = asked(questions, until, async |index| {
        let question = objects.get(index).map(|(object, plural)| review(object, plural));
        istiods.review(validator, &question.unwrap_or_default()).await
    });
    let (answers, stopped) = answers.await;
    for (resource, answer) in found.iter_mut().zip(answers) {
        let response = &answer["response"];
        if response["allowed"].as_bool() == Some(false) {
            let message = response["status"]["message"].as_str().unwrap_or("it does not say why");
            resource.refused = Some(message.to_owned());
        }
        resource.warnings = strings(&response["warnings"]);
    }
    reading.around.unvalidated = stopped.or_else(|| {
        let rest = objects.len() > MOST;
        rest.then(|| format!("only the first {MOST} of {} resources were sent", objects.len()))
    });
}

fn review(object: &DynamicObject, plural: &str) -> Value {
    let types = object.types.clone().unwrap_or_default();
    let (group, version) = types.api_version.split_once('/').unwrap_or(("", &types.api_version));
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": object.uid().unwrap_or_default(),
            "kind": { "group": group, "version": version, "kind": types.kind },
            "resource": { "group": group, "version": version, "resource": plural },
            "name": object.name_any(),
            "namespace": object.namespace(),
            "operation": "UPDATE",
            "dryRun": true,
            "object": object,
            "oldObject": object,
        },
    })
}

fn described(object: &DynamicObject) -> Resource {
    let (spec, status) = (&object.data["spec"], &object.data["status"]);
    let kind = object.types.as_ref().map(|types| types.kind.clone()).unwrap_or_default();
    let namespace = object.namespace().unwrap_or_default();
    let messages = status["validationMessages"].as_array();
    let patches = spec["configPatches"].as_array();
    let versions = patches.into_iter().flatten();
    let versions = versions.map(|it| strings_of(&it["match"]["proxy"]["proxyVersion"]));
    let gateways = strings(&spec["gateways"]).into_iter().filter(|it| it != "mesh");
    Resource {
        gateways: gateways
            .map(|it| if it.contains('/') { it } else { format!("{namespace}/{it}") })
            .collect(),
        name: object.name_any(),
        refused: None,
        warnings: Vec::new(),
        messages: messages.into_iter().flatten().map(message).collect(),
        api_versions: written(object),
        revision: object.labels().get(label::REVISION).cloned(),
        proxy_versions: versions.flatten().collect(),
        destinations: destinations(object),
        kind,
        namespace,
    }
}

/// The API versions by which people last wrote fields of the specification.
fn written(object: &DynamicObject) -> BTreeSet<String> {
    let entries = object.metadata.managed_fields.iter().flatten();
    let of_spec = entries.filter(|entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        fields.is_some_and(|fields| fields.get("f:spec").is_some())
    });
    of_spec.filter_map(|entry| entry.api_version.clone()).collect()
}

fn message(value: &Value) -> Message {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Message {
        code: text(&value["type"]["code"]),
        level: text(&value["level"]),
        url: text(&value["documentationUrl"]),
    }
}

/// Hosts that a VirtualService routes to, or a DestinationRule is about.
fn destinations(object: &DynamicObject) -> Vec<String> {
    let spec = &object.data["spec"];
    let kind = object.types.as_ref().map_or("", |types| types.kind.as_str());
    let mut hosts: Vec<String> = match kind {
        "DestinationRule" => strings_of(&spec["host"]).into_iter().collect(),
        "VirtualService" => ["http", "tls", "tcp"]
            .into_iter()
            .flat_map(|protocol| spec[protocol].as_array().into_iter().flatten())
            .flat_map(|rule| {
                let routes = rule["route"].as_array().into_iter().flatten();
                let mut all: Vec<&Value> = routes.map(|it| &it["destination"]["host"]).collect();
                all.push(&rule["mirror"]["host"]);
                all.into_iter().filter_map(strings_of).collect::<Vec<_>>()
            })
            .collect(),
        _ => Vec::new(),
    };
    hosts.sort();
    hosts.dedup();
    hosts
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(strings_of).collect()
}

fn strings_of(value: &Value) -> Option<String> {
    value.as_str().filter(|it| !it.is_empty()).map(str::to_owned)
}
