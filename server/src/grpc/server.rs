//! ServerService: what this replica says of itself, ready or not.

use super::Face;
use revshift_proto::v1 as proto;
use revshift_proto::v1::server_service_server::ServerService;
use tonic::{Request, Response, Status};

#[tonic::async_trait]
impl ServerService for Face {
    async fn get_server(
        &self,
        _request: Request<proto::GetServerRequest>,
    ) -> Result<Response<proto::GetServerResponse>, Status> {
        let state = self.control.published().read();
        Ok(Response::new(proto::GetServerResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            identity: self.identity.to_string(),
            leader: state.leader.clone().unwrap_or_default(),
            ready: state.ready,
        }))
    }
}
