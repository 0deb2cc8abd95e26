//! In which version a cluster serves a kind that it may have: older ones serve older versions alone, and a
//! list of a version that is not served looks like a list of nothing.

use kube::api::ApiResource;
use kube::discovery::oneshot;
use kube::error::DiscoveryError;
use kube::{Client, Error};

/// The kind in its most stable version; none where the cluster does not have it.
pub(super) async fn served(
    client: &Client,
    group: &str,
    kind: &str,
) -> Result<Option<ApiResource>, Error> {
    match oneshot::group(client, group).await {
        Ok(group) => {
            let kinds = group.resources_by_stability().into_iter();
            Ok(kinds.map(|(resource, _)| resource).find(|resource| resource.kind == kind))
        }
        Err(Error::Discovery(DiscoveryError::MissingApiGroup(_))) => Ok(None),
        Err(error) => Err(error),
    }
}
