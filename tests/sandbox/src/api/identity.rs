//! Who asks, and tokens of ServiceAccounts.

use http::Method;
use serde_json::{Value, json};

use super::Reply;
use crate::route::{Request, Route};

/// The one token of audience `istio-ca` that there is.
pub(crate) const ISTIO_TOKEN: &str = "sandbox-token-for-istio-ca";
/// Who everybody is.
const USER: &str = "system:serviceaccount:revshift-system:revshift-server";

/// The answer to questions of identity; none to any other request.
pub(super) fn answer(request: &Request, route: &Route) -> Option<Reply> {
    if request.method != Method::POST {
        return None;
    }
    match (route.group.as_str(), route.plural.as_str(), route.subresource.as_deref()) {
        ("authentication.k8s.io", "selfsubjectreviews", None) => {
            let status = json!({ "userInfo": { "username": USER } });
            Some(Reply::Json(201, object("SelfSubjectReview", &json!({}), &status)))
        }
        ("", "serviceaccounts", Some("token")) => {
            let asked: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            let audiences = &asked["spec"]["audiences"];
            let token = if *audiences == json!(["istio-ca"]) { ISTIO_TOKEN } else { "sandbox" };
            let status = json!({ "token": token, "expirationTimestamp": "2126-01-01T00:00:00Z" });
            Some(Reply::Json(201, object("TokenRequest", &asked["spec"], &status)))
        }
        _ => None,
    }
}

fn object(kind: &str, spec: &Value, status: &Value) -> Value {
    json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": kind, "metadata": {},
        "spec": spec, "status": status,
    })
}
