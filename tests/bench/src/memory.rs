//! P4: what a server holds of a large cluster at most, through a forced list of everything, in a process
//! of its own; beside a reflector of the same pods.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use revshift_proto::v1::{GetServerRequest, server_service_client::ServerServiceClient};
use revshift_sandbox::{Options, Sandbox, fixtures};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::live::{connect, serve};
use crate::report::{Goal, Row, short};
use crate::role::{Player, REFLECTOR, SERVER};
use crate::simulation::{NEW, OLD, cluster};

/// Pods of each namespace's workload.
const PODS: usize = 10;
/// How long the pods may take to be listed.
const PATIENCE: Duration = Duration::from_mins(5);
/// A process that lists nothing any more for so long has taken everything in.
const QUIET: Duration = Duration::from_secs(3);

/// The peaks of the server and of the reflector.
pub(crate) async fn run(quick: bool, told: &mut dyn FnMut(&str)) -> Result<Vec<Row>> {
    let namespaces = if quick { 2_000 } else { 10_000 };
    let sandbox = cluster(Options {
        latency: Duration::ZERO,
        watch_lag: Duration::ZERO,
        ..Options::default()
    });
    let size = fill(&sandbox, namespaces);
    told(&format!("P4 {namespaces} namespaces, {size} bytes of metadata a pod"));
    let (_serving, kubeconfig) = serve(&sandbox).await?;
    let path = kubeconfig.path().display().to_string();

    let args = ["--kubeconfig", &path, "--listen=127.0.0.1:0", "--install-crds"];
    let server = Player::start(SERVER, &args).await?;
    ready(&server.address).await?;
    let first = server.memory("VmHWM")?;
    relist(&sandbox).await?;
    let (peak, steady) = (server.memory("VmHWM")?, server.memory("VmRSS")?);
    told(&format!("P4 server: {first:.0} MiB, through a relist {peak:.0}, then {steady:.0}"));
    drop(server);

    let begin = lists(&sandbox);
    let reflector = Player::start(REFLECTOR, &[&path]).await?;
    listed(&sandbox, begin).await?;
    relist(&sandbox).await?;
    let theirs = reflector.memory("VmHWM")?;
    told(&format!("P4 reflector of metadata: {theirs:.0} MiB"));

    let pods = namespaces * PODS;
    let what = format!("peak memory through a relist, {namespaces} namespaces, {pods} pods");
    let essential = if quick { "1.1 MB" } else { "5.7 MB" };
    let row = Row::new("P4", what, peak, "MiB")
        .beside(format!("reflector of pods' metadata {} MiB", short(theirs)))
        .limit(format!("{essential} of essential data"));
    // The goal is that of the full size.
    let row = if quick { row } else { row.goal(Goal::AtMost(64.0)) };
    Ok(vec![row, Row::new("P4", "the same, some seconds later", steady, "MiB")])
}

/// Fills a cluster; answers how large a pod's metadata is.
fn fill(sandbox: &Sandbox, namespaces: usize) -> usize {
    let mut size = 0;
    for index in 0..namespaces {
        let name = format!("n-{index:05}");
        sandbox.apply(fixtures::namespace(&name, &[("istio.io/rev", OLD)]));
        let mut web = fixtures::deployment(&name, "web", 10);
        web["status"] = json!({
            "observedGeneration": 1,
            "replicas": 10, "updatedReplicas": 10, "readyReplicas": 10, "availableReplicas": 10,
        });
        sandbox.apply(web);
        for number in 0..PODS {
            let pod = pod(&name, index, number);
            size = pod["metadata"].to_string().len();
            sandbox.apply(pod);
        }
    }
    size
}

/// A pod as Kubernetes and Istio leave it, as far as its metadata goes.
fn pod(namespace: &str, index: usize, number: usize) -> Value {
    let hash = format!("{:010x}", index * 7919 + 1);
    let name = format!("web-{hash}-{number:05}");
    let status = json!({
        "initContainers": ["istio-validation", "istio-proxy"],
        "containers": null,
        "volumes": ["workload-socket", "credential-socket", "workload-certs", "istio-envoy",
            "istio-data", "istio-podinfo", "istio-token", "istiod-ca-cert"],
        "imagePullSecrets": null,
        "revision": OLD,
    });
    let fields = json!({
        "f:metadata": { "f:generateName": {}, "f:labels": { ".": {}, "f:app": {}, "f:version": {},
            "f:pod-template-hash": {}, "f:security.istio.io/tlsMode": {} },
            "f:ownerReferences": { ".": {}, "k:{\"uid\":\"00000000-0000-4000-8000-000000000000\"}": {} } },
        "f:spec": { "f:containers": { "k:{\"name\":\"app\"}": { ".": {}, "f:image": {}, "f:name": {},
            "f:imagePullPolicy": {}, "f:ports": { ".": {}, "k:{\"containerPort\":8080}": {} },
            "f:resources": { ".": {}, "f:limits": {}, "f:requests": {} },
            "f:terminationMessagePath": {}, "f:terminationMessagePolicy": {} } },
            "f:dnsPolicy": {}, "f:enableServiceLinks": {}, "f:restartPolicy": {},
            "f:schedulerName": {}, "f:securityContext": {}, "f:terminationGracePeriodSeconds": {} },
    });
    let kubelet = json!({
        "f:status": { "f:conditions": {
            "k:{\"type\":\"ContainersReady\"}": { ".": {}, "f:lastProbeTime": {},
                "f:lastTransitionTime": {}, "f:status": {}, "f:type": {} },
            "k:{\"type\":\"Initialized\"}": { ".": {}, "f:lastProbeTime": {},
                "f:lastTransitionTime": {}, "f:status": {}, "f:type": {} },
            "k:{\"type\":\"Ready\"}": { ".": {}, "f:lastProbeTime": {},
                "f:lastTransitionTime": {}, "f:status": {}, "f:type": {} } },
            "f:containerStatuses": {}, "f:hostIP": {}, "f:initContainerStatuses": {}, "f:phase": {},
            "f:podIP": {}, "f:podIPs": { ".": {}, "k:{\"ip\":\"10.64.0.1\"}": { ".": {}, "f:ip": {} } },
            "f:startTime": {} },
    });
    let manager = |name: &str, fields: Value| {
        json!({ "manager": name, "operation": "Update", "apiVersion": "v1",
            "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": fields })
    };
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "generateName": format!("web-{hash}-"),
            "labels": {
                "app": "web", "version": "v1", "pod-template-hash": hash,
                "security.istio.io/tlsMode": "istio",
                "service.istio.io/canonical-name": "web",
                "service.istio.io/canonical-revision": "v1",
            },
            "annotations": {
                "istio.io/rev": OLD,
                "kubectl.kubernetes.io/default-container": "app",
                "kubectl.kubernetes.io/default-logs-container": "app",
                "prometheus.io/path": "/stats/prometheus",
                "prometheus.io/port": "15020",
                "prometheus.io/scrape": "true",
                "sidecar.istio.io/status": status.to_string(),
            },
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("web-{hash}"),
                "uid": format!("{index:08x}-0000-4000-8000-000000000000"),
                "controller": true, "blockOwnerDeletion": true,
            }],
            "managedFields": [
                manager("kube-controller-manager", fields),
                manager("kubelet", kubelet),
            ],
        },
        "spec": { "containers": [{ "name": "app", "image": "registry.example/app:1" }],
            "nodeName": "node-1" },
        "status": { "phase": "Running" },
    })
}

async fn ready(address: &str) -> Result<()> {
    let mut client = ServerServiceClient::new(connect(address).await?);
    let deadline = Instant::now() + PATIENCE;
    while !client.get_server(GetServerRequest {}).await?.into_inner().ready {
        ensure!(Instant::now() < deadline, "the server did not become ready");
        sleep(Duration::from_millis(200)).await;
    }
    sleep(QUIET).await;
    Ok(())
}

/// How often somebody has begun to list all pods.
fn lists(sandbox: &Sandbox) -> usize {
    let requests = sandbox.requests();
    let lists = requests.iter().filter(|one| one.verb == "list" && one.path == "/api/v1/pods");
    lists.filter(|one| !one.query.contains("continue=")).count()
}

/// Makes every version that is known too old, and waits until everything was listed again.
async fn relist(sandbox: &Sandbox) -> Result<()> {
    let before = lists(sandbox);
    // What nobody has seen yet is newer than what everybody goes on from.
    sandbox.apply(fixtures::namespace("newest", &[("istio.io/rev", NEW)]));
    sandbox.compact();
    sandbox.drop_watches();
    sandbox.remove("/api/v1/namespaces/newest");
    listed(sandbox, before).await
}

/// Waits until all pods were listed once more than `before`, and then for quiet.
async fn listed(sandbox: &Sandbox, before: usize) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while lists(sandbox) == before {
        if Instant::now() >= deadline {
            bail!("nobody lists the pods");
        }
        sleep(Duration::from_millis(200)).await;
    }
    loop {
        let requests = sandbox.requests().len();
        sleep(QUIET).await;
        let now = sandbox.requests();
        let pages = now[requests..].iter().filter(|one| one.verb == "list").count();
        let open = now.iter().any(|one| one.verb == "list" && one.status.is_none());
        if pages == 0 && !open {
            return Ok(());
        }
    }
}
