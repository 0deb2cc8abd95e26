//! The commands that take users away from a plane.

use super::census::Census;
use crate::plane::{Revision, Source};

/// Where users of `revision` could go: the only other plane that is Available, or a word for one.
pub(super) fn elsewhere(census: &Census, revision: &Revision) -> String {
    let planes = census.cluster.planes().values();
    let injects = |of: &Revision| census.cluster.injectors_of(of).next().is_some();
    let others = planes.filter(|plane| plane.available && plane.revision != *revision);
    let mut others = others.filter(|plane| injects(&plane.revision));
    match (others.next(), others.next()) {
        (Some(only), None) => only.revision.to_string(),
        _ => "REVISION".to_owned(),
    }
}

/// Moves a namespace.
pub(super) fn migrate(revision: &Revision, elsewhere: &str, namespace: &str) -> String {
    format!("revshift migrate --from {revision} --to {elsewhere} -n {namespace}")
}

/// Has a tag lead to another revision.
pub(super) fn tag(name: &str, elsewhere: &str) -> String {
    format!("istioctl tag set {name} --revision {elsewhere} --overwrite")
}

/// Has an object name another revision in its label.
pub(super) fn relabel(kind: &str, namespace: &str, name: &str, elsewhere: &str) -> String {
    let kind = kind.to_lowercase();
    format!("kubectl -n {namespace} label {kind} {name} istio.io/rev={elsewhere} --overwrite")
}

/// Has a pod template name another revision.
pub(super) fn template(kind: &str, namespace: &str, name: &str, elsewhere: &str) -> String {
    let template =
        format!(r#"{{"template":{{"metadata":{{"labels":{{"istio.io/rev":"{elsewhere}"}}}}}}}}"#);
    let spec = match kind {
        "Job" => return format!("kubectl -n {namespace} delete job {name}, once it may go"),
        "CronJob" => format!(r#"{{"jobTemplate":{{"spec":{template}}}}}"#),
        _ => template,
    };
    let kind = kind.to_lowercase();
    format!(r#"kubectl -n {namespace} patch {kind} {name} --type merge -p '{{"spec":{spec}}}'"#)
}

/// Restarts what makes pods.
pub(super) fn restart(namespace: &str, kind: &str, name: &str) -> String {
    match kind {
        "Deployment" | "StatefulSet" | "DaemonSet" => {
            let kind = kind.to_lowercase();
            format!("kubectl -n {namespace} rollout restart {kind}/{name}")
        }
        "Rollout" => format!("kubectl argo rollouts restart {name} -n {namespace}"),
        "Job" | "CronJob" => format!("wait until it ends, or delete the Job in {namespace}"),
        "Pod" => format!("recreate it: kubectl -n {namespace} delete pod {name}"),
        _ => format!("have its controller replace its pods in {namespace}"),
    }
}

/// How an IstioMeshGateway goes: to have it change its plane deletes its Deployment first.
pub(super) fn mesh_gateway(namespace: &str, name: &str, elsewhere: &str) -> String {
    format!(
        "create a second IstioMeshGateway for {elsewhere}, lead its traffic there, then: kubectl -n \
         {namespace} delete istiomeshgateway {name}"
    )
}

/// The word for a plane's source.
pub(super) fn operator(source: Source) -> &'static str {
    match source {
        Source::Calisti => "Calisti's operator of the plane's version",
        Source::Sail => "the Sail operator",
        Source::Istio => "no operator",
    }
}
