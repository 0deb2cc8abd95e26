//! One plane's istiod as a local process. Its ports stay the same over restarts, since the
//! webhooks name them; while it is stopped, its webhooks refuse as they would in a real outage.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::{
    ByteString,
    api::{
        admissionregistration::v1::{MutatingWebhookConfiguration, ValidatingWebhookConfiguration},
        core::v1 as core_v1,
    },
};
use kube::{Api, Client, Config, ResourceExt as _, api::PostParams};

use crate::{
    binaries::Binaries,
    cluster::{command, http_get},
    manifest::{NAMESPACE, Plane},
    ports,
    process::{Process, Usage, Watchdog, ready},
};

/// Where an istiod listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Istiod {
    /// Plain HTTP: readiness and `/debug/`.
    pub http: SocketAddr,
    /// HTTPS of the webhooks.
    pub webhooks: SocketAddr,
    /// Plain-text XDS for proxies.
    pub xds: SocketAddr,
    /// XDS over TLS.
    pub secure_xds: SocketAddr,
    /// Prometheus metrics.
    pub metrics: SocketAddr,
}

impl Istiod {
    pub(crate) fn find_ports() -> Result<Self> {
        let [http, webhooks, xds, secure_xds, metrics] = ports::free()?;
        Ok(Self { http, webhooks, xds, secure_xds, metrics })
    }

    /// The body of a GET, for example of `/debug/syncz`.
    pub async fn get(&self, path: &str) -> Result<String> {
        let client = Client::try_from(Config::new(format!("http://{}", self.http).parse()?))?;
        client.request_text(http_get(path)?).await.with_context(|| format!("GET {path}"))
    }

    /// The proxies that hold a stream to this istiod, each as `POD.NAMESPACE`.
    pub async fn proxies(&self) -> Result<Vec<String>> {
        let connected: Vec<Connected> = serde_json::from_str(&self.get("/debug/syncz").await?)?;
        Ok(connected.into_iter().map(|it| it.proxy).collect())
    }
}

#[derive(serde::Deserialize)]
struct Connected {
    proxy: String,
}

/// What an istiod needs of its bed.
pub(crate) struct Surroundings<'a> {
    pub(crate) binaries: &'a Binaries,
    pub(crate) run_dir: PathBuf,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) client: Client,
    pub(crate) watchdog: &'a Arc<Watchdog>,
}

/// An installed plane, whose istiod runs or is stopped.
#[derive(Debug)]
pub(crate) struct Installed {
    pub(crate) plane: Plane,
    pub(crate) istiod: Istiod,
    pub(crate) process: Option<Process>,
}

impl Installed {
    pub(crate) fn usage(&self) -> Option<Usage> {
        self.process.as_ref()?.usage()
    }
}

/// Starts a plane's istiod and waits until it is ready and its webhooks have its certificate.
pub(crate) async fn start(
    plane: &Plane,
    istiod: &Istiod,
    around: &Surroundings<'_>,
) -> Result<Process> {
    let [injector, validator] = plane.webhooks();
    let name = format!("istiod-{}", plane.name);
    let mut command = command(around.binaries, "pilot-discovery", &around.run_dir);
    command
        .args(["discovery", "--domain=cluster.local", "--ctrlz_port=0"])
        .arg(format!("--kubeconfig={}", around.kubeconfig.display()))
        .arg(format!("--httpAddr={}", istiod.http))
        .arg(format!("--httpsAddr={}", istiod.webhooks))
        .arg(format!("--grpcAddr={}", istiod.xds))
        .arg(format!("--secureGRPCAddr={}", istiod.secure_xds))
        .arg(format!("--monitoringAddr={}", istiod.metrics))
        .env("REVISION", plane.revision())
        .env("POD_NAME", format!("{name}-0"))
        .env("POD_NAMESPACE", NAMESPACE)
        .env("SERVICE_ACCOUNT", &name)
        .env("CLUSTER_ID", "Kubernetes")
        .env("PILOT_CERT_PROVIDER", "istiod")
        // The webhooks' URL names an address, which the certificate must then cover.
        .env("ISTIOD_CUSTOM_HOST", "127.0.0.1,localhost")
        .env("INJECTION_WEBHOOK_CONFIG_NAME", &injector)
        .env("VALIDATION_WEBHOOK_CONFIG_NAME", &validator);
    let mut process = Process::start(&name, &mut command, &around.run_dir, around.watchdog)?;

    let injectors = Api::<MutatingWebhookConfiguration>::all(around.client.clone());
    let validators = Api::<ValidatingWebhookConfiguration>::all(around.client.clone());
    let mine = std::slice::from_mut(&mut process);
    ready(&format!("{name}'s readiness"), mine, async || {
        istiod.get("/ready").await?;
        let hooks = injectors.get(&injector).await?.webhooks.unwrap_or_default();
        covered(hooks.into_iter().map(|hook| hook.client_config.ca_bundle))?;
        let hooks = validators.get(&validator).await?.webhooks.unwrap_or_default();
        covered(hooks.into_iter().map(|hook| hook.client_config.ca_bundle))
    })
    .await?;
    Ok(process)
}

/// Fails while the plane of a revision injects no pod. Nothing is created.
pub(crate) async fn inject(client: &Client, revision: &str) -> Result<()> {
    // In a namespace that asks for no plane, a pod's own label does.
    let pod = serde_json::from_value(serde_json::json!({
        "metadata": {"generateName": "probe-", "labels": {"istio.io/rev": revision}},
        "spec": {"containers": [{"name": "probe", "image": "example/probe:1"}]},
    }))?;
    let pods = Api::<core_v1::Pod>::namespaced(client.clone(), "default");
    let pod = pods.create(&PostParams { dry_run: true, ..PostParams::default() }, &pod).await?;
    let injected = pod.annotations().contains_key("sidecar.istio.io/status");
    ensure!(injected, "a pod was admitted without sidecar");
    Ok(())
}

fn covered(mut bundles: impl Iterator<Item = Option<ByteString>>) -> Result<()> {
    let filled = bundles.all(|bundle| bundle.is_some_and(|bundle| !bundle.0.is_empty()));
    ensure!(filled, "a webhook has no caBundle yet");
    Ok(())
}
