//! HTTP as checks and istiods speak it: one request, one short answer, in time.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt as _, TryFutureExt as _};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::timeout;
use tracing::warn;

/// A longer answer is none, unless the request wants it.
const LONGEST: usize = 1 << 20;
/// So many CA bundles are remembered.
const MOST_TRUSTS: usize = 32;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
}

/// The certificates, as PEM, by one of which whoever answers a request has to be known, and by no other:
/// an extension of the request. Without it, those count that this machine trusts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Trust(pub Bytes);

/// How long an answer may be, in bytes: an extension of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Longest(pub usize);

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
    pub(crate) async fn send(&self, request: Request<String>, within: Duration) -> Outcome {
        match timeout(within, (self.0)(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(format!("no answer within {} s", within.as_secs_f64())),
        }
    }
}

/// The network: plain HTTP, and TLS by the certificates that this machine or the request trusts. One that
/// trusts none still has plain HTTP.
pub fn network() -> Web {
    let usual = match tls() {
        Ok(tls) => secured(tls),
        Err(error) => {
            warn!(%error, "checks cannot ask https endpoints");
            over(HttpConnector::new())
        }
    };
    let known = Mutex::new(BTreeMap::<Trust, Web>::new());
    Web::new(move |request| {
        let web = match request.extensions().get::<Trust>() {
            None => Ok(usual.clone()),
            Some(trust) => by(&known, trust),
        };
        async move { (web?.0)(request).await }
    })
}

/// The network by which `trust` counts; made once.
fn by(known: &Mutex<BTreeMap<Trust, Web>>, trust: &Trust) -> Result<Web, String> {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(web) = known.get(trust) {
        return Ok(web.clone());
    }
    let web = secured(trusting(trust)?);
    // Certificates rotate; only the present ones are of use.
    if known.len() >= MOST_TRUSTS {
        known.clear();
    }
    known.insert(trust.clone(), web.clone());
    Ok(web)
}

fn trusting(Trust(pem): &Trust) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate =
            certificate.map_err(|error| format!("its CA bundle is no PEM: {error}"))?;
        roots.add(certificate).map_err(|error| format!("its CA bundle cannot be used: {error}"))?;
    }
    if roots.is_empty() {
        return Err("its CA bundle holds no certificate".to_owned());
    }
    let config = builder().map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn tls() -> Result<ClientConfig, rustls::Error> {
    Ok(builder()?.try_with_platform_verifier()?.with_no_client_auth())
}

fn builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
}

fn secured(tls: ClientConfig) -> Web {
    let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
    over(connector.enable_http1().build())
}

fn over<C: Connect + Clone + Send + Sync + 'static>(connector: C) -> Web {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build(connector);
    Web::new(move |request| {
        let client = client.clone();
        async move {
            let longest = request.extensions().get().map_or(LONGEST, |Longest(longest)| *longest);
            let request = request.map(|body| Full::new(Bytes::from(body)));
            let answer = client.request(request).map_err(|error| causes(&error)).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), longest).collect().await;
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
