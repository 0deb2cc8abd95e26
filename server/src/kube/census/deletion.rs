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
const KINDS: [(&str, &str, &str); 12] = [
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
        let Some(plane) = &census.plane else {
            return;
        };
        let operated = match plane.source {
            Source::Calisti => Some((OPERATED[0], plane.namespace.clone())),
            Source::Sail => Some((OPERATED[1], String::new())),
            Source::Istio => None,
        };
        if let Some(((api, kind, _), namespace)) = operated {
            let (name, uid) = (plane.name.clone(), plane.uid.clone());
            let (api, kind) = (api.to_owned(), kind.to_owned());
            census.targets = vec![Target { api, kind, namespace, name, uid }];
            return;
        }
        for (api, kind, plural) in KINDS {
            let params = ListParams::default().labels(&self.selector());
            for found in reader.selected(&resource(api, kind, plural), params).await {
                if is_of_istiod(&found, &self.question.namespace) {
                    census.targets.push(Target {
                        api: api.to_owned(),
                        kind: kind.to_owned(),
                        namespace: found.namespace().unwrap_or_default(),
                        name: found.name_any(),
                        uid: found.uid().unwrap_or_default(),
                    });
                }
            }
        }
    }

    fn selector(&self) -> String {
        format!("{}={}", label::REVISION, self.question.revision)
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
    for target in targets {
        let found = api(client, target).get_metadata_opt(&target.name).await;
        match found {
            Ok(found) => {
                let mine = found.filter(|it| it.uid().as_deref() == Some(target.uid.as_str()));
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

/// Whether an object that carries the revision is istiod's own: in its namespace, and marked as such by
/// Istio's charts. What carries it otherwise is somebody else's.
fn is_of_istiod(object: &DynamicObject, home: &str) -> bool {
    let labels = object.labels();
    let at_home = object.namespace().is_none_or(|namespace| namespace == home);
    let component = labels.get(COMPONENT).is_some_and(|component| component == "Pilot");
    let app =
        labels.get("app").is_some_and(|app| ["istiod", "sidecar-injector"].contains(&app.as_str()));
    at_home && (component || app) && !labels.contains_key(label::TAG)
}
