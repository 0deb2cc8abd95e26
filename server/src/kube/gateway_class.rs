//! Which classes of the Gateway API are Istio's.

use super::served::served;
use kube::api::{Api, DynamicObject, ListParams};
use kube::{Client, Error, ResourceExt};
use std::collections::BTreeMap;

/// How the controllers of Istio's classes begin (`istio.io/gateway-controller`, `istio.io/mesh-controller`).
const CONTROLLERS: &str = "istio.io/";

/// The classes of a cluster, and whether each is Istio's.
#[derive(Clone, Debug, Default)]
pub(super) struct Classes(BTreeMap<String, bool>);

impl Classes {
    /// Those that a cluster has; none where it does not have the Gateway API.
    pub(super) async fn read(client: &Client) -> Result<Self, Error> {
        let Some(resource) = served(client, "gateway.networking.k8s.io", "GatewayClass").await?
        else {
            return Ok(Self::default());
        };
        let api = Api::<DynamicObject>::all_with(client.clone(), &resource);
        let classes = api.list(&ListParams::default()).await?;
        let controller = |class: &DynamicObject| {
            let name = class.data["spec"]["controllerName"].as_str();
            name.is_some_and(|name| name.starts_with(CONTROLLERS))
        };
        Ok(Self(classes.iter().map(|class| (class.name_any(), controller(class))).collect()))
    }

    /// Whether a class is Istio's. istiod makes its own while it runs, so its names are known without.
    pub(super) fn is_istios(&self, class: &str) -> bool {
        self.0.get(class).copied().unwrap_or_else(|| class.starts_with("istio"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_controller_decides_and_else_the_name() {
        let classes = [("edge".to_owned(), true), ("istio-like".to_owned(), false)];
        let classes = Classes(classes.into());
        for (class, istios) in
            [("edge", true), ("istio-like", false), ("istio-waypoint", true), ("nginx", false)]
        {
            assert_eq!(classes.is_istios(class), istios, "{class}");
        }
    }
}
