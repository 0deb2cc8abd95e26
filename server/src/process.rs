//! One process as a replica: its address, its identity, its signals.

use crate::args::Args;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::kube::client;
use crate::service::{self, Options};
use crate::web;
use anyhow::{Context, ensure};
use std::net::SocketAddr;
use std::{env, fs};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The namespace of the Lease outside a pod.
const NAMESPACE: &str = "revshift-system";
/// Where a pod finds the name of its own namespace.
const POD_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// Serves until SIGINT or SIGTERM.
pub async fn run(args: Args) -> anyhow::Result<()> {
    let Args { kubeconfig, context, listen, namespace, install_crds, .. } = args;
    let Args { lease_seconds, config, istiods, .. } = args;
    refuse_open(listen)?;
    let mut helpers = tokio::task::JoinSet::new();
    let config = match config {
        Some(path) => {
            let file = config::File::open(&path, istiods).await?;
            let config = file.subscribe();
            helpers.spawn(file.follow());
            config
        }
        None => watch::channel(Config::default().with_istiods(&istiods)).1,
    };
    let client = client::connect(kubeconfig.as_deref(), context.as_deref()).await?;
    let listener =
        TcpListener::bind(listen).await.with_context(|| format!("cannot listen on {listen}"))?;
    let address = listener.local_addr().context("the listening address is unknown")?;
    let incoming = TcpListenerStream::new(listener).map(|connection| {
        // Small frames must not wait for each other; tonic leaves this to whoever accepts.
        connection.and_then(|stream| stream.set_nodelay(true).map(|()| stream))
    });
    let options = Options {
        client,
        namespace: namespace.unwrap_or_else(own_namespace),
        identity: identity(),
        lease: lease_seconds,
        install_crds,
        config,
        web: web::network(),
        clock: Clock::system(),
    };
    let shutdown = CancellationToken::new();
    helpers.spawn(end_on_signal(shutdown.clone()));
    announce(address);
    service::run(options, incoming, shutdown).await
}

/// Without TLS and authentication nobody but this machine may reach the API.
fn refuse_open(listen: SocketAddr) -> anyhow::Result<()> {
    ensure!(
        listen.ip().is_loopback(),
        "refusing to listen on {listen}: this version has no TLS and no authentication, so whoever \
         reached it could move every namespace; listen on a loopback address such as 127.0.0.1:7878"
    );
    Ok(())
}

#[expect(clippy::print_stderr, reason = "whoever starts the server reads the port from this line")]
fn announce(address: SocketAddr) {
    eprintln!("listening on {address}");
}

async fn end_on_signal(shutdown: CancellationToken) {
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        warn!("cannot listen for signals");
        return;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    info!("shutting down");
    shutdown.cancel();
}

fn own_namespace() -> String {
    let own = fs::read_to_string(POD_NAMESPACE).map(|text| text.trim().to_owned());
    own.ok().filter(|name| !name.is_empty()).unwrap_or_else(|| NAMESPACE.to_owned())
}

/// The pod's or host's name and a random part: a restart is another candidate, which waits for the
/// end of the lease of the one before.
fn identity() -> String {
    let host = env::var("HOSTNAME").ok().or_else(|| {
        let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
        Some(name.trim().to_owned())
    });
    let host = host.filter(|host| !host.is_empty()).unwrap_or_else(|| "revshift".to_owned());
    format!("{host}_{:08x}", rand::random::<u32>())
}
