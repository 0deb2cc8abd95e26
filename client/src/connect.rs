//! Where the servers are and how they are reached: addresses, connections, retries, pages.
//!
//! A server that cannot be reached or is not ready is passed over for the next one. Every call may
//! be sent twice, as an answer may be lost: the API's requests are made for that.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use revshift_proto::v1::{
    self as proto, ErrorReason, control_plane_service_client::ControlPlaneServiceClient,
    migration_service_client::MigrationServiceClient,
    namespace_service_client::NamespaceServiceClient,
    retirement_service_client::RetirementServiceClient, server_service_client::ServerServiceClient,
};
use tokio::time::{Instant, sleep, timeout};
use tonic::{
    Code, Response, Status,
    transport::{Channel, Endpoint, Uri},
};

use crate::failure::{self, Failure};

/// Where a server listens when nothing says otherwise.
pub(crate) const DEFAULT: &str = "127.0.0.1:7878";

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const CALL_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a call waits for a server that answers but is not ready.
const PATIENCE: Duration = Duration::from_secs(10);
const PAGE_SIZE: i32 = 500;
/// Plans and rollbacks of many namespaces exceed tonic's 4 MiB.
const MAX_MESSAGE: usize = 256 << 20;

/// Why no connection was made.
pub type ConnectError = Box<dyn Error + Send + Sync>;

type Connect = dyn Fn(&Uri) -> BoxFuture<'static, Result<Channel, ConnectError>> + Send + Sync;

/// Makes the connection to a server.
#[derive(Clone)]
pub struct Connector(Arc<Connect>);

impl Connector {
    /// Connects as the function does; a test joins client and server in memory with it.
    pub fn new(
        connect: impl Fn(&Uri) -> BoxFuture<'static, Result<Channel, ConnectError>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self(Arc::new(connect))
    }

    /// Connects over TCP, without TLS.
    pub fn tcp() -> Self {
        Self::new(|uri| {
            let uri = uri.clone();
            Box::pin(async move {
                let endpoint = Endpoint::from(uri)
                    .user_agent(concat!("revshift/", env!("CARGO_PKG_VERSION")))?
                    .tcp_nodelay(true)
                    // A stream may be quiet for long: only pings tell that its peer is gone.
                    .http2_keep_alive_interval(Duration::from_secs(10))
                    .keep_alive_timeout(Duration::from_secs(10));
                Ok(endpoint.connect().await?)
            })
        })
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

/// Why a server did not serve a call.
#[derive(Debug)]
pub(crate) enum Cause {
    /// Nothing was heard of it.
    Silent(String),
    /// It answered that it cannot serve now.
    NotNow(Box<Status>),
    /// It answered that it will not do this.
    Refused(Box<Status>),
}

impl Cause {
    /// Tells refusals from servers that another attempt, or another server, may make up for.
    pub(crate) fn of(status: Status) -> Self {
        // The servers give a reason for every error, so one without comes from the way there; and
        // only errors that arose on this side have a source.
        let on_the_way = matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded)
            || status.source().is_some();
        match failure::reason(&status) {
            Some(
                ErrorReason::NotReady
                | ErrorReason::Draining
                | ErrorReason::KubernetesUnavailable
                | ErrorReason::PlanNewer,
            ) => Self::NotNow(Box::new(status)),
            None if on_the_way => Self::Silent(failure::chain(&status)),
            Some(_) | None => Self::Refused(Box::new(status)),
        }
    }
}

/// The servers, of which one is talked to.
pub(crate) struct Servers {
    addresses: Vec<Address>,
    current: usize,
    channel: Option<Channel>,
    connector: Connector,
}

struct Address {
    text: String,
    uri: Uri,
}

impl Servers {
    /// Reads a list of addresses, separated by commas.
    pub(crate) fn parse(list: &str, connector: Connector) -> Result<Self, Failure> {
        let addresses = list
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
            .map(address)
            .collect::<Result<Vec<_>, _>>()
            .map_err(Failure::Usage)?;
        if addresses.is_empty() {
            return Err(Failure::Usage("--server names no server".to_owned()));
        }
        Ok(Self { addresses, current: 0, channel: None, connector })
    }

    /// How many servers there are.
    pub(crate) fn count(&self) -> usize {
        self.addresses.len()
    }

    /// The server that is talked to.
    pub(crate) fn name(&self) -> &str {
        &self.addresses[self.current].text
    }

    /// Turns to the next server, on a new connection even if there is only one.
    pub(crate) fn turn(&mut self) {
        self.channel = None;
        self.current = (self.current + 1) % self.addresses.len();
    }

    /// The connection to the present server.
    pub(crate) async fn channel(&mut self) -> Result<Channel, Cause> {
        if let Some(channel) = &self.channel {
            return Ok(channel.clone());
        }
        let connect = (self.connector.0)(&self.addresses[self.current].uri);
        let channel = match timeout(CONNECT_TIMEOUT, connect).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(Cause::Silent(failure::chain(&*error))),
            Err(_) => return Err(Cause::Silent(format!("no answer in {CONNECT_TIMEOUT:?}"))),
        };
        self.channel = Some(channel.clone());
        Ok(channel)
    }

    /// Calls a method, at each server in turn until one answers.
    pub(crate) async fn call<T, F>(&mut self, method: impl Fn(Channel) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let deadline = Instant::now() + PATIENCE;
        let mut pause = Backoff::default();
        loop {
            let mut silent = Vec::new();
            let mut not_now = None;
            for _ in 0..self.count() {
                match self.attempt(&method).await {
                    Ok(answer) => return Ok(answer),
                    Err(Cause::Refused(status)) => return Err(Failure::Refused(status)),
                    Err(Cause::NotNow(status)) => not_now = Some(status),
                    Err(Cause::Silent(cause)) => silent.push((self.name().to_owned(), cause)),
                }
                self.turn();
            }
            let Some(status) = not_now else { return Err(Failure::Unreachable(silent)) };
            let wait = pause.next();
            if Instant::now() + wait > deadline {
                return Err(Failure::Refused(status));
            }
            sleep(wait).await;
        }
    }

    async fn attempt<T, F>(&mut self, method: impl Fn(Channel) -> F) -> Result<T, Cause>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let channel = self.channel().await?;
        match timeout(CALL_TIMEOUT, method(channel)).await {
            Ok(answer) => answer.map_err(Cause::of),
            Err(_) => Err(Cause::Silent(format!("no answer in {CALL_TIMEOUT:?}"))),
        }
    }

    /// Calls a method that lists, with the size and token of each page, until the last page.
    pub(crate) async fn pages<T, F>(
        &mut self,
        method: impl Fn(Channel, i32, String) -> F,
    ) -> Result<Vec<T>, Failure>
    where
        F: Future<Output = Result<(Vec<T>, String), Status>>,
    {
        let (mut all, mut token) = (Vec::new(), String::new());
        loop {
            let (items, next) =
                self.call(|channel| method(channel, PAGE_SIZE, token.clone())).await?;
            all.extend(items);
            if next.is_empty() {
                return Ok(all);
            }
            token = next;
        }
    }
}

fn address(text: &str) -> Result<Address, String> {
    if text.starts_with("https://") {
        return Err(format!("`{text}`: TLS is not supported yet; use http://ADDR:PORT"));
    }
    let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let uri: Uri = url.parse().map_err(|_| format!("`{text}` is not ADDR:PORT"))?;
    let plain = uri.scheme_str() == Some("http") && matches!(uri.path(), "" | "/");
    if !plain || uri.query().is_some() || uri.port_u16().is_none() {
        return Err(format!("`{text}` is neither ADDR:PORT nor http://ADDR:PORT"));
    }
    Ok(Address { text: text.to_owned(), uri })
}

/// Growing pauses with jitter, so that clients of a lost server do not return all at once.
#[derive(Default)]
pub(crate) struct Backoff(u32);

impl Backoff {
    pub(crate) fn next(&mut self) -> Duration {
        let base = Duration::from_millis(250) * 2_u32.pow(self.0);
        self.0 = (self.0 + 1).min(4);
        base.mul_f64(rand::random_range(0.5..1.0))
    }
}

pub(crate) fn control_planes(channel: Channel) -> ControlPlaneServiceClient<Channel> {
    ControlPlaneServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE)
}

pub(crate) fn namespaces(channel: Channel) -> NamespaceServiceClient<Channel> {
    NamespaceServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE)
}

pub(crate) fn migrations(channel: Channel) -> MigrationServiceClient<Channel> {
    MigrationServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE)
}

pub(crate) fn retirements(channel: Channel) -> RetirementServiceClient<Channel> {
    RetirementServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE)
}

pub(crate) fn server(channel: Channel) -> ServerServiceClient<Channel> {
    ServerServiceClient::new(channel)
}

/// One migration by its id.
pub(crate) async fn migration(
    servers: &mut Servers,
    id: &str,
) -> Result<proto::Migration, Failure> {
    let request = proto::GetMigrationRequest { id: id.to_owned() };
    let answer = servers
        .call(async |channel| migrations(channel).get_migration(request.clone()).await)
        .await?
        .into_inner();
    present(answer.migration)
}

/// All moves of a migration, in the order of its plan.
pub(crate) async fn moves(servers: &mut Servers, id: &str) -> Result<Vec<proto::Move>, Failure> {
    servers
        .pages(async |channel, page_size, page_token| {
            let migration_id = id.to_owned();
            let request = proto::ListMovesRequest { migration_id, page_size, page_token };
            let page = migrations(channel).list_moves(request).await.map(Response::into_inner)?;
            Ok((page.moves, page.next_page_token))
        })
        .await
}

/// All retirements of a plane, or all there are, newest first.
pub(crate) async fn all_retirements(
    servers: &mut Servers,
    revision: &str,
) -> Result<Vec<proto::Retirement>, Failure> {
    servers
        .pages(async |channel, page_size, page_token| {
            let revision = revision.to_owned();
            let request = proto::ListRetirementsRequest { revision, page_size, page_token };
            let page = retirements(channel).list_retirements(request).await?.into_inner();
            Ok((page.retirements, page.next_page_token))
        })
        .await
}

/// A field that the server always sets.
pub(crate) fn present<T>(field: Option<T>) -> Result<T, Failure> {
    field.ok_or_else(|| Failure::Broken("the server's answer is incomplete".to_owned()))
}
