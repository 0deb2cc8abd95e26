//! The subresource `/scale`: the replicas of a workload, whatever its kind.

use serde_json::{Value, json};

use super::{Reply, body, unknown_method};
use crate::cluster::{Author, Cluster, Part};
use crate::kind::{self, Kind};
use crate::object;
use crate::patch::Patch;
use crate::refusal::Refusal;
use crate::route::Request;
use crate::store::Reference;

/// Whether a kind has the subresource.
pub(super) fn scales(kind: &Kind) -> bool {
    matches!(
        kind.resource.as_str(),
        kind::DEPLOYMENTS
            | kind::REPLICA_SETS
            | kind::STATEFUL_SETS
            | kind::REPLICATION_CONTROLLERS
            | kind::ROLLOUTS
    )
}

pub(super) fn answer(
    cluster: &mut Cluster,
    request: &Request,
    kind: &Kind,
    reference: &Reference,
    author: Author<'_>,
) -> Result<Reply, Refusal> {
    let stored = match request.verb() {
        "get" => cluster
            .store
            .get(reference)
            .cloned()
            .ok_or_else(|| Refusal::not_found(kind, &reference.name))?,
        "update" => {
            let wanted = body(request)?;
            cluster.update(kind, reference, Part::Main, author, |now| scaled(kind, now, &wanted))?
        }
        "patch" => {
            let content_type = request.header(http::header::CONTENT_TYPE);
            let patch = Patch::parse(content_type, &request.body)?;
            cluster.update(kind, reference, Part::Main, author, |now| {
                scaled(kind, now, &patch.apply(&scale(now))?)
            })?
        }
        _ => return Err(unknown_method()),
    };
    Ok(Reply::Json(200, scale(&stored)))
}

fn scale(workload: &Value) -> Value {
    let field = |name: &str| object::at(workload, &format!("/metadata/{name}"));
    let selector = match object::text(workload, "/kind") {
        "ReplicationController" => object::at(workload, "/spec/selector"),
        _ => object::at(workload, "/spec/selector/matchLabels"),
    };
    let selector = object::strings(selector);
    let selector: Vec<_> = selector.iter().map(|(key, value)| format!("{key}={value}")).collect();
    json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": field("name"),
            "namespace": field("namespace"),
            "uid": field("uid"),
            "resourceVersion": field("resourceVersion"),
            "creationTimestamp": field("creationTimestamp"),
        },
        "spec": { "replicas": object::integer(workload, "/spec/replicas").unwrap_or_default() },
        "status": {
            "replicas": object::integer(workload, "/status/replicas").unwrap_or_default(),
            "selector": selector.join(","),
        },
    })
}

/// The workload with the replicas of a scale, under the scale's preconditions.
fn scaled(kind: &Kind, workload: &Value, scale: &Value) -> Result<Value, Refusal> {
    let replicas = object::integer(scale, "/spec/replicas").unwrap_or_default();
    if replicas < 0 {
        let why = format!("Invalid value: {replicas}: must be greater than or equal to 0");
        return Err(Refusal::invalid(kind, object::name(workload), "spec.replicas", &why));
    }
    let mut next = workload.clone();
    object::set(&mut next, "/spec/replicas", replicas);
    for field in ["/metadata/uid", "/metadata/resourceVersion"] {
        match object::text(scale, field) {
            "" => {}
            given => object::set(&mut next, field, given),
        }
    }
    Ok(next)
}
