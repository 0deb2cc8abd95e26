//! The admission policy of revshift's deploy/retirement.yaml, as a rule of its own: it is in force while
//! its binding is there. Webhook configurations are exempt, as the API server exempts them from policies.

use serde_json::Value;

use super::Cluster;
use crate::kind::{self, Kind};
use crate::object;
use crate::refusal::Refusal;

/// The name of the policy and of its binding.
const POLICY: &str = "revshift-retirement";

const REVISION: &str = "/metadata/labels/istio.io~1rev";
const TEMPLATE: &str = "/spec/template/metadata/labels/istio.io~1rev";
const JOB_TEMPLATE: &str = "/spec/jobTemplate/spec/template/metadata/labels/istio.io~1rev";

impl Cluster {
    /// Denies what newly names a plane that is being retired.
    pub(super) fn admit_by_cordon(
        &self,
        kind: &Kind,
        before: Option<&Value>,
        next: &Value,
    ) -> Result<(), Refusal> {
        let exempt = kind.group.ends_with("k8s.io") && kind.group != "gateway.networking.k8s.io";
        if exempt || kind.group == "revshift.dev" {
            return Ok(());
        }
        if self.store.find(kind::POLICIES, "", POLICY).is_none() {
            return Ok(());
        }
        let app = object::label(next, "app").unwrap_or_default();
        let own = ["istiod", "istio-meshexpansion-gateway"].contains(&app)
            || object::label(next, "sidecar.istio.io/inject") == Some("false");
        let named = names(next);
        let known = before.map(names).unwrap_or_default();
        for retirement in self.store.list(kind::RETIREMENTS, None) {
            let revision = object::text(retirement, "/spec/revision").to_owned();
            let cordoned = object::flag(retirement, "/status/cordoned");
            if !cordoned || own || !named.contains(&revision) || known.contains(&revision) {
                continue;
            }
            let why = format!(
                "ValidatingAdmissionPolicy '{POLICY}' with binding '{POLICY}' denied request: control \
                 plane {revision} is being retired by {}",
                object::name(retirement)
            );
            return Err(Refusal::forbidden(kind, object::name(next), &why));
        }
        Ok(())
    }
}

/// The revisions that an object names.
fn names(object: &Value) -> Vec<String> {
    let labels =
        [REVISION, TEMPLATE, JOB_TEMPLATE].map(|path| object::text(object, path).to_owned());
    let plane = object::text(object, "/spec/istioControlPlane/name").replace('.', "-");
    let namespace = object::text(object, "/spec/istioControlPlane/namespace");
    labels.into_iter().chain([format!("{plane}.{namespace}")]).collect()
}
