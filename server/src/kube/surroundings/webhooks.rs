//! Webhook configurations of planes: whom they call, by which certificate, and whether somebody is there.

use super::{Reading, pages};
use crate::kube::answering::ready_endpoints;
use crate::webhook;
use bytes::Bytes;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use revshift_core::check::Scope;
use revshift_core::check::surroundings::{Purpose, Webhook};
use revshift_core::label;
use revshift_core::plane::{Plane, Revision};
use std::collections::{BTreeMap, BTreeSet};

/// Where the webhooks of planes answer.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    injectors: BTreeMap<Revision, webhook::Webhook>,
    validators: BTreeMap<Revision, webhook::Webhook>,
}

impl Addresses {
    pub(super) fn injector(&self, revision: &Revision) -> Option<&webhook::Webhook> {
        self.injectors.get(revision)
    }

    pub(super) fn validator(&self, revision: &Revision) -> Option<&webhook::Webhook> {
        self.validators.get(revision)
    }
}

/// One webhook of a configuration.
struct One<'a> {
    configuration: String,
    name: &'a str,
    purpose: Purpose,
    client: &'a WebhookClientConfig,
}

/// Those of `planes`, and of the tag that namespaces get by `scope`: its webhooks are the ones that will be
/// called.
pub(super) async fn read(reading: &mut Reading<'_>, planes: &[&Plane], scope: &Scope) -> Addresses {
    let mut addresses = Addresses::default();
    let named = scope.labels.entries().get(label::REVISION).cloned();
    let own = |labels: &BTreeMap<String, String>| {
        let revision = Revision(labels.get(label::REVISION)?.clone());
        let tag = labels.get(label::TAG);
        let called = tag.is_none() || tag == named.as_ref() && revision == scope.target;
        planes.iter().any(|it| it.revision == revision && called).then_some(revision)
    };
    let mut found = Vec::new();
    let params = ListParams::default().labels(label::REVISION);
    let mutating = Api::<MutatingWebhookConfiguration>::all(reading.client.clone());
    let read = pages(&mutating, params.clone(), |object: MutatingWebhookConfiguration| {
        let Some(revision) = own(object.labels()) else { return };
        let of_tag = object.labels().contains_key(label::TAG);
        let configuration = format!("MutatingWebhookConfiguration/{}", object.name_any());
        for it in object.webhooks.iter().flatten() {
            if it.name.ends_with("sidecar-injector.istio.io") {
                let (name, client) = (it.name.as_str(), &it.client_config);
                let purpose = Purpose::Inject;
                let one = One { configuration: configuration.clone(), name, purpose, client };
                if of_tag {
                    addresses.injectors.insert(revision.clone(), address(client));
                } else {
                    addresses.injectors.entry(revision.clone()).or_insert_with(|| address(client));
                }
                found.push(webhook(&revision, &one));
            }
        }
    });
    let read = read.await;
    reading.noted("webhook configurations", read);
    let validating = Api::<ValidatingWebhookConfiguration>::all(reading.client.clone());
    let read = pages(&validating, params, |object: ValidatingWebhookConfiguration| {
        let Some(revision) = own(object.labels()) else { return };
        let configuration = format!("ValidatingWebhookConfiguration/{}", object.name_any());
        for it in object.webhooks.iter().flatten() {
            let (name, client) = (it.name.as_str(), &it.client_config);
            let purpose = Purpose::Validate;
            let one = One { configuration: configuration.clone(), name, purpose, client };
            addresses.validators.entry(revision.clone()).or_insert_with(|| address(client));
            found.push(webhook(&revision, &one));
        }
    });
    let read = read.await;
    reading.noted("validating webhook configurations", read);
    endpoints(reading, &mut found).await;
    reading.around.webhooks = found;
    addresses
}

/// Notes how many endpoints are ready behind each webhook; nothing where that cannot be read, nor where a
/// name stands for a Service, which has none here.
async fn endpoints(reading: &mut Reading<'_>, found: &mut [Webhook]) {
    let services: BTreeSet<String> = found.iter().filter_map(|it| it.service.clone()).collect();
    for service in services {
        let Some((home, name)) = service.split_once('/') else { continue };
        let ready = match ready_endpoints(reading.client, home, name).await {
            Ok(Some(ready)) => u32::try_from(ready).unwrap_or(u32::MAX),
            Ok(None) => continue,
            Err(error) => {
                reading.noted::<()>("endpoints of istiods", Err(error));
                continue;
            }
        };
        for webhook in found.iter_mut().filter(|it| it.service.as_ref() == Some(&service)) {
            webhook.endpoints = Some(ready);
        }
    }
}

fn webhook(revision: &Revision, one: &One<'_>) -> Webhook {
    Webhook {
        revision: revision.clone(),
        configuration: one.configuration.clone(),
        name: one.name.to_owned(),
        purpose: one.purpose,
        ca_bundle: one.client.ca_bundle.as_ref().map(|it| it.0.clone()).unwrap_or_default(),
        service: one.client.service.as_ref().map(|it| format!("{}/{}", it.namespace, it.name)),
        endpoints: None,
    }
}

/// Where a webhook answers, as the API server calls it.
fn address(client: &WebhookClientConfig) -> webhook::Webhook {
    let trust = client.ca_bundle.as_ref().filter(|it| !it.0.is_empty());
    let url = match (&client.url, &client.service) {
        (Some(url), _) => url.clone(),
        (None, Some(service)) => {
            let port = service.port.unwrap_or(443);
            let path = service.path.as_deref().unwrap_or_default().trim_start_matches('/');
            format!("https://{}.{}.svc:{port}/{path}", service.name, service.namespace)
        }
        (None, None) => String::new(),
    };
    webhook::Webhook { url, trust: trust.map(|it| Bytes::from(it.0.clone())) }
}
