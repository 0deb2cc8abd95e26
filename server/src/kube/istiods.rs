//! Where the istiods of a plane are, and by which right they may be asked.

use crate::kube::observe;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, Error, ResourceExt};
use revshift_core::cluster::Object;
use revshift_core::label;
use revshift_core::plane::Revision;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

/// Whom tokens are for that istiods accept.
const AUDIENCE: &str = "istio-ca";
/// How long a token is good; the shortest time that Kubernetes grants.
pub const LIFETIME: Duration = Duration::from_mins(10);
/// What the name of a ServiceAccount begins with where it is a user's.
const ACCOUNT: &str = "system:serviceaccount:";

/// An istiod's pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// `namespace/name`.
    pub name: String,
    /// Its address; none while it has none, and serves nobody.
    pub address: Option<IpAddr>,
}

/// The pods of a plane's istiods that have not ended, in the namespaces that its injectors call: anybody may
/// label a pod as an istiod in a namespace of their own, and would be given a token and be believed.
pub async fn replicas(client: &Client, revision: &Revision) -> Result<Vec<Replica>, Error> {
    let labels = format!("app=istiod,istio.io/rev={revision}");
    let unfinished = "status.phase!=Succeeded,status.phase!=Failed";
    let params = ListParams::default().labels(&labels).fields(unfinished);
    let mut replicas = Vec::new();
    for home in homes(client, revision).await? {
        let pods = Api::<Pod>::namespaced(client.clone(), &home).list(&params).await?;
        replicas.extend(pods.items.into_iter().map(|pod| Replica {
            name: format!("{home}/{}", pod.name_any()),
            address: pod.status.and_then(|status| status.pod_ip?.parse().ok()),
        }));
    }
    Ok(replicas)
}

/// The namespaces of the Services that a plane's injectors call.
async fn homes(client: &Client, revision: &Revision) -> Result<BTreeSet<String>, Error> {
    let params = ListParams::default().labels(&format!("{}={revision}", label::REVISION));
    let hooks = Api::<MutatingWebhookConfiguration>::all(client.clone()).list(&params).await?;
    let injectors = hooks.iter().map(observe::injectors).filter_map(|object| match object {
        Object::Injectors(injectors) => Some(injectors),
        _ => None,
    });
    let homes = injectors.flatten().map(|injector| injector.namespace);
    Ok(homes.filter(|home| !home.is_empty()).collect())
}

/// A token by which istiods know this server, or why there is none.
pub async fn token(client: &Client) -> Result<String, String> {
    let review = SelfSubjectReview::default();
    let reviews = Api::<SelfSubjectReview>::all(client.clone());
    let review = reviews.create(&PostParams::default(), &review).await;
    let review = review.map_err(|error| format!("who revshift is cannot be asked: {error}"))?;
    let user = review.status.and_then(|status| status.user_info?.username).unwrap_or_default();
    let account = user.strip_prefix(ACCOUNT).and_then(|account| account.split_once(':'));
    let Some((namespace, name)) = account else {
        return Err(format!("revshift runs as `{user}`, which is no ServiceAccount"));
    };
    let seconds = i64::try_from(LIFETIME.as_secs()).ok();
    let request = TokenRequest {
        spec: TokenRequestSpec {
            audiences: vec![AUDIENCE.to_owned()],
            expiration_seconds: seconds,
            bound_object_ref: None,
        },
        ..TokenRequest::default()
    };
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), namespace);
    let made = accounts.create_token_request(name, &PostParams::default(), &request).await;
    let made = made.map_err(|error| match error {
        Error::Api(status) => {
            format!("a token of audience {AUDIENCE} cannot be had: {}", status.message)
        }
        error => format!("a token of audience {AUDIENCE} cannot be had: {error}"),
    })?;
    made.status.map(|status| status.token).ok_or_else(|| "a token was granted empty".to_owned())
}
