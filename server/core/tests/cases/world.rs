//! Builders of small clusters, in the words of the cluster itself.

use jiff::Timestamp;
use revshift_core::cluster::{Change, Cluster, Key, Kind, Lock, NamespaceMeta, Object, Peer};
use revshift_core::injection::Injector;
use revshift_core::label::{InjectionLabels, Labels, Operator, Requirement, Selector};
use revshift_core::migration::{Control, Migration, MigrationSpec, Move, MoveState};
use revshift_core::plane::{Plane, Revision, Source};
use revshift_core::pod::{Injected, InjectionWish, Make, Owner, Pod, TemplateHash};
use revshift_core::workload::{Complaints, InPlace, Role, Workload, WorkloadKey, WorkloadKind};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

pub(crate) const OLD: &str = "cp-v113x.istio-system";
pub(crate) const NEW: &str = "cp-v115x.istio-system";

pub(crate) fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(crate) fn wish(pairs: &[(&str, &str)]) -> InjectionWish {
    InjectionWish::among(&labels(pairs), &Labels::new())
}

pub(crate) fn is(key: &str, value: &str) -> Requirement {
    Requirement { key: key.to_owned(), operator: Operator::In(vec![value.to_owned()]) }
}

pub(crate) fn is_not(key: &str, value: &str) -> Requirement {
    Requirement { key: key.to_owned(), operator: Operator::NotIn(vec![value.to_owned()]) }
}

pub(crate) fn absent(key: &str) -> Requirement {
    Requirement { key: key.to_owned(), operator: Operator::DoesNotExist }
}

pub(crate) fn injector(
    configuration: &str,
    revision: &str,
    tag: Option<&str>,
    namespace: Vec<Requirement>,
    object: Vec<Requirement>,
) -> Injector {
    Injector {
        configuration: configuration.to_owned(),
        webhook: "rev.namespace.sidecar-injector.istio.io".to_owned(),
        revision: Revision(revision.to_owned()),
        tag: tag.map(str::to_owned),
        namespace: "istio-system".to_owned(),
        namespace_selector: Selector { requirements: namespace },
        object_selector: Selector { requirements: object },
        trusted: true,
    }
}

/// The two webhooks of a revision, or of a tag that leads to it.
pub(crate) fn revisioned(name: &str, revision: &str, tag: Option<&str>) -> Vec<Injector> {
    let value = tag.unwrap_or(revision);
    vec![
        injector(
            name,
            revision,
            tag,
            vec![is("istio.io/rev", value), absent("istio-injection")],
            vec![is_not("sidecar.istio.io/inject", "false")],
        ),
        injector(
            name,
            revision,
            tag,
            vec![absent("istio.io/rev"), absent("istio-injection")],
            vec![is("istio.io/rev", value), is_not("sidecar.istio.io/inject", "false")],
        ),
    ]
}

/// The webhooks of the default revision.
pub(crate) fn default_injectors(revision: &str) -> Vec<Injector> {
    let mut injectors = revisioned("istio-revision-tag-default", revision, Some("default"));
    injectors.push(injector(
        "istio-revision-tag-default",
        revision,
        Some("default"),
        vec![is("istio-injection", "enabled")],
        vec![is_not("sidecar.istio.io/inject", "false")],
    ));
    injectors.push(injector(
        "istio-revision-tag-default",
        revision,
        Some("default"),
        vec![absent("istio.io/rev"), absent("istio-injection")],
        vec![is("sidecar.istio.io/inject", "true"), absent("istio.io/rev")],
    ));
    injectors
}

pub(crate) fn calisti(revision: &str, available: bool) -> Plane {
    let (name, namespace) = revision.split_once('.').unwrap();
    Plane {
        revision: Revision(revision.to_owned()),
        source: Source::Calisti,
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        version: String::new(),
        mode: "ACTIVE".to_owned(),
        network: "network1".to_owned(),
        status: if available { "Available" } else { "ReconcileFailed" }.to_owned(),
        available,
        mesh_expansion: Some(true),
        gateway_addresses: Vec::new(),
        error: String::new(),
        created: None,
    }
}

/// A cluster that tests build up change by change.
#[derive(Clone, Default)]
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    version: u64,
}

impl World {
    /// The two planes of the procedure, with their webhooks.
    pub(crate) fn calisti() -> Self {
        let mut world = Self::default();
        for revision in [OLD, NEW] {
            world.plane(calisti(revision, true));
            world.injectors(revision, revisioned(revision, revision, None));
        }
        world
    }

    pub(crate) fn plane(&mut self, plane: Plane) {
        let key = key(&plane.namespace, &plane.name);
        let kind = Kind::Plane(plane.source);
        self.cluster.apply(Change::Set(kind, key, Object::Plane(Box::new(plane))));
    }

    /// A copy of a Calisti plane in another cluster.
    pub(crate) fn peer(&mut self, plane: &str, cluster: &str, source: bool) {
        let peer = Peer {
            revision: Revision::of_calisti(plane, "istio-system"),
            cluster: cluster.to_owned(),
            source,
        };
        let key = key("istio-system", &format!("{plane}-{cluster}"));
        self.cluster.apply(Change::Set(Kind::Peer, key, Object::Peer(peer)));
    }

    pub(crate) fn injectors(&mut self, name: &str, injectors: Vec<Injector>) {
        let change = Change::Set(Kind::Injector, key("", name), Object::Injectors(injectors));
        self.cluster.apply(change);
    }

    pub(crate) fn namespace(&mut self, name: &str, pairs: &[(&str, &str)]) {
        self.namespace_with(name, labels(pairs), None);
    }

    pub(crate) fn namespace_with(&mut self, name: &str, labels: Labels, lock: Option<Lock>) {
        self.version += 1;
        let meta = NamespaceMeta {
            uid: format!("uid-{name}"),
            resource_version: self.version.to_string(),
            labels,
            lock,
            terminating: false,
            order: 0,
            skip: false,
            label_manager: Some("kubectl".to_owned()),
            label_owner: None,
        };
        self.set_namespace(name, meta);
    }

    pub(crate) fn set_namespace(&mut self, name: &str, meta: NamespaceMeta) {
        let change = Change::Set(Kind::Namespace, key("", name), Object::Namespace(meta));
        self.cluster.apply(change);
    }

    pub(crate) fn edit_namespace(&mut self, name: &str, edit: impl FnOnce(&mut NamespaceMeta)) {
        self.version += 1;
        let mut meta = self.cluster.namespace(name).unwrap().0.clone();
        meta.resource_version = self.version.to_string();
        edit(&mut meta);
        self.set_namespace(name, meta);
    }

    pub(crate) fn gone(&mut self, kind: Kind, namespace: &str, name: &str) {
        self.cluster.apply(Change::Gone(kind, key(namespace, name)));
    }

    pub(crate) fn workload(&mut self, namespace: &str, workload: Workload) {
        self.version += 1;
        let mut workload = workload;
        workload.resource_version = self.version.to_string();
        let change = Change::Set(
            Kind::Workload(workload.key.kind),
            key(namespace, &workload.key.name),
            Object::Workload(Box::new(workload), None),
        );
        self.cluster.apply(change);
    }

    pub(crate) fn edit_workload(
        &mut self,
        namespace: &str,
        name: &str,
        edit: impl FnOnce(&mut Workload),
    ) {
        let (_, content) = self.cluster.namespace(namespace).unwrap();
        let mut workload =
            content.workloads.values().find(|workload| workload.key.name == name).unwrap().clone();
        edit(&mut workload);
        self.workload(namespace, workload);
    }

    pub(crate) fn pod(&mut self, namespace: &str, pod: Pod) {
        let change = Change::Set(Kind::Pod, key(namespace, &pod.name), Object::Pod(Box::new(pod)));
        self.cluster.apply(change);
    }

    pub(crate) fn job(&mut self, namespace: &str, job: &str, cron_job: &str) {
        let object = Object::Job(Some(cron_job.to_owned()));
        self.cluster.apply(Change::Set(Kind::Job, key(namespace, job), object));
    }

    /// A namespace on the old plane with one rolled-out Deployment of two pods.
    pub(crate) fn application(&mut self, name: &str) {
        self.namespace(name, &[("istio.io/rev", OLD)]);
        self.workload(name, deployment("web", 2));
        for index in 0..2 {
            self.pod(name, deployed("web", "aaa", &index.to_string(), Injected::By(rev(OLD))));
        }
    }
}

pub(crate) fn rev(revision: &str) -> Revision {
    Revision(revision.to_owned())
}

pub(crate) fn key(namespace: &str, name: &str) -> Key {
    Key { namespace: namespace.to_owned(), name: name.to_owned() }
}

/// A rolled-out Deployment.
pub(crate) fn deployment(name: &str, replicas: u32) -> Workload {
    workload(WorkloadKind::Deployment, name, replicas)
}

/// A rolled-out workload.
pub(crate) fn workload(kind: WorkloadKind, name: &str, replicas: u32) -> Workload {
    Workload {
        key: WorkloadKey { kind, name: name.to_owned() },
        uid: format!("uid-{name}"),
        resource_version: String::new(),
        desired: replicas,
        total: replicas,
        updated: replicas,
        available: replicas,
        observed: true,
        obstacle: None,
        wish: InjectionWish::default(),
        host_network: false,
        role: Role::Application,
        baked_in: false,
        restart: None,
        template_manager: None,
        complaints: Complaints::default(),
        ordered: None,
        in_place: (kind == WorkloadKind::Rollout)
            .then_some(InPlace { done: true, template_of: None }),
    }
}

/// A pod of a Deployment's ReplicaSet.
pub(crate) fn deployed(deployment: &str, hash: &str, suffix: &str, injected: Injected) -> Pod {
    let owner = Owner {
        group: "apps".to_owned(),
        kind: "ReplicaSet".to_owned(),
        name: format!("{deployment}-{hash}"),
        template_hash: Some(TemplateHash::Deployment(hash.to_owned())),
    };
    pod(&format!("{deployment}-{hash}-{suffix}"), Some(owner), injected)
}

/// A pod owned directly by a controller.
pub(crate) fn owned(kind: &str, owner: &str, suffix: &str, injected: Injected) -> Pod {
    let name = format!("{owner}-{suffix}");
    let group = match kind {
        "Job" => "batch",
        "StatefulSet" | "DaemonSet" => "apps",
        _ => "example.com",
    };
    let owner = Owner {
        group: group.to_owned(),
        kind: kind.to_owned(),
        name: owner.to_owned(),
        template_hash: None,
    };
    pod(&name, Some(owner), injected)
}

pub(crate) fn pod(name: &str, owner: Option<Owner>, injected: Injected) -> Pod {
    Pod {
        name: name.to_owned(),
        uid: format!("uid-{name}"),
        make: Arc::new(Make { owner, injected, wish: InjectionWish::default(), restart: None }),
        terminating: false,
    }
}

/// A migration of `namespaces` from the old to the new plane, one a wave.
pub(crate) fn migration(id: &str, namespaces: &[&str]) -> Migration {
    let before = InjectionLabels::of_revision(OLD);
    let after = InjectionLabels::of_revision(NEW);
    let now = Timestamp::UNIX_EPOCH;
    Migration {
        id: id.to_owned(),
        spec: MigrationSpec {
            source: rev(OLD),
            target: rev(NEW),
            rollout_timeout: Duration::from_mins(10),
            failure_budget: 0,
            approvals: BTreeSet::new(),
            allow_downtime: false,
            force: false,
            on_failure: revshift_core::migration::OnFailure::Pause,
            verification: revshift_core::migration::Verification::Injected,
            rollback_of: None,
            rule: None,
            windows: Vec::new(),
            gates: Vec::new(),
            tags: revshift_core::tag::Tags::default(),
            allowances: Vec::new(),
            requester: "test".to_owned(),
            reason: String::new(),
            plan_hash: String::new(),
            created: now,
        },
        control: Control::default(),
        moves: (0..)
            .zip(namespaces)
            .map(|(wave, name)| {
                let uid = format!("uid-{name}");
                let m = Move::pending(name, &uid, before.clone(), after.clone(), now);
                Move { wave, ..m }
            })
            .collect(),
        ended: None,
        hold: None,
        verdicts: BTreeMap::new(),
        baselines: BTreeMap::new(),
        drift: None,
    }
}

/// The migration with the move of `namespace` in `state`, in its first attempt.
pub(crate) fn with_state(mut migration: Migration, namespace: &str, state: MoveState) -> Migration {
    let place = migration.moves.place(namespace).unwrap();
    migration.moves.edit(place, |m| {
        m.state = state;
        m.attempt = 1;
    });
    migration
}

pub(crate) fn all(migrations: &[Migration]) -> BTreeMap<String, Migration> {
    migrations.iter().map(|migration| (migration.id.clone(), migration.clone())).collect()
}

/// The same change of every move.
pub(crate) fn edit_all(migration: &mut Migration, change: impl Fn(&mut Move)) {
    (0..migration.moves.len()).for_each(|place| migration.moves.edit(place, &change));
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

pub(crate) fn problem() -> revshift_core::problem::Problem {
    revshift_core::problem::Problem {
        code: revshift_core::problem::Code::RolloutStalled,
        object: "Deployment/x/web".to_owned(),
        message: "nothing happens".to_owned(),
        manager: None,
        since: Timestamp::UNIX_EPOCH,
    }
}
