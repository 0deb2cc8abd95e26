//! Kubernetes itself: etcd, the API server, the controller manager, the scheduler, and KWOK with
//! one node that has room for everything. Started in the order in which they need each other;
//! every wait ends early when a process that it waits for has ended.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use anyhow::{Context as _, Result, ensure};
use http::{HeaderValue, header::USER_AGENT};
use k8s_openapi::api::core::v1 as core_v1;
use kube::{
    Api, Client, Config,
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;

use crate::{
    binaries::Binaries,
    certificates, ports,
    process::{Process, Usage, Watchdog, ready},
    stages,
};

/// The cluster's processes. Those that call others come first, so that they are the first to end.
pub(crate) struct Cluster {
    processes: Vec<Process>,
    pub(crate) client: Client,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) audit_log: PathBuf,
}

impl Cluster {
    pub(crate) async fn start(
        binaries: &Binaries,
        run_dir: &Path,
        watchdog: &Arc<Watchdog>,
    ) -> Result<Self> {
        let [etcd, peer, api] = ports::free()?;
        let pki = run_dir.join("pki");
        certificates::write(&pki)?;
        let kubeconfig = run_dir.join("kubeconfig");
        write_kubeconfig(&kubeconfig, &pki, "admin", api)?;
        for name in certificates::DEPUTIES {
            write_kubeconfig(&deputy(&kubeconfig, name), &pki, name, api)?;
        }
        let audit_log = run_dir.join("audit.log");
        let start = |name: &str, args: &[String]| {
            let mut command = command(binaries, name, run_dir);
            Process::start(name, command.args(args), run_dir, watchdog)
        };
        // Newest first, see above.
        let mut processes = vec![start("etcd", &etcd_args(run_dir, etcd, peer))?];
        processes.insert(0, start("kube-apiserver", &apiserver_args(run_dir, etcd, api)?)?);

        let client = connect(&kubeconfig).await?;
        ready("the API server's readiness", &mut processes, async || {
            client.request_text(http_get("/readyz")?).await.context("/readyz")
        })
        .await?;

        let shared = |more: &[&str]| -> Vec<String> {
            let common = ["--leader-elect=false", "--secure-port=0"];
            let limits = ["--kube-api-qps=500", "--kube-api-burst=1000"];
            [format!("--kubeconfig={}", kubeconfig.display())]
                .into_iter()
                .chain([&common[..], &limits, more].concat().into_iter().map(String::from))
                .collect()
        };
        let sign = format!("--service-account-private-key-file={}", pki.join("sa.key").display());
        let trust = format!("--root-ca-file={}", pki.join("ca.crt").display());
        // KWOK's only node never fails, and gives its pods their addresses itself.
        let controllers = "--controllers=*,-node-ipam-controller,-node-lifecycle-controller";
        let args = shared(&[&sign, &trust, controllers]);
        processes.insert(0, start("kube-controller-manager", &args)?);
        processes.insert(0, start("kube-scheduler", &shared(&[]))?);

        let stages = run_dir.join("stages.yaml");
        fs::write(&stages, stages::config(binaries)?)?;
        create_node(&client).await?;
        let args = [
            format!("--kubeconfig={}", kubeconfig.display()),
            format!("--config={}", stages.display()),
            "--manage-all-nodes".into(),
            "--cidr=10.64.0.0/12".into(),
            "--node-lease-duration-seconds=40".into(),
        ];
        processes.insert(0, start("kwok", &args)?);

        let nodes = Api::<core_v1::Node>::all(client.clone());
        let accounts = Api::<core_v1::ServiceAccount>::namespaced(client.clone(), "default");
        ready("the node's readiness", &mut processes, async || {
            let status = nodes.get_status(NODE).await?.status.unwrap_or_default();
            let mut conditions = status.conditions.into_iter().flatten();
            let ready = conditions.any(|it| it.type_ == "Ready" && it.status == "True");
            ensure!(ready, "{NODE} is not ready");
            // Without it no pod of the namespace is admitted.
            accounts.get("default").await.context("no ServiceAccount yet")
        })
        .await?;
        Ok(Self { processes, client, kubeconfig, audit_log })
    }

    pub(crate) fn usage(&self) -> Vec<Usage> {
        self.processes.iter().filter_map(Process::usage).collect()
    }

    pub(crate) fn logs(&self) -> Vec<PathBuf> {
        self.processes.iter().map(|process| process.log().to_owned()).collect()
    }
}

const NODE: &str = "node-0";

/// A program of the bed that sees neither the machine's kubeconfig nor its proxies.
pub(crate) fn command(binaries: &Binaries, program: &str, home: &Path) -> Command {
    let mut command = Command::new(binaries.path(program));
    bare(&mut command, home);
    command
}

/// Leaves a program nothing of the harness' environment.
pub(crate) fn bare(command: &mut Command, home: &Path) {
    command.env_clear().env("HOME", home).env("TMPDIR", home);
}

pub(crate) fn http_get(path: &str) -> Result<http::Request<Vec<u8>>> {
    http::Request::get(path).body(Vec::new()).context("a request")
}

fn etcd_args(run_dir: &Path, client: SocketAddr, peer: SocketAddr) -> Vec<String> {
    vec![
        format!("--data-dir={}", run_dir.join("etcd").display()),
        // The data lives no longer than the process.
        "--unsafe-no-fsync".into(),
        format!("--listen-client-urls=http://{client}"),
        format!("--advertise-client-urls=http://{client}"),
        format!("--listen-peer-urls=http://{peer}"),
        format!("--initial-advertise-peer-urls=http://{peer}"),
        format!("--initial-cluster=default=http://{peer}"),
    ]
}

fn apiserver_args(run_dir: &Path, etcd: SocketAddr, api: SocketAddr) -> Result<Vec<String>> {
    let policy = run_dir.join("audit-policy.yaml");
    let rules = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        // What was written tells one restart from another; of the rest it is enough that it was.
        "rules": [
            {"level": "Request", "verbs": ["patch"], "resources": [
                {"group": "", "resources": ["namespaces"]},
                {"group": "apps", "resources": ["deployments", "statefulsets", "daemonsets"]},
            ]},
            {"level": "Metadata"},
        ],
    });
    fs::write(&policy, serde_norway::to_string(&rules)?)?;
    let pki = |name: &str| run_dir.join("pki").join(name).display().to_string();
    Ok(vec![
        format!("--etcd-servers=http://{etcd}"),
        "--bind-address=127.0.0.1".into(),
        "--advertise-address=127.0.0.1".into(),
        format!("--secure-port={}", api.port()),
        format!("--tls-cert-file={}", pki("apiserver.crt")),
        format!("--tls-private-key-file={}", pki("apiserver.key")),
        format!("--client-ca-file={}", pki("ca.crt")),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--service-account-key-file={}", pki("sa.pub")),
        format!("--service-account-signing-key-file={}", pki("sa.key")),
        "--service-cluster-ip-range=10.0.0.0/16".into(),
        "--authorization-mode=RBAC".into(),
        "--allow-privileged=true".into(),
        // An EndpointSlice must not hold a loopback address.
        "--endpoint-reconciler-type=none".into(),
        // Nothing would ever lift the taint, as the node lifecycle controller is off.
        "--disable-admission-plugins=TaintNodesByCondition".into(),
        format!("--audit-policy-file={}", policy.display()),
        format!("--audit-log-path={}", run_dir.join("audit.log").display()),
        // Who counts requests must find them all in one file.
        "--audit-log-maxsize=4096".into(),
    ])
}

/// Where the kubeconfig of a deputy lies, beside the administrator's.
pub(crate) fn deputy(kubeconfig: &Path, name: &str) -> PathBuf {
    kubeconfig.with_extension(name)
}

fn write_kubeconfig(path: &Path, pki: &Path, user: &str, api: SocketAddr) -> Result<()> {
    let kubeconfig = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "testbed", "cluster": {
            "server": format!("https://{api}"),
            "certificate-authority": pki.join("ca.crt"),
        }}],
        "users": [{"name": "admin", "user": {
            "client-certificate": pki.join(format!("{user}.crt")),
            "client-key": pki.join(format!("{user}.key")),
        }}],
        "contexts": [{"name": "testbed", "context": {"cluster": "testbed", "user": "admin"}}],
        "current-context": "testbed",
    });
    fs::write(path, serde_norway::to_string(&kubeconfig)?).context("cannot write the kubeconfig")
}

pub(crate) async fn connect(kubeconfig: &Path) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let options = KubeConfigOptions::default();
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    // Tells the harness' requests from others in the audit log.
    config.headers.push((USER_AGENT, HeaderValue::from_static("revshift-testbed")));
    Ok(Client::try_from(config)?)
}

async fn create_node(client: &Client) -> Result<()> {
    let room = json!({"cpu": "100000", "memory": "100000Gi", "pods": "200000"});
    let node = serde_json::from_value(json!({
        "metadata": {"name": NODE, "labels": {
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "kubernetes.io/hostname": NODE,
        }},
        "status": {"allocatable": room, "capacity": room},
    }))?;
    let nodes = Api::<core_v1::Node>::all(client.clone());
    nodes.create(&PostParams::default(), &node).await.context("cannot create the node")?;
    Ok(())
}
