//! The kinds of objects that the server knows: a fixed table, and those that
//! CustomResourceDefinitions add and take away.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::object;

pub(crate) const NAMESPACES: &str = "namespaces";
pub(crate) const PODS: &str = "pods";
pub(crate) const EVENTS: &str = "events";
pub(crate) const NODES: &str = "nodes";
pub(crate) const QUOTAS: &str = "resourcequotas";
pub(crate) const LIMIT_RANGES: &str = "limitranges";
pub(crate) const SERVICES: &str = "services";
pub(crate) const ENDPOINT_SLICES: &str = "endpointslices.discovery.k8s.io";
pub(crate) const REPLICATION_CONTROLLERS: &str = "replicationcontrollers";
pub(crate) const DEPLOYMENTS: &str = "deployments.apps";
pub(crate) const REPLICA_SETS: &str = "replicasets.apps";
pub(crate) const STATEFUL_SETS: &str = "statefulsets.apps";
pub(crate) const DAEMON_SETS: &str = "daemonsets.apps";
pub(crate) const REVISIONS: &str = "controllerrevisions.apps";
pub(crate) const JOBS: &str = "jobs.batch";
pub(crate) const CRON_JOBS: &str = "cronjobs.batch";
pub(crate) const LEASES: &str = "leases.coordination.k8s.io";
pub(crate) const BUDGETS: &str = "poddisruptionbudgets.policy";
pub(crate) const WEBHOOKS: &str = "mutatingwebhookconfigurations.admissionregistration.k8s.io";
pub(crate) const POLICIES: &str = "validatingadmissionpolicybindings.admissionregistration.k8s.io";
pub(crate) const RETIREMENTS: &str = "retirements.revshift.dev";
pub(crate) const ROLLOUTS: &str = "rollouts.argoproj.io";
pub(crate) const DEFINITIONS: &str = "customresourcedefinitions.apiextensions.k8s.io";

/// Whether a kind's objects live in namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    Cluster,
    Namespaced,
}

/// One served kind.
#[allow(clippy::struct_field_names, reason = "the names are Kubernetes' own")]
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Kind {
    /// `plural.group`, or `plural` in the core group: the key of the store.
    pub(crate) resource: String,
    pub(crate) group: String,
    /// Storage version; objects are kept and answered in it.
    pub(crate) version: String,
    pub(crate) served: Vec<String>,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) plural: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) scope: Scope,
    /// Has `/status`, so that the main endpoint ignores `status`.
    pub(crate) status: bool,
    /// Counts `metadata.generation`.
    pub(crate) generation: bool,
    pub(crate) custom: bool,
    /// The structural schema of a custom kind.
    pub(crate) schema: Value,
    /// The additional printer columns of a custom kind.
    pub(crate) columns: Vec<Value>,
}

impl Kind {
    pub(crate) fn api_version(&self) -> String {
        group_version(&self.group, &self.version)
    }

    pub(crate) fn namespaced(&self) -> bool {
        self.scope == Scope::Namespaced
    }

    /// The kind that a stored CustomResourceDefinition describes.
    pub(crate) fn of_definition(definition: &Value) -> Option<Self> {
        let group = object::text(definition, "/spec/group").to_owned();
        let plural = object::text(definition, "/spec/names/plural").to_owned();
        let kind = object::text(definition, "/spec/names/kind").to_owned();
        let versions = object::list(definition, "/spec/versions");
        let storage = versions.iter().find(|one| object::flag(one, "/storage"))?;
        let list_kind = match object::text(definition, "/spec/names/listKind") {
            "" => format!("{kind}List"),
            given => given.to_owned(),
        };
        Some(Self {
            resource: format!("{plural}.{group}"),
            version: object::text(storage, "/name").to_owned(),
            served: versions
                .iter()
                .filter(|one| object::flag(one, "/served"))
                .map(|one| object::text(one, "/name").to_owned())
                .collect(),
            list_kind,
            short_names: object::list(definition, "/spec/names/shortNames")
                .iter()
                .filter_map(|one| Some(one.as_str()?.to_owned()))
                .collect(),
            scope: if object::text(definition, "/spec/scope") == "Cluster" {
                Scope::Cluster
            } else {
                Scope::Namespaced
            },
            status: object::at(storage, "/subresources/status").is_some(),
            generation: true,
            custom: true,
            schema: object::at(storage, "/schema/openAPIV3Schema").cloned().unwrap_or_default(),
            columns: object::list(storage, "/additionalPrinterColumns").to_vec(),
            group,
            kind,
            plural,
        })
    }
}

/// `group/version`, or the version alone in the core group.
pub(crate) fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

/// Whether a group belongs to Kubernetes itself: what is missing there is a gap of the
/// sandbox, whereas anything else missing is an absent CustomResourceDefinition.
pub(crate) fn is_own_group(group: &str) -> bool {
    const WITH_DOT: &[&str] = &[
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "apiregistration.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "certificates.k8s.io",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "events.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "networking.k8s.io",
        "node.k8s.io",
        "rbac.authorization.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
    ];
    !group.contains('.') || WITH_DOT.contains(&group)
}

/// The kinds of a cluster without CustomResourceDefinitions.
#[allow(clippy::too_many_lines, reason = "a table, a row for each kind")]
pub(crate) fn built_in() -> BTreeMap<String, Arc<Kind>> {
    use Scope::{Cluster, Namespaced};
    // Group, version, kind, plural, short name, scope, status subresource, generation.
    type Row =
        (&'static str, &'static str, &'static str, &'static str, &'static str, Scope, bool, bool);
    let table: &[Row] = &[
        ("", "v1", "Namespace", "namespaces", "ns", Cluster, true, false),
        ("", "v1", "Node", "nodes", "no", Cluster, true, false),
        ("", "v1", "Pod", "pods", "po", Namespaced, true, true),
        ("", "v1", "Event", "events", "ev", Namespaced, false, false),
        ("", "v1", "ConfigMap", "configmaps", "cm", Namespaced, false, false),
        ("", "v1", "ServiceAccount", "serviceaccounts", "sa", Namespaced, false, false),
        ("", "v1", "Service", "services", "svc", Namespaced, true, false),
        ("", "v1", "ResourceQuota", "resourcequotas", "quota", Namespaced, true, false),
        ("", "v1", "LimitRange", "limitranges", "limits", Namespaced, false, false),
        ("", "v1", "ReplicationController", "replicationcontrollers", "rc", Namespaced, true, true),
        ("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", "", Namespaced, false, true),
        ("apps", "v1", "Deployment", "deployments", "deploy", Namespaced, true, true),
        ("apps", "v1", "ReplicaSet", "replicasets", "rs", Namespaced, true, true),
        ("apps", "v1", "StatefulSet", "statefulsets", "sts", Namespaced, true, true),
        ("apps", "v1", "DaemonSet", "daemonsets", "ds", Namespaced, true, true),
        ("apps", "v1", "ControllerRevision", "controllerrevisions", "", Namespaced, false, false),
        ("batch", "v1", "Job", "jobs", "", Namespaced, true, true),
        ("batch", "v1", "CronJob", "cronjobs", "cj", Namespaced, true, true),
        (
            "policy",
            "v1",
            "PodDisruptionBudget",
            "poddisruptionbudgets",
            "pdb",
            Namespaced,
            true,
            true,
        ),
        (
            "autoscaling",
            "v2",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            "hpa",
            Namespaced,
            true,
            true,
        ),
        ("coordination.k8s.io", "v1", "Lease", "leases", "", Namespaced, false, false),
        (
            "admissionregistration.k8s.io",
            "v1",
            "MutatingWebhookConfiguration",
            "mutatingwebhookconfigurations",
            "",
            Cluster,
            false,
            true,
        ),
        (
            "admissionregistration.k8s.io",
            "v1",
            "ValidatingWebhookConfiguration",
            "validatingwebhookconfigurations",
            "",
            Cluster,
            false,
            true,
        ),
        (
            "admissionregistration.k8s.io",
            "v1",
            "ValidatingAdmissionPolicy",
            "validatingadmissionpolicies",
            "",
            Cluster,
            true,
            true,
        ),
        (
            "admissionregistration.k8s.io",
            "v1",
            "ValidatingAdmissionPolicyBinding",
            "validatingadmissionpolicybindings",
            "",
            Cluster,
            false,
            true,
        ),
        (
            "autoscaling",
            "v2",
            "HorizontalPodAutoscaler",
            "horizontalpodautoscalers",
            "hpa",
            Namespaced,
            true,
            false,
        ),
        (
            "networking.k8s.io",
            "v1",
            "NetworkPolicy",
            "networkpolicies",
            "netpol",
            Namespaced,
            false,
            true,
        ),
        ("rbac.authorization.k8s.io", "v1", "Role", "roles", "", Namespaced, false, false),
        (
            "rbac.authorization.k8s.io",
            "v1",
            "RoleBinding",
            "rolebindings",
            "",
            Namespaced,
            false,
            false,
        ),
        (
            "rbac.authorization.k8s.io",
            "v1",
            "ClusterRole",
            "clusterroles",
            "",
            Cluster,
            false,
            false,
        ),
        (
            "rbac.authorization.k8s.io",
            "v1",
            "ClusterRoleBinding",
            "clusterrolebindings",
            "",
            Cluster,
            false,
            false,
        ),
        (
            "apiextensions.k8s.io",
            "v1",
            "CustomResourceDefinition",
            "customresourcedefinitions",
            "crd",
            Cluster,
            true,
            true,
        ),
    ];
    table
        .iter()
        .map(|&(group, version, kind, plural, short, scope, status, generation)| {
            let resource =
                if group.is_empty() { plural.to_owned() } else { format!("{plural}.{group}") };
            let kind = Kind {
                resource: resource.clone(),
                group: group.to_owned(),
                version: version.to_owned(),
                served: vec![version.to_owned()],
                kind: kind.to_owned(),
                list_kind: format!("{kind}List"),
                plural: plural.to_owned(),
                short_names: if short.is_empty() { Vec::new() } else { vec![short.to_owned()] },
                scope,
                status,
                generation,
                custom: false,
                schema: Value::Null,
                columns: Vec::new(),
            };
            (resource, Arc::new(kind))
        })
        .collect()
}
