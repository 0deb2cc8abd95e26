//! Who else decides on labels: GitOps controllers and Helm, told by what they leave on an object, and
//! Calisti's operator on behalf of another cluster.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::DynamicObject;
use revshift_core::cluster::{Object, Peer};
use revshift_core::label;
use revshift_core::plane::Revision;
use revshift_core::retirement::census;
use serde_json::Value;

/// The annotation by which the labels of a plane's namespaces follow those of its cluster.
const INJECTION_SOURCE: &str =
    "controlplane.istio.servicemesh.cisco.com/namespace-injection-source";

const HELM: &str = "Helm";

/// Helm's annotation with the name of the release.
const RELEASE: &str = "meta.helm.sh/release-name";

/// What puts labels back that others change.
struct Keeper {
    name: &'static str,
    /// Its field managers, by how their names begin.
    managers: &'static [&'static str],
    /// Labels and annotations by which it knows its objects, with the value where only one tells.
    marks: &'static [(&'static str, Option<&'static str>)],
}

const KEEPERS: [Keeper; 3] = [
    Keeper {
        name: "Argo CD",
        managers: &["argocd"],
        marks: &[("argocd.argoproj.io/tracking-id", None), ("argocd.argoproj.io/instance", None)],
    },
    Keeper {
        name: "Flux",
        managers: &["kustomize-controller", "helm-controller", "flux"],
        marks: &[("kustomize.toolkit.fluxcd.io/name", None), ("helm.toolkit.fluxcd.io/name", None)],
    },
    Keeper {
        name: HELM,
        managers: &["helm"],
        marks: &[(RELEASE, None), ("app.kubernetes.io/managed-by", Some("Helm"))],
    },
];

/// Who would put a namespace's label `istio.io/rev` back, and what tells so; none when nobody is known.
pub(super) fn owner(meta: &ObjectMeta) -> Option<String> {
    let managers: Vec<_> = managers(meta).collect();
    let by_field = KEEPERS.iter().find_map(|keeper| keeper.by_field(managers.iter().copied()));
    by_field.or_else(|| KEEPERS.iter().find_map(|keeper| keeper.by_mark(meta)))
}

/// What manages an object from outside; none when nobody is known. What Argo CD or Flux renders of a chart
/// carries Helm's marks, too, so they are asked for first.
pub(super) fn keeper(meta: &ObjectMeta) -> Option<census::Keeper> {
    let mut others = KEEPERS.iter().filter(|keeper| keeper.name != HELM);
    let managers = meta.managed_fields.iter().flatten().filter_map(|it| it.manager.as_deref());
    let other = others.find_map(|it| it.by_field(managers.clone()).or_else(|| it.by_mark(meta)));
    other.map(census::Keeper::GitOps).or_else(|| {
        let release = meta.annotations.as_ref()?.get(RELEASE)?;
        Some(census::Keeper::Helm(release.clone()))
    })
}

/// A copy of a plane in another cluster (PeerIstioControlPlane of servicemesh.cisco.com/v1alpha1).
pub(super) fn peer(object: &DynamicObject) -> Object {
    let (spec, status) = (&object.data["spec"], &object.data["status"]);
    let namespace = object.namespace().unwrap_or_default();
    let text = |value: &Value| value.as_str().filter(|it| !it.is_empty()).map(str::to_owned);
    let here = text(&status["istioControlPlaneName"]);
    let cluster = text(&status["clusterID"]).or_else(|| text(&spec["clusterID"]));
    Object::Peer(Peer {
        revision: Revision::of_calisti(&here.unwrap_or_else(|| object.name_any()), &namespace),
        cluster: cluster.unwrap_or_else(|| object.name_any()),
        source: object.annotations().get(INJECTION_SOURCE).is_some_and(|value| value == "true"),
    })
}

impl Keeper {
    /// The keeper, with the first of these field managers that is its own.
    fn by_field<'a>(&self, mut managers: impl Iterator<Item = &'a str>) -> Option<String> {
        let own = |manager: &&str| self.managers.iter().any(|known| manager.starts_with(known));
        let manager = managers.find(own)?;
        Some(format!("{} (field manager {manager})", self.name))
    }

    /// The keeper, with the first mark of its own that the object carries.
    fn by_mark(&self, meta: &ObjectMeta) -> Option<String> {
        let (mark, _) = self.marks.iter().find(|(key, value)| marked(meta, key, *value))?;
        Some(format!("{} (its mark {mark})", self.name))
    }
}

/// The field managers of the label.
fn managers(meta: &ObjectMeta) -> impl Iterator<Item = &str> {
    let path = ["f:metadata", "f:labels", &format!("f:{}", label::REVISION)].map(str::to_owned);
    let entries = meta.managed_fields.iter().flatten();
    let owning = entries.filter(move |entry| {
        let fields = entry.fields_v1.as_ref().map(|fields| &fields.0);
        path.iter().try_fold(fields, |fields, step| Some(fields?.get(step))).flatten().is_some()
    });
    owning.filter_map(|entry| entry.manager.as_deref())
}

fn marked(meta: &ObjectMeta, key: &str, wanted: Option<&str>) -> bool {
    let found = [&meta.labels, &meta.annotations].into_iter().flatten();
    let mut values = found.filter_map(|all| all.get(key));
    values.any(|value| wanted.is_none_or(|wanted| wanted == value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(metadata: Value) -> Option<String> {
        owner(&serde_json::from_value(metadata).unwrap())
    }

    fn managed(manager: &str, label: &str) -> Value {
        let fields = json!({ "f:metadata": { "f:labels": { label: {} } } });
        json!({ "managedFields": [{ "manager": manager, "fieldsV1": fields }] })
    }

    #[test]
    fn a_field_manager_of_the_label_tells() {
        for (manager, name) in [
            ("argocd-controller", "Argo CD"),
            ("kustomize-controller", "Flux"),
            ("helm-controller", "Flux"),
            ("helm", "Helm"),
        ] {
            let told = of(managed(manager, "f:istio.io/rev"));
            assert_eq!(told, Some(format!("{name} (field manager {manager})")));
            assert_eq!(of(managed(manager, "f:team")), None, "{manager}");
        }
        for manager in ["kubectl-label", "revshift"] {
            assert_eq!(of(managed(manager, "f:istio.io/rev")), None, "{manager}");
        }
    }

    #[test]
    fn their_labels_and_annotations_tell() {
        for (place, key, value, name) in [
            ("annotations", "argocd.argoproj.io/tracking-id", "a:/Namespace:x/x", "Argo CD"),
            ("labels", "kustomize.toolkit.fluxcd.io/name", "apps", "Flux"),
            ("annotations", "meta.helm.sh/release-name", "shop", "Helm"),
            ("labels", "app.kubernetes.io/managed-by", "Helm", "Helm"),
        ] {
            let told = of(json!({ place: { key: value } }));
            assert_eq!(told, Some(format!("{name} (its mark {key})")));
        }
        assert_eq!(of(json!({ "labels": { "app.kubernetes.io/managed-by": "ops" } })), None);
        assert_eq!(of(json!({})), None);
    }

    #[test]
    fn a_plane_is_kept_by_gitops_and_listed_by_helm() {
        let of = |metadata: Value| keeper(&serde_json::from_value(metadata).unwrap());
        let helm = json!({ "annotations": { "meta.helm.sh/release-name": "istiod-1-30" } });
        assert_eq!(of(helm), Some(census::Keeper::Helm("istiod-1-30".to_owned())));
        let argo = "Argo CD (field manager argocd-controller)".to_owned();
        let told = of(managed("argocd-controller", "f:team"));
        assert_eq!(told, Some(census::Keeper::GitOps(argo)));
        let flux = json!({
            "labels": { "helm.toolkit.fluxcd.io/name": "istiod" },
            "annotations": { "meta.helm.sh/release-name": "istiod" },
        });
        assert!(matches!(of(flux), Some(census::Keeper::GitOps(by)) if by.starts_with("Flux")));
        assert_eq!(of(json!({ "labels": { "app.kubernetes.io/managed-by": "Helm" } })), None);
        assert_eq!(of(managed("kubectl", "f:team")), None);
        // Argo CD renders charts, whose objects carry the mark of Helm all the same.
        let mut rendered = managed("argocd-controller", "f:team");
        rendered["labels"] = json!({ "app.kubernetes.io/managed-by": "Helm" });
        assert!(matches!(of(rendered), Some(census::Keeper::GitOps(by)) if by.starts_with("Argo")));
    }
}
