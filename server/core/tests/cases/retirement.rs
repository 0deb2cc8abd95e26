//! Who uses a plane that is to be retired.

use super::world::{default_injectors, key, wish};
use jiff::Timestamp;
use revshift_core::cluster::{Change, Cluster, Istiod, Kind, NamespaceMeta, Object};
use revshift_core::connection::{Connections, Proxy, Stand};
use revshift_core::injection::Injector;
use revshift_core::label::{Labels, Operator, Requirement, Selector};
use revshift_core::plane::{Plane, Revision, Source};
use revshift_core::pod::{Injected, InjectionWish, Make, Owner, Pod};
use revshift_core::problem::Code;
use revshift_core::retirement::census::{
    Census, Cni, Cordon, Gateway, Machine, OperatorTraces, Template,
};
use revshift_core::retirement::{Allowance, Subject, Target, Terms, judge};
use std::sync::Arc;
use std::time::Duration;

const OLD: &str = "cp-v113x.istio-system";
const NEW: &str = "cp-v115x.istio-system";

pub(crate) fn now() -> Timestamp {
    "2026-07-01T12:00:00Z".parse().unwrap()
}

fn plane(name: &str, mode: &str, available: bool) -> Plane {
    Plane {
        revision: Revision::of_calisti(name, "istio-system"),
        source: Source::Calisti,
        name: name.to_owned(),
        namespace: "istio-system".to_owned(),
        version: "1.13.5".to_owned(),
        mode: mode.to_owned(),
        network: String::new(),
        status: if available { "Available" } else { "Reconciling" }.to_owned(),
        available,
        mesh_expansion: None,
        gateway_addresses: Vec::new(),
        error: String::new(),
        created: None,
    }
}

pub(crate) fn subject() -> Subject {
    Subject {
        revision: Revision(OLD.to_owned()),
        source: Source::Calisti,
        name: "cp-v113x".to_owned(),
        namespace: "istio-system".to_owned(),
        uid: "u-plane".to_owned(),
    }
}

fn target() -> Target {
    Target {
        api: "servicemesh.cisco.com/v1alpha1".to_owned(),
        kind: "IstioControlPlane".to_owned(),
        namespace: "istio-system".to_owned(),
        name: "cp-v113x".to_owned(),
        uid: "u-plane".to_owned(),
    }
}

fn injector(configuration: &str, revision: &str, tag: Option<&str>) -> Injector {
    let selected = tag.unwrap_or(revision).to_owned();
    let requirement = |key: &str, operator| Requirement { key: key.to_owned(), operator };
    Injector {
        configuration: configuration.to_owned(),
        webhook: "rev.namespace.sidecar-injector.istio.io".to_owned(),
        revision: Revision(revision.to_owned()),
        tag: tag.map(str::to_owned),
        namespace: "istio-system".to_owned(),
        namespace_selector: Selector {
            requirements: vec![
                requirement("istio.io/rev", Operator::In(vec![selected])),
                requirement("istio-injection", Operator::DoesNotExist),
            ],
        },
        object_selector: Selector::default(),
        trusted: true,
    }
}

fn hook(cluster: &mut Cluster, injector: Injector) {
    let key = key("", &injector.configuration);
    cluster.apply(Change::Set(Kind::Injector, key, Object::Injectors(vec![injector])));
}

pub(crate) fn namespace(cluster: &mut Cluster, name: &str, labels: &[(&str, &str)]) {
    let labels: Labels =
        labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let meta = NamespaceMeta {
        uid: format!("u-{name}"),
        resource_version: "1".to_owned(),
        labels,
        lock: None,
        terminating: false,
        order: 0,
        skip: false,
        label_manager: None,
        label_owner: None,
    };
    cluster.apply(Change::Set(Kind::Namespace, key("", name), Object::Namespace(meta)));
}

fn pod(cluster: &mut Cluster, namespace: &str, name: &str, injected: Injected, job: bool) {
    let owner = job.then(|| Owner {
        group: "batch".to_owned(),
        kind: "Job".to_owned(),
        name: "once".to_owned(),
        template_hash: None,
    });
    let make = Make { owner, injected, wish: InjectionWish::default(), restart: None };
    let pod = Pod {
        name: name.to_owned(),
        uid: format!("u-{name}"),
        make: Arc::new(make),
        terminating: false,
    };
    cluster.apply(Change::Set(Kind::Pod, key(namespace, name), Object::Pod(Box::new(pod))));
}

/// A census of a plane that nothing uses.
pub(crate) fn unused() -> Census {
    let mut cluster = Cluster::default();
    for (name, mode) in [("cp-v113x", "ACTIVE"), ("cp-v115x", "ACTIVE")] {
        let plane = Object::Plane(Box::new(plane(name, mode, true)));
        let kind = Kind::Plane(Source::Calisti);
        cluster.apply(Change::Set(kind, key("istio-system", name), plane));
    }
    hook(&mut cluster, injector("old", OLD, None));
    hook(&mut cluster, injector("new", NEW, None));
    namespace(&mut cluster, "shop", &[("istio.io/rev", NEW)]);
    pod(&mut cluster, "shop", "web-1", Injected::By(Revision(NEW.to_owned())), false);
    Census {
        plane: Some(subject()),
        cluster,
        connections: Connections::default(),
        operator: OperatorTraces {
            deployments: vec![("smm/istio-operator-v113x".to_owned(), true)],
            ..OperatorTraces::default()
        },
        targets: vec![target()],
        cordon: Some(Cordon::Active),
        ..Census::default()
    }
}

fn blockers(census: &Census, terms: &Terms) -> Vec<(Code, String)> {
    let found = judge(census, &subject(), terms, now());
    found.into_iter().filter(|it| it.blocks).map(|it| (it.code, it.object)).collect()
}

pub(crate) fn terms() -> Terms {
    Terms { rollback_window: Duration::from_hours(24), allowed: Vec::new() }
}

#[test]
fn nothing_is_found_of_a_plane_that_nothing_uses() {
    assert_eq!(judge(&unused(), &subject(), &terms(), now()), []);
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table of everything that may use a plane")]
fn every_user_blocks_by_its_name() {
    type Case = (&'static str, fn(&mut Census), Code, &'static str);
    let cases: [Case; 23] = [
        (
            "a namespace's label",
            |it| namespace(&mut it.cluster, "a", &[("istio.io/rev", OLD)]),
            Code::UsedByNamespace,
            "Namespace/a",
        ),
        (
            "a namespace labelled by a tag",
            |it| {
                hook(&mut it.cluster, injector("prod", OLD, Some("prod")));
                namespace(&mut it.cluster, "a", &[("istio.io/rev", "prod")]);
            },
            Code::UsedByNamespace,
            "Namespace/a",
        ),
        (
            "a tag",
            |it| hook(&mut it.cluster, injector("prod", OLD, Some("prod"))),
            Code::UsedByTag,
            "Tag/prod",
        ),
        (
            "the default tag",
            |it| hook(&mut it.cluster, injector("default", OLD, Some("default"))),
            Code::UsedAsDefault,
            "Tag/default",
        ),
        (
            "the default validator",
            |it| it.validator = Some(OLD.to_owned()),
            Code::UsedAsValidator,
            "ValidatingWebhookConfiguration/istiod-default-validator",
        ),
        (
            "a bare pod",
            |it| pod(&mut it.cluster, "shop", "db", Injected::By(Revision(OLD.into())), false),
            Code::UsedByPods,
            "Pod/shop/db",
        ),
        (
            "a pod of a Job",
            |it| pod(&mut it.cluster, "shop", "x", Injected::By(Revision(OLD.into())), true),
            Code::UsedByPods,
            "Job/shop/once",
        ),
        (
            "a pod that does not tell",
            |it| pod(&mut it.cluster, "shop", "db", Injected::Unknown, false),
            Code::UsedByPods,
            "Pod/shop/db",
        ),
        (
            "a template",
            |it| it.templates.push(template("CronJob", OLD)),
            Code::UsedByTemplate,
            "CronJob/shop/it",
        ),
        (
            "a template that asks in a namespace without labels",
            |it| {
                let mut injectors = default_injectors(OLD);
                for injector in &mut injectors {
                    injector.tag = None;
                }
                let hooks = Object::Injectors(injectors);
                it.cluster.apply(Change::Set(Kind::Injector, key("", "plain"), hooks));
                namespace(&mut it.cluster, "shop", &[]);
                it.templates.push(asking("CronJob", &[("sidecar.istio.io/inject", "true")]));
            },
            Code::UsedByTemplate,
            "CronJob/shop/it",
        ),
        (
            "a gateway that names it",
            |it| it.gateways.push(gateway("Gateway", Some(OLD))),
            Code::UsedByGateway,
            "Gateway/shop/it",
        ),
        (
            "a mesh gateway",
            |it| it.gateways.push(gateway("IstioMeshGateway", Some(OLD))),
            Code::UsedByGateway,
            "IstioMeshGateway/shop/it",
        ),
        (
            "a machine",
            |it| {
                it.machines.push(Machine {
                    kind: "WorkloadGroup".to_owned(),
                    namespace: "shop".to_owned(),
                    name: "vm".to_owned(),
                    revision: OLD.to_owned(),
                });
            },
            Code::UsedByMachine,
            "WorkloadGroup/shop/vm",
        ),
        (
            "the only CNI",
            |it| it.cnis.push(cni("istio-cni", Some(OLD))),
            Code::UsedAsCni,
            "DaemonSet/kube-system/istio-cni",
        ),
        (
            "a proxy",
            |it| {
                it.connections.proxies = vec![Proxy {
                    namespace: "shop".to_owned(),
                    pod: "web-9".to_owned(),
                    stand: Stand::Synced,
                }];
            },
            Code::UsedByProxy,
            "Pod/shop/web-9",
        ),
        (
            "nobody knows the proxies",
            |it| {
                it.connections =
                    Connections { missing: vec!["no answer".to_owned()], ..Connections::default() }
            },
            Code::ConnectionsUnknown,
            "ControlPlane/cp-v113x.istio-system",
        ),
        (
            "a migration that is being stored",
            |it| _ = it.unsealed.insert("m-1".to_owned(), [OLD.to_owned(), NEW.to_owned()]),
            Code::UsedByMigration,
            "Migration/m-1",
        ),
        (
            "a kind that cannot be read",
            |it| it.unread.push(("gateways".to_owned(), "forbidden".to_owned())),
            Code::CensusIncomplete,
            "gateways",
        ),
        (
            "no right to delete it",
            |it| it.forbidden.push((target(), "forbidden".to_owned())),
            Code::DeletionForbidden,
            "IstioControlPlane/istio-system/cp-v113x",
        ),
        (
            "an operator that is gone",
            |it| it.operator.deployments.clear(),
            Code::OperatorSilent,
            "IstioControlPlane/istio-system/cp-v113x",
        ),
        (
            "a parent that would make it anew",
            |it| it.kept_by = Some("Istio/default".to_owned()),
            Code::PlaneActive,
            "ControlPlane/cp-v113x.istio-system",
        ),
        (
            "no other plane",
            |it| {
                let gone = key("istio-system", "cp-v115x");
                it.cluster.apply(Change::Gone(Kind::Plane(Source::Calisti), gone));
                it.cluster.apply(Change::Gone(Kind::Injector, key("", "new")));
            },
            Code::PlaneLast,
            "ControlPlane/cp-v113x.istio-system",
        ),
        (
            "no other plane that is not retired, too",
            |it| it.retiring = [Revision(OLD.to_owned()), Revision(NEW.to_owned())].into(),
            Code::PlaneLast,
            "ControlPlane/cp-v113x.istio-system",
        ),
    ];
    for (what, change, code, object) in cases {
        let mut census = unused();
        change(&mut census);
        let found = blockers(&census, &terms());
        assert!(found.contains(&(code, object.to_owned())), "{what}: {found:?}");
        for finding in judge(&census, &subject(), &terms(), now()) {
            assert!(!finding.message.is_empty() && !finding.remedy.is_empty(), "{finding:?}");
        }
    }
}

fn template(kind: &str, revision: &str) -> Template {
    asking(kind, &[("istio.io/rev", revision)])
}

fn asking(kind: &str, labels: &[(&str, &str)]) -> Template {
    Template {
        kind: kind.to_owned(),
        namespace: "shop".to_owned(),
        name: "it".to_owned(),
        wish: wish(labels),
    }
}

fn gateway(kind: &str, revision: Option<&str>) -> Gateway {
    Gateway {
        kind: kind.to_owned(),
        namespace: "shop".to_owned(),
        name: "it".to_owned(),
        revision: revision.map(str::to_owned),
    }
}

fn cni(name: &str, revision: Option<&str>) -> Cni {
    Cni {
        namespace: "kube-system".to_owned(),
        name: name.to_owned(),
        revision: revision.map(str::to_owned),
        ready: true,
    }
}

#[test]
fn what_only_looks_like_a_user_does_not_block() {
    type Case = (&'static str, fn(&mut Census));
    let cases: [Case; 7] = [
        ("a gateway of another plane", |it| it.gateways.push(gateway("Gateway", Some(NEW)))),
        ("a gateway where its namespace says so", |it| it.gateways.push(gateway("Gateway", None))),
        ("a template of another plane", |it| it.templates.push(template("Job", NEW))),
        ("a template that asks where its namespace decides", |it| {
            it.templates.push(asking("Job", &[("sidecar.istio.io/inject", "true")]));
        }),
        ("a CNI beside another", |it| {
            it.cnis = vec![cni("istio-cni-a", Some(OLD)), cni("istio-cni-b", Some(NEW))];
        }),
        ("a pod without a sidecar", |it| pod(&mut it.cluster, "shop", "x", Injected::No, false)),
        ("a migration between others that is being stored", |it| {
            _ = it.unsealed.insert("m-1".to_owned(), ["1-30".to_owned(), NEW.to_owned()]);
        }),
    ];
    for (what, change) in cases {
        let mut census = unused();
        change(&mut census);
        assert_eq!(blockers(&census, &terms()), [], "{what}");
    }
}

#[test]
fn planes_that_run_elsewhere_are_never_retired() {
    let mut census = unused();
    let passive = Object::Plane(Box::new(plane("cp-v113x", "PASSIVE", true)));
    let place = key("istio-system", "cp-v113x");
    census.cluster.apply(Change::Set(Kind::Plane(Source::Calisti), place, passive));
    let found = blockers(&census, &terms());
    assert_eq!(found, [(Code::PlaneProtected, format!("ControlPlane/{OLD}"))]);
    // A revision of which only webhooks are here.
    let mut subject = subject();
    subject.source = Source::Istio;
    let found = judge(&unused(), &subject, &terms(), now());
    assert!(found.iter().any(|it| it.code == Code::PlaneProtected && it.blocks), "{found:?}");
}

#[test]
fn only_what_people_may_know_better_can_be_allowed() {
    let mut census = unused();
    census.connections =
        Connections { missing: vec!["no answer".to_owned()], ..Connections::default() };
    census.operator.namespaces = Some(["a".to_owned()].into());
    namespace(&mut census.cluster, "a", &[("istio.io/rev", OLD)]);
    let allow = |code| Allowance { code, reason: "lab".to_owned(), by: "ann".to_owned() };
    let allowed = vec![allow(Code::ConnectionsUnknown), allow(Code::UsedByNamespace)];
    let terms = Terms { allowed, ..terms() };
    assert_eq!(blockers(&census, &terms), [(Code::UsedByNamespace, "Namespace/a".to_owned())]);
    let found = judge(&census, &subject(), &terms, now());
    let let_be = found.iter().find(|it| it.code == Code::ConnectionsUnknown).unwrap();
    assert_eq!(let_be.allowed.as_deref(), Some("lab (by ann)"));
}

#[test]
fn of_many_users_some_are_named_and_the_others_counted() {
    let mut census = unused();
    for number in 0..30 {
        namespace(&mut census.cluster, &format!("n-{number:02}"), &[("istio.io/rev", OLD)]);
    }
    let names = census.cluster.namespaces().map(|(name, ..)| name.to_owned());
    let names = names.filter(|name| name.starts_with("n-")).collect();
    census.operator.namespaces = Some(names);
    let found = judge(&census, &subject(), &terms(), now());
    assert_eq!(found.len(), 20);
    assert!(found[19].message.ends_with("and 10 more like this"), "{}", found[19].message);
}

#[test]
fn a_missing_cordon_is_told_and_does_not_block() {
    let mut census = unused();
    census.cordon = Some(Cordon::Missing("let in".to_owned()));
    let found = judge(&census, &subject(), &terms(), now());
    assert_eq!((found.len(), found[0].code, found[0].blocks), (1, Code::CordonMissing, false));
}

#[test]
fn an_operator_that_does_not_follow_labels_is_not_trusted() {
    let mut census = unused();
    census.operator.namespaces = Some(["shop".to_owned()].into());
    let found = judge(&census, &subject(), &terms(), now());
    assert_eq!(found[0].code, Code::OperatorSilent);
    assert!(found[0].message.contains("it says that shop are attached, and none are"));
}

#[test]
fn an_istiod_of_its_own_is_found_by_its_revision() {
    let mut census = unused();
    let istiod = Istiod {
        revision: Revision(OLD.to_owned()),
        version: String::new(),
        available: 1,
        desired: 1,
        cores: 0,
        created: None,
    };
    let workload = super::world::deployment("istiod", 1);
    let place = key("istio-system", "istiod");
    let kind = Kind::Workload(revshift_core::workload::WorkloadKind::Deployment);
    let object = Object::Workload(Box::new(workload), Some(istiod));
    census.cluster.apply(Change::Set(kind, place, object));
    let mut subject = subject();
    subject.source = Source::Istio;
    assert_eq!(judge(&census, &subject, &terms(), now()), []);
}
