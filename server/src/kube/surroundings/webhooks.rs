//! Webhook configurations of planes: whom they call, by which certificate, and whether somebody is there.

use super::{Reading, pages};
use crate::webhook;
use bytes::Bytes;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams};
use revshift_core::check::surroundings::{Purpose, Webhook};
use revshift_core::label;
use revshift_core::plane::{Plane, Revision};
use std::collections::BTreeMap;

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

pub(super) async fn read(reading: &mut Reading<'_>, planes: &[&Plane]) -> Addresses {
    let mut addresses = Addresses::default();
    let endpoints = endpoints(reading, planes).await;
    let own = |labels: &BTreeMap<String, String>| {
        let revision = Revision(labels.get(label::REVISION)?.clone());
        let of_tag = labels.contains_key(label::TAG);
        planes.iter().any(|it| it.revision == revision && !of_tag).then_some(revision)
    };
    let mut found = Vec::new();
    let params = ListParams::default().labels(label::REVISION);
    let mutating = Api::<MutatingWebhookConfiguration>::all(reading.client.clone());
    let read = pages(&mutating, params.clone(), |object: MutatingWebhookConfiguration| {
        let Some(revision) = own(object.labels()) else { return };
        let configuration = format!("MutatingWebhookConfiguration/{}", object.name_any());
        for it in object.webhooks.iter().flatten() {
            if it.name.ends_with("sidecar-injector.istio.io") {
                let (name, client) = (it.name.as_str(), &it.client_config);
                let purpose = Purpose::Inject;
                let one = One { configuration: configuration.clone(), name, purpose, client };
                addresses.injectors.entry(revision.clone()).or_insert_with(|| address(client));
                found.push(webhook(&revision, &one, endpoints.as_ref()));
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
            found.push(webhook(&revision, &one, endpoints.as_ref()));
        }
    });
    let read = read.await;
    reading.noted("validating webhook configurations", read);
    reading.around.webhooks = found;
    addresses
}

/// Ready endpoints in the planes' namespaces by `namespace/service`; none where they could not be read.
async fn endpoints(reading: &mut Reading<'_>, planes: &[&Plane]) -> Option<BTreeMap<String, u32>> {
    let mut ready = BTreeMap::new();
    let mut homes: Vec<&str> = planes.iter().map(|it| it.namespace.as_str()).collect();
    homes.sort_unstable();
    homes.dedup();
    for home in homes {
        let api = Api::<EndpointSlice>::namespaced(reading.client.clone(), home);
        let read = pages(&api, ListParams::default(), |slice: EndpointSlice| {
            let Some(service) = slice.labels().get("kubernetes.io/service-name") else { return };
            let count: usize = slice.endpoints.iter().filter(|it| is_ready(it)).count();
            *ready.entry(format!("{home}/{service}")).or_default() +=
                u32::try_from(count).unwrap_or(u32::MAX);
        });
        let read = read.await;
        if !reading.noted("endpoints of istiods", read) {
            return None;
        }
    }
    Some(ready)
}

/// An endpoint whose readiness nobody tells counts as ready.
fn is_ready(endpoint: &k8s_openapi::api::discovery::v1::Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|it| it.ready).unwrap_or(true)
}

fn webhook(
    revision: &Revision,
    one: &One<'_>,
    endpoints: Option<&BTreeMap<String, u32>>,
) -> Webhook {
    let service = one.client.service.as_ref().map(|it| format!("{}/{}", it.namespace, it.name));
    let found = service.as_ref().zip(endpoints);
    Webhook {
        revision: revision.clone(),
        configuration: one.configuration.clone(),
        name: one.name.to_owned(),
        purpose: one.purpose,
        ca_bundle: one.client.ca_bundle.as_ref().map(|it| it.0.clone()).unwrap_or_default(),
        endpoints: found.map(|(service, all)| all.get(service).copied().unwrap_or_default()),
        service,
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
