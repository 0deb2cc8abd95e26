//! A server in memory that answers as it was told, and remembers what it was asked.
//!
//! Answers are queued by their type: each call takes the next one of its response type.

use std::{
    any::{Any, TypeId},
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{Stream, future::BoxFuture, stream};
use hyper_util::rt::TokioIo;
use revshift::ConnectError;
use revshift_proto::v1::{
    self as proto, control_plane_service_server as planes, migration_service_server as migrations,
    namespace_service_server as namespaces, server_service_server as server,
};
use tokio::task::AbortHandle;
use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint, Server, Uri},
};

type Anything = Box<dyn Any + Send>;

/// A step of a scripted stream.
pub(crate) enum Step<T> {
    Send(T),
    Wait(Duration),
    Fail(Status),
    /// The connection breaks.
    Drop,
}

#[derive(Clone, Default)]
pub(crate) struct Fake(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    answers: HashMap<TypeId, VecDeque<Anything>>,
    requests: Vec<Anything>,
    connections: Vec<AbortHandle>,
    down: bool,
}

impl Fake {
    pub(crate) fn answer<T: Send + 'static>(self, answer: T) -> Self {
        self.push(Ok::<T, Status>(answer))
    }

    pub(crate) fn refuse<T: Send + 'static>(self, status: Status) -> Self {
        self.push(Err::<T, Status>(status))
    }

    pub(crate) fn stream<T: Send + 'static>(self, steps: Vec<Step<T>>) -> Self {
        self.push(Ok::<Vec<Step<T>>, Status>(steps))
    }

    /// Refuses to be called where a stream would begin.
    pub(crate) fn refuse_stream<T: Send + 'static>(self, status: Status) -> Self {
        self.push(Err::<Vec<Step<T>>, Status>(status))
    }

    /// Accepts no connection any more.
    pub(crate) fn shut(&self) {
        let mut state = self.0.lock().unwrap();
        state.down = true;
        state.connections.drain(..).for_each(|connection| connection.abort());
    }

    /// What was asked with requests of this type.
    pub(crate) fn requests<T: Clone + 'static>(&self) -> Vec<T> {
        let state = self.0.lock().unwrap();
        state.requests.iter().filter_map(|request| request.downcast_ref::<T>().cloned()).collect()
    }

    pub(crate) fn number_of_requests(&self) -> usize {
        self.0.lock().unwrap().requests.len()
    }

    fn push<T: Send + 'static>(self, answer: Result<T, Status>) -> Self {
        let queue = TypeId::of::<T>();
        self.0.lock().unwrap().answers.entry(queue).or_default().push_back(Box::new(answer));
        self
    }

    fn next<R: Send + 'static, T: 'static>(&self, request: Request<R>) -> Result<T, Status> {
        let mut state = self.0.lock().unwrap();
        state.requests.push(Box::new(request.into_inner()));
        let queue = state.answers.get_mut(&TypeId::of::<T>());
        let answer = queue.and_then(VecDeque::pop_front);
        *answer.expect("no such call was expected").downcast::<Result<T, Status>>().unwrap()
    }

    fn unary<R: Send + 'static, T: 'static>(
        &self,
        request: Request<R>,
    ) -> Result<Response<T>, Status> {
        self.next(request).map(Response::new)
    }

    fn streamed<R: Send + 'static, T: Send + 'static>(
        &self,
        request: Request<R>,
    ) -> Result<Response<Steps<T>>, Status> {
        let steps: Vec<Step<T>> = self.next(request)?;
        let state = (self.clone(), steps.into_iter());
        Ok(Response::new(Box::pin(stream::unfold(state, |(fake, mut steps)| async move {
            loop {
                match steps.next()? {
                    Step::Send(message) => return Some((Ok(message), (fake, steps))),
                    Step::Wait(time) => tokio::time::sleep(time).await,
                    Step::Fail(status) => return Some((Err(status), (fake, steps))),
                    Step::Drop => {
                        let all: Vec<_> = fake.0.lock().unwrap().connections.drain(..).collect();
                        all.iter().for_each(AbortHandle::abort);
                        std::future::pending::<()>().await;
                    }
                }
            }
        }))))
    }

    /// Joins a client to this server.
    pub(crate) fn connect(&self, uri: &Uri) -> BoxFuture<'static, Result<Channel, ConnectError>> {
        let (fake, uri) = (self.clone(), uri.clone());
        Box::pin(async move {
            if fake.0.lock().unwrap().down {
                return Err("connection refused".into());
            }
            let (near, mut middle) = tokio::io::duplex(1 << 16);
            let (mut inner, far) = tokio::io::duplex(1 << 16);
            let serve = Server::builder()
                .add_service(planes::ControlPlaneServiceServer::new(fake.clone()))
                .add_service(namespaces::NamespaceServiceServer::new(fake.clone()))
                .add_service(migrations::MigrationServiceServer::new(fake.clone()))
                .add_service(server::ServerServiceServer::new(fake.clone()))
                .serve_with_incoming(tokio_stream::once(Ok::<_, std::io::Error>(far)));
            tokio::spawn(serve);
            // Breaking the connection is ending this task, which drops both of its ends.
            let wire = tokio::spawn(async move {
                let _ = tokio::io::copy_bidirectional(&mut middle, &mut inner).await;
            });
            fake.0.lock().unwrap().connections.push(wire.abort_handle());
            let mut near = Some(near);
            let connector = tower::service_fn(move |_: Uri| {
                let near = near.take().map(TokioIo::new);
                async move { near.ok_or_else(|| std::io::Error::other("connection refused")) }
            });
            Ok(Endpoint::from(uri).connect_with_connector(connector).await?)
        })
    }
}

type Steps<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Answer<T> = Result<Response<T>, Status>;

/// Implements a service by handing each method to the queue of its response type.
macro_rules! serve {
    ($service:path {
        $($method:ident: $request:ident => $response:ident),* $(,)?
        $(; $($stream:ident as $alias:ident: $asked:ident => $part:ident),*)?
    }) => {
        #[tonic::async_trait]
        impl $service for Fake {
            $($(type $alias = Steps<proto::$part>;)*)?
            $(async fn $method(&self, request: Request<proto::$request>)
                -> Answer<proto::$response> {
                self.unary(request)
            })*
            $($(async fn $stream(&self, request: Request<proto::$asked>)
                -> Answer<Steps<proto::$part>> {
                self.streamed(request)
            })*)?
        }
    };
}

serve!(planes::ControlPlaneService {
    list_control_planes: ListControlPlanesRequest => ListControlPlanesResponse,
    get_control_plane: GetControlPlaneRequest => GetControlPlaneResponse,
});
serve!(namespaces::NamespaceService {
    list_namespaces: ListNamespacesRequest => ListNamespacesResponse,
    explain_namespace: ExplainNamespaceRequest => ExplainNamespaceResponse,
});
serve!(server::ServerService {
    get_server: GetServerRequest => GetServerResponse,
});
serve!(migrations::MigrationService {
    create_migration: CreateMigrationRequest => CreateMigrationResponse,
    get_migration: GetMigrationRequest => GetMigrationResponse,
    list_migrations: ListMigrationsRequest => ListMigrationsResponse,
    list_moves: ListMovesRequest => ListMovesResponse,
    pause_migration: PauseMigrationRequest => PauseMigrationResponse,
    resume_migration: ResumeMigrationRequest => ResumeMigrationResponse,
    cancel_migration: CancelMigrationRequest => CancelMigrationResponse,
    approve_migration: ApproveMigrationRequest => ApproveMigrationResponse,
    skip_moves: SkipMovesRequest => SkipMovesResponse,
    retry_moves: RetryMovesRequest => RetryMovesResponse,
    extend_migration: ExtendMigrationRequest => ExtendMigrationResponse,
    rollback_migration: RollbackMigrationRequest => RollbackMigrationResponse;
    check_migration as CheckMigrationStream: CheckMigrationRequest => CheckMigrationResponse,
    plan_migration as PlanMigrationStream: PlanMigrationRequest => PlanMigrationResponse,
    watch_migration as WatchMigrationStream: WatchMigrationRequest => WatchMigrationResponse
});
