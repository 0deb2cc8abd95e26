//! HTTP as checks speak it: one request, one short answer, in time.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, TryFutureExt as _};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::TokioExecutor;
use rustls::ClientConfig;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tracing::warn;

/// A longer answer is none.
const LONGEST: usize = 1 << 20;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
}

/// Sends requests; what answers them is chosen by whoever wires a replica.
#[derive(Clone)]
pub struct Web(Arc<dyn Fn(Request<String>) -> BoxFuture<'static, Outcome> + Send + Sync>);

/// An answer, or why there is none.
type Outcome = Result<Answer, String>;

impl fmt::Debug for Web {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Web").finish_non_exhaustive()
    }
}

impl Web {
    /// One where `answer` answers every request.
    pub fn new<F: Future<Output = Outcome> + Send + 'static>(
        answer: impl Fn(Request<String>) -> F + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(move |request| answer(request).boxed()))
    }

    /// The answer to `request`, if it comes in time.
    pub(super) async fn send(&self, request: Request<String>, within: Duration) -> Outcome {
        match timeout(within, (self.0)(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} s", within.as_secs_f64())),
        }
    }
}

/// The network: plain HTTP, and TLS by the certificates that this machine trusts. One that trusts none
/// still has plain HTTP.
pub fn network() -> Web {
    match tls() {
        Ok(tls) => {
            let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
            over(connector.enable_http1().build())
        }
        Err(error) => {
            warn!(%error, "checks cannot ask https endpoints");
            over(HttpConnector::new())
        }
    }
}

fn tls() -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(versions.try_with_platform_verifier()?.with_no_client_auth())
}

fn over<C: Connect + Clone + Send + Sync + 'static>(connector: C) -> Web {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    Web::new(move |request| {
        let client = client.clone();
        async move {
            let request = request.map(|body| Full::new(Bytes::from(body)));
            let answer = client.request(request).map_err(|error| causes(&error)).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LONGEST).collect().await;
            let body = body.map_err(|error| format!("its answer cannot be read: {error}"))?;
            Ok(Answer { status, body: body.to_bytes() })
        }
    })
}

/// Nothing is there to answer.
pub fn nowhere() -> Web {
    Web::new(async |_| Err("there is no network".to_owned()))
}

/// What an error says, with what caused it.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
