//! Clients of the Kubernetes API, with a deadline for each class of call.
//!
//! kube's own retries are off: they repeat any verb for minutes, silently. A write carries the
//! deadline to the API server too (`?timeout=`), which gives it up by itself; otherwise it could
//! still be carried out long after its caller lost the lease.

use crate::kube::lease::Leadership;
use crate::kube::years::Years;
use anyhow::Context;
use bytes::Bytes;
use http::{Method, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use kube::client::{Body, ClientBuilder};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use std::path::Path;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;
use tower::BoxError;

/// The field manager of every write.
pub const FIELD_MANAGER: &str = "revshift";
/// A write that was not answered after so long has an unknown outcome.
pub const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// A read that was not answered after so long is repeated.
const READ_DEADLINE: Duration = Duration::from_secs(30);
/// So long before the lease ends the last write must be over.
const LEASE_MARGIN: Duration = Duration::from_secs(2);

/// A client for the cluster that the kubeconfig names, or for the one that this pod runs in.
/// kube's inference is not used: it honours variables that redirect or impersonate.
pub async fn connect(kubeconfig: Option<&Path>, context: Option<&str>) -> anyhow::Result<Client> {
    let mut config = match kubeconfig {
        Some(path) => {
            let file = Kubeconfig::read_from(path)
                .with_context(|| format!("cannot read the kubeconfig {}", path.display()))?;
            let context = context.map(ToOwned::to_owned);
            let options = KubeConfigOptions { context, ..KubeConfigOptions::default() };
            Config::from_custom_kubeconfig(file, &options)
                .await
                .with_context(|| format!("the kubeconfig {} is unusable", path.display()))?
        }
        None => Config::incluster().context(
            "no kubeconfig was given and this is no pod; name one with --kubeconfig FILE",
        )?,
    };
    config.default_retry = false;
    config.read_timeout = None;
    config.connect_timeout = Some(Duration::from_secs(5));
    let agent = concat!("revshift-server/", env!("CARGO_PKG_VERSION"));
    config.headers.push((http::header::USER_AGENT, http::HeaderValue::from_static(agent)));
    Ok(ClientBuilder::try_from(config).context("the kubeconfig is unusable")?.build())
}

/// `client` with deadlines: for a write and a read until they are answered in full, for a watch
/// until it begins, as kube's watcher itself ends one that falls silent. Times that cannot be read are mended. While there is a `leadership` to
/// follow, a write is over before the lease could be another's.
pub fn with_deadlines(
    client: &Client,
    leadership: Option<watch::Receiver<Option<Leadership>>>,
) -> Client {
    let inner = client.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let inner = inner.clone();
        let leadership = leadership.clone();
        async move {
            let write = request.method() != Method::GET;
            let mut deadline = if write { WRITE_DEADLINE } else { READ_DEADLINE };
            if let Some(leadership) = leadership.filter(|_| write) {
                let until = leadership.borrow().as_ref().map(|leadership| leadership.lease_until);
                let left = until.map(|until| until.saturating_duration_since(Instant::now()));
                let left = left.unwrap_or_default().saturating_sub(LEASE_MARGIN);
                if left.is_zero() {
                    return Err(BoxError::from("this replica does not hold the lease any more"));
                }
                deadline = deadline.min(left);
            }
            let request = if write { with_timeout(request, deadline)? } else { request };
            let watch = request.uri().query().is_some_and(|query| query.contains("watch="));
            let answer = async {
                let (head, body) = inner.send(request).await?.into_parts();
                let mut years = Years::default();
                if watch {
                    let mended = body.map_frame(move |it| it.map_data(|piece| years.mend(piece)));
                    let body = mended.map_err(BoxError::from).boxed_unsync();
                    return Ok::<_, BoxError>(Response::from_parts(head, body));
                }
                // A body that never ends is no answer either.
                let mended = years.mend(body.collect_bytes().await?);
                let whole = match years.rest() {
                    rest if rest.is_empty() => mended,
                    rest => Bytes::from([mended, rest].concat()),
                };
                let body = Full::new(whole).map_err(|never| match never {}).boxed_unsync();
                Ok(Response::from_parts(head, body))
            };
            match tokio::time::timeout(deadline, answer).await {
                Ok(answer) => answer,
                Err(_) => Err(BoxError::from(format!("no answer within {deadline:?}"))),
            }
        }
    });
    Client::new(service, client.default_namespace())
}

fn with_timeout(request: Request<Body>, deadline: Duration) -> Result<Request<Body>, BoxError> {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let joint = if path.contains('?') { '&' } else { '?' };
    let path = format!("{path}{joint}timeout={}ms", deadline.as_millis());
    let mut uri = parts.uri.clone().into_parts();
    uri.path_and_query = Some(path.parse()?);
    parts.uri = Uri::from_parts(uri)?;
    Ok(Request::from_parts(parts, body))
}
