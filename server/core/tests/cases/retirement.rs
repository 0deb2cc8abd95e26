//! Who uses a plane that is to be retired.

use super::census::{
    NEW, OLD, hook, injector, namespace, now, plane, pod, subject, target, terms, unused,
};
use super::world::{default_injectors, key, wish};
use revshift_core::cluster::{Change, Istiod, Kind, Object};
use revshift_core::connection::{Connections, Proxy, Stand};
use revshift_core::plane::{Revision, Source};
use revshift_core::pod::Injected;
use revshift_core::problem::Code;
use revshift_core::retirement::census::{
    Caller, Census, Cni, Cordon, Gateway, Keeper, Machine, Template,
};
use revshift_core::retirement::{Allowance, Terms, judge};

fn blockers(census: &Census, terms: &Terms) -> Vec<(Code, String)> {
    let found = judge(census, &subject(), terms, now());
    found.into_iter().filter(|it| it.blocks).map(|it| (it.code, it.object)).collect()
}

#[test]
fn nothing_is_found_of_a_plane_that_nothing_uses() {
    assert_eq!(judge(&unused(), &subject(), &terms(), now()), []);
}

#[test]
#[allow(clippy::too_many_lines, reason = "a table of everything that may use a plane")]
fn every_user_blocks_by_its_name() {
    type Case = (&'static str, fn(&mut Census), Code, &'static str);
    let cases: [Case; 27] = [
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
            "a CNI that is another's by its looks alone",
            |it| {
                let idle = Cni { nodes: 0, ..cni("istio-cni-x", None) };
                let never = Cni { ready: false, ..cni("istio-cni-y", None) };
                it.cnis.extend([cni("istio-cni", Some(OLD)), idle, never]);
            },
            Code::UsedAsCni,
            "DaemonSet/kube-system/istio-cni",
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
            "a GitOps controller",
            |it| it.keeper = Some(Keeper::GitOps("Argo CD".to_owned())),
            Code::PlaneKept,
            "ControlPlane/cp-v113x.istio-system",
        ),
        (
            "a webhook of somebody's",
            |it| {
                let (configuration, service) = ("MutatingWebhookConfiguration/mine", "a/istiod");
                let (configuration, service) = (configuration.to_owned(), service.to_owned());
                it.callers.push(Caller { configuration, service });
            },
            Code::UsedByWebhook,
            "MutatingWebhookConfiguration/mine",
        ),
        (
            "no other plane that answers",
            |it| it.unanswered = [Revision(NEW.to_owned())].into(),
            Code::PlaneLast,
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
        nodes: 3,
        ready: true,
    }
}

#[test]
fn what_only_looks_like_a_user_does_not_block() {
    type Case = (&'static str, fn(&mut Census));
    let cases: [Case; 8] = [
        ("a release of Helm's", |it| it.keeper = Some(Keeper::Helm("istiod".to_owned()))),
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
