//! Reviews of what a client may do: everything, but for what was taken from all of them.

use serde_json::{Value, json};

use super::Reply;
use crate::cluster::Cluster;
use crate::object;
use crate::route::{Request, Route};

/// Whether a request is such a review.
pub(super) fn asks(request: &Request, route: &Route) -> bool {
    request.method == http::Method::POST
        && route.group == "authorization.k8s.io"
        && route.plural == "selfsubjectaccessreviews"
        && route.name.is_none()
}

pub(super) fn answer(cluster: &Cluster, request: &Request) -> Reply {
    let mut review: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let of = |field: &str| object::text(&review, &format!("/spec/resourceAttributes/{field}"));
    let resource = match of("subresource") {
        "" => of("resource").to_owned(),
        subresource => format!("{}/{subresource}", of("resource")),
    };
    let allowed = !cluster.forbidden.contains(&(of("verb").to_owned(), resource));
    let reason = if allowed { "" } else { "RBAC: no rule grants it" };
    object::set(&mut review, "/status", json!({ "allowed": allowed, "reason": reason }));
    Reply::Json(201, review)
}
