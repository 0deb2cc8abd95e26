//! Discovery, health and version: what clients ask before they ask for objects.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Reply, openapi, scale};
use crate::cluster::Cluster;
use crate::kind::{self, Kind, group_version};
use crate::refusal::Refusal;
use crate::route::Request;

pub(super) fn answer(cluster: &Cluster, request: &Request) -> Reply {
    let segments: Vec<_> = request.path.split('/').filter(|one| !one.is_empty()).collect();
    match segments.as_slice() {
        ["version"] => Reply::Json(
            200,
            json!({
                "major": "1", "minor": "36", "gitVersion": "v1.36.0+sandbox", "gitCommit": "",
                "gitTreeState": "clean", "buildDate": "2026-04-22T00:00:00Z",
                "goVersion": "", "compiler": "", "platform": "linux/amd64",
            }),
        ),
        ["healthz" | "livez" | "readyz", ..] => Reply::Text(200, "ok".into()),
        ["api"] => Reply::Json(
            200,
            json!({
                "kind": "APIVersions", "versions": ["v1"],
                "serverAddressByClientCIDRs": [],
            }),
        ),
        ["apis"] => Reply::Json(200, groups(cluster)),
        ["api", version] => resources(cluster, "", version),
        ["apis", group] => {
            let groups = groups(cluster);
            let found = groups["groups"].as_array().into_iter().flatten();
            match found.into_iter().find(|one| one["name"] == *group) {
                Some(one) => Reply::Json(200, one.clone()),
                None => Reply::Text(404, "404 page not found\n".into()),
            }
        }
        ["apis", group, version] => resources(cluster, group, version),
        ["openapi", "v3"] => openapi::index(cluster),
        ["openapi", "v3", "api", version] => openapi::document(cluster, "", version),
        ["openapi", "v3", "apis", group, version] => openapi::document(cluster, group, version),
        _ => {
            let refusal = Refusal::not_simulated(&format!("{} {}", request.method, request.path));
            Reply::Json(refusal.code, refusal.status())
        }
    }
}

fn groups(cluster: &Cluster) -> Value {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for kind in cluster.store.kinds().filter(|kind| !kind.group.is_empty()) {
        let all = versions.entry(&kind.group).or_default();
        for version in &kind.served {
            if !all.contains(&version.as_str()) {
                all.push(version);
            }
        }
    }
    let groups: Vec<_> = versions
        .into_iter()
        .map(|(group, versions)| {
            let versions: Vec<_> = versions
                .into_iter()
                .map(|version| {
                    json!({
                        "groupVersion": group_version(group, version),
                        "version": version,
                    })
                })
                .collect();
            json!({
                "kind": "APIGroup", "apiVersion": "v1", "name": group,
                "preferredVersion": versions.first(), "versions": versions,
            })
        })
        .collect();
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
}

fn resources(cluster: &Cluster, group: &str, version: &str) -> Reply {
    let served = |kind: &&std::sync::Arc<Kind>| {
        kind.group == group && kind.served.iter().any(|one| one == version)
    };
    let mut resources = Vec::new();
    for kind in cluster.store.kinds().filter(served) {
        resources.push(json!({
            "name": kind.plural,
            "singularName": kind.kind.to_lowercase(),
            "namespaced": kind.namespaced(),
            "kind": kind.kind,
            "shortNames": kind.short_names,
            "categories": if in_all(kind) { &["all"][..] } else { &[] },
            "verbs": [
                "create", "delete", "deletecollection", "get", "list", "patch", "update", "watch",
            ],
        }));
        if scale::scales(kind) {
            resources.push(json!({
                "name": format!("{}/scale", kind.plural),
                "singularName": "",
                "namespaced": true,
                "group": "autoscaling",
                "version": "v1",
                "kind": "Scale",
                "verbs": ["get", "patch", "update"],
            }));
        }
        if kind.status {
            resources.push(json!({
                "name": format!("{}/status", kind.plural),
                "singularName": "",
                "namespaced": kind.namespaced(),
                "kind": kind.kind,
                "verbs": ["get", "patch", "update"],
            }));
        }
    }
    if resources.is_empty() {
        return Reply::Text(404, "404 page not found\n".into());
    }
    Reply::Json(
        200,
        json!({
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": group_version(group, version),
            "resources": resources,
        }),
    )
}

/// Whether `kubectl get all` shows a kind.
fn in_all(kind: &Kind) -> bool {
    matches!(
        kind.resource.as_str(),
        kind::PODS
            | kind::DEPLOYMENTS
            | kind::REPLICA_SETS
            | kind::STATEFUL_SETS
            | kind::DAEMON_SETS
            | kind::JOBS
            | kind::CRON_JOBS
            | "services"
    )
}
