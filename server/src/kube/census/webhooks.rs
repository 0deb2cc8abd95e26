//! Webhook configurations: the injectors of planes, and who else calls a plane's Services.

use super::Question;
use super::reader::Reader;
use crate::kube::answering::ready_endpoints;
use crate::kube::observe;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration, WebhookClientConfig,
};
use kube::ResourceExt;
use kube::api::ListParams;
use revshift_core::cluster::{Change, Kind};
use revshift_core::label::{self, Labels};
use revshift_core::plane::Revision;
use revshift_core::retirement::census::{Caller, Census};
use std::collections::{BTreeMap, BTreeSet};

/// The validator that is Istio's for all configuration that names no revision.
const DEFAULT_VALIDATOR: &str = "istiod-default-validator";

/// A Service: its namespace, and its name.
type Service = (String, String);

/// A webhook configuration of either kind.
struct Configuration {
    name: String,
    labels: Labels,
    services: BTreeSet<Service>,
}

/// The Services that the webhooks of planes call, by revision.
#[derive(Debug, Default)]
pub(super) struct Called(BTreeMap<Revision, BTreeSet<Service>>);

/// Reads both kinds of configurations.
pub(super) async fn read(
    reader: &mut Reader<'_>,
    census: &mut Census,
    question: &Question,
) -> Called {
    let mutating: Vec<MutatingWebhookConfiguration> = reader.list(ListParams::default()).await;
    let injectors = mutating.iter().map(|it| (observe::key(it), observe::injectors(it))).collect();
    census.cluster.apply(Change::Listed(Kind::Injector, injectors));
    let validating: Vec<ValidatingWebhookConfiguration> = reader.list(ListParams::default()).await;
    let default = validating.iter().find(|it| it.name_any() == DEFAULT_VALIDATOR);
    census.validator = default.and_then(|it| it.labels().get(label::REVISION).cloned());
    let mutating = mutating.iter().map(|it| Configuration {
        name: format!("MutatingWebhookConfiguration/{}", it.name_any()),
        labels: it.labels().clone(),
        services: services(it.webhooks.iter().flatten().map(|it| &it.client_config)),
    });
    let validating = validating.iter().map(|it| Configuration {
        name: format!("ValidatingWebhookConfiguration/{}", it.name_any()),
        labels: it.labels().clone(),
        services: services(it.webhooks.iter().flatten().map(|it| &it.client_config)),
    });
    let all: Vec<Configuration> = mutating.chain(validating).collect();
    let mut called = Called::default();
    for one in all.iter().filter(|it| !it.labels.contains_key(label::TAG)) {
        if let Some(revision) = one.labels.get(label::REVISION) {
            let services = called.0.entry(Revision(revision.clone())).or_default();
            services.extend(one.services.iter().cloned());
        }
    }
    census.callers = called.callers(&all, &question.revision);
    called
}

impl Called {
    /// The configurations that call a Service of the plane, and carry the label of another or of none.
    fn callers(&self, all: &[Configuration], revision: &Revision) -> Vec<Caller> {
        let Some(own) = self.0.get(revision) else {
            return Vec::new();
        };
        let strangers = all.iter().filter(|it| it.labels.get(label::REVISION) != Some(&revision.0));
        let calls = |it: &Configuration| {
            let mut services = it.services.iter();
            let (namespace, name) = services.find(|it| own.contains(*it))?;
            Some(Caller { configuration: it.name.clone(), service: format!("{namespace}/{name}") })
        };
        strangers.filter_map(calls).collect()
    }

    /// Notes the planes of which only webhooks are here, and these call what nobody answers. A plane whose
    /// webhooks call a URL answers elsewhere.
    pub(super) async fn unanswered(&self, reader: &mut Reader<'_>, census: &mut Census) {
        let planes = census.cluster.planes().keys();
        let runs = |it: &&Revision| census.cluster.istiods_of(it).next().is_some();
        let external: Vec<Revision> = planes.filter(|it| !runs(it)).cloned().collect();
        for revision in external {
            let services = self.0.get(&revision).into_iter().flatten();
            for (namespace, name) in services {
                match ready_endpoints(reader.client, namespace, name).await {
                    Ok(Some(0)) => _ = census.unanswered.insert(revision.clone()),
                    Ok(_) => {}
                    Err(error) => _ = reader.missed::<()>("endpointslices", &error),
                }
            }
        }
    }
}

fn services<'a>(clients: impl Iterator<Item = &'a WebhookClientConfig>) -> BTreeSet<Service> {
    let services = clients.filter_map(|client| client.service.as_ref());
    services.map(|service| (service.namespace.clone(), service.name.clone())).collect()
}
