//! The admission policy of revshift's deploy/retirement.yaml, as a rule of its own: it is in force while
//! its binding is there. Webhook configurations are exempt, as the API server exempts them from policies.

use serde_json::Value;

use super::Cluster;
use crate::kind::{self, Kind};
use crate::object;
use crate::refusal::Refusal;

/// The name of the policy and of its binding.
const POLICY: &str = "revshift-retirement";

/// Where an object may name a plane by labels: its own, those of its pods, those of its jobs' pods.
const LABELS: [&str; 3] = [
    "/metadata/labels",
    "/spec/template/metadata/labels",
    "/spec/jobTemplate/spec/template/metadata/labels",
];
/// The same of machines.
const OF_MACHINES: [&str; 2] = ["/spec/metadata/labels", "/spec/labels"];

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
        let of_planes = ["istiod", "istio-meshexpansion-gateway"].contains(&app);
        let (named, refuses) = (names(next), refuses(next));
        let known = before.map(names).unwrap_or_default();
        for retirement in self.store.list(kind::RETIREMENTS, None) {
            let revision = object::text(retirement, "/spec/revision").to_owned();
            let cordoned = object::flag(retirement, "/status/cordoned");
            let home = object::text(retirement, "/spec/namespace");
            let own = of_planes && object::namespace(next) == home;
            let newly = (0..named.len()).any(|i| {
                named[i] == revision
                    && known.get(i) != Some(&revision)
                    && !refuses.get(i).is_some_and(|refuses| *refuses)
            });
            if !cordoned || own || !newly {
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

/// The revisions that an object names, by place; a namespace names `default` also by `istio-injection`.
fn names(object: &Value) -> Vec<String> {
    let named = |at: &str| object::text(object, &format!("{at}/istio.io~1rev")).to_owned();
    let plane = object::text(object, "/spec/istioControlPlane/name").replace('.', "-");
    let namespace = match object::text(object, "/spec/istioControlPlane/namespace") {
        "" => object::namespace(object),
        namespace => namespace,
    };
    let is_namespace = object::text(object, "/kind") == "Namespace";
    let enabled = object::label(object, "istio-injection") == Some("enabled") && is_namespace;
    let labels = LABELS.into_iter().map(named);
    let machines = OF_MACHINES.into_iter().map(named);
    let default = if enabled { "default" } else { "" };
    labels
        .chain([format!("{plane}.{namespace}")])
        .chain(machines)
        .chain([default.to_owned()])
        .collect()
}

/// Whether the pods of each of those places are never injected.
fn refuses(object: &Value) -> [bool; 3] {
    let [own, pods, jobs] =
        LABELS.map(|at| object::text(object, &format!("{at}/sidecar.istio.io~1inject")) == "false");
    let is_pod = object::at(object, "/spec/containers").is_some();
    [own && is_pod, pods, jobs]
}
