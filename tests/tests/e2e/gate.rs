//! SIGSTOP and SIGKILL for a replica that is a set of futures.
//!
//! tonic and kube spawn tasks of their own, which nobody outside can keep from being polled. But all
//! that a replica hears and does goes through its pipes and its API client; both are gated here.
//! Timers go on meanwhile, as they do for a stopped process.

use futures::future::BoxFuture;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use kube::client::Body as KubeBody;
use revshift_sandbox::{ApiService, Body as ApiBody, BodyError};
use std::collections::BTreeMap;
use std::future::{pending, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tonic::transport::server::Connected;
use tower::Service;

/// Lets a replica's traffic pass, or holds it; clones are the same gate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    passage: Passage,
    waiting: Vec<Waker>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Passage {
    #[default]
    Open,
    Frozen,
    Dead,
}

impl Gate {
    /// Holds everything until [`Self::thaw`].
    pub(crate) fn freeze(&self) {
        self.turn(Passage::Frozen);
    }

    /// Lets everything go on.
    pub(crate) fn thaw(&self) {
        self.turn(Passage::Open);
    }

    /// Lets nothing pass any more.
    pub(crate) fn kill(&self) {
        self.turn(Passage::Dead);
    }

    fn turn(&self, passage: Passage) {
        let mut state = self.lock();
        if state.passage == Passage::Dead {
            return;
        }
        state.passage = passage;
        state.waiting.drain(..).for_each(Waker::wake);
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        match state.passage {
            Passage::Open => Poll::Ready(Ok(())),
            Passage::Dead => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
            Passage::Frozen => {
                if !state.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                    state.waiting.push(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    async fn pass(&self) {
        // A dead process does not go on, and nobody tells it so.
        if poll_fn(|cx| self.poll(cx)).await.is_err() {
            pending::<()>().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The gates of all replicas, by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gates(Arc<Mutex<BTreeMap<String, Gate>>>);

impl Gates {
    /// The gate of a replica.
    pub(crate) fn of(&self, replica: &str) -> Gate {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gates.entry(replica.to_owned()).or_default().clone()
    }
}

/// Something behind a gate.
#[derive(Clone, Debug)]
pub(crate) struct Gated<T> {
    inner: T,
    gate: Gate,
}

impl<T> Gated<T> {
    /// `inner`, reached through `gate`.
    pub(crate) fn new(inner: T, gate: &Gate) -> Self {
        Self { inner, gate: gate.clone() }
    }
}

impl Connected for Gated<DuplexStream> {
    type ConnectInfo = <DuplexStream as Connected>::ConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.inner.connect_info();
    }
}

impl AsyncRead for Gated<DuplexStream> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        std::task::ready!(self.gate.poll(cx))?;
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Gated<DuplexStream> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        std::task::ready!(self.gate.poll(cx))?;
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.gate.poll(cx))?;
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.gate.poll(cx))?;
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl Service<Request<KubeBody>> for Gated<ApiService> {
    type Response = Response<Gated<ApiBody>>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<Self::Response>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<KubeBody>) -> Self::Future {
        let (gate, answer) = (self.gate.clone(), self.inner.call(request));
        Box::pin(async move {
            gate.pass().await;
            // What was sent the API server handles, whatever became of the sender.
            let answer = answer.await?;
            gate.pass().await;
            Ok(answer.map(|body| Gated { inner: body, gate }))
        })
    }
}

impl Body for Gated<ApiBody> {
    type Data = bytes::Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, BodyError>>> {
        if let Err(error) = std::task::ready!(self.gate.poll(cx)) {
            return Poll::Ready(Some(Err(error)));
        }
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

#[test]
fn a_frozen_replica_sends_and_answers_nothing() {
    use crate::simulated::{SimulatedBed, in_virtual_time};
    use revshift_tests::Replica;
    use std::time::Duration;
    use tokio::time::{sleep, timeout};
    in_virtual_time(async {
        let bed = SimulatedBed::new();
        let replica = bed.launch();
        replica.ready().await.unwrap();
        // Whatever it had on its way has arrived.
        sleep(Duration::from_secs(5)).await;
        let gate = bed.gates().of(replica.host());
        for _ in 0..3 {
            gate.freeze();
            sleep(Duration::from_millis(10)).await;
            let sent = bed.sandbox.requests().len();
            let version = bed.sandbox.version();
            let answer = timeout(Duration::from_secs(30), replica.ready()).await;
            assert!(answer.is_err(), "a frozen replica answered");
            assert_eq!(bed.sandbox.requests().len(), sent, "a frozen replica sent something");
            assert_eq!(bed.sandbox.version(), version);
            gate.thaw();
            timeout(Duration::from_secs(30), replica.ready()).await.unwrap().unwrap();
            sleep(Duration::from_secs(5)).await;
            assert!(bed.sandbox.requests().len() > sent, "it did not go on after the thaw");
        }
        gate.kill();
        let sent = bed.sandbox.requests().len();
        sleep(Duration::from_secs(30)).await;
        assert_eq!(bed.sandbox.requests().len(), sent, "a dead replica sent something");
        Box::new(replica).kill().await.unwrap();
    });
}
