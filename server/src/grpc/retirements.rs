//! RetirementService: what blocks a retirement, its creation, its cancellation, lists and the watch.

use super::convert::request::{self, Fields};
use super::convert::retirement;
use super::page::Page;
use super::status::{draining, status};
use super::{Face, caller, need_crds};
use crate::failure::Failure;
use crate::published::State;
use futures::stream::{self, BoxStream, StreamExt};
use revshift_core::refusal::Refusal;
use revshift_core::retirement::Retirement;
use revshift_proto::v1 as proto;
use revshift_proto::v1::retirement_service_server::RetirementService;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl RetirementService for Face {
    type WatchRetirementStream = BoxStream<'static, Result<proto::WatchRetirementResponse, Status>>;

    async fn plan_retirement(
        &self,
        request: Request<proto::PlanRetirementRequest>,
    ) -> Answer<proto::PlanRetirementResponse> {
        self.installed()?;
        let request = request::retirement::plan(request.into_inner()).map_err(refused)?;
        let plan = self.control.plan_retirement(&request, &caller()).await.map_err(status)?;
        Ok(Response::new(retirement::plan(&plan)))
    }

    async fn create_retirement(
        &self,
        request: Request<proto::CreateRetirementRequest>,
    ) -> Answer<proto::CreateRetirementResponse> {
        self.installed()?;
        let (request, ticket) =
            request::retirement::create(request.into_inner()).map_err(refused)?;
        let made = self.control.create_retirement(&request, &ticket, &caller()).await;
        let retirement = Some(retirement::retirement(&made.map_err(status)?));
        Ok(Response::new(proto::CreateRetirementResponse { retirement }))
    }

    async fn get_retirement(
        &self,
        request: Request<proto::GetRetirementRequest>,
    ) -> Answer<proto::GetRetirementResponse> {
        self.installed()?;
        let id = request::retirement::id(&request.get_ref().id).map_err(refused)?;
        let found = self.control.retirement(&id).await.map_err(status)?;
        let retirement = Some(retirement::retirement(&found));
        Ok(Response::new(proto::GetRetirementResponse { retirement }))
    }

    async fn list_retirements(
        &self,
        request: Request<proto::ListRetirementsRequest>,
    ) -> Answer<proto::ListRetirementsResponse> {
        self.read(|state| list(state, request.get_ref()))
    }

    async fn cancel_retirement(
        &self,
        request: Request<proto::CancelRetirementRequest>,
    ) -> Answer<proto::CancelRetirementResponse> {
        self.installed()?;
        let id = request::retirement::id(&request.get_ref().id).map_err(refused)?;
        let found = self.control.cancel_retirement(&id, &caller()).await.map_err(status)?;
        let retirement = Some(retirement::retirement(&found));
        Ok(Response::new(proto::CancelRetirementResponse { retirement }))
    }

    async fn watch_retirement(
        &self,
        request: Request<proto::WatchRetirementRequest>,
    ) -> Answer<Self::WatchRetirementStream> {
        self.installed()?;
        let id = request::retirement::id(&request.get_ref().id).map_err(refused)?;
        let found = self.control.retirement(&id).await.map_err(status)?;
        let changes = self.control.published().subscribe();
        let watch = Watch { face: self.clone(), changes, next: Some(found), last: None };
        Ok(Response::new(watch.stream().boxed()))
    }
}

/// One client's watch of a retirement that exists.
struct Watch {
    face: Face,
    /// The version of what is published.
    changes: watch::Receiver<u64>,
    /// What is to be sent at once.
    next: Option<Retirement>,
    /// What was sent last.
    last: Option<Retirement>,
}

impl Watch {
    fn stream(
        self,
    ) -> impl futures::Stream<Item = Result<proto::WatchRetirementResponse, Status>> + Send {
        stream::unfold(Some(self), |watch| async {
            let mut watch = watch?;
            match watch.step().await.transpose()? {
                Ok(found) => {
                    let retirement = Some(retirement::retirement(&found));
                    watch.last = Some(found);
                    Some((Ok(proto::WatchRetirementResponse { retirement }), Some(watch)))
                }
                Err(status) => Some((Err(status), None)),
            }
        })
    }

    /// What is to be sent next; none once it has ended and was sent so.
    async fn step(&mut self) -> Result<Option<Retirement>, Status> {
        if let Some(first) = self.next.take() {
            return Ok(Some(first));
        }
        let Some(last) = self.last.clone() else {
            return Ok(None);
        };
        if last.record.state.is_final() {
            return Ok(None);
        }
        let shutdown = self.face.shutdown.clone();
        // It may have been read live, and its first change still be on the way.
        let mut known = false;
        loop {
            self.changes.borrow_and_update();
            let found = self.face.control.published().read().retirements.get(&last.id).cloned();
            match found {
                Some(found) if found != last => return Ok(Some(found)),
                Some(_) => known = true,
                None if known => {
                    return Err(status(Refusal::RetirementNotFound(last.id).into()));
                }
                None => {}
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return Err(draining()),
                changed = self.changes.changed() => changed.map_err(|_| draining())?,
            }
        }
    }
}

fn list(
    state: &State,
    request: &proto::ListRetirementsRequest,
) -> Result<proto::ListRetirementsResponse, Failure> {
    need_crds(state)?;
    let proto::ListRetirementsRequest { revision, page_size, page_token } = request;
    let fields = Fields::default();
    let page = Page::parse("ListRetirements", revision, *page_size, page_token, fields)?;
    let of_plane = |it: &&Retirement| {
        let plane = &it.spec.plane;
        revision.is_empty() || plane.revision.as_str() == revision || plane.name == *revision
    };
    let mut found: Vec<(String, &Retirement)> =
        state.retirements.values().filter(of_plane).map(|it| (newest_first(it), it)).collect();
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    let (retirements, next_page_token) =
        page.fill(found, |found| Some(retirement::retirement(found)));
    Ok(proto::ListRetirementsResponse { retirements, next_page_token })
}

/// A key that sorts younger retirements first.
fn newest_first(retirement: &Retirement) -> String {
    let age = i64::MAX.abs_diff(retirement.spec.created.as_microsecond());
    format!("{age:020}/{}", retirement.id)
}

fn refused(refusal: Refusal) -> Status {
    status(refusal.into())
}
