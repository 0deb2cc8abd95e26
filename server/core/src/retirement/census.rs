//! Everything that may refer to a plane, as quorum reads have shown it.

use super::{Subject, Target};
use crate::cluster::Cluster;
use crate::connection::Connections;
use crate::migration::Migration;
use crate::plane::Revision;
use crate::pod::InjectionWish;
use crate::workload::WorkloadKey;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// One count of a plane's users. What could not be read is in it, too, and blocks.
#[derive(Clone, Debug, Default)]
pub struct Census {
    /// The plane's resource as it is now; none when it is gone.
    pub plane: Option<Subject>,
    /// Whether the plane's resource is being deleted already, by whomever.
    pub deleting: bool,
    /// Namespaces, pods, workloads, injectors and planes.
    pub cluster: Cluster,
    /// Workloads that are the plane's own, by namespace: its istiod, its mesh expansion gateway.
    pub own: BTreeSet<(String, WorkloadKey)>,
    /// Pod templates that name a revision.
    pub templates: Vec<Template>,
    /// Gateways that istiod or an operator makes.
    pub gateways: Vec<Gateway>,
    /// WorkloadGroups and WorkloadEntries that name a revision.
    pub machines: Vec<Machine>,
    /// The revision of the default validator; none where there is no such validator.
    pub validator: Option<String>,
    /// The node agents of Istio's CNI.
    pub cnis: Vec<Cni>,
    /// Sealed migrations.
    pub migrations: Vec<Migration>,
    /// Migrations that are just being stored, with their two planes, or cannot be understood.
    pub unsealed: BTreeMap<String, [String; 2]>,
    /// Planes that retirements which have not ended are of.
    pub retiring: BTreeSet<Revision>,
    /// Who is connected, as the plane's istiods say.
    pub connections: Connections,
    /// What is seen of the operator that has to delete the plane.
    pub operator: OperatorTraces,
    /// The parent that would make the plane anew, as `kind/name`; none where there is none.
    pub kept_by: Option<String>,
    /// What manages the plane's resource from outside, as its marks tell; none where nothing does.
    pub keeper: Option<Keeper>,
    /// Webhooks of others that call the plane's Services.
    pub callers: Vec<Caller>,
    /// Planes of which only webhooks are here, and these call a Service that nobody answers.
    pub unanswered: BTreeSet<Revision>,
    /// What is to be deleted, in a safe order.
    pub targets: Vec<Target>,
    /// Which of it revshift's account may not delete, and what the API server says.
    pub forbidden: Vec<(Target, String)>,
    /// What could not be read, and why.
    pub unread: Vec<(String, String)>,
    /// Whether new users are kept away; none where that was not tried.
    pub cordon: Option<Cordon>,
}

/// What manages a plane's resource from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keeper {
    /// A GitOps controller, which may make anew what others delete: its name, and what tells of it.
    GitOps(String),
    /// A release of Helm's, in the plane's namespace, which lists what is gone.
    Helm(String),
}

/// A webhook that calls a Service of the plane and does not belong to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its configuration, as `kind/name`.
    pub configuration: String,
    /// The Service, as `namespace/name`.
    pub service: String,
}

impl Census {
    /// Whether a plane's name leads to another plane: a tag of that name does, and its webhook injects.
    pub fn leads_elsewhere(&self, revision: &Revision) -> bool {
        self.cluster.tag(revision.as_str()).is_some_and(|plane| plane != revision)
    }
}

/// A pod template that asks for something of injectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// Kind of the object that has it.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// What it asks for.
    pub wish: InjectionWish,
}

/// A gateway that is not simply a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// `Gateway` or `IstioMeshGateway`.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The revision or tag that it names itself; none where its namespace decides.
    pub revision: Option<String>,
}

/// A WorkloadGroup or WorkloadEntry that names a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Kind.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// The revision or tag that it names.
    pub revision: String,
}

/// A node agent of Istio's CNI.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cni {
    /// Namespace of the DaemonSet.
    pub namespace: String,
    /// Name of the DaemonSet.
    pub name: String,
    /// The revision that it carries; none where it is nobody's.
    pub revision: Option<String>,
    /// Nodes that it is to run on.
    pub nodes: u32,
    /// Whether it is ready on every node.
    pub ready: bool,
}

/// What is seen of an operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorTraces {
    /// Namespaces that it says are attached to the plane; none where it says no such thing.
    pub namespaces: Option<BTreeSet<String>>,
    /// When it has written that last, where the object tells.
    pub written: Option<Timestamp>,
    /// Its Deployments, as `namespace/name`, and whether each is available.
    pub deployments: Vec<(String, bool)>,
}

/// Whether new users of a plane are kept away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cordon {
    /// One was tried, and denied.
    Active,
    /// It was let in, or the try had no clear answer: why.
    Missing(String),
}
