//! The simulated bed: sandbox, servers and CLI as futures of one thread, on tokio's paused clock.
//!
//! Dropping a replica's future is kill -9, closing its gate is SIGSTOP; connections are duplex pipes,
//! so nothing waits for the machine and virtual time never runs ahead of work that is under way.

use crate::gate::{Gate, Gated, Gates};
use anyhow::{Context, Result, anyhow};
use futures::FutureExt;
use futures::future::{BoxFuture, LocalBoxFuture};
use hyper_util::rt::TokioIo;
use jiff::SignedDuration;
use kube::Client;
use revshift::{Connector, Io, Settings, Sink};
use revshift_sandbox::{Options, Sandbox, fixtures};
use revshift_server::clock::Clock;
use revshift_server::config::Config;
use revshift_server::service;
use revshift_server::web::{Answer, Web};
use revshift_tests::{Bed, Output, Replica};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

/// Bytes that a pipe holds, as a socket buffer would.
const PIPE: usize = 64 * 1024;

/// Runs a story in virtual time: whenever nothing can go on, the clock jumps to the next timer.
pub(crate) fn in_virtual_time<T>(story: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread needs nothing of the machine");
    runtime.block_on(story)
}

/// A simulated cluster with the two planes of the procedure.
pub(crate) struct SimulatedBed {
    pub(crate) sandbox: Sandbox,
    network: Network,
    gates: Gates,
    replicas: AtomicU32,
    lease: Duration,
    pub(crate) config: watch::Sender<Config>,
    /// What answers the checks of replicas that are started from now on.
    pub(crate) web: Web,
    _cluster: Task,
}

/// Ends its task when it is dropped.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Who accepts connections, by host.
#[derive(Clone, Default)]
struct Network(Arc<Mutex<BTreeMap<String, mpsc::UnboundedSender<DuplexStream>>>>);

impl SimulatedBed {
    pub(crate) fn new() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        let sandbox = Sandbox::new(options);
        sandbox.apply(fixtures::istio_control_plane_definition());
        sandbox.apply(fixtures::namespace("istio-system", &[]));
        for (name, version) in [("cp-v113x", "1.13.5"), ("cp-v115x", "1.15.3")] {
            for object in fixtures::calisti_plane(name, "istio-system", version) {
                sandbox.apply(object);
            }
        }
        let driven = sandbox.clone();
        let cluster = Task(tokio::spawn(async move { driven.run().await }));
        let web = istiods(&sandbox);
        Self {
            sandbox,
            network: Network::default(),
            gates: Gates::default(),
            replicas: AtomicU32::new(0),
            lease: Duration::from_secs(15),
            config: watch::Sender::new(Config::default()),
            web,
            _cluster: cluster,
        }
    }

    /// A connection to the replica at `address`.
    pub(crate) async fn connect(&self, address: &str) -> Result<Channel> {
        let uri: Uri = format!("http://{address}").parse()?;
        self.network.connect(&uri).await.map_err(|error| anyhow!("{error}"))
    }

    /// A connection to the replica at `address` that takes in only so many bytes that nobody has read.
    pub(crate) async fn connect_narrow(&self, address: &str, window: u32) -> Result<Channel> {
        let endpoint = Endpoint::try_from(format!("http://{address}"))?
            .initial_stream_window_size(window)
            .initial_connection_window_size(window);
        self.network.open(endpoint).await.map_err(|error| anyhow!("{error}"))
    }

    /// Starts a replica without waiting until it serves.
    pub(crate) fn launch(&self) -> SimulatedReplica {
        self.launch_with_clock(SignedDuration::ZERO)
    }

    /// Starts a replica whose wall clock is so far ahead.
    pub(crate) fn launch_with_clock(&self, ahead: SignedDuration) -> SimulatedReplica {
        let number = self.replicas.fetch_add(1, Ordering::Relaxed);
        let host = format!("replica-{number}");
        let (sender, receiver) = mpsc::unbounded_channel();
        self.network.lock().insert(host.clone(), sender);
        let gate = self.gates.of(&host);
        let api = Gated::new(self.sandbox.service(&host), &gate);
        let options = service::Options {
            client: Client::new(api, "default"),
            namespace: "revshift-system".to_owned(),
            identity: host.clone(),
            lease: self.lease,
            install_crds: true,
            config: self.config.subscribe(),
            web: self.web.clone(),
            clock: Clock::starting_at(self.sandbox.now() + ahead),
        };
        let shutdown = CancellationToken::new();
        let accepting = gate.clone();
        let incoming = UnboundedReceiverStream::new(receiver)
            .map(move |pipe| Ok::<_, io::Error>(Gated::new(pipe, &accepting)));
        let server = Some(tokio::spawn(service::run(options, incoming, shutdown.clone())));
        SimulatedReplica { host, network: self.network.clone(), gate, shutdown, server }
    }

    /// Waits until the pods of all istiods are ready: a bed begins without any.
    async fn istiods_are_ready(&self) -> Result<()> {
        let unready = |it: &serde_json::Value| {
            it["metadata"]["labels"]["app"] == "istiod"
                && it["status"]["availableReplicas"].as_u64() < it["spec"]["replicas"].as_u64()
        };
        for _ in 0..600 {
            let deployments =
                self.sandbox.objects("/apis/apps/v1/namespaces/istio-system/deployments");
            if !deployments.iter().any(unready) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(anyhow!("the istiods do not become ready"))
    }

    /// The gates of the replicas, by their hosts, which are also the tags of their requests.
    pub(crate) fn gates(&self) -> Gates {
        self.gates.clone()
    }
}

impl Bed for SimulatedBed {
    fn client(&self) -> Client {
        Client::new(self.sandbox.service("test"), "default")
    }

    fn start_with<'a>(&'a self, config: &'a str) -> LocalBoxFuture<'a, Result<Box<dyn Replica>>> {
        async move {
            // All replicas of a bed have the one that was given last.
            if !config.is_empty() {
                self.config.send_replace(Config::parse(config)?);
            }
            let replica = self.launch();
            replica.ready().await?;
            self.istiods_are_ready().await?;
            Ok(Box::new(replica) as Box<dyn Replica>)
        }
        .boxed_local()
    }

    fn revshift(&self, args: Vec<String>) -> LocalBoxFuture<'_, Result<Output>> {
        async move {
            let (stdout, stderr) = (Captured::default(), Captured::default());
            let mut io = Io {
                stdout: Sink::new(stdout.clone(), false),
                stderr: Sink::new(stderr.clone(), false),
                input: None,
            };
            let sandbox = self.sandbox.clone();
            let settings = Settings {
                clock: revshift::Clock::new(move || sandbox.now()),
                ..Settings::default()
            };
            let network = self.network.clone();
            let connector = Connector::new(move |uri| network.connect(uri));
            let args = std::iter::once("revshift".to_owned()).chain(args).map(Into::into);
            let never = std::future::pending();
            let status = revshift::run(args, settings, &mut io, connector, never).await;
            Ok(Output { status: status as i32, stdout: stdout.text(), stderr: stderr.text() })
        }
        .boxed_local()
    }

    fn set_injector_down(&self, revision: &str, down: bool) -> LocalBoxFuture<'_, Result<()>> {
        self.sandbox.set_injector_down(revision, down);
        async { Ok(()) }.boxed_local()
    }

    fn patience(&self) -> Duration {
        Duration::from_mins(10)
    }
}

/// The istiods of a sandbox, by the addresses of their pods and by the names of their Services.
fn istiods(sandbox: &Sandbox) -> Web {
    let sandbox = sandbox.clone();
    Web::new(move |request| {
        let webhooks = || sandbox.istiod(&request);
        let answer = sandbox.monitoring(&request).unwrap_or_else(webhooks);
        async move { answer.map(|(status, body)| Answer { status, body: body.into() }) }
    })
}

/// A server as a future.
pub(crate) struct SimulatedReplica {
    host: String,
    network: Network,
    gate: Gate,
    shutdown: CancellationToken,
    server: Option<JoinHandle<Result<()>>>,
}

impl SimulatedReplica {
    /// Waits until it answers that it is ready.
    pub(crate) async fn ready(&self) -> Result<()> {
        use revshift_proto::v1::GetServerRequest;
        use revshift_proto::v1::server_service_client::ServerServiceClient;
        let mut client = ServerServiceClient::new(self.channel().await?);
        for _ in 0..600 {
            if client.get_server(GetServerRequest {}).await?.into_inner().ready {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Err(anyhow!("{} did not become ready", self.host))
    }

    /// Its host, which is also the tag of its requests.
    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    /// Whether it ended by itself.
    pub(crate) fn has_ended(&self) -> bool {
        self.server.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Ends it at once: whatever of it is still to be dropped does nothing any more.
    fn die(&mut self) {
        if let Some(server) = self.leave() {
            self.gate.kill();
            server.abort();
        }
    }

    fn leave(&mut self) -> Option<JoinHandle<Result<()>>> {
        self.network.lock().remove(&self.host);
        self.server.take()
    }
}

impl Replica for SimulatedReplica {
    fn address(&self) -> String {
        format!("{}:7878", self.host)
    }

    fn channel(&self) -> LocalBoxFuture<'_, Result<Channel>> {
        async move {
            let uri: Uri = format!("http://{}", self.address()).parse()?;
            self.network.connect(&uri).await.map_err(|error| anyhow!("{error}"))
        }
        .boxed_local()
    }

    fn kill(mut self: Box<Self>) -> LocalBoxFuture<'static, Result<()>> {
        self.die();
        async { Ok(()) }.boxed_local()
    }

    fn stop(mut self: Box<Self>) -> LocalBoxFuture<'static, Result<()>> {
        async move {
            self.shutdown.cancel();
            match self.leave() {
                Some(server) => server.await.context("the server panicked")?,
                None => Ok(()),
            }
        }
        .boxed_local()
    }
}

impl Drop for SimulatedReplica {
    fn drop(&mut self) {
        self.die();
    }
}

impl Network {
    fn lock(
        &self,
    ) -> std::sync::MutexGuard<'_, BTreeMap<String, mpsc::UnboundedSender<DuplexStream>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(
        &self,
        uri: &Uri,
    ) -> BoxFuture<'static, Result<Channel, Box<dyn std::error::Error + Send + Sync>>> {
        self.open(Endpoint::from(uri.clone()))
    }

    fn open(
        &self,
        endpoint: Endpoint,
    ) -> BoxFuture<'static, Result<Channel, Box<dyn std::error::Error + Send + Sync>>> {
        let network = self.clone();
        async move {
            let connector = service_fn(move |uri: Uri| {
                let accepting = network.lock().get(uri.host().unwrap_or_default()).cloned();
                async move {
                    let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
                    let accepting = accepting.ok_or_else(refused)?;
                    let (near, far) = tokio::io::duplex(PIPE);
                    accepting.send(far).map_err(|_| refused())?;
                    Ok::<_, io::Error>(TokioIo::new(near))
                }
            });
            Ok(endpoint.connect_with_connector(connector).await?)
        }
        .boxed()
    }
}

/// What was written, for a look afterwards.
#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
