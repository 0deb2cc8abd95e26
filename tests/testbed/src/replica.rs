//! A replica of revshift's server as a process of the bed. It is killed when dropped, and its log
//! stays in the run directory.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Context as _, Result, ensure};
use futures::{FutureExt as _, future::LocalBoxFuture};
use revshift_proto::v1::{self as proto, server_service_client::ServerServiceClient};
use revshift_tests::Replica;
use tonic::transport::{Channel, Endpoint};

use crate::process::{self, Process};

/// A server that shuts down gives its streams some seconds to end.
const FAREWELL: Duration = Duration::from_mins(1);

/// A running server.
#[derive(Debug)]
pub struct RealReplica {
    process: Process,
    address: SocketAddr,
}

impl RealReplica {
    /// Waits until the process says where it listens.
    pub(crate) async fn of(mut process: Process) -> Result<Self> {
        let log = process.log().to_owned();
        let mine = std::slice::from_mut(&mut process);
        let address = process::ready("the server's address", mine, async || {
            let said = std::fs::read_to_string(&log)?;
            let line = said.lines().find_map(|line| line.strip_prefix("listening on "));
            line.context("it does not listen yet")?.parse().context("no address")
        })
        .await?;
        Ok(Self { process, address })
    }

    /// Waits until it has read the whole cluster.
    pub async fn ready(mut self) -> Result<Self> {
        let address = self.address;
        let mine = std::slice::from_mut(&mut self.process);
        process::ready("the server's readiness", mine, async || {
            ensure!(state(address).await?.ready, "it still reads the cluster");
            Ok(())
        })
        .await?;
        Ok(self)
    }

    /// What it says of itself.
    pub async fn state(&self) -> Result<proto::GetServerResponse> {
        state(self.address).await
    }
}

impl Replica for RealReplica {
    fn address(&self) -> String {
        self.address.to_string()
    }

    fn channel(&self) -> LocalBoxFuture<'_, Result<Channel>> {
        connect(self.address).boxed_local()
    }

    fn kill(self: Box<Self>) -> LocalBoxFuture<'static, Result<()>> {
        // Dropping a process is SIGKILL, and waits until it is gone.
        drop(self);
        async { Ok(()) }.boxed_local()
    }

    fn stop(self: Box<Self>) -> LocalBoxFuture<'static, Result<()>> {
        self.process.stop(FAREWELL).boxed_local()
    }
}

async fn connect(address: SocketAddr) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    endpoint.connect().await.with_context(|| format!("cannot connect to {address}"))
}

async fn state(address: SocketAddr) -> Result<proto::GetServerResponse> {
    let mut client = ServerServiceClient::new(connect(address).await?);
    Ok(client.get_server(proto::GetServerRequest {}).await?.into_inner())
}
