//! OpenAPI v3, as far as kubectl looks before it creates or applies: which kinds can be patched,
//! and that unknown fields may be left to the server. There are no schemas.

use serde_json::{Map, Value, json};

use super::Reply;
use crate::cluster::Cluster;
use crate::kind::{Kind, group_version};

/// The list of documents.
pub(super) fn index(cluster: &Cluster) -> Reply {
    let mut paths = Map::new();
    for kind in cluster.store.kinds() {
        for version in &kind.served {
            let path = root(kind, version);
            let url = json!({ "serverRelativeURL": format!("/openapi/v3{path}") });
            paths.insert(path.trim_start_matches('/').to_owned(), url);
        }
    }
    Reply::Json(200, json!({ "paths": paths }))
}

/// The document of one group and version.
pub(super) fn document(cluster: &Cluster, group: &str, version: &str) -> Reply {
    let mut paths = Map::new();
    let served = |kind: &&std::sync::Arc<Kind>| {
        kind.group == group && kind.served.iter().any(|one| one == version)
    };
    for kind in cluster.store.kinds().filter(served) {
        let namespace = if kind.namespaced() { "/namespaces/{namespace}" } else { "" };
        let path = format!("{}{namespace}/{}/{{name}}", root(kind, version), kind.plural);
        paths.insert(path, operations(kind, version));
    }
    if paths.is_empty() {
        return Reply::Text(404, "404 page not found\n".into());
    }
    Reply::Json(
        200,
        json!({
            "openapi": "3.0.0",
            "info": { "title": "Kubernetes", "version": "v1.36.0+sandbox" },
            "paths": paths,
            "components": { "schemas": {} },
        }),
    )
}

fn operations(kind: &Kind, version: &str) -> Value {
    let parameter = |name: &str| json!({ "name": name, "in": "query" });
    json!({
        "patch": {
            "x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind": {
                "group": kind.group, "version": version, "kind": kind.kind,
            },
            "parameters": [
                parameter("dryRun"), parameter("fieldManager"), parameter("fieldValidation"),
            ],
            "responses": {},
        },
    })
}

fn root(kind: &Kind, version: &str) -> String {
    let prefix = if kind.group.is_empty() { "/api" } else { "/apis" };
    format!("{prefix}/{}", group_version(&kind.group, version))
}
