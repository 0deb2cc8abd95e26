//! Whether somebody answers at a Service.

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::api::{Api, ListParams};
use kube::{Client, Error};

/// How many endpoints are ready behind a Service; none where nobody can tell, as it only stands for a name.
pub(super) async fn ready_endpoints(
    client: &Client,
    namespace: &str,
    name: &str,
) -> Result<Option<usize>, Error> {
    let slices = Api::<EndpointSlice>::namespaced(client.clone(), namespace);
    let params = ListParams::default().labels(&format!("kubernetes.io/service-name={name}"));
    let slices = slices.list(&params).await?;
    let endpoints = slices.iter().flat_map(|slice| &slice.endpoints);
    let count = endpoints.filter(|it| is_ready(it)).count();
    if count > 0 {
        return Ok(Some(count));
    }
    let services = Api::<Service>::namespaced(client.clone(), namespace);
    let params = ListParams::default().fields(&format!("metadata.name={name}"));
    let services = services.list(&params).await?;
    let mut specs = services.into_iter().filter_map(|service| service.spec);
    let stands_in = specs.any(|spec| spec.type_.as_deref() == Some("ExternalName"));
    Ok((!stands_in).then_some(0))
}

/// An endpoint whose readiness nobody tells counts as ready.
fn is_ready(endpoint: &Endpoint) -> bool {
    endpoint.conditions.as_ref().and_then(|it| it.ready).unwrap_or(true)
}
