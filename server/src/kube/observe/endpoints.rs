//! EndpointSlices: how many ready endpoints a Service has.

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};
use kube::ResourceExt;
use revshift_core::cluster::Object;
use revshift_core::cluster::{Family, Slice};

/// What an EndpointSlice says of a Service that selects pods; of any other nobody here could tell what it
/// should have.
pub fn slice(object: &EndpointSlice) -> Object {
    let labels = object.labels();
    let ours = labels.get("endpointslice.kubernetes.io/managed-by");
    let ours = ours.is_some_and(|by| by == "endpointslice-controller.k8s.io");
    let service = labels.get("kubernetes.io/service-name").filter(|_| ours);
    let ready = |endpoint: &&Endpoint| {
        // A condition that is not told means that nothing speaks against it.
        endpoint.conditions.as_ref().and_then(|told| told.ready).unwrap_or(true)
    };
    Object::Slice(service.map(|service| Slice {
        service: service.clone(),
        family: match object.address_type.as_str() {
            "IPv6" => Family::V6,
            "FQDN" => Family::Name,
            _ => Family::V4,
        },
        ready: u32::try_from(object.endpoints.iter().filter(ready).count()).unwrap_or(u32::MAX),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, from_value, json};

    #[test]
    fn ready_endpoints_are_counted_where_a_controller_fills_the_slice() {
        let slice_of = |by: &str, conditions: Value| {
            slice(
                &from_value(json!({
                    "metadata": { "name": "web-1", "labels": {
                        "kubernetes.io/service-name": "web",
                        "endpointslice.kubernetes.io/managed-by": by,
                    }},
                    "addressType": "IPv6",
                    "endpoints": [
                        { "addresses": ["::1"] },
                        { "addresses": ["::2"], "conditions": conditions },
                    ],
                }))
                .unwrap(),
            )
        };
        for (conditions, ready) in [(json!({ "ready": false }), 1), (json!({}), 2)] {
            let Object::Slice(Some(found)) =
                slice_of("endpointslice-controller.k8s.io", conditions)
            else {
                panic!("no slice");
            };
            let expected = Slice { service: "web".to_owned(), family: Family::V6, ready };
            assert_eq!(found, expected);
        }
        assert!(matches!(slice_of("somebody", json!({})), Object::Slice(None)));
    }
}
