//! A Prometheus that collects what a site of the harness' own tells.

use std::{
    convert::Infallible,
    fs,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context as _, Result, ensure};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use kube::{Client, Config};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinSet};

use crate::{
    bed::RealBed,
    cluster::http_get,
    ports,
    process::{Process, ready},
};

/// A site with `/metrics` and `/healthz`, as a test wants them.
#[derive(Debug)]
pub struct Site {
    address: SocketAddr,
    tells: Arc<Mutex<Telling>>,
    _serving: JoinSet<()>,
}

/// What it tells.
#[derive(Clone, Debug, Default)]
struct Telling {
    health: StatusCode,
    metrics: String,
}

impl Site {
    /// Serves on loopback until it is dropped.
    pub async fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let tells = Arc::new(Mutex::new(Telling::default()));
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, Arc::clone(&tells)));
        Ok(Self { address, tells, _serving: serving })
    }

    /// The address of a page.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// From now on `/healthz` answers with this status.
    pub fn set_health(&self, status: u16) -> Result<()> {
        self.tell().health = StatusCode::from_u16(status)?;
        Ok(())
    }

    /// From now on `/metrics` tells this, in the text format of Prometheus.
    pub fn set_metrics(&self, metrics: &str) {
        metrics.clone_into(&mut self.tell().metrics);
    }

    fn tell(&self) -> std::sync::MutexGuard<'_, Telling> {
        self.tells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn serve(listener: TcpListener, tells: Arc<Mutex<Telling>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let tells = Arc::clone(&tells);
        connections.spawn(async move {
            let answer = service_fn(move |request: Request<Incoming>| {
                let telling = tells.lock().unwrap_or_else(PoisonError::into_inner).clone();
                async move { Ok::<_, Infallible>(answer(request.uri().path(), telling)) }
            });
            // Who breaks a connection off has had enough.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await;
        });
    }
}

fn answer(path: &str, telling: Telling) -> Response<Full<Bytes>> {
    let (status, body) = match path {
        "/metrics" => (StatusCode::OK, telling.metrics),
        "/healthz" => (telling.health, String::new()),
        _ => (StatusCode::NOT_FOUND, String::new()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
}

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    address: SocketAddr,
    _process: Process,
}

impl Prometheus {
    /// Starts one that collects `site` every second.
    pub async fn start(bed: &RealBed, site: &Site) -> Result<Self> {
        let [address] = ports::free()?;
        let folder = bed.run_dir().join("prometheus");
        fs::create_dir_all(&folder)?;
        let config = json!({
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s"},
            "scrape_configs": [{
                "job_name": "site",
                "static_configs": [{"targets": [site.address.to_string()]}],
            }],
        });
        let file = folder.join("prometheus.yaml");
        fs::write(&file, serde_norway::to_string(&config)?)?;
        let args = [
            format!("--config.file={}", file.display()),
            format!("--storage.tsdb.path={}", folder.join("data").display()),
            format!("--web.listen-address={address}"),
        ];
        let mut process = bed.process("prometheus", &args)?;
        ready("Prometheus' readiness", std::slice::from_mut(&mut process), async || {
            get(address, "/-/ready").await
        })
        .await?;
        Ok(Self { address, _process: process })
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The one value that a series has now.
    pub async fn value(&self, series: &str) -> Result<String> {
        let text = get(self.address, &format!("/api/v1/query?query={series}")).await?;
        let answer: Value = serde_json::from_str(&text)?;
        let results = answer["data"]["result"].as_array().context("no result")?;
        ensure!(results.len() == 1, "{answer}");
        Ok(results[0]["value"][1].as_str().context("no value")?.to_owned())
    }
}

async fn get(address: SocketAddr, path: &str) -> Result<String> {
    let client = Client::try_from(Config::new(format!("http://{address}").parse()?))?;
    client.request_text(http_get(path)?).await.with_context(|| format!("GET {path}"))
}
