//! The sandbox as a `tower::Service`, and the faults between client and cluster.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{Response, StatusCode, header};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};

use crate::api::{self, Reply};
use crate::exchange::{Exchange, Verdict};
use crate::refusal::Refusal;
use crate::route::{self, Request};
use crate::{Shared, locked};

/// The error of bodies, which never occurs.
pub type BodyError = std::io::Error;
/// The body of a response; a watch streams.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// The API server as one client sees it.
#[derive(Debug, Clone)]
pub struct ApiService {
    shared: Arc<Shared>,
    tag: Arc<str>,
}

impl ApiService {
    pub(crate) fn new(shared: Arc<Shared>, tag: &str) -> Self {
        Self { shared, tag: tag.into() }
    }
}

impl<B> tower::Service<http::Request<B>> for ApiService
where
    B: http_body::Body + Send + 'static,
    B::Data: Send,
    B::Error: std::fmt::Display,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let (shared, tag) = (self.shared.clone(), self.tag.clone());
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(error) => {
                    let refusal = Refusal::bad_request(format!("body cut short: {error}"));
                    return Ok(render(&shared, Reply::Json(400, refusal.status())));
                }
            };
            let query = head.uri.query().unwrap_or_default();
            let request = Request {
                path: head.uri.path().to_owned(),
                query: route::parse_query(query),
                method: head.method,
                headers: head.headers,
                tag: tag.as_ref().to_owned(),
                body,
            };
            let number = shared.log_request(&request, query);
            let reply = answer(&shared, &request, number).await;
            shared.log_answer(number, reply.status());
            Ok(render(&shared, reply))
        })
    }
}

impl Reply {
    fn status(&self) -> u16 {
        match self {
            Self::Json(status, _) | Self::Text(status, _) => *status,
            Self::Watch(_) => 200,
        }
    }
}

async fn answer(shared: &Arc<Shared>, request: &Request, number: u64) -> Reply {
    let latency = locked(&shared.cluster).options.latency;
    let handle = || api::handle(&mut locked(&shared.cluster), request);
    let refuse = |refusal: Refusal| Reply::Json(refusal.code, refusal.status());
    tokio::time::sleep(latency).await;
    // Nothing is awaited between the verdict and what follows from it, so a test that learns
    // of the request from its own function finds it applied or not, as the verdict says.
    let verdict = shared.judge(number);
    let reply = match verdict {
        Verdict::Pass => handle(),
        Verdict::Refuse { code, reason, message } => refuse(Refusal::new(code, reason, message)),
        Verdict::LoseReply => {
            handle();
            refuse(Refusal::timeout())
        }
        Verdict::HangBefore => std::future::pending().await,
        Verdict::HangAfter => {
            handle();
            std::future::pending().await
        }
        Verdict::Delay(delay) => match patience(request) {
            Some(patience) if patience < delay => {
                tokio::time::sleep(patience).await;
                refuse(Refusal::timeout())
            }
            _ => {
                tokio::time::sleep(delay).await;
                handle()
            }
        },
    };
    tokio::time::sleep(latency).await;
    reply
}

/// How long the API server itself may take, from `?timeout=`.
fn patience(request: &Request) -> Option<Duration> {
    let text = request.parameter("timeout");
    if let Some(milliseconds) = text.strip_suffix("ms") {
        return milliseconds.parse().ok().map(Duration::from_millis);
    }
    text.strip_suffix('s')?.parse().ok().map(Duration::from_secs_f64)
}

fn render(shared: &Arc<Shared>, reply: Reply) -> Response<Body> {
    let status = StatusCode::from_u16(reply.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let whole = |bytes: Vec<u8>| {
        Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed_unsync()
    };
    let (content_type, body) = match reply {
        Reply::Json(_, value) => ("application/json", whole(value.to_string().into_bytes())),
        Reply::Text(_, text) => ("text/plain; charset=utf-8", whole(text.into_bytes())),
        Reply::Watch(watch) => {
            let lines = watch.stream(shared.cluster.clone());
            let frames = lines.map(|bytes| Ok(Frame::data(bytes)));
            ("application/json", StreamBody::new(frames).boxed_unsync())
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    if status == StatusCode::TOO_MANY_REQUESTS {
        headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
    }
    response
}

impl Shared {
    fn log_request(&self, request: &Request, query: &str) -> u64 {
        let time = locked(&self.cluster).now();
        let mut log = locked(&self.requests);
        let number = log.len() as u64 + 1;
        log.push(Exchange {
            number,
            tag: request.tag.clone(),
            verb: request.verb(),
            path: request.path.clone(),
            query: query.to_owned(),
            content_type: request.header(header::CONTENT_TYPE).to_owned(),
            body: request.body.clone(),
            status: None,
            time,
        });
        number
    }

    fn log_answer(&self, number: u64, status: u16) {
        let index = usize::try_from(number - 1).unwrap_or(usize::MAX);
        if let Some(exchange) = locked(&self.requests).get_mut(index) {
            exchange.status = Some(status);
        }
    }

    /// Asks the test what to do.
    fn judge(&self, number: u64) -> Verdict {
        let index = usize::try_from(number - 1).unwrap_or(usize::MAX);
        let Some(exchange) = locked(&self.requests).get(index).cloned() else {
            return Verdict::Pass;
        };
        locked(&self.judge).as_mut().map_or(Verdict::Pass, |judge| judge(&exchange))
    }
}
