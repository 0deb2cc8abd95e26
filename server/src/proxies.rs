//! Asks istiods themselves who is connected to them, and what proxies make of their configuration.
//!
//! Nothing is assumed: whoever could not be asked is part of the answer.

mod metrics;
mod syncz;
#[cfg(test)]
mod tests;

use crate::config::Config;
use crate::kube::istiods::{self as pods, Replica};
use crate::web::{Answer, Longest, Web};
use futures::future::join_all;
use http::header::AUTHORIZATION;
use http::{Method, Request, StatusCode};
use kube::Client;
use revshift_core::connection::{Connections, Proxy, Stand};
use revshift_core::plane::Revision;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Mutex as Turn, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// Where istiods are asked unless they are told otherwise: the port of their metrics.
const PORT: u16 = 15014;
/// How long one replica may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long lies between two questions to the istiods of one plane.
const PACE: Duration = Duration::from_secs(2);
/// So old may an answer be that is only shown.
const RECENT: Duration = Duration::from_secs(3);
/// An answer of a hundred thousand proxies is not longer.
const LONGEST: usize = 256 << 20;

/// Asks the istiods of planes for their proxies; clones share what was answered.
#[derive(Clone)]
pub struct Proxies(Arc<Shared>);

struct Shared {
    web: Web,
    client: Client,
    config: watch::Receiver<Config>,
    told: Mutex<BTreeMap<Revision, Arc<Turn<Option<Told>>>>>,
    token: Turn<Option<(Instant, Arc<str>)>>,
}

/// What was answered last, and when it was asked for.
struct Told {
    begun: Instant,
    connections: Arc<Connections>,
}

impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies").finish_non_exhaustive()
    }
}

impl Proxies {
    /// Asks by `web`, at the addresses of the configuration or those of the istiods' pods.
    pub fn new(web: Web, client: Client, config: watch::Receiver<Config>) -> Self {
        let (told, token) = (Mutex::default(), Turn::default());
        Self(Arc::new(Shared { web, client, config, told, token }))
    }

    /// Who is connected to a plane: what its istiods say when they are asked from now on. All that ask at
    /// the same time share one question.
    pub async fn connections(&self, revision: &Revision) -> Arc<Connections> {
        self.since(revision, Instant::now()).await
    }

    /// The same for people to look at: a few seconds old at most, and in time.
    pub async fn recent(&self, revision: &Revision, within: Duration) -> Arc<Connections> {
        let now = Instant::now();
        let since = now.checked_sub(RECENT).unwrap_or(now);
        timeout(within, self.since(revision, since)).await.unwrap_or_else(|_| {
            let why = format!("its istiods have not answered within {} s", within.as_secs());
            Arc::new(Connections { proxies: Vec::new(), missing: vec![why] })
        })
    }

    /// How often proxies have rejected what the istiods of a plane had for them, since each of them
    /// started; or why that is not known.
    pub async fn rejects(&self, revision: &Revision) -> Result<u64, String> {
        let addresses = self.addresses(revision).await?;
        let asked = addresses.iter().map(async |address| {
            let url = format!("{address}/metrics");
            let answer = self.get(&url, None).await?;
            expect(&url, &answer)?;
            metrics::rejects(&answer.body).map_err(|why| format!("{url}: {why}"))
        });
        join_all(asked).await.into_iter().sum()
    }

    async fn since(&self, revision: &Revision, since: Instant) -> Arc<Connections> {
        let turn = {
            let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(told.entry(revision.clone()).or_default())
        };
        // Whoever waits here while another asks may have been answered by that.
        let mut told = turn.lock().await;
        if let Some(told) = told.as_ref() {
            if told.begun >= since {
                return Arc::clone(&told.connections);
            }
            sleep_until(told.begun + PACE).await;
        }
        let begun = Instant::now();
        let connections = Arc::new(self.ask(revision).await);
        *told = Some(Told { begun, connections: Arc::clone(&connections) });
        connections
    }

    async fn ask(&self, revision: &Revision) -> Connections {
        let addresses = match self.addresses(revision).await {
            Ok(addresses) => addresses,
            Err(why) => return Connections { proxies: Vec::new(), missing: vec![why] },
        };
        let asked = join_all(addresses.iter().map(|address| self.replica(address))).await;
        let (mut told, mut missing) = (Vec::new(), Vec::new());
        for answer in asked {
            match answer {
                Ok(proxies) => told.push(proxies),
                Err(why) => missing.push(why),
            }
        }
        Connections::join(told, missing)
    }

    /// Where the istiods of a plane are asked, or why that is not known.
    async fn addresses(&self, revision: &Revision) -> Result<Vec<String>, String> {
        let known = self.0.config.borrow().istiods.get(revision.as_str()).cloned();
        if let Some(urls) = known {
            return Ok(urls.iter().map(|url| url.trim_end_matches('/').to_owned()).collect());
        }
        let replicas = pods::replicas(&self.0.client, revision).await;
        let replicas =
            replicas.map_err(|error| format!("its istiods cannot be listed: {error}"))?;
        let addresses: Vec<String> = replicas.iter().filter_map(address).collect();
        if addresses.is_empty() {
            return Err(
                "no istiod of it (label app=istiod) runs as a pod in the namespace that its injector \
                        calls, and `istiods` of the server's configuration names none"
                    .to_owned(),
            );
        }
        Ok(addresses)
    }

    /// The proxies of one replica. What istiods tell only those that they know is asked with a token,
    /// which goes to nobody who does not want one.
    async fn replica(&self, address: &str) -> Result<Vec<Proxy>, String> {
        let url = format!("{address}/debug/syncz");
        let mut answer = self.get(&url, None).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            let token =
                self.token().await.map_err(|why| format!("{url} wants a token, and {why}"))?;
            answer = self.get(&url, Some(&token)).await?;
        }
        expect(&url, &answer)?;
        let told = syncz::proxies(&answer.body).map_err(|why| format!("{url}: {why}"))?;
        let mut proxies = told.proxies;
        let waits = proxies.iter().any(|proxy| matches!(proxy.stand, Stand::Stale(_)));
        if waits && !told.tells_errors {
            self.tell_rejects(address, &mut proxies).await?;
        }
        Ok(proxies)
    }

    /// An istiod that tells no errors in its answer tells by its metrics who has rejected something.
    async fn tell_rejects(&self, address: &str, proxies: &mut [Proxy]) -> Result<(), String> {
        let url = format!("{address}/metrics");
        let answer = self.get(&url, None).await?;
        expect(&url, &answer)?;
        let rejecting = metrics::rejecting(&answer.body);
        for proxy in proxies.iter_mut().filter(|proxy| matches!(proxy.stand, Stand::Stale(_))) {
            let node = format!("{}.{}", proxy.pod, proxy.namespace);
            if let Some(kind) = rejecting.get(&node) {
                proxy.stand = Stand::Rejected((*kind).to_owned(), String::new());
            }
        }
        Ok(())
    }

    async fn get(&self, url: &str, token: Option<&str>) -> Result<Answer, String> {
        let mut request =
            Request::builder().method(Method::GET).uri(url).extension(Longest(LONGEST));
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(String::new()).map_err(|error| format!("{url}: {error}"))?;
        self.0.web.send(request, PATIENCE).await.map_err(|why| format!("{url}: {why}"))
    }

    async fn token(&self) -> Result<Arc<str>, String> {
        let mut token = self.0.token.lock().await;
        if let Some((until, token)) = token.as_ref().filter(|(until, _)| Instant::now() < *until) {
            let _ = until;
            return Ok(Arc::clone(token));
        }
        let begun = Instant::now();
        let made: Arc<str> = pods::token(&self.0.client).await?.into();
        *token = Some((begun + pods::LIFETIME / 2, Arc::clone(&made)));
        Ok(made)
    }
}

/// Where the istiod of a pod is asked.
fn address(replica: &Replica) -> Option<String> {
    Some(match replica.address? {
        IpAddr::V4(address) => format!("http://{address}:{PORT}"),
        IpAddr::V6(address) => format!("http://[{address}]:{PORT}"),
    })
}

fn expect(url: &str, answer: &Answer) -> Result<(), String> {
    let status = answer.status;
    if status.is_success() {
        return Ok(());
    }
    let why = match status {
        StatusCode::UNAUTHORIZED => ": it does not know revshift's token",
        StatusCode::FORBIDDEN => {
            ": only callers of its own namespace and of DEBUG_ENDPOINT_AUTH_ALLOWED_NAMESPACES may ask it"
        }
        StatusCode::NOT_FOUND => ": its ENABLE_DEBUG_ON_HTTP is off, or this is no istiod",
        _ => "",
    };
    Err(format!("{url} answers {status}{why}"))
}
