//! The sandbox as a `tower::Service`, and the faults between client and cluster.

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
use crate::faults;
use crate::refusal::Refusal;
use crate::route::{self, Request};
use crate::{Sandbox, Shared, locked};

/// A connection that broke, which only faults make it do.
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
    type Error = BodyError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BodyError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
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
                    let reply = Reply::Json(400, refusal.status());
                    return Ok(render(&shared, reply, Delivery::Whole));
                }
            };
            let query = head.uri.query().unwrap_or_default();
            let request = Request {
                path: head.uri.path().to_owned(),
                query: route::parse_query(query),
                method: head.method,
                headers: head.headers,
                stale: None,
                tag: tag.as_ref().to_owned(),
                body,
            };
            let number = shared.log_request(&request, query);
            let (reply, delivery) = answer(&shared, request, number).await?;
            shared.log_answer(number, reply.status());
            Ok(render(&shared, reply, delivery))
        })
    }
}

impl Reply {
    fn status(&self) -> u16 {
        match self {
            Self::Json(status, _) | Self::Encoded(status, _) | Self::Text(status, _) => *status,
            Self::Watch(_) => 200,
        }
    }
}

/// How the body of an answer reaches the client.
#[derive(Debug, Clone, Copy)]
enum Delivery {
    Whole,
    /// Half of it, then the connection breaks.
    Half,
    /// One byte a second.
    Trickle,
}

async fn answer(
    shared: &Arc<Shared>,
    mut request: Request,
    number: u64,
) -> Result<(Reply, Delivery), BodyError> {
    let latency = locked(&shared.cluster).options.latency;
    let handle = |request: &Request| api::handle(&mut locked(&shared.cluster), request);
    let refuse = |refusal: Refusal| Reply::Json(refusal.code, refusal.status());
    let broken = || BodyError::from(std::io::ErrorKind::ConnectionReset);
    let mut delivery = Delivery::Whole;
    tokio::time::sleep(latency).await;
    // Nothing is awaited between the verdict and what follows from it, so a test that learns
    // of the request from its own function finds it applied or not, as the verdict says.
    let verdict = shared.judge(number);
    let reply = match verdict {
        Verdict::Pass => handle(&request),
        Verdict::Refuse { code, reason, message } => refuse(Refusal::new(code, reason, message)),
        Verdict::Throttle { retry_after } => refuse(Refusal::throttled(retry_after)),
        Verdict::LoseReply => {
            handle(&request);
            refuse(Refusal::timeout())
        }
        Verdict::ResetBefore => return Err(broken()),
        Verdict::ResetAfter => {
            handle(&request);
            return Err(broken());
        }
        Verdict::Truncate => {
            delivery = Delivery::Half;
            handle(&request)
        }
        Verdict::Trickle => {
            delivery = Delivery::Trickle;
            handle(&request)
        }
        Verdict::HangBefore => std::future::pending().await,
        Verdict::HangAfter => {
            handle(&request);
            std::future::pending().await
        }
        Verdict::Delay(delay) => match patience(&request) {
            Some(patience) if patience < delay => {
                tokio::time::sleep(patience).await;
                refuse(Refusal::timeout())
            }
            _ => {
                tokio::time::sleep(delay).await;
                handle(&request)
            }
        },
        Verdict::Stale(age) => {
            request.stale = Some(age);
            handle(&request)
        }
        Verdict::Watch(fault) => {
            let mut reply = handle(&request);
            if let Reply::Watch(watch) = &mut reply {
                watch.suffer(fault, &locked(&shared.cluster));
            }
            reply
        }
    };
    tokio::time::sleep(latency).await;
    Ok((reply, delivery))
}

/// How long the API server itself may take, from `?timeout=`.
fn patience(request: &Request) -> Option<Duration> {
    let text = request.parameter("timeout");
    if let Some(milliseconds) = text.strip_suffix("ms") {
        return milliseconds.parse().ok().map(Duration::from_millis);
    }
    text.strip_suffix('s')?.parse().ok().map(Duration::from_secs_f64)
}

fn render(shared: &Arc<Shared>, reply: Reply, delivery: Delivery) -> Response<Body> {
    let status = StatusCode::from_u16(reply.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let whole = |bytes: Vec<u8>| deliver(Bytes::from(bytes), delivery);
    let retry_after = match &reply {
        Reply::Json(429, status) => status["details"]["retryAfterSeconds"].as_u64(),
        _ => None,
    };
    let (content_type, body) = match reply {
        Reply::Json(_, value) => ("application/json", whole(value.to_string().into_bytes())),
        Reply::Encoded(_, json) => ("application/json", whole(json)),
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
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, header::HeaderValue::from(seconds));
    }
    response
}

fn deliver(mut bytes: Bytes, delivery: Delivery) -> Body {
    match delivery {
        Delivery::Whole => Full::new(bytes).map_err(|never| match never {}).boxed_unsync(),
        Delivery::Half => {
            let half = bytes.split_to(bytes.len() / 2);
            let broken = Err(BodyError::from(std::io::ErrorKind::ConnectionReset));
            StreamBody::new(futures::stream::iter([Ok(Frame::data(half)), broken])).boxed_unsync()
        }
        Delivery::Trickle => {
            let drops = futures::stream::unfold(bytes, |mut left| async move {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let drop = left.split_to(left.len().min(1));
                (!drop.is_empty()).then(|| (Ok(Frame::data(drop)), left))
            });
            StreamBody::new(drops).boxed_unsync()
        }
    }
}

impl Shared {
    fn log_request(&self, request: &Request, query: &str) -> u64 {
        let (time, kept) = {
            let cluster = locked(&self.cluster);
            (cluster.now(), cluster.options.history)
        };
        let exchange = Exchange {
            number: 0,
            tag: request.tag.clone(),
            agent: request.agent().to_owned(),
            verb: request.verb(),
            path: request.path.clone(),
            query: query.to_owned(),
            content_type: request.header(header::CONTENT_TYPE).to_owned(),
            body: request.body.clone(),
            status: None,
            time,
        };
        locked(&self.requests).add(exchange, kept)
    }

    fn log_answer(&self, number: u64, status: u16) {
        if let Some(exchange) = locked(&self.requests).get(number) {
            exchange.status = Some(status);
        }
    }

    /// Asks the test what to do, and then the faults.
    fn judge(self: &Arc<Self>, number: u64) -> Verdict {
        let Some(exchange) = locked(&self.requests).get(number).cloned() else {
            return Verdict::Pass;
        };
        let judged = locked(&self.judge).as_mut().map_or(Verdict::Pass, |judge| judge(&exchange));
        if judged != Verdict::Pass {
            return judged;
        }
        let faults = locked(&self.cluster).faults.clone();
        let struck = faults.at_request(&exchange);
        let sandbox = Sandbox { shared: self.clone() };
        for fault in &struck {
            faults::act(&sandbox, fault, &exchange);
        }
        let mut verdicts = struck.iter().filter_map(|fault| faults::verdict(fault, &exchange));
        verdicts.next().unwrap_or(Verdict::Pass)
    }
}
