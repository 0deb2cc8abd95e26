//! ServerService: what this replica says of itself, ready or not.

use super::Face;
use super::convert::timestamp;
use revshift_core::budget::Budgets;
use revshift_core::calendar::Freeze;
use revshift_core::limiter::Slowed;
use revshift_proto::v1 as proto;
use revshift_proto::v1::server_service_server::ServerService;
use tonic::{Request, Response, Status};

fn budgets(budgets: Budgets) -> proto::Budgets {
    let Budgets { namespaces, workloads, pods, pods_per_second } = budgets;
    let pods_per_second = pods_per_second.unwrap_or_default();
    let pods_per_second_rule = String::new();
    proto::Budgets { namespaces, workloads, pods, pods_per_second, pods_per_second_rule }
}

fn freeze(freeze: Freeze) -> proto::Freeze {
    let Freeze { from, to, reason } = freeze;
    proto::Freeze { from: Some(timestamp(from)), to: Some(timestamp(to)), reason }
}

fn addresses((revision, urls): (String, Vec<String>)) -> proto::IstiodAddresses {
    proto::IstiodAddresses { revision, urls }
}

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
            budgets: Some(budgets(self.control.budgets())),
            slowed: state.slowed.as_ref().map(Slowed::tell).unwrap_or_default(),
            checks: self.control.checks(),
            freezes: self.control.freezes().into_iter().map(freeze).collect(),
            istiods: self.control.istiods().into_iter().map(addresses).collect(),
        }))
    }
}
