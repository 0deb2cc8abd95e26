//! Connections and requests that end with the server's future.
//!
//! tonic runs both as tasks of their own, which would outlive it; a replica that was dropped must
//! neither answer nor act.

use http::Request;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::Status;
use tonic::codegen::{BoxFuture, Service};
use tonic::transport::server::Connected;
use tower::Layer;

/// A connection that breaks at the end of a life.
#[derive(Debug)]
pub(crate) struct Mortal<C> {
    inner: C,
    life: CancellationToken,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<C> Mortal<C> {
    /// A connection that breaks when `life` is cancelled.
    pub(crate) fn new(inner: C, life: CancellationToken) -> Self {
        let end = Box::pin(life.clone().cancelled_owned());
        Self { inner, life, end }
    }

    fn is_over(&self) -> io::Result<()> {
        if self.life.is_cancelled() { Err(io::ErrorKind::ConnectionAborted.into()) } else { Ok(()) }
    }
}

impl<C: Connected> Connected for Mortal<C> {
    type ConnectInfo = C::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.inner.connect_info()
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for Mortal<C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Whoever reads is woken by the end; a connection always reads.
        if self.end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(self.is_over());
        }
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for Mortal<C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.is_over()?;
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_over()?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.is_over()?;
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

/// Makes requests end with a life.
#[derive(Clone, Debug)]
pub(crate) struct Mortality(pub(crate) CancellationToken);

impl<S> Layer<S> for Mortality {
    type Service = Handler<S>;

    fn layer(&self, inner: S) -> Handler<S> {
        Handler { inner, life: self.0.clone() }
    }
}

/// A service whose requests end with a life.
#[derive(Clone, Debug)]
pub(crate) struct Handler<S> {
    inner: S,
    life: CancellationToken,
}

impl<S, B, R> Service<Request<B>> for Handler<S>
where
    S: Service<Request<B>, Response = http::Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: Default + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<S::Response, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let life = self.life.clone();
        let answer = self.inner.call(request);
        Box::pin(async move {
            tokio::select! {
                biased;
                () = life.cancelled() => Ok(Status::unavailable("the server has ended").into_http()),
                answer = answer => answer,
            }
        })
    }
}
