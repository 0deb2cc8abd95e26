//! What revshift's own account may do of what a plan needs.

use super::Reading;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::api::{Api, PostParams};
use revshift_core::check::Scope;

/// Verb, group and resource of what a move writes.
const NEEDED: [(&str, &str, &str); 5] = [
    ("patch", "", "namespaces"),
    ("patch", "apps", "deployments"),
    ("patch", "apps", "statefulsets"),
    ("patch", "apps", "daemonsets"),
    ("create", "", "pods/eviction"),
];

/// The same of Argo Rollouts, where there are any.
const OF_ROLLOUTS: (&str, &str, &str) = ("patch", "argoproj.io", "rollouts");

pub(super) async fn read(reading: &mut Reading<'_>, scope: &Scope) {
    if scope.namespaces.is_empty() {
        return;
    }
    let api = Api::<SelfSubjectAccessReview>::all(reading.client.clone());
    let mut denied = Vec::new();
    let of_rollouts = reading.rollouts.then_some(OF_ROLLOUTS);
    for (verb, group, resource) in NEEDED.into_iter().chain(of_rollouts) {
        let (kind, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let attributes = ResourceAttributes {
            verb: some(verb),
            group: some(group),
            resource: some(kind),
            subresource: some(subresource),
            ..ResourceAttributes::default()
        };
        let spec = SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        };
        let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
        match api.create(&PostParams::default(), &review).await {
            Ok(review) => {
                if review.status.is_some_and(|status| !status.allowed) {
                    let group = some(group).map(|group| group + "/").unwrap_or_default();
                    denied.push(format!("{verb} {group}{resource}"));
                }
            }
            Err(error) => {
                reading.noted::<()>("revshift's own rights", Err(error));
                break;
            }
        }
    }
    reading.around.denied = denied;
}
