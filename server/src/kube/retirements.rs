//! Retirements as stored objects: creation, cancellation, status. Every write is a compare-and-swap.

use crate::failure::Failure;
use crate::kube::client::FIELD_MANAGER;
use crate::kube::crd::{FINALIZER, Retirement, RetirementSpec, RetirementStatus};
use crate::kube::record::retirement as record;
use crate::kube::store::fail;
use jiff::Timestamp;
use kube::api::{Api, ListParams, PostParams};
use kube::{Client, Error, ResourceExt};
use revshift_core::plane::Revision;
use revshift_core::problem::Code;
use revshift_core::refusal::Violation;
use std::fmt::Debug;

/// Reads and writes stored retirements.
#[derive(Clone)]
pub struct Retirements {
    api: Api<Retirement>,
}

impl Debug for Retirements {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Retirements").finish_non_exhaustive()
    }
}

impl Retirements {
    /// Over `client`, whose writes have a deadline.
    pub fn new(client: &Client) -> Self {
        Self { api: Api::all(client.clone()) }
    }

    /// Stores a retirement, or finds the one that the same request has stored before.
    pub async fn create(&self, id: &str, spec: RetirementSpec) -> Result<Retirement, Failure> {
        let action = || format!("store retirement `{id}`");
        let mut object = Retirement::new(id, spec);
        object.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        match self.api.create(&post(), &object).await {
            Err(Error::Api(status)) if status.is_already_exists() => {
                self.api.get(id).await.map_err(|error| fail(action(), error))
            }
            made => made.map_err(|error| fail(action(), error)),
        }
    }

    /// One retirement, read live; none when there is none.
    pub async fn read(&self, id: &str) -> Result<Option<Retirement>, Failure> {
        let found = self.api.get_opt(id).await;
        found.map_err(|error| fail(format!("read retirement `{id}`"), error))
    }

    /// The ids of unfinished retirements of any of these planes, by a quorum read. One that cannot be
    /// understood counts.
    pub async fn unfinished(
        &self,
        planes: &[&Revision],
    ) -> Result<Vec<(String, Revision)>, Failure> {
        let all = self.api.list(&ListParams::default()).await;
        let all = all.map_err(|error| fail("list retirements".to_owned(), error))?;
        let unfinished = all.items.into_iter().filter(|it| !has_ended(it));
        Ok(unfinished
            .map(|it| (it.name_any(), Revision(it.spec.revision)))
            .filter(|(_, revision)| planes.contains(&revision))
            .collect())
    }

    /// Notes who has cancelled the retirement that was read as `live`. None: somebody else was faster.
    pub async fn cancel(
        &self,
        live: &Retirement,
        by: &str,
        at: Timestamp,
    ) -> Result<Option<Retirement>, Failure> {
        let mut wanted = live.clone();
        wanted.spec.cancelled = Some(record::approval_record(by, at));
        let id = wanted.name_any();
        match self.api.replace(&id, &post(), &wanted).await {
            Ok(object) => Ok(Some(object)),
            Err(Error::Api(status)) if status.is_conflict() => Ok(None),
            Err(error) => Err(fail(format!("cancel retirement `{id}`"), error)),
        }
    }

    /// Writes a retirement's status, if the retirement is still the one decided on.
    pub async fn commit(
        &self,
        retirement: &Retirement,
        status: RetirementStatus,
    ) -> Result<Retirement, Error> {
        let wanted = Retirement { status: Some(status), ..retirement.clone() };
        self.api.replace_status(&retirement.name_any(), &post(), &wanted).await
    }

    /// Reads a retirement again, after a write that failed.
    pub async fn again(&self, id: &str) -> Result<Option<Retirement>, Error> {
        self.api.get_opt(id).await
    }

    /// Lets a retirement that is being deleted go.
    pub async fn let_go(&self, retirement: &Retirement) -> Result<Retirement, Error> {
        let mut wanted = retirement.clone();
        wanted.finalizers_mut().retain(|finalizer| finalizer != FINALIZER);
        self.api.replace(&retirement.name_any(), &post(), &wanted).await
    }
}

/// Whether nothing follows any more.
pub fn has_ended(object: &Retirement) -> bool {
    object.status.as_ref().is_some_and(|status| status.ended)
}

/// Why a migration may not name a plane.
pub fn retiring(id: &str, revision: &Revision) -> Violation {
    Violation {
        code: Code::PlaneRetiring,
        subject: format!("ControlPlane/{revision}"),
        description: format!("retirement `{id}` of it has not ended"),
    }
}

fn post() -> PostParams {
    PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() }
}
