//! A simulated cluster with revshift's server on it in one thread, on tokio's paused clock: time
//! passes only when nothing else can go on, so what is measured is the procedure, not the machine.

use std::future::Future;
use std::io;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use hyper_util::rt::TokioIo;
use kube::Client;
use revshift_core::budget::Budgets;
use revshift_proto::v1::{GetServerRequest, server_service_client::ServerServiceClient};
use revshift_sandbox::{Options, Sandbox, fixtures};
use revshift_server::clock::Clock;
use revshift_server::config::{BudgetsConfig, Config};
use revshift_server::{service, web};
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Uri};

/// The plane to leave.
pub(crate) const OLD: &str = "cp-v113x.istio-system";
/// The plane to move to.
pub(crate) const NEW: &str = "cp-v115x.istio-system";
/// Bytes that a pipe holds, as a socket buffer would.
const PIPE: usize = 64 * 1024;

/// Runs a story in virtual time.
pub(crate) fn in_virtual_time<T>(story: impl Future<Output = T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .context("no runtime")?;
    Ok(runtime.block_on(story))
}

/// A sandbox with the planes of the procedure and nothing else.
pub(crate) fn cluster(options: Options) -> Sandbox {
    let sandbox = Sandbox::new(options);
    sandbox.apply(fixtures::istio_control_plane_definition());
    sandbox.apply(fixtures::namespace("istio-system", &[]));
    for (name, version) in [("cp-v113x", "1.13.5"), ("cp-v115x", "1.15.3")] {
        for object in fixtures::calisti_plane(name, "istio-system", version) {
            sandbox.apply(object);
        }
    }
    sandbox
}

/// A configuration with these budgets.
pub(crate) fn config(budgets: &Budgets) -> Config {
    let Budgets { namespaces, workloads, pods, pods_per_second } = *budgets;
    Config {
        budgets: BudgetsConfig {
            namespaces: Some(namespaces),
            workloads: Some(workloads),
            pods: Some(pods),
            pods_per_second,
        },
        ..Config::default()
    }
}

/// A cluster with its controllers running; all ends when it is dropped.
pub(crate) struct Simulation {
    pub(crate) sandbox: Sandbox,
    tasks: JoinSet<()>,
}

/// revshift's server on a simulation.
pub(crate) struct Server {
    connections: mpsc::UnboundedSender<DuplexStream>,
    shutdown: CancellationToken,
    running: JoinSet<Result<()>>,
    _config: watch::Sender<Config>,
}

impl Simulation {
    /// Starts the controllers of a cluster.
    pub(crate) fn start(sandbox: Sandbox) -> Self {
        let driven = sandbox.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { driven.run().await });
        Self { sandbox, tasks }
    }

    /// Starts a server whose requests carry the tag `server`, and waits until it is ready.
    pub(crate) async fn serve(&self, budgets: &Budgets) -> Result<Server> {
        let (connections, accepted) = mpsc::unbounded_channel();
        let (config, configured) = watch::channel(config(budgets));
        let options = service::Options {
            client: Client::new(self.sandbox.service("server"), "default"),
            namespace: "revshift-system".to_owned(),
            identity: "server".to_owned(),
            lease: Duration::from_secs(15),
            install_crds: true,
            config: configured,
            web: web::nowhere(),
            clock: Clock::starting_at(self.sandbox.now()),
        };
        let shutdown = CancellationToken::new();
        let incoming = UnboundedReceiverStream::new(accepted).map(Ok::<_, io::Error>);
        let mut running = JoinSet::new();
        running.spawn(service::run(options, incoming, shutdown.clone()));
        let server = Server { connections, shutdown, running, _config: config };
        let mut client = ServerServiceClient::new(server.connect().await?);
        for _ in 0..6000 {
            if client.get_server(GetServerRequest {}).await?.into_inner().ready {
                return Ok(server);
            }
            sleep(Duration::from_millis(100)).await;
        }
        bail!("the server did not become ready")
    }

    /// Stops the controllers: from now on the cluster changes only as it is told.
    pub(crate) fn freeze(&mut self) {
        self.tasks.abort_all();
    }
}

impl Server {
    /// A connection to it.
    pub(crate) async fn connect(&self) -> Result<Channel> {
        let connections = self.connections.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let (near, far) = tokio::io::duplex(PIPE);
            let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
            let sent = connections.send(far).map_err(|_| refused());
            async move { sent.map(|()| TokioIo::new(near)) }
        });
        let endpoint = Endpoint::from_static("http://server:7878");
        endpoint.connect_with_connector(connector).await.context("cannot connect to the server")
    }

    /// Ends it gracefully.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.shutdown.cancel();
        match self.running.join_next().await {
            Some(ended) => ended.context("the server panicked")?,
            None => Ok(()),
        }
    }
}
