//! Each finding of a check, provoked in a cluster where nothing else is to be found.

use super::world::{NEW, OLD, World, absent, deployed, deployment, is, labels, rev, revisioned};
use revshift_core::allowance::Allowance;
use revshift_core::check::surroundings::{
    Autoscaler, Cni, DisruptionBudget, Gateway, Mesh, Message, Purpose, Redirection, Resource,
    Sidecar, Surroundings, Trial, Unread, Webhook, WorkloadDetail, certificates,
};
use revshift_core::check::{Scope, check, forbidding};
use revshift_core::cluster::Istiod;
use revshift_core::cluster::{Change, Kind, Object};
use revshift_core::injection::Injector;
use revshift_core::label::{InjectionLabels, Labels, Selector};
use revshift_core::plan::{Finding, Severity};
use revshift_core::pod::Injected;
use revshift_core::problem::Code;
use revshift_core::workload::{Role, WorkloadKind};
use std::collections::BTreeSet;

/// What a case changes.
pub(crate) struct Case {
    pub(crate) world: World,
    pub(crate) around: Surroundings,
}

type Row = (Code, Severity, &'static str, fn(&mut Case));

pub(crate) const PLANE: &str = "ControlPlane/cp-v115x.istio-system";
const SOURCE: &str = "ControlPlane/cp-v113x.istio-system";
const HOOK: &str = "MutatingWebhookConfiguration/new";
const WEB: &str = "Deployment/shop/web";
const SHOP: &str = "Namespace/shop";
const ACCOUNT: &str = "ServiceAccount/revshift-server";

pub(crate) fn healthy() -> Case {
    let mut world = World::default();
    for (revision, version) in [(OLD, "1.14.6"), (NEW, "1.15.3")] {
        plane(&mut world, revision, |plane| version.clone_into(&mut plane.version));
        world.injectors(revision, revisioned(revision, revision, None));
    }
    world.namespace("shop", &[("istio.io/rev", OLD), ("team", "a")]);
    world.workload("shop", deployment("web", 2));
    for suffix in ["a", "b"] {
        world.pod("shop", deployed("web", "h1", suffix, Injected::By(rev(OLD))));
    }
    let mut around = Surroundings::default();
    for (revision, configuration) in [(OLD, "old"), (NEW, "new")] {
        for purpose in [Purpose::Inject, Purpose::Validate] {
            around.webhooks.push(Webhook {
                revision: rev(revision),
                configuration: match purpose {
                    Purpose::Inject => format!("MutatingWebhookConfiguration/{configuration}"),
                    Purpose::Validate => format!("ValidatingWebhookConfiguration/{configuration}"),
                },
                name: "hook".to_owned(),
                purpose,
                ca_bundle: b"root".to_vec(),
                service: Some("istio-system/istiod".to_owned()),
                endpoints: Some(2),
            });
        }
        around.meshes.insert(rev(revision), mesh());
    }
    around.trials.push(Trial {
        namespace: "shop".to_owned(),
        kind: "Deployment".to_owned(),
        name: "web".to_owned(),
        outcome: Ok(Some(sidecar())),
        running: Some(Some(sidecar())),
    });
    around.workloads.push(detail());
    Case { world, around }
}

fn plane(world: &mut World, revision: &str, edit: impl FnOnce(&mut revshift_core::plane::Plane)) {
    let mut plane = super::world::calisti(revision, true);
    edit(&mut plane);
    world.plane(plane);
}

fn mesh() -> Mesh {
    let some = |text: &str| Some(text.to_owned());
    Mesh {
        trust_domain: some("cluster.local"),
        mesh_id: some("mesh1"),
        network: some("network1"),
        cluster_id: some("cluster-1"),
        settings: labels(&[("accessLogFile", "\"/dev/stdout\"")]),
        ..Mesh::default()
    }
}

pub(crate) fn sidecar() -> Sidecar {
    Sidecar { image: "proxyv2:1".to_owned(), ..Sidecar::default() }
}

fn detail() -> WorkloadDetail {
    WorkloadDetail {
        namespace: "shop".to_owned(),
        kind: "Deployment".to_owned(),
        name: "web".to_owned(),
        labels: labels(&[("app", "web")]),
        annotations: Labels::new(),
        recreates: false,
        rigid: false,
    }
}

pub(crate) fn resource(kind: &str) -> Resource {
    Resource {
        kind: kind.to_owned(),
        namespace: "shop".to_owned(),
        name: "it".to_owned(),
        ..Resource::default()
    }
}

pub(crate) fn gateway(kind: &str, revision: Option<&str>) -> Gateway {
    Gateway {
        kind: kind.to_owned(),
        namespace: "shop".to_owned(),
        name: "gate".to_owned(),
        revision: revision.map(str::to_owned),
        waypoint: false,
    }
}

fn autoscaler(namespace: &str, target: &str) -> Autoscaler {
    Autoscaler {
        namespace: namespace.to_owned(),
        name: "auto".to_owned(),
        target: target.to_owned(),
        current: 5,
        most: 5,
    }
}

fn cni(revision: Option<&str>, ready: u32) -> Cni {
    Cni {
        namespace: "kube-system".to_owned(),
        name: "istio-cni".to_owned(),
        revision: revision.map(str::to_owned),
        desired: 3,
        ready,
    }
}

fn istiod(case: &mut Case, desired: u32, available: u32) {
    let istiod = Istiod {
        revision: rev(NEW),
        version: String::new(),
        available,
        desired,
        cores: 1,
        created: None,
    };
    let key = super::world::key("istio-system", "istiod");
    let object = Object::Workload(Box::new(deployment("istiod", desired)), Some(istiod));
    case.world.cluster.apply(Change::Set(Kind::Workload(WorkloadKind::Deployment), key, object));
}

fn of_web(case: &mut Case, edit: impl FnOnce(&mut revshift_core::workload::Workload)) {
    let mut web = deployment("web", 2);
    edit(&mut web);
    case.world.workload("shop", web);
}

pub(crate) fn trial(case: &mut Case, edit: impl FnOnce(&mut Trial)) {
    case.around.trials.iter_mut().for_each(|it| it.running = Some(Some(sidecar())));
    if let Some(trial) = case.around.trials.first_mut() {
        edit(trial);
    }
}

fn new_sidecar(case: &mut Case, edit: impl FnOnce(&mut Sidecar)) {
    let mut new = sidecar();
    edit(&mut new);
    trial(case, |it| it.outcome = Ok(Some(new)));
}

pub(crate) fn mesh_of_new(case: &mut Case, edit: impl FnOnce(&mut Mesh)) {
    if let Some(mesh) = case.around.meshes.get_mut(&rev(NEW)) {
        edit(mesh);
    }
}

const ROWS: &[Row] = &[
    (Code::LabelDangling, Severity::Warning, SHOP, |it| {
        it.world.gone(Kind::Injector, "", OLD);
    }),
    (Code::InjectorsConflict, Severity::Warning, SHOP, |it| {
        it.world.injectors("third", tagged("1-20", OLD));
    }),
    (Code::TagMovesAlone, Severity::Info, SHOP, |it| {
        it.world.injectors("tag", revisioned("tag", OLD, Some("stable")));
        it.world.namespace("shop", &[("istio.io/rev", "stable")]);
    }),
    (Code::NamespaceUndiscovered, Severity::Error, SHOP, |it| {
        let other = Selector { requirements: vec![is("team", "b")] };
        mesh_of_new(it, |mesh| mesh.discovery = vec![other]);
    }),
    (Code::HostNetwork, Severity::Info, WEB, |it| of_web(it, |web| web.host_network = true)),
    (Code::PodLabelHidden, Severity::Info, WEB, |it| {
        of_web(it, |web| web.wish = super::world::wish(&[("istio.io/rev", "1-20")]));
    }),
    (Code::WorkloadOptedOut, Severity::Info, WEB, |it| {
        of_web(it, |web| web.wish = super::world::wish(&[("sidecar.istio.io/inject", "false")]));
    }),
    (Code::WorkloadSingle, Severity::Info, WEB, |it| {
        of_web(it, |web| (web.desired, web.total, web.updated) = (1, 1, 1));
    }),
    (Code::WorkloadRecreates, Severity::Warning, WEB, |it| {
        it.around.workloads = vec![WorkloadDetail { recreates: true, ..detail() }];
    }),
    (Code::WorkloadRigid, Severity::Warning, WEB, |it| {
        it.around.workloads = vec![WorkloadDetail { rigid: true, ..detail() }];
    }),
    (Code::BudgetExhausted, Severity::Warning, WEB, |it| {
        it.around.budgets.push(DisruptionBudget {
            namespace: "shop".to_owned(),
            name: "all".to_owned(),
            selector: Selector { requirements: vec![is("app", "web")] },
            allowed: 0,
            pods: 2,
        });
    }),
    (Code::WorkloadUnhealthy, Severity::Warning, WEB, |it| of_web(it, |web| web.available = 1)),
    (Code::AutoscalerAtLimit, Severity::Warning, "HorizontalPodAutoscaler/shop/auto", |it| {
        it.around.autoscalers.push(autoscaler("shop", "Deployment/web"));
    }),
    (Code::TrialRefused, Severity::Error, WEB, |it| {
        trial(it, |it| it.outcome = Err("template: no such function".to_owned()));
    }),
    (Code::TrialWithoutSidecar, Severity::Error, WEB, |it| trial(it, |it| it.outcome = Ok(None))),
    (Code::TrialNewSidecar, Severity::Warning, WEB, |it| trial(it, |it| it.running = Some(None))),
    (Code::SidecarImage, Severity::Info, WEB, |it| {
        new_sidecar(it, |new| "proxyv2:2".clone_into(&mut new.image));
    }),
    (Code::SidecarNative, Severity::Warning, WEB, |it| new_sidecar(it, |new| new.native = true)),
    (Code::SidecarPorts, Severity::Warning, WEB, |it| {
        new_sidecar(it, |new| new.ports = vec!["http-envoy-prom:15090".to_owned()]);
    }),
    (Code::SidecarResources, Severity::Warning, WEB, |it| {
        new_sidecar(it, |new| new.resources = vec!["requests.cpu=100m".to_owned()]);
    }),
    (Code::SidecarRedirection, Severity::Warning, WEB, |it| {
        it.around.cni = vec![cni(None, 3)];
        new_sidecar(it, |new| new.redirection = Redirection::Cni);
    }),
    (Code::GatewayMoves, Severity::Warning, WEB, |it| of_web(it, |web| web.role = Role::Gateway)),
    (Code::GatewayRollsAtOnce, Severity::Warning, "Gateway/shop/gate", |it| {
        it.around.gateways.push(gateway("Gateway", None));
    }),
    (Code::GatewayPinned, Severity::Warning, "Gateway/shop/gate", |it| {
        it.around.gateways.push(gateway("Gateway", Some(OLD)));
    }),
    (Code::MeshGatewayStays, Severity::Warning, "IstioMeshGateway/shop/gate", |it| {
        it.around.gateways.push(gateway("IstioMeshGateway", Some(OLD)));
    }),
    (Code::PlaneUnavailable, Severity::Error, PLANE, |it| {
        plane(&mut it.world, NEW, |new| {
            "1.15.3".clone_into(&mut new.version);
            new.available = false;
            "Reconciling".clone_into(&mut new.status);
        });
    }),
    (Code::InjectionSourcePeer, Severity::Error, PLANE, |it| {
        it.world.peer("cp-v115x", "cluster-2", true);
    }),
    (Code::OperatorStale, Severity::Warning, SOURCE, |it| {
        it.around.noted.insert(rev(OLD), Some(BTreeSet::new()));
    }),
    (Code::IstiodDegraded, Severity::Warning, PLANE, |it| istiod(it, 2, 1)),
    (Code::IstiodSingle, Severity::Warning, PLANE, |it| istiod(it, 1, 1)),
    (Code::IstiodAtLimit, Severity::Warning, PLANE, |it| {
        istiod(it, 2, 2);
        it.around.autoscalers.push(autoscaler("istio-system", "Deployment/istiod"));
    }),
    (Code::WebhookUntrusted, Severity::Error, HOOK, |it| {
        let roots = certificates("root");
        it.around.meshes.values_mut().for_each(|mesh| mesh.roots.clone_from(&roots));
        let new = it.around.webhooks.iter_mut().filter(|it| it.configuration == HOOK);
        new.for_each(|it| it.ca_bundle.clear());
    }),
    (Code::WebhookUnserved, Severity::Error, HOOK, |it| {
        let new = it.around.webhooks.iter_mut().filter(|it| it.configuration == HOOK);
        new.for_each(|it| it.endpoints = Some(0));
    }),
    (Code::InjectorMissing, Severity::Error, PLANE, |it| {
        mesh_of_new(it, |mesh| mesh.roots = certificates("root"));
        it.around.webhooks.retain(|it| it.configuration != HOOK);
    }),
    (Code::VersionUnknown, Severity::Warning, PLANE, |it| plane(&mut it.world, NEW, |_| {})),
    (Code::SkewTooWide, Severity::Error, PLANE, |it| {
        plane(&mut it.world, NEW, |new| "1.17.0".clone_into(&mut new.version));
    }),
    (Code::SkewWide, Severity::Warning, PLANE, |it| {
        plane(&mut it.world, NEW, |new| "v1.16-alpha".clone_into(&mut new.version));
    }),
    (Code::Downgrade, Severity::Warning, PLANE, |it| {
        plane(&mut it.world, NEW, |new| "1.13.5".clone_into(&mut new.version));
    }),
    (Code::RootsDiffer, Severity::Error, PLANE, |it| {
        mesh_of_new(it, |mesh| mesh.roots = certificates("other"));
    }),
    (Code::RootUnknown, Severity::Warning, SOURCE, |it| {
        it.around.webhooks.retain(|it| it.revision != rev(OLD));
    }),
    (Code::TrustDomainsDiffer, Severity::Error, PLANE, |it| {
        mesh_of_new(it, |mesh| mesh.trust_domain = Some("other".to_owned()));
    }),
    (Code::MeshesDiffer, Severity::Error, PLANE, |it| {
        mesh_of_new(it, |mesh| mesh.mesh_id = Some("other".to_owned()));
    }),
    (Code::NetworksDiffer, Severity::Error, PLANE, |it| {
        mesh_of_new(it, |mesh| mesh.network = Some("other".to_owned()));
    }),
    (Code::ClusterIdsDiffer, Severity::Error, PLANE, |it| {
        mesh_of_new(it, |mesh| mesh.cluster_id = Some("other".to_owned()));
    }),
    (Code::MeshSettingsDiffer, Severity::Warning, PLANE, |it| {
        mesh_of_new(it, |mesh| mesh.settings.clear());
    }),
    (Code::MeshUnknown, Severity::Warning, PLANE, |it| {
        it.around.meshes.remove(&rev(NEW));
    }),
    (Code::TrialImpossible, Severity::Warning, PLANE, |it| {
        it.around.untried = Some("connection refused".to_owned());
    }),
    (Code::CniMissing, Severity::Error, WEB, |it| {
        trial(it, |it| {
            let by_cni = Sidecar { redirection: Redirection::Cni, ..sidecar() };
            (it.outcome, it.running) = (Ok(Some(by_cni.clone())), Some(Some(by_cni)));
        });
    }),
    (Code::CniDegraded, Severity::Warning, "DaemonSet/kube-system/istio-cni", |it| {
        trial(it, |it| {
            let by_cni = Sidecar { redirection: Redirection::Cni, ..sidecar() };
            (it.outcome, it.running) = (Ok(Some(by_cni.clone())), Some(Some(by_cni)));
        });
        it.around.cni = vec![cni(None, 2)];
    }),
    (Code::CniOwned, Severity::Warning, "DaemonSet/kube-system/istio-cni", |it| {
        it.around.cni = vec![cni(Some(OLD), 3)];
    }),
    (Code::PermissionMissing, Severity::Error, ACCOUNT, |it| {
        it.around.denied.push("patch namespaces".to_owned());
    }),
    (Code::CheckIncomplete, Severity::Warning, ACCOUNT, |it| {
        let (what, why) = ("PodDisruptionBudgets".to_owned(), "forbidden".to_owned());
        it.around.unread.push(Unread { what, why });
    }),
    (Code::ConfigurationRefused, Severity::Error, "VirtualService/shop/it", |it| {
        let refused = Some("no destination".to_owned());
        it.around.resources.push(Resource { refused, ..resource("VirtualService") });
    }),
    (Code::ConfigurationWarned, Severity::Warning, "VirtualService/shop/it", |it| {
        let warnings = vec!["shadowed".to_owned()];
        it.around.resources.push(Resource { warnings, ..resource("VirtualService") });
    }),
    (Code::AnalysisMessage, Severity::Error, "Gateway/shop/it", |it| {
        let (code, level) = ("IST0101".to_owned(), "ERROR".to_owned());
        let messages = vec![Message { code, level, url: String::new() }];
        it.around.resources.push(Resource { messages, ..resource("Gateway") });
    }),
    (Code::FilterTiedToVersion, Severity::Warning, "EnvoyFilter/shop/it", |it| {
        let proxy_versions = vec!["^1\\.14.*".to_owned()];
        it.around.resources.push(Resource { proxy_versions, ..resource("EnvoyFilter") });
    }),
    (Code::ApiDeprecated, Severity::Info, "VirtualService/shop/it", |it| {
        let api_versions = BTreeSet::from(["networking.istio.io/v1alpha3".to_owned()]);
        it.around.resources.push(Resource { api_versions, ..resource("VirtualService") });
    }),
    (Code::AnnotationDeprecated, Severity::Info, WEB, |it| {
        let annotations = labels(&[("sidecar.istio.io/inject", "true")]);
        it.around.workloads = vec![WorkloadDetail { annotations, ..detail() }];
    }),
    (Code::ResourcePinned, Severity::Warning, "Sidecar/shop/it", |it| {
        let revision = Some(OLD.to_owned());
        it.around.resources.push(Resource { revision, ..resource("Sidecar") });
    }),
    (Code::ReferenceBroken, Severity::Warning, "VirtualService/shop/it", |it| {
        let destinations = vec!["nowhere".to_owned()];
        it.around.hosts = Some(BTreeSet::from(["web.shop.svc.cluster.local".to_owned()]));
        it.around.resources.push(Resource { destinations, ..resource("VirtualService") });
    }),
    (Code::ValidationImpossible, Severity::Warning, PLANE, |it| {
        it.around.unvalidated = Some("connection refused".to_owned());
    }),
];

/// Webhooks of another revision for namespaces with this label.
fn tagged(revision: &str, label: &str) -> Vec<Injector> {
    let mut injectors = revisioned("third", revision, None);
    for injector in &mut injectors {
        injector.namespace_selector.requirements =
            vec![is("istio.io/rev", label), absent("istio-injection")];
    }
    injectors
}

pub(crate) fn found(case: &Case) -> Vec<Finding> {
    let scope = Scope {
        source: rev(OLD),
        target: rev(NEW),
        labels: InjectionLabels::of_revision(NEW),
        namespaces: BTreeSet::from(["shop".to_owned()]),
    };
    check(&case.world.cluster, &scope, &case.around, Vec::new())
}

#[test]
fn where_all_is_well_nothing_is_found() {
    assert_eq!(found(&healthy()), []);
}

#[test]
fn each_finding_is_found_alone() {
    for (code, severity, object, provoke) in ROWS {
        let mut case = healthy();
        provoke(&mut case);
        let found = found(&case);
        let told: Vec<_> = found.iter().map(|it| (it.code, it.severity, &*it.object)).collect();
        assert_eq!(told, [(*code, *severity, *object)], "{code:?}: {found:?}");
        assert!(!found[0].message.is_empty());
    }
}

#[test]
fn no_code_of_checks_is_left_out() {
    let of_checks = |code: &&Code| {
        let number: u32 = code.as_str()[2..].parse().unwrap();
        matches!(number, 1010..1100 | 1110..1200 | 1400..1500 | 2005..2100 | 4005..4100 | 5000..6000)
    };
    let told: BTreeSet<Code> = ROWS.iter().map(|(code, ..)| *code).collect();
    let missing: Vec<_> =
        Code::ALL.iter().filter(of_checks).filter(|code| !told.contains(code)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn an_error_forbids_until_its_code_is_allowed() {
    let finding = |severity| Finding {
        severity,
        code: Code::RootsDiffer,
        object: PLANE.to_owned(),
        message: "so".to_owned(),
    };
    let findings = [finding(Severity::Error), finding(Severity::Warning)];
    assert_eq!(forbidding(&findings, &[]).len(), 1);
    let other = Allowance { code: Code::SkewTooWide, reason: "tried".to_owned() };
    assert_eq!(forbidding(&findings, &[other]).len(), 1);
    let allowed = Allowance { code: Code::RootsDiffer, reason: "tried".to_owned() };
    assert!(forbidding(&findings, &[allowed]).is_empty());
}
