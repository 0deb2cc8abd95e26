//! ControlPlaneService: planes with what is attached to them, from what is published.

use super::Face;
use super::convert::plane::plane;
use super::convert::request::Fields;
use super::page::Page;
use crate::failure::Failure;
use crate::published::State;
use revshift_core::attachment::populations;
use revshift_core::plane::resolve;
use revshift_proto::v1 as proto;
use revshift_proto::v1::control_plane_service_server::ControlPlaneService;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl ControlPlaneService for Face {
    async fn list_control_planes(
        &self,
        request: Request<proto::ListControlPlanesRequest>,
    ) -> Result<Response<proto::ListControlPlanesResponse>, Status> {
        self.read(|state| list(state, request.get_ref()))
    }

    async fn get_control_plane(
        &self,
        request: Request<proto::GetControlPlaneRequest>,
    ) -> Result<Response<proto::GetControlPlaneResponse>, Status> {
        self.read(|state| get(state, request.get_ref()))
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
    let found = resolve(cluster.planes(), &request.revision)?;
    let population = populations(cluster).get(&found.revision).copied().unwrap_or_default();
    let control_plane = Some(plane(cluster, found, population));
    Ok(proto::GetControlPlaneResponse { control_plane })
}
