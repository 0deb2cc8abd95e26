//! The gRPC face of the server: parse, ask, convert.
//!
//! Handlers hold no state of their own: they read what is published, or ask [`Control`]. Errors
//! become statuses in one place, wire types and core values meet in one other.

mod connection;
mod control_planes;
mod convert;
mod health;
mod migrations;
mod namespaces;
mod page;
mod retirements;
#[cfg(test)]
pub(crate) mod sample;
mod server;
mod status;
mod token;
mod watch;

use crate::control::{Caller, Control};
use crate::failure::Failure;
use crate::published::State;
use connection::Mortal;
use futures::{Stream, StreamExt};
use http::Request;
use revshift_proto::FILE_DESCRIPTOR_SET;
use revshift_proto::v1::control_plane_service_server::ControlPlaneServiceServer;
use revshift_proto::v1::migration_service_server::MigrationServiceServer;
use revshift_proto::v1::namespace_service_server::NamespaceServiceServer;
use revshift_proto::v1::retirement_service_server::RetirementServiceServer;
use revshift_proto::v1::server_service_server::ServerServiceServer;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tonic::transport::server::{Connected, Server, TcpConnectInfo};
use tonic::{Response, Status};
use tracing::Span;

/// The largest request that is read.
const MOST_REQUEST: usize = 1 << 20;
/// How often a silent connection is asked whether it still lives, and how long for an answer.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));
/// After a shutdown began, what still runs is cut off at this time.
const GRACE: Duration = Duration::from_secs(5);

/// Serves the whole API on the connections of `incoming`, as the replica `identity`.
///
/// Once `shutdown` is cancelled no connection is accepted, streams end with DRAINING, and what still
/// runs after a grace period is cut off. Dropping the future cuts everything off at once, though
/// connections are tasks of their own.
pub async fn serve<I, C, E>(
    control: Control,
    identity: String,
    incoming: I,
    shutdown: CancellationToken,
) -> Result<(), tonic::transport::Error>
where
    I: Stream<Item = Result<C, E>>,
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let life = CancellationToken::new();
    let _ends_life = life.clone().drop_guard();
    let published = Arc::clone(control.published());
    let (reporter, health) = tonic_health::server::health_reporter();
    let face = Face {
        control,
        identity: identity.into(),
        shutdown: shutdown.clone(),
        sights: Arc::default(),
    };
    let server = Server::builder()
        .trace_fn(span)
        .http2_keepalive_interval(Some(KEEPALIVE.0))
        .http2_keepalive_timeout(Some(KEEPALIVE.1))
        .layer(connection::Mortality(life.clone()))
        .add_service(
            ControlPlaneServiceServer::new(face.clone()).max_decoding_message_size(MOST_REQUEST),
        )
        .add_service(
            NamespaceServiceServer::new(face.clone()).max_decoding_message_size(MOST_REQUEST),
        )
        .add_service(
            MigrationServiceServer::new(face.clone()).max_decoding_message_size(MOST_REQUEST),
        )
        .add_service(
            RetirementServiceServer::new(face.clone()).max_decoding_message_size(MOST_REQUEST),
        )
        .add_service(ServerServiceServer::new(face).max_decoding_message_size(MOST_REQUEST))
        .add_service(health)
        .add_service(reflection())
        .serve_with_incoming_shutdown(
            incoming.map(|accepted| accepted.map(|inner| Mortal::new(inner, life.clone()))),
            shutdown.clone().cancelled_owned(),
        );
    let overdue = async {
        shutdown.cancelled().await;
        tokio::time::sleep(GRACE).await;
        tracing::warn!("some connections did not end in time and are cut off");
    };
    tokio::select! {
        biased;
        result = server => result,
        () = overdue => Ok(()),
        () = health::report(reporter, &published, &shutdown) => Ok(()),
    }
}

/// What every service answers from.
#[derive(Clone, Debug)]
struct Face {
    control: Control,
    identity: Arc<str>,
    shutdown: CancellationToken,
    sights: Arc<watch::Sights>,
}

impl Face {
    /// Answers from what is published, once everything was listed.
    fn read<T>(
        &self,
        answer: impl FnOnce(&State) -> Result<T, Failure>,
    ) -> Result<Response<T>, Status> {
        let state = self.control.published().read();
        let ready = if state.ready { Ok(()) } else { Err(Failure::NotReady) };
        ready.and_then(|()| answer(&state)).map(Response::new).map_err(status::status)
    }

    /// Refuses what concerns migrations where none can be stored.
    fn installed(&self) -> Result<(), Status> {
        self.read(need_crds).map(Response::into_inner)
    }
}

fn need_crds(state: &State) -> Result<(), Failure> {
    state.definitions.installed()
}

/// Who calls. Without authentication only loopback is served, and whoever is there counts as the
/// server itself.
fn caller() -> Caller {
    Caller("revshift-server".to_owned())
}

fn reflection() -> tonic_reflection::server::v1::ServerReflectionServer<
    impl tonic_reflection::server::v1::ServerReflection,
> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // Without these a generic client shows the details of errors as bytes.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
        .build_v1()
        .expect("the descriptors are generated with the code")
}

fn span(request: &Request<()>) -> Span {
    let peer = request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
    tracing::info_span!("rpc", method = request.uri().path(), peer = ?peer)
}

#[cfg(test)]
mod tests;
