//! The least that can bring a change of the cluster to a gRPC client: a watch of Deployments, each
//! event converted and sent on as one message. No view, no decisions.

use std::convert::Infallible;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll};

use anyhow::Result;
use futures::{FutureExt as _, Stream, StreamExt as _, future::BoxFuture};
use k8s_openapi::api::apps::v1::Deployment;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt as _};
use revshift_proto::v1::{MoveProgress, WatchMigrationRequest, WatchMigrationResponse};
use revshift_server::kube::client;
use tokio::net::TcpListener;
use tokio::sync::broadcast;
use tokio_stream::wrappers::{BroadcastStream, TcpListenerStream};
use tonic::body::Body;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::http::{Request as HttpRequest, Response as HttpResponse};
use tonic::server::{Grpc, NamedService, ServerStreamingService};
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::output;

/// Messages that may wait for a client.
const QUEUE: usize = 65_536;

type Messages = Pin<Box<dyn Stream<Item = Result<WatchMigrationResponse, Status>> + Send>>;

/// Watches the cluster of a kubeconfig and serves what it sees.
pub(crate) async fn serve(kubeconfig: PathBuf) -> Result<()> {
    let client = client::connect(Some(&kubeconfig), None).await?;
    let (sender, _) = broadcast::channel(QUEUE);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    output::line(&format!("listening on {}", listener.local_addr()?));
    let incoming = TcpListenerStream::new(listener)
        .map(|stream| stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream)));
    let server = Server::builder().add_service(Pipe(sender.clone()));
    tokio::select! {
        ended = server.serve_with_incoming(incoming) => Ok(ended?),
        () = watch(Api::all(client), sender) => Ok(()),
    }
}

async fn watch(api: Api<Deployment>, sender: broadcast::Sender<WatchMigrationResponse>) {
    let mut events = watcher(api, watcher::Config::default()).boxed();
    while let Some(event) = events.next().await {
        let Ok(Event::Apply(deployment) | Event::InitApply(deployment)) = event else { continue };
        let replicas = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
        let progress = MoveProgress {
            namespace: deployment.namespace().unwrap_or_default(),
            pods_total: u32::try_from(replicas).unwrap_or_default(),
            workloads_total: 1,
            waiting_for: deployment.name_any(),
            ..MoveProgress::default()
        };
        let message = WatchMigrationResponse {
            progress: vec![progress],
            synced: true,
            ..WatchMigrationResponse::default()
        };
        // Without a client nobody listens.
        let _ = sender.send(message);
    }
}

/// Opens the stream of a pipe.
pub(crate) async fn open(channel: Channel) -> Result<Streaming<WatchMigrationResponse>> {
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await?;
    let path = PathAndQuery::from_static("/bench.Pipe/Watch");
    let codec = ProstCodec::<WatchMigrationRequest, WatchMigrationResponse>::default();
    let request = Request::new(WatchMigrationRequest::default());
    Ok(grpc.server_streaming(request, path, codec).await?.into_inner())
}

/// The service with its one method.
#[derive(Clone, Debug)]
struct Pipe(broadcast::Sender<WatchMigrationResponse>);

impl NamedService for Pipe {
    const NAME: &'static str = "bench.Pipe";
}

impl ServerStreamingService<WatchMigrationRequest> for Pipe {
    type Response = WatchMigrationResponse;
    type ResponseStream = Messages;
    type Future = BoxFuture<'static, Result<Response<Messages>, Status>>;

    fn call(&mut self, _: Request<WatchMigrationRequest>) -> Self::Future {
        let messages = BroadcastStream::new(self.0.subscribe())
            .map(|message| message.map_err(|_| Status::data_loss("the client is too slow")));
        async move { Ok(Response::new(messages.boxed() as Messages)) }.boxed()
    }
}

impl tower::Service<HttpRequest<Body>> for Pipe {
    type Response = HttpResponse<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<HttpResponse<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        let pipe = self.clone();
        async move {
            let codec = ProstCodec::<WatchMigrationResponse, WatchMigrationRequest>::default();
            Ok(Grpc::new(codec).server_streaming(pipe, request).await)
        }
        .boxed()
    }
}
