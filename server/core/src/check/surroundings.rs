//! What checks look at beside the view: read for one check, and not kept.

use crate::label::{Labels, Selector};
use crate::plane::Revision;
use std::collections::{BTreeMap, BTreeSet};

/// Everything that was read for one check.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The webhooks of both planes.
    pub webhooks: Vec<Webhook>,
    /// How each plane is configured, as far as it could be read.
    pub meshes: BTreeMap<Revision, Mesh>,
    /// The namespaces that Calisti's operator last noted as a plane's own, of the planes that could be read;
    /// none where it has noted nothing.
    pub noted: BTreeMap<Revision, Option<BTreeSet<String>>>,
    /// Disruption budgets of the namespaces.
    pub budgets: Vec<DisruptionBudget>,
    /// Autoscalers of the namespaces, and those of istiods.
    pub autoscalers: Vec<Autoscaler>,
    /// Workloads of the namespaces, beyond what is watched.
    pub workloads: Vec<WorkloadDetail>,
    /// What the target's injector made of their pod templates.
    pub trials: Vec<Trial>,
    /// Why pod templates could not be tried; none where they were.
    pub untried: Option<String>,
    /// Why only some of the answers were put beside a pod that runs; none where all were.
    pub uncompared: Option<String>,
    /// Istio's resources in the namespaces.
    pub resources: Vec<Resource>,
    /// Why they could not be validated; none where they were.
    pub unvalidated: Option<String>,
    /// Hosts that Services and ServiceEntries of the whole cluster offer; none where that was not read.
    pub hosts: Option<BTreeSet<String>>,
    /// Gateways of the Gateway API and of Calisti in the namespaces.
    pub gateways: Vec<Gateway>,
    /// DaemonSets of Istio's CNI plugin.
    pub cni: Vec<Cni>,
    /// What revshift's account may not do, though the plan needs it.
    pub denied: Vec<String>,
    /// What could not be read, and why.
    pub unread: Vec<Unread>,
}

/// One webhook of a plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// The plane: its configuration's label `istio.io/rev`.
    pub revision: Revision,
    /// `Kind/name` of its configuration.
    pub configuration: String,
    /// Its own name.
    pub name: String,
    /// What it is for.
    pub purpose: Purpose,
    /// The CA bundle by which the API server knows it; empty when there is none.
    pub ca_bundle: Vec<u8>,
    /// The Service behind it, `namespace/name`; none where it has a URL.
    pub service: Option<String>,
    /// Ready endpoints of that Service; none where they could not be read, or where it has a URL.
    pub endpoints: Option<u32>,
}

/// What a webhook is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It injects sidecars.
    Inject,
    /// It validates configuration.
    Validate,
}

/// How a plane is configured. Absent fields were not told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mesh {
    /// Trust domain.
    pub trust_domain: Option<String>,
    /// Id of the mesh.
    pub mesh_id: Option<String>,
    /// Network.
    pub network: Option<String>,
    /// Id of the cluster.
    pub cluster_id: Option<String>,
    /// Other trust domains that count as its own.
    pub aliases: BTreeSet<String>,
    /// The root certificates that its proxies trust, as [`certificates`] tells them; empty where not told.
    pub roots: BTreeSet<String>,
    /// The namespace whose configuration holds for all others.
    pub root_namespace: Option<String>,
    /// Which namespaces it looks at; empty: all.
    pub discovery: Vec<Selector>,
    /// Every setting of its mesh configuration, by its name; values in one normal form.
    pub settings: BTreeMap<String, String>,
}

/// The certificates of a bundle in PEM, each without white space, whatever their order and whatever is written
/// between them; the whole text where there are none.
pub fn certificates(bundle: &str) -> BTreeSet<String> {
    let text: String = bundle.split_whitespace().collect();
    let begun = text.split("-----BEGINCERTIFICATE-----").skip(1);
    let found: BTreeSet<String> = begun
        .filter_map(|it| Some(it.split_once("-----ENDCERTIFICATE-----")?.0.to_owned()))
        .collect();
    if found.is_empty() && !text.is_empty() { BTreeSet::from([text]) } else { found }
}

/// A PodDisruptionBudget.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisruptionBudget {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The pods that it counts.
    pub selector: Selector,
    /// Disruptions that it allows now.
    pub allowed: u32,
    /// Pods that it counts.
    pub pods: u32,
}

/// A HorizontalPodAutoscaler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Autoscaler {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `Kind/name` of what it scales.
    pub target: String,
    /// Replicas that there are.
    pub current: u32,
    /// Replicas that there may be.
    pub most: u32,
}

/// What is told of a workload by its whole specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadDetail {
    /// Its namespace.
    pub namespace: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The labels of its pods.
    pub labels: Labels,
    /// The annotations of its pods.
    pub annotations: Labels,
    /// Whether all pods are deleted before new ones are created.
    pub recreates: bool,
    /// Whether its strategy allows neither a pod less nor a pod more.
    pub rigid: bool,
}

/// What an injector made of one pod template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Namespace of the workload.
    pub namespace: String,
    /// Kind of the workload.
    pub kind: String,
    /// Name of the workload.
    pub name: String,
    /// The pod that would be, or why the injector refused it.
    pub outcome: Result<Option<Sidecar>, String>,
    /// The sidecar of a running pod of the workload: none where none runs, or none was looked at; and
    /// where one runs without.
    pub running: Option<Option<Sidecar>>,
}

impl Trial {
    /// `Kind/namespace/name` of the workload.
    pub fn workload(&self) -> String {
        format!("{}/{}/{}", self.kind, self.namespace, self.name)
    }
}

/// A sidecar as a pod has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sidecar {
    /// Its image.
    pub image: String,
    /// Whether it is an init container that keeps running.
    pub native: bool,
    /// Its ports, in order.
    pub ports: Vec<String>,
    /// Its requests and limits, in order.
    pub resources: Vec<String>,
    /// What redirects the pod's traffic to it.
    pub redirection: Redirection,
}

/// What redirects a pod's traffic to its sidecar.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Redirection {
    /// The init container `istio-init`.
    #[default]
    Init,
    /// Istio's CNI plugin, whose work the init container `istio-validation` proves.
    Cni,
    /// Nothing, as with `sidecar.istio.io/interceptionMode: NONE`.
    None,
}

/// One of Istio's resources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What the target's validator says against it; empty when nothing.
    pub refused: Option<String>,
    /// What the target's validator warns of.
    pub warnings: Vec<String>,
    /// What istiod's analysis noted in its status.
    pub messages: Vec<Message>,
    /// The API versions by which its fields were last written.
    pub api_versions: BTreeSet<String>,
    /// The value of its label `istio.io/rev`: only that plane reads it.
    pub revision: Option<String>,
    /// Versions of the proxy that an EnvoyFilter is tied to: regular expressions.
    pub proxy_versions: Vec<String>,
    /// Hosts that it routes to.
    pub destinations: Vec<String>,
    /// Gateways that it names, each as `namespace/name`.
    pub gateways: Vec<String>,
}

impl Resource {
    /// `Kind/namespace/name`.
    pub fn object(&self) -> String {
        format!("{}/{}/{}", self.kind, self.namespace, self.name)
    }
}

/// What istiod's analysis says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its code, such as `IST0101`.
    pub code: String,
    /// How grave it is: `ERROR`, `WARNING` or `INFO`.
    pub level: String,
    /// Where it is explained; may be empty.
    pub url: String,
}

/// A gateway that is described by a resource of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Its kind: `Gateway` (of the Gateway API) or `IstioMeshGateway`.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The plane that it names itself; none where its namespace decides.
    pub revision: Option<String>,
    /// Whether it is a waypoint.
    pub waypoint: bool,
}

/// A DaemonSet of Istio's CNI plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cni {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The plane that owns it; none where it says so of none.
    pub revision: Option<String>,
    /// Nodes that it is to run on.
    pub desired: u32,
    /// Nodes that it is ready on.
    pub ready: u32,
}

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
}
