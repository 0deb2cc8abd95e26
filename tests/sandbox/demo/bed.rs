//! The simulated cluster as other programs reach it: over TCP on loopback, with a kubeconfig in a
//! folder that goes with the program.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use revshift_sandbox::{Options, Sandbox, kubeconfig};
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::application;

/// Healthy pods take a second or two; thousands of namespaces take the controllers longer.
const PATIENCE: Duration = Duration::from_mins(5);

/// Enough for every watch to catch up.
const HISTORY: usize = 5000;

/// A cluster that runs.
#[derive(Debug)]
pub(crate) struct Bed {
    pub(crate) sandbox: Sandbox,
    address: SocketAddr,
    folder: TempDir,
    _tasks: JoinSet<()>,
}

/// How far the pods are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Filling {
    pub(crate) namespaces: usize,
    pub(crate) pods: usize,
    pub(crate) ready: usize,
    pub(crate) done: bool,
}

impl Bed {
    /// A cluster with two planes, nodes, and `objects`.
    #[expect(clippy::disallowed_methods, reason = "a cluster on the real clock shows real ages")]
    pub(crate) async fn start(objects: Vec<Value>) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("revshift-sandbox-").tempdir()?;
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port on 127.0.0.1")?;
        let address = listener.local_addr()?;
        let text = kubeconfig(address);
        tokio::fs::write(folder.path().join("kubeconfig"), text).await?;
        let start = jiff::Timestamp::now();
        let sandbox = Sandbox::new(Options {
            start,
            pod_ready_after: Duration::from_millis(700),
            history: Some(HISTORY),
            nodes: application::NODES.map(str::to_owned).to_vec(),
            ..Options::default()
        });
        for object in application::foundation(start).into_iter().chain(objects) {
            sandbox.apply(object);
        }
        let mut tasks = JoinSet::new();
        let driven = sandbox.clone();
        tasks.spawn(async move { driven.run().await });
        let served = sandbox.clone();
        tasks.spawn(async move { served.serve(listener).await });
        Ok(Self { sandbox, address, folder, _tasks: tasks })
    }

    /// Where its API server listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// Where logs go.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until every pod that can be is ready.
    pub(crate) async fn settled(&self, mut tell: impl FnMut(Filling)) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let filling = self.filling();
            tell(filling);
            if filling.done {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("the simulated pods did not become ready: {filling:?}");
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    fn filling(&self) -> Filling {
        let workloads = ["deployments", "statefulsets", "daemonsets"];
        let workloads =
            workloads.map(|kind| self.sandbox.objects(&format!("/apis/apps/v1/{kind}")));
        let pods = self.sandbox.objects("/api/v1/pods");
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        Filling {
            namespaces: self.sandbox.objects("/api/v1/namespaces").len(),
            pods: pods.len(),
            ready,
            done: workloads.iter().flatten().all(is_rolled_out) && ready == pods.len(),
        }
    }

    /// What the label `istio.io/rev` of a namespace says.
    pub(crate) fn label(&self, namespace: &str) -> Option<String> {
        let found = self.sandbox.object(&format!("/api/v1/namespaces/{namespace}"))?;
        Some(found["metadata"]["labels"]["istio.io/rev"].as_str()?.to_owned())
    }

    /// The planes that injected the pods of a namespace; those of Jobs and those that go aside.
    pub(crate) fn injected(&self, namespace: &str) -> Vec<String> {
        let pods = self.sandbox.objects(&format!("/api/v1/namespaces/{namespace}/pods"));
        let mut planes: Vec<String> = pods
            .iter()
            .filter(|pod| pod["metadata"]["ownerReferences"][0]["kind"] != "Job")
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null())
            .filter_map(|pod| Some(pod["metadata"]["labels"]["istio.io/rev"].as_str()?.to_owned()))
            .collect();
        planes.sort();
        planes.dedup();
        planes
    }
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    pod["status"]["phase"] == "Succeeded"
        || conditions.filter(|one| one["type"] == "Ready").any(|one| one["status"] == "True")
}

fn is_rolled_out(workload: &Value) -> bool {
    let status = &workload["status"];
    let (wanted, ready) = if workload["kind"] == "DaemonSet" {
        (&status["desiredNumberScheduled"], &status["numberReady"])
    } else {
        (&workload["spec"]["replicas"], &status["readyReplicas"])
    };
    status["observedGeneration"] == workload["metadata"]["generation"]
        && (wanted == ready || (wanted.as_i64() == Some(0) && ready.is_null()))
}
