//! Where the istiods of a plane are, and by which right they may be asked.

use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, Error, ResourceExt};
use revshift_core::plane::Revision;
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

/// The pods of a plane's istiods that have not ended.
pub async fn replicas(client: &Client, revision: &Revision) -> Result<Vec<Replica>, Error> {
    let labels = format!("app=istiod,istio.io/rev={revision}");
    let unfinished = "status.phase!=Succeeded,status.phase!=Failed";
    let params = ListParams::default().labels(&labels).fields(unfinished);
    let pods = Api::<Pod>::all(client.clone()).list(&params).await?;
    let replica = |pod: Pod| {
        let name = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
        let address = pod.status.and_then(|status| status.pod_ip?.parse().ok());
        Replica { name, address }
    };
    Ok(pods.items.into_iter().map(replica).collect())
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
