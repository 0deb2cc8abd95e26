//! `/debug/syncz`: what an istiod has sent to each proxy, and what of it was acknowledged.
//!
//! Every version tells the nonces of the usual kinds of configuration; newer ones tell those of all kinds
//! by their type URL, too, with the last error of each.

use revshift_core::connection::{Proxy, Stand};
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What is told of one proxy. What was never sent is absent.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Status<'a> {
    /// `POD.NAMESPACE`.
    #[serde(borrow)]
    proxy: Cow<'a, str>,
    #[serde(borrow)]
    cluster_sent: Cow<'a, str>,
    #[serde(borrow)]
    cluster_acked: Cow<'a, str>,
    #[serde(borrow)]
    listener_sent: Cow<'a, str>,
    #[serde(borrow)]
    listener_acked: Cow<'a, str>,
    #[serde(borrow)]
    route_sent: Cow<'a, str>,
    #[serde(borrow)]
    route_acked: Cow<'a, str>,
    #[serde(borrow)]
    endpoint_sent: Cow<'a, str>,
    #[serde(borrow)]
    endpoint_acked: Cow<'a, str>,
    #[serde(borrow)]
    extensionconfig_sent: Cow<'a, str>,
    #[serde(borrow)]
    extensionconfig_acked: Cow<'a, str>,
    #[serde(borrow)]
    resources: BTreeMap<Cow<'a, str>, Resource<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Resource<'a> {
    #[serde(borrow)]
    last_error: Cow<'a, str>,
}

/// What an istiod tells.
pub(super) struct Told {
    pub(super) proxies: Vec<Proxy>,
    /// Whether it tells what proxies have rejected.
    pub(super) tells_errors: bool,
}

/// Reads an answer.
pub(super) fn proxies(body: &[u8]) -> Result<Told, String> {
    let told: Option<Vec<Status<'_>>> = serde_json::from_slice(body)
        .map_err(|error| format!("it does not answer as an istiod does: {error}"))?;
    let told = told.unwrap_or_default();
    let tells_errors = told.iter().any(|status| !status.resources.is_empty());
    Ok(Told { proxies: told.iter().filter_map(Status::proxy).collect(), tells_errors })
}

impl Status<'_> {
    /// The proxy; none of what is no pod's. Names of pods may have dots, those of namespaces have none.
    fn proxy(&self) -> Option<Proxy> {
        let (pod, namespace) = self.proxy.rsplit_once('.')?;
        let (pod, namespace) = (pod.to_owned(), namespace.to_owned());
        Some(Proxy { namespace, pod, stand: self.stand() })
    }

    fn stand(&self) -> Stand {
        let rejected = self.resources.iter().find(|(_, resource)| !resource.last_error.is_empty());
        if let Some((url, resource)) = rejected {
            return Stand::Rejected(kind(url), resource.last_error.clone().into_owned());
        }
        // Whatever else it wants, a proxy first wants to know its clusters. It may want nothing else: then
        // nothing else is ever sent.
        if self.cluster_sent.is_empty() {
            return Stand::NotSent;
        }
        let kinds = [
            ("clusters", &self.cluster_sent, &self.cluster_acked),
            ("listeners", &self.listener_sent, &self.listener_acked),
            ("routes", &self.route_sent, &self.route_acked),
            ("endpoints", &self.endpoint_sent, &self.endpoint_acked),
            ("extensions", &self.extensionconfig_sent, &self.extensionconfig_acked),
        ];
        let stale = kinds.into_iter().filter(|(_, sent, acked)| !sent.is_empty() && sent != acked);
        let stale: Vec<String> = stale.map(|(kind, ..)| kind.to_owned()).collect();
        if stale.is_empty() { Stand::Synced } else { Stand::Stale(stale) }
    }
}

/// The kind of configuration that a type URL names, for people.
fn kind(url: &str) -> String {
    let name = url.rsplit('.').next().unwrap_or(url);
    match name {
        "Cluster" => "clusters",
        "Listener" => "listeners",
        "RouteConfiguration" => "routes",
        "ClusterLoadAssignment" => "endpoints",
        "TypedExtensionConfig" => "extensions",
        "Secret" => "secrets",
        other => other,
    }
    .to_owned()
}
