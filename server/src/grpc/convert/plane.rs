//! Control planes on the wire.

use super::timestamp;
use revshift_core::attachment::Population;
use revshift_core::cluster::{Cluster, DefaultBy};
use revshift_core::plane::{Plane, Source};
use revshift_proto::v1 as proto;
use std::collections::BTreeSet;

/// A plane with what is attached to it.
pub(crate) fn plane(
    cluster: &Cluster,
    plane: &Plane,
    population: Population,
) -> proto::ControlPlane {
    let tags: BTreeSet<&str> = cluster.tags_of(&plane.revision).collect();
    proto::ControlPlane {
        revision: plane.revision.to_string(),
        source: source(plane.source).into(),
        name: plane.name.clone(),
        namespace: plane.namespace.clone(),
        version: plane.version.clone(),
        mode: plane.mode.clone(),
        network: plane.network.clone(),
        status: plane.status.clone(),
        available: plane.available,
        mesh_expansion: plane.mesh_expansion,
        expansion_gateway_ips: plane.gateway_addresses.clone(),
        error: plane.error.clone(),
        create_time: plane.created.map(timestamp),
        namespaces: population.namespaces,
        pods: population.pods,
        tags: tags.into_iter().map(str::to_owned).collect(),
        // Whoever answers has istiods asked.
        connected_proxies: None,
        connected_unknown: String::new(),
        default_by: match cluster.default_plane() {
            Some((revision, by)) if *revision == plane.revision => match by {
                DefaultBy::Tag => proto::DefaultBy::Tag,
                DefaultBy::Validator => proto::DefaultBy::Validator,
            },
            _ => proto::DefaultBy::Unspecified,
        }
        .into(),
    }
}

/// Where a plane was found.
pub(crate) fn source(source: Source) -> proto::control_plane::Source {
    match source {
        Source::Calisti => proto::control_plane::Source::Calisti,
        Source::Sail => proto::control_plane::Source::Sail,
        Source::Istio => proto::control_plane::Source::Istio,
    }
}
