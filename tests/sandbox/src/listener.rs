//! The sandbox over TCP: plain HTTP/1.1 on the real clock, and the kubeconfig that leads there.
//!
//! There is no TLS and nobody is asked who he is, so it belongs on loopback.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tower::Service;

use crate::{ApiService, Sandbox};

/// How long nothing is accepted after the process ran out of something, such as files.
const RESPITE: Duration = Duration::from_millis(100);

impl Sandbox {
    /// Answers whoever connects, for ever; dropping the future ends all connections. The
    /// controllers are [`Sandbox::run`]'s.
    pub async fn serve(&self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        connections.spawn(converse(stream, self.service("tcp")));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection was not accepted");
                        tokio::time::sleep(RESPITE).await;
                    }
                },
                // Those that ended are let go.
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

/// A kubeconfig whose only context leads to the sandbox that listens at `address`.
pub fn kubeconfig(address: SocketAddr) -> String {
    format!(
        "apiVersion: v1\n\
         kind: Config\n\
         clusters:\n\
         - name: sandbox\n  \
         cluster:\n    \
         server: http://{address}\n\
         contexts:\n\
         - name: sandbox\n  \
         context:\n    \
         cluster: sandbox\n    \
         user: sandbox\n\
         current-context: sandbox\n\
         users:\n\
         - name: sandbox\n  \
         user: {{}}\n"
    )
}

async fn converse(stream: TcpStream, service: ApiService) {
    let handled = service_fn(move |request| service.clone().call(request));
    let talk = async {
        // Events are small and must not wait for each other.
        stream.set_nodelay(true)?;
        let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), handled);
        connection.await.map_err(io::Error::other)
    };
    if let Err(error) = talk.await {
        tracing::debug!(%error, "a connection ended");
    }
}
