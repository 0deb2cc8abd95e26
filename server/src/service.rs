//! Wires a replica together: watches, election, engine and gRPC, each owned by one future.
//!
//! Dropping that future is like killing the process; cancelling the token is a graceful end.

use crate::clock::Clock;
use crate::config::Config;
use crate::control::{Control, Stores};
use crate::engine::{Engine, Parts};
use crate::grpc;
use crate::kube::announcer;
use crate::kube::call::Caller;
use crate::kube::census::Counter;
use crate::kube::client::with_deadlines;
use crate::kube::lease::{Elector, Eligibility, Ends, Holder};
use crate::kube::retirements::Retirements;
use crate::kube::store::Store;
use crate::kube::surroundings::Look;
use crate::kube::{install, watch as watches};
use crate::prober::Prober;
use crate::proxies::Proxies;
use crate::published::Published;
use crate::web::Web;
use crate::webhook::Webhooks;
use anyhow::Context;
use futures::Stream;
use kube::Client;
use revshift_core::election::Terms;
use std::hash::{DefaultHasher, Hasher};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

/// So long may Events still be told at shutdown.
const LAST_EVENTS: Duration = Duration::from_secs(2);
/// Changes that may wait for the engine.
const QUEUE: usize = 4096;

/// What a replica needs.
#[derive(Clone)]
pub struct Options {
    /// A client without deadlines of its own.
    pub client: Client,
    /// The namespace of the Lease.
    pub namespace: String,
    /// Names this start of this replica; never used twice.
    pub identity: String,
    /// How long others wait for a leader that went silent.
    pub lease: Duration,
    /// Whether to install or update revshift's CRDs first.
    pub install_crds: bool,
    /// The configuration, as it changes.
    pub config: watch::Receiver<Config>,
    /// How checks reach what they ask.
    pub web: Web,
    /// Tells the time.
    pub clock: Clock,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("namespace", &self.namespace)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// Serves `incoming` until `shutdown`, then ends gracefully: streams, calls, lease.
pub async fn run<I, C>(
    options: Options,
    incoming: I,
    shutdown: CancellationToken,
) -> anyhow::Result<()>
where
    I: Stream<Item = io::Result<C>> + Send + 'static,
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    C::ConnectInfo: Clone + Send + Sync + 'static,
{
    let Options { client, namespace, identity, lease, install_crds, config, web, clock } = options;
    let plain = with_deadlines(&client, None);
    if install_crds {
        install::install(&plain, &namespace).await?;
    }
    install::require_namespace(&plain, &namespace).await?;

    let istiods = Webhooks::new(web.clone());
    let published = Arc::new(Published::default());
    let (leadership, leading) = watch::channel(None);
    let (holder, held) = watch::channel(Holder::default());
    let (sender, observed) = mpsc::channel(QUEUE);
    let guarded = with_deadlines(&client, Some(leading.clone()));
    let terms = Terms::of(lease);
    let (able, eligible) = watch::channel(Eligibility::default());
    let (restored, back) = watch::channel(0);
    let ends = Ends { leadership, holder, eligible, restored };
    let elector = Elector::new(&client, &namespace, &identity, terms, clock, ends);
    let (announcer, telling) = announcer::announcer(plain.clone());
    let mut announcing = JoinSet::new();
    announcing.spawn(telling.run());
    let proxies = Proxies::new(web.clone(), plain.clone(), config.clone());
    let engine = Engine::new(Parts {
        published: Arc::clone(&published),
        observed,
        leadership: leading,
        holder: held,
        eligible: able,
        caller: Caller::new(guarded.clone()),
        announcer,
        prober: Prober::new(
            web,
            plain.clone(),
            &namespace,
            proxies.clone(),
            Arc::clone(&published),
        ),
        proxies: proxies.clone(),
        store: Store::new(&guarded),
        retirements: Retirements::new(&guarded),
        counter: Counter::new(guarded),
        config: config.clone(),
        clock,
    });
    let look = Look::new(plain.clone(), istiods);
    let stores = Stores::new(&plain);
    let control = Control::new(published, stores, proxies, look, config, &namespace, clock);

    let resigned = CancellationToken::new();
    let stopped = CancellationToken::new();
    let mut helpers = JoinSet::new();
    helpers.spawn(watches::run(plain.clone(), sender, seed(&identity), back));
    let mut election = JoinSet::new();
    election.spawn(elector.run(resigned.clone()));
    let mut deciding = JoinSet::new();
    deciding.spawn(engine.run(stopped.clone()));
    let mut serving = JoinSet::new();
    serving.spawn(grpc::serve(control, identity, incoming, shutdown.clone()));

    let ended = tokio::select! {
        biased;
        ended = serving.join_next() => ended,
        () = shutdown.cancelled() => None,
        _ = helpers.join_next() => anyhow::bail!("the watches broke down"),
        _ = election.join_next() => anyhow::bail!("the election broke down"),
        _ = deciding.join_next() => anyhow::bail!("the engine broke down"),
    };
    // Nothing is decided any more before the lease is given back; another replica leads on while
    // clients are still being let go here.
    stopped.cancel();
    deciding.join_next().await.transpose().context("the engine broke down")?;
    resigned.cancel();
    election.join_next().await.transpose().context("the election broke down")?;
    let ended = match ended {
        None => serving.join_next().await,
        ended => ended,
    };
    // The engine that would announce more is gone.
    let _ = timeout(LAST_EVENTS, announcing.join_next()).await;
    let ended = ended.transpose().context("the gRPC server broke down")?;
    ended.transpose().context("the gRPC server failed")?;
    Ok(())
}

/// A number of a replica's own, the same for the same identity.
fn seed(identity: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(identity.as_bytes());
    hasher.finish()
}
