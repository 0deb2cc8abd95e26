//! What a plane's deletion takes away, whether it may, and what is left.
//!
//! A plane of an operator goes by its one resource: the operator does the rest. One that nobody operates
//! goes object by object, its webhooks before the istiod that answers them, since a webhook that nobody
//! answers would refuse what it still selects. What other revisions share has no revision in its labels.

use super::reader::{self, Reader};
use super::{Question, lists};
use k8s_openapi::api::apps::v1::DaemonSet;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Preconditions,
};
use kube::core::PartialObjectMeta;
use kube::{Client, Error, ResourceExt};
use revshift_core::label;
use revshift_core::plane::Source;
use revshift_core::retirement::census::Census;
use revshift_core::retirement::{DeleteRefusal, Look, Present, Subject, Target};
use std::time::Duration;
use tracing::{info, warn};

/// The component of objects that belong to istiod itself.
const COMPONENT: &str = "operator.istio.io/component";

/// Kinds of a plane that no operator runs, in the order in which they go: API, kind, plural.
const KINDS: [(&str, &str, &str); 15] = [
    (
        "admissionregistration.k8s.io/v1",
        "MutatingWebhookConfiguration",
        "mutatingwebhookconfigurations",
    ),
    (
        "admissionregistration.k8s.io/v1",
        "ValidatingWebhookConfiguration",
        "validatingwebhookconfigurations",
    ),
    ("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    ("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    ("apps/v1", "Deployment", "deployments"),
    ("v1", "Service", "services"),
    ("v1", "ConfigMap", "configmaps"),
    ("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"),
    ("rbac.authorization.k8s.io/v1", "Role", "roles"),
    ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles"),
    ("v1", "ServiceAccount", "serviceaccounts"),
    ("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    (
        "admissionregistration.k8s.io/v1",
        "ValidatingAdmissionPolicyBinding",
        "validatingadmissionpolicybindings",
    ),
    ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies"),
];

/// What Istio's charts leave without the label of the revision: kind, and its name by the revision (with a
/// dash before it, or empty for the revision `default`) and the namespace.
const NAMED: [(&str, &str); 11] = [
    ("ClusterRole", "istiod-clusterrole{rev}-{home}"),
    ("ClusterRole", "istiod-gateway-controller{rev}-{home}"),
    ("ClusterRole", "istio-reader-clusterrole{rev}-{home}"),
    ("ClusterRoleBinding", "istiod-clusterrole{rev}-{home}"),
    ("ClusterRoleBinding", "istiod-gateway-controller{rev}-{home}"),
    ("ClusterRoleBinding", "istio-reader-clusterrole{rev}-{home}"),
    ("Role", "istiod{rev}"),
    ("RoleBinding", "istiod{rev}"),
    ("ServiceAccount", "istiod{rev}"),
    ("ValidatingAdmissionPolicy", "stable-channel-policy{rev}-{home}.istio.io"),
    ("ValidatingAdmissionPolicyBinding", "stable-channel-policy-binding{rev}-{home}.istio.io"),
];

/// By which labels Istio's charts mark what belongs to istiod.
const MARKS: [(&str, &[&str]); 3] = [
    (COMPONENT, &["Pilot"]),
    ("app", &["istiod", "sidecar-injector", "istio-reader"]),
    ("app.kubernetes.io/name", &["istiod"]),
];

/// Resources by which operators run planes.
const OPERATED: [(&str, &str, &str); 2] = [
    ("servicemesh.cisco.com/v1alpha1", "IstioControlPlane", "istiocontrolplanes"),
    ("sailoperator.io/v1", "IstioRevision", "istiorevisions"),
];

/// The deletion of a plane, as it is prepared by a census.
pub(super) struct Dismantling<'a> {
    pub(super) client: &'a Client,
    pub(super) question: &'a Question,
}

impl Dismantling<'_> {
    /// What is to be deleted, in order.
    pub(super) async fn targets(&self, reader: &mut Reader<'_>, census: &mut Census) {
        if self.question.source != Source::Istio {
            census.targets = census.plane.iter().map(heart).collect();
            return;
        }
        let revision = self.question.revision.as_str();
        let labelled = ListParams::default().labels(&format!("{}={revision}", label::REVISION));
        for (api, kind, plural) in KINDS {
            let resource = resource(api, kind, plural);
            let mut found = reader.selected(&resource, labelled.clone()).await;
            for name in self.names(kind) {
                let named = ListParams::default().fields(&format!("metadata.name={name}"));
                let named = reader.selected(&resource, named).await.into_iter();
                found.extend(named.filter(|it| !it.labels().contains_key(label::REVISION)));
            }
            found.retain(|it| is_of_istiod(it, &self.question.namespace));
            census.targets.extend(found.iter().map(|it| Target {
                api: api.to_owned(),
                kind: kind.to_owned(),
                namespace: it.namespace().unwrap_or_default(),
                name: it.name_any(),
                uid: it.uid().unwrap_or_default(),
            }));
        }
    }

    /// The names of the charts for this plane.
    fn names(&self, kind: &str) -> impl Iterator<Item = String> {
        let Question { revision, namespace, .. } = self.question;
        let revision = match revision.as_str() {
            "default" => String::new(),
            other => format!("-{other}"),
        };
        let named = NAMED.into_iter().filter(move |(of, _)| *of == kind);
        named.map(move |(_, name)| name.replace("{rev}", &revision).replace("{home}", namespace))
    }

    /// Tries each deletion without doing it.
    pub(super) async fn rights(&self, census: &mut Census) {
        for target in &census.targets {
            let params = DeleteParams { dry_run: true, ..params(target, None) };
            if let Err(Error::Api(status)) =
                api(self.client, target).delete(&target.name, &params).await
                && status.is_forbidden()
            {
                census.forbidden.push((target.clone(), status.message));
            }
        }
    }
}

/// What is left of a plane.
pub(super) async fn look(
    client: &Client,
    plane: &Subject,
    targets: &[Target],
    elapsed: Duration,
) -> Look {
    let mut look = Look { at: elapsed, ..Look::default() };
    let heart = heart(plane);
    if !targets.contains(&heart) {
        match api(client, &heart).get_metadata_opt(&heart.name).await {
            Ok(found) if found.as_ref().is_some_and(|it| is_another(it, &heart)) => {
                look.anew.push(heart.object());
            }
            Ok(_) => {}
            Err(Error::Api(status)) if status.code == 404 => {}
            Err(error) => look.unread.push((heart.object(), error.to_string())),
        }
    }
    for target in targets {
        let found = api(client, target).get_metadata_opt(&target.name).await;
        match found {
            Ok(found) => {
                if found.as_ref().is_some_and(|it| is_another(it, target)) {
                    look.anew.push(target.object());
                }
                let mine = found.filter(|it| !is_another(it, target));
                look.present.push(mine.map(|it| Present {
                    resource_version: it.resource_version().unwrap_or_default(),
                    deleting: it.metadata.deletion_timestamp.as_ref().map(|time| time.0),
                    finalizers: it.finalizers().to_vec(),
                }));
            }
            Err(Error::Api(status)) if status.code == 404 => look.present.push(None),
            Err(error) => look.unread.push((target.object(), error.to_string())),
        }
    }
    let mine = format!("{}={}", label::REVISION, plane.revision);
    for (group_version, kind, plural) in KINDS.into_iter().take(2) {
        let resource = resource(group_version, kind, plural);
        let api = Api::<PartialObjectMeta<DynamicObject>>::all_with(client.clone(), &resource);
        match reader::all(&api, ListParams::default().labels(&mine)).await {
            Ok(found) => {
                look.webhooks.extend(found.iter().map(|it| format!("{kind}/{}", it.name_any())));
            }
            Err(error) => look.unread.push((plural.to_owned(), error.to_string())),
        }
    }
    match reader::all(&Api::<DaemonSet>::all(client.clone()), ListParams::default()).await {
        Ok(agents) => {
            let cnis = agents.iter().filter_map(lists::cni);
            let others =
                cnis.filter(|cni| cni.revision.as_deref() != Some(plane.revision.as_str()));
            let unready = others.filter(|cni| !cni.ready);
            look.unready = unready.map(|cni| format!("{}/{}", cni.namespace, cni.name)).collect();
        }
        Err(error) => look.unread.push(("daemonsets.apps".to_owned(), error.to_string())),
    }
    look
}

/// Deletes exactly this object, in exactly this version. Whether it was done is for the next look to tell;
/// what repeating does not mend is told here.
pub(super) async fn delete(
    client: &Client,
    target: &Target,
    version: String,
) -> Option<DeleteRefusal> {
    let object = target.object();
    info!(object, "deleting");
    match api(client, target).delete(&target.name, &params(target, Some(version))).await {
        Ok(_) => None,
        Err(Error::Api(status)) if [404, 408, 409, 410, 429].contains(&status.code) => None,
        Err(Error::Api(status)) if status.code < 500 => {
            warn!(object, message = status.message, "its deletion is refused");
            Some(DeleteRefusal { object, message: status.message })
        }
        Err(error) => {
            warn!(object, %error, "its deletion had no clear reply");
            None
        }
    }
}

fn params(target: &Target, resource_version: Option<String>) -> DeleteParams {
    let preconditions = Preconditions { uid: Some(target.uid.clone()), resource_version };
    DeleteParams { preconditions: Some(preconditions), ..DeleteParams::background() }
}

fn api(client: &Client, target: &Target) -> Api<DynamicObject> {
    let mut known = OPERATED.into_iter().chain(KINDS);
    let known = known.find(|(api, kind, _)| *api == target.api && *kind == target.kind);
    let plural =
        known.map_or_else(|| format!("{}s", target.kind.to_lowercase()), |(.., it)| it.to_owned());
    let resource = resource(&target.api, &target.kind, &plural);
    match target.namespace.as_str() {
        "" => Api::all_with(client.clone(), &resource),
        namespace => Api::namespaced_with(client.clone(), namespace, &resource),
    }
}

fn resource(api: &str, kind: &str, plural: &str) -> ApiResource {
    let (group, version) = api.rsplit_once('/').unwrap_or(("", api));
    ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), plural)
}

/// The resource that stands for a plane.
fn heart(plane: &Subject) -> Target {
    let (api, kind, namespace) = match plane.source {
        Source::Calisti => (OPERATED[0].0, OPERATED[0].1, plane.namespace.clone()),
        Source::Sail => (OPERATED[1].0, OPERATED[1].1, String::new()),
        Source::Istio => ("apps/v1", "Deployment", plane.namespace.clone()),
    };
    let (api, kind) = (api.to_owned(), kind.to_owned());
    Target { api, kind, namespace, name: plane.name.clone(), uid: plane.uid.clone() }
}

fn is_another(found: &PartialObjectMeta<DynamicObject>, target: &Target) -> bool {
    found.uid().as_deref() != Some(target.uid.as_str())
}

/// Whether an object that carries the revision is istiod's own: in its namespace, and marked as such by
/// Istio's charts. What carries it otherwise is somebody else's.
fn is_of_istiod(object: &DynamicObject, home: &str) -> bool {
    let labels = object.labels();
    let at_home = object.namespace().is_none_or(|namespace| namespace == home);
    let mut marks = MARKS.iter();
    let marked = marks.any(|(key, values)| {
        labels.get(*key).is_some_and(|value| values.contains(&value.as_str()))
    });
    at_home && marked && !labels.contains_key(label::TAG)
}
