//! The whole face over connections in memory, on a paused clock.

use super::*;
use crate::clock::Clock;
use crate::control::Stores;
use crate::definitions::Definitions;
use crate::kube::surroundings::Look;
use crate::proxies::Proxies;
use crate::published::Published;
use crate::web;
use crate::webhook::Webhooks;
use hyper_util::rt::TokioIo;
use kube::client::Body;
use revshift_core::migration::{Migration, MigrationState, MoveState};
use revshift_proto::v1 as proto;
use revshift_proto::v1::migration_service_client::MigrationServiceClient;
use revshift_proto::v1::namespace_service_client::NamespaceServiceClient;
use revshift_proto::v1::server_service_client::ServerServiceClient;
use std::convert::Infallible;
use std::io;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

const ID: &str = "m-0123456789";

/// A replica that serves, and its way in.
struct Replica {
    published: Arc<Published>,
    shutdown: CancellationToken,
    connections: mpsc::UnboundedSender<io::Result<DuplexStream>>,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl Replica {
    /// A ready replica whose Kubernetes API knows nothing, or does not answer.
    fn start(answers: bool) -> Self {
        let kubernetes = tower::service_fn(move |_: Request<Body>| async move {
            if !answers {
                std::future::pending::<()>().await;
            }
            let gone = r#"{"kind":"Status","status":"Failure","reason":"NotFound","code":404}"#;
            let body = Body::from(gone.as_bytes().to_vec());
            Ok::<_, Infallible>(http::Response::builder().status(404).body(body).unwrap())
        });
        let client = kube::Client::new(kubernetes, "default");
        let published = Arc::new(Published::default());
        published.update(|state| (state.ready, state.definitions) = (true, Definitions::Current));
        let stores = Stores::new(&client);
        let config = tokio::sync::watch::channel(crate::config::Config::default()).1;
        let look = Look::new(client.clone(), Webhooks::new(web::nowhere()));
        let proxies = Proxies::new(web::nowhere(), client, config.clone());
        let control = Control::new(
            Arc::clone(&published),
            stores,
            proxies,
            look,
            config,
            "revshift-system",
            Clock::system(),
        );
        let shutdown = CancellationToken::new();
        let (connections, incoming) = mpsc::unbounded_channel();
        let incoming = UnboundedReceiverStream::new(incoming);
        let serving = tokio::spawn(serve(control, "a".to_owned(), incoming, shutdown.clone()));
        Self { published, shutdown, connections, serving }
    }

    async fn connect(&self) -> Channel {
        let connections = self.connections.clone();
        let connector = tower::service_fn(move |_: Uri| {
            let connections = connections.clone();
            async move {
                let (client, server) = tokio::io::duplex(1 << 16);
                let refused = |_| io::Error::from(io::ErrorKind::ConnectionRefused);
                connections.send(Ok(server)).map_err(refused)?;
                Ok::<_, io::Error>(TokioIo::new(client))
            }
        });
        Endpoint::from_static("http://replica").connect_with_connector(connector).await.unwrap()
    }

    async fn watch(&self, token: &str) -> tonic::Streaming<proto::WatchMigrationResponse> {
        let request = proto::WatchMigrationRequest { id: ID.into(), resume_token: token.into() };
        let mut client = MigrationServiceClient::new(self.connect().await);
        client.watch_migration(request).await.unwrap().into_inner()
    }

    fn put(&self, migration: Migration) {
        self.published.update(|state| {
            state.uids.insert(ID.to_owned(), "uid".to_owned());
            state.migrations.insert(ID.to_owned(), migration);
        });
    }
}

fn running() -> Migration {
    sample::migration(ID, vec![sample::movement("shop", 1, MoveState::Restarting)])
}

fn succeeded() -> Migration {
    let m = sample::movement("shop", 7, MoveState::Moved(Vec::new()));
    let ended = Some(sample::ended(MigrationState::Succeeded, 7));
    Migration { ended, ..sample::migration(ID, vec![m]) }
}

fn reason(status: &Status) -> String {
    status.get_error_details().error_info().map(|info| info.reason.clone()).unwrap_or_default()
}

async fn health(client: &mut HealthClient<Channel>, service: &str) -> i32 {
    let request = HealthCheckRequest { service: service.to_owned() };
    client.check(request).await.unwrap().into_inner().status
}

#[tokio::test(start_paused = true)]
async fn everything_but_the_server_itself_waits_until_the_cluster_was_read() {
    let replica = Replica::start(true);
    replica.published.update(|state| state.ready = false);
    let channel = replica.connect().await;
    let mut client = ServerServiceClient::new(channel.clone());
    let server = client.get_server(proto::GetServerRequest {}).await.unwrap().into_inner();
    assert_eq!((server.identity.as_str(), server.ready), ("a", false));
    let mut health_client = HealthClient::new(channel.clone());
    assert_eq!(health(&mut health_client, "").await, 2);
    let mut namespaces = NamespaceServiceClient::new(channel.clone());
    let refused = namespaces.list_namespaces(proto::ListNamespacesRequest::default()).await;
    assert_eq!(reason(&refused.unwrap_err()), "NOT_READY");
    let mut migrations = MigrationServiceClient::new(channel);
    let refused = migrations.plan_migration(proto::PlanMigrationRequest::default()).await;
    assert_eq!(reason(&refused.unwrap_err()), "NOT_READY");

    replica
        .published
        .update(|state| (state.ready, state.definitions) = (true, Definitions::Missing));
    tokio::task::yield_now().await;
    for service in ["", "revshift.v1.MigrationService", "revshift.v1.ServerService"] {
        assert_eq!(health(&mut health_client, service).await, 1, "{service}");
    }
    assert!(namespaces.list_namespaces(proto::ListNamespacesRequest::default()).await.is_ok());
    let refused = migrations.list_migrations(proto::ListMigrationsRequest::default()).await;
    assert_eq!(reason(&refused.unwrap_err()), "CRDS_MISSING");
}

#[tokio::test(start_paused = true)]
async fn a_watch_follows_a_migration_to_its_end() {
    let replica = Replica::start(true);
    replica.put(running());
    let mut stream = replica.watch("").await;
    let first = stream.message().await.unwrap().unwrap();
    assert!(first.synced && first.migration.is_some() && first.moves.len() == 1);
    // Nothing is sent while nothing changes.
    replica.published.update(|_| {});
    assert!(timeout(Duration::from_mins(1), stream.message()).await.is_err());
    replica.put(succeeded());
    let last = stream.message().await.unwrap().unwrap();
    assert_eq!(last.moves[0].sequence, 7);
    assert_eq!(last.migration.unwrap().message, "1 of 1 namespace moved to `1-31`");
    assert!(stream.message().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_watch_of_nothing_is_not_found_and_a_deletion_ends_it_so() {
    let replica = Replica::start(true);
    let request = proto::WatchMigrationRequest { id: ID.into(), resume_token: String::new() };
    let mut client = MigrationServiceClient::new(replica.connect().await);
    let refused = client.watch_migration(request).await.unwrap_err();
    assert_eq!(reason(&refused), "MIGRATION_NOT_FOUND");
    replica.put(running());
    let mut stream = replica.watch("").await;
    stream.message().await.unwrap().unwrap();
    replica.published.update(|state| state.migrations.clear());
    let ended = stream.message().await.unwrap_err();
    assert_eq!((ended.code(), reason(&ended).as_str()), (Code::NotFound, "MIGRATION_NOT_FOUND"));
}

#[tokio::test(start_paused = true)]
async fn a_replica_has_five_seconds_to_catch_up_with_another() {
    let [ahead, behind] = [Replica::start(true), Replica::start(true)];
    ahead.put(succeeded());
    behind.put(running());
    let token = ahead.watch("").await.message().await.unwrap().unwrap().resume_token;
    let start = Instant::now();
    let late = behind.watch(&token).await.message().await.unwrap_err();
    assert_eq!((late.code(), reason(&late).as_str()), (Code::Unavailable, "NOT_READY"));
    assert_eq!(start.elapsed().as_secs(), 5);
    let mut stream = behind.watch(&token).await;
    assert!(timeout(Duration::from_secs(4), stream.message()).await.is_err());
    behind.put(succeeded());
    let caught_up = stream.message().await.unwrap().unwrap();
    assert!(caught_up.moves.is_empty() && caught_up.synced);
    assert!(stream.message().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_streams_at_once_and_then_the_server() {
    let replica = Replica::start(true);
    replica.put(running());
    let mut stream = replica.watch("").await;
    stream.message().await.unwrap().unwrap();
    let start = Instant::now();
    replica.shutdown.cancel();
    let ended = stream.message().await.unwrap_err();
    assert_eq!((ended.code(), reason(&ended).as_str()), (Code::Unavailable, "DRAINING"));
    replica.serving.await.unwrap().unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn those_who_watch_the_health_hear_of_a_shutdown_and_do_not_delay_it() {
    let replica = Replica::start(true);
    let mut client = HealthClient::new(replica.connect().await);
    let mut stream = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().status, 1);
    let start = Instant::now();
    replica.shutdown.cancel();
    assert_eq!(stream.message().await.unwrap().unwrap().status, 2);
    replica.serving.await.unwrap().unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn what_does_not_end_is_cut_off_after_the_grace_period() {
    let replica = Replica::start(false);
    let mut client = MigrationServiceClient::new(replica.connect().await);
    let hangs = tokio::spawn(async move {
        client.get_migration(proto::GetMigrationRequest { id: ID.into() }).await
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    replica.shutdown.cancel();
    replica.serving.await.unwrap().unwrap();
    assert_eq!(start.elapsed().as_secs(), GRACE.as_secs());
    assert!(hangs.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn dropping_the_server_breaks_its_connections() {
    let replica = Replica::start(false);
    replica.put(running());
    let mut stream = replica.watch("").await;
    stream.message().await.unwrap().unwrap();
    replica.serving.abort();
    let broken = timeout(Duration::from_secs(1), stream.message()).await.unwrap().unwrap_err();
    assert_ne!(reason(&broken), "DRAINING");
}

#[tokio::test(start_paused = true)]
async fn deadlines_of_callers_are_kept() {
    let replica = Replica::start(false);
    let mut client = MigrationServiceClient::new(replica.connect().await);
    let mut request = tonic::Request::new(proto::GetMigrationRequest { id: ID.into() });
    request.set_timeout(Duration::from_secs(3));
    let start = Instant::now();
    let late = client.get_migration(request).await.unwrap_err();
    assert!([Code::DeadlineExceeded, Code::Cancelled].contains(&late.code()), "{late:?}");
    assert_eq!(start.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_slows_nobody_else() {
    let replica = Replica::start(true);
    replica.put(running());
    let stalled = replica.watch("").await;
    let mut stream = replica.watch("").await;
    stream.message().await.unwrap().unwrap();
    for sequence in 2..1_500 {
        let mut migration = running();
        migration.moves.edit(0, |m| m.sequence = sequence);
        replica.put(migration);
        let message = stream.message().await.unwrap().unwrap();
        assert_eq!(message.moves[0].sequence, sequence);
    }
    drop(stalled);
}
