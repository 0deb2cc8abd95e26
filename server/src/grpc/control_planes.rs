//! ControlPlaneService: planes with what is attached to them, from what is published.

use super::Face;
use super::convert::plane::plane;
use super::convert::request::Fields;
use super::page::Page;
use crate::failure::Failure;
use crate::published::State;
use futures::future::join_all;
use revshift_core::attachment::populations;
use revshift_core::plane::Revision;
use revshift_core::tag;
use revshift_proto::v1 as proto;
use revshift_proto::v1::control_plane_service_server::ControlPlaneService;
use std::time::Duration;
use tonic::{Request, Response, Status};

/// How long the istiods of planes may take to tell who is connected to them.
const PATIENCE: Duration = Duration::from_secs(2);

#[tonic::async_trait]
impl ControlPlaneService for Face {
    async fn list_control_planes(
        &self,
        request: Request<proto::ListControlPlanesRequest>,
    ) -> Result<Response<proto::ListControlPlanesResponse>, Status> {
        let mut answer = self.read(|state| list(state, request.get_ref()))?;
        self.count(&mut answer.get_mut().control_planes).await;
        Ok(answer)
    }

    async fn get_control_plane(
        &self,
        request: Request<proto::GetControlPlaneRequest>,
    ) -> Result<Response<proto::GetControlPlaneResponse>, Status> {
        let mut answer = self.read(|state| get(state, request.get_ref()))?;
        self.count(answer.get_mut().control_plane.as_mut_slice()).await;
        Ok(answer)
    }
}

impl Face {
    /// Has the istiods of planes asked who is connected to them, all at once.
    async fn count(&self, planes: &mut [proto::ControlPlane]) {
        let proxies = self.control.proxies();
        let counted = planes.iter_mut().map(async |plane| {
            let told = proxies.recent(&Revision(plane.revision.clone()), PATIENCE).await;
            match told.incomplete() {
                None => plane.connected_proxies = u32::try_from(told.proxies.len()).ok(),
                Some(why) => plane.connected_unknown = why,
            }
        });
        join_all(counted).await;
    }
}

fn list(
    state: &State,
    request: &proto::ListControlPlanesRequest,
) -> Result<proto::ListControlPlanesResponse, Failure> {
    let proto::ListControlPlanesRequest { page_size, page_token } = request;
    let page = Page::parse("ListControlPlanes", "", *page_size, page_token, Fields::default())?;
    let cluster = &state.cluster;
    let populations = populations(cluster);
    let rows = cluster.planes().iter().map(|(revision, plane)| (revision.as_str(), plane));
    let (control_planes, next_page_token) = page.fill(rows, |found| {
        let population = populations.get(&found.revision).copied().unwrap_or_default();
        Some(plane(cluster, found, population))
    });
    Ok(proto::ListControlPlanesResponse { control_planes, next_page_token })
}

fn get(
    state: &State,
    request: &proto::GetControlPlaneRequest,
) -> Result<proto::GetControlPlaneResponse, Failure> {
    let mut fields = Fields::default();
    fields.plane("revision", &request.revision);
    fields.finish()?;
    let cluster = &state.cluster;
    let found = tag::named(cluster, &request.revision)?.plane;
    let population = populations(cluster).get(&found.revision).copied().unwrap_or_default();
    let control_plane = Some(plane(cluster, found, population));
    Ok(proto::GetControlPlaneResponse { control_plane })
}
