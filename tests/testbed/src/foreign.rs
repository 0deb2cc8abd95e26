//! A cluster that was there before: the one that a kubeconfig names. Its planes are its own, and
//! what it does not let a scenario do it says.

use std::{path::PathBuf, sync::Mutex, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures::{FutureExt as _, future::LocalBoxFuture};
use k8s_openapi::api::core::v1 as core_v1;
use kube::{
    Api, Client, ResourceExt as _,
    api::{ApiResource, DeleteParams, DynamicObject, PostParams},
    core::GroupVersionKind,
};
use revshift_tests::{Bed, Output, Power, Replica};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    cluster, deadline::until, manifest::NAMESPACE, process, process::Watchdog, product::Product,
    programs::Programs,
};

/// Names the kubeconfig of a cluster to run the shared scenarios on.
pub const VARIABLE: &str = "REVSHIFT_TEST_KUBECONFIG";

/// What is waited for on a cluster that pulls images.
const PATIENCE: Duration = Duration::from_mins(5);
/// Where it is found out how pods fare.
const PROBE: &str = "revshift-probe";

/// A cluster that the harness did not start.
#[derive(Debug)]
pub struct ForeignCluster {
    // Processes end before their folder goes.
    programs: Programs,
    client: KubeClient,
    /// Whether pods fail as their labels say.
    failing_pods: bool,
    _run_dir: TempDir,
}

/// A client that can be shown.
struct KubeClient(Client);

impl std::fmt::Debug for KubeClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl ForeignCluster {
    /// Connects, and finds out what the cluster is able to.
    pub async fn connect(kubeconfig: PathBuf, product: &Product) -> Result<Self> {
        let client = cluster::connect(&kubeconfig)
            .await
            .with_context(|| format!("{VARIABLE} names {}", kubeconfig.display()))?;
        for plane in ["cp-v113x", "cp-v115x"] {
            has_plane(&client, plane).await?;
        }
        let failing_pods = probe(&client).await?;
        let run_dir = tempfile::Builder::new().prefix("revshift-foreign-").tempdir()?;
        let programs = Programs {
            product: Some(product.copy_to(run_dir.path())?),
            kubeconfig: std::path::absolute(kubeconfig)?,
            run_dir: run_dir.path().to_owned(),
            watchdog: Watchdog::start(Some(run_dir.path()))?,
            environment: true,
            logs: Mutex::default(),
        };
        Ok(Self { programs, client: KubeClient(client), failing_pods, _run_dir: run_dir })
    }

    /// The ends of the latest logs.
    pub fn log_tails(&self) -> Vec<(String, String)> {
        process::tails(&self.programs.latest())
    }
}

impl Bed for ForeignCluster {
    fn client(&self) -> Client {
        self.client.0.clone()
    }

    fn start_with<'a>(&'a self, config: &'a str) -> LocalBoxFuture<'a, Result<Box<dyn Replica>>> {
        async {
            let replica = self.programs.serve("127.0.0.1:0", config, &[]).await?;
            Ok(Box::new(replica) as Box<dyn Replica>)
        }
        .boxed_local()
    }

    fn revshift(&self, args: Vec<String>) -> LocalBoxFuture<'_, Result<Output>> {
        async move { self.programs.revshift(&args).await }.boxed_local()
    }

    fn set_injector_down(&self, _: &str, _: bool) -> LocalBoxFuture<'_, Result<()>> {
        async { anyhow::bail!("the cluster's istiods are not the harness' to stop") }.boxed_local()
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }

    fn lacks(&self, power: Power) -> Option<String> {
        let reason = match power {
            Power::FailingPods if self.failing_pods => return None,
            Power::FailingPods => "its pods do not fail as their labels say",
            Power::Outages => "its istiods are not the harness' to stop",
            Power::PlaneStatus => "the status of its planes is their operator's",
            Power::Istiods => "its proxies do not fail as their pods' labels say",
            Power::Rollouts => "the definition of Rollouts is not the harness' to install",
        };
        Some(reason.to_owned())
    }
}

async fn has_plane(client: &Client, name: &str) -> Result<()> {
    let kind = GroupVersionKind::gvk("servicemesh.cisco.com", "v1alpha1", "IstioControlPlane");
    let resource = ApiResource::from_gvk_with_plural(&kind, "istiocontrolplanes");
    let planes = Api::<DynamicObject>::namespaced_with(client.clone(), NAMESPACE, &resource);
    let found = planes.get_opt(name).await?;
    ensure!(found.is_some(), "the cluster has no IstioControlPlane {NAMESPACE}/{name}");
    Ok(())
}

/// Whether a pod fails as its label says, while one without it becomes ready.
async fn probe(client: &Client) -> Result<bool> {
    let namespaces = Api::<core_v1::Namespace>::all(client.clone());
    let namespace: core_v1::Namespace =
        serde_json::from_value(json!({"metadata": {"name": PROBE}}))?;
    // That of a run just before may still be on its way out.
    until("a namespace to try", PATIENCE, async || {
        Ok(namespaces.create(&PostParams::default(), &namespace).await?)
    })
    .await?;
    let told = fails(client).await;
    namespaces.delete(PROBE, &DeleteParams::background()).await?;
    told
}

async fn fails(client: &Client) -> Result<bool> {
    let pods = Api::<core_v1::Pod>::namespaced(client.clone(), PROBE);
    for (name, labels) in
        [("well", json!({})), ("labelled", json!({"bed.revshift.dev/fails": "image-pull"}))]
    {
        let pod = serde_json::from_value(json!({
            "metadata": {"name": name, "labels": labels},
            "spec": {"containers": [{"name": "app", "image": "registry.k8s.io/pause:3.10"}]},
        }))?;
        // A new namespace has no ServiceAccount for a moment.
        until("a pod to try", PATIENCE, async || {
            Ok(pods.create(&PostParams::default(), &pod).await?)
        })
        .await?;
    }
    until("a pod's readiness", PATIENCE, async || {
        ensure!(is_ready(&pods.get("well").await?), "it is not ready");
        Ok(())
    })
    .await?;
    until("what becomes of a labelled pod", PATIENCE, async || {
        let pod = pods.get("labelled").await?;
        let waits = serde_json::to_value(&pod.status)?.to_string().contains("ImagePullBackOff");
        ensure!(waits || is_ready(&pod), "{} is not settled", pod.name_any());
        Ok(waits)
    })
    .await
}

fn is_ready(pod: &core_v1::Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|it| it.type_ == "Ready" && it.status == "True")
}
