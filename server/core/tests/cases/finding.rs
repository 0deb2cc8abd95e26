//! When a finding of a check is told, and when it would be a false alarm.

use super::check::{self, found, gateway, healthy, mesh_of_new, resource, sidecar, trial};
use super::world::{NEW, OLD, deployed, rev};
use revshift_core::check::surroundings::{Resource, certificates};
use revshift_core::cluster::Kind;
use revshift_core::plan::Severity;
use revshift_core::pod::Injected;
use revshift_core::problem::Code;
use std::collections::BTreeSet;

const A: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
const B: &str = "-----BEGIN CERTIFICATE-----\nBBBB\n-----END CERTIFICATE-----\n";

fn codes(case: &check::Case) -> Vec<Code> {
    found(case).into_iter().map(|it| it.code).collect()
}

#[test]
fn roots_are_compared_whatever_their_order() {
    let (error, warning) = (Severity::Error, Severity::Warning);
    for (old, new, expected) in [
        (format!("{A}{B}"), format!("# both\n{B}\n# and\n{A}"), None),
        (A.to_owned(), format!("{A}{B}"), Some((warning, "it has others beside"))),
        (format!("{A}{B}"), A.to_owned(), Some((warning, "it does not have all"))),
        (A.to_owned(), B.to_owned(), Some((error, "cannot talk"))),
    ] {
        let mut case = healthy();
        for (revision, roots) in [(OLD, &old), (NEW, &new)] {
            case.around.meshes.get_mut(&rev(revision)).unwrap().roots = certificates(roots);
        }
        let found = found(&case);
        let told = found.first().map(|it| (it.code, it.severity));
        assert_eq!(told, expected.map(|(severity, _)| (Code::RootsDiffer, severity)));
        let words = expected.map_or("", |(_, words)| words);
        assert!(found.first().is_none_or(|it| it.message.contains(words)), "{found:?}");
    }
}

#[test]
fn trust_domains_may_differ_where_each_is_an_alias_of_the_other() {
    for (old, new, expected) in [
        (&["new.example"][..], &["cluster.local"][..], vec![]),
        (&["new.example"], &[], vec![Code::TrustDomainsDiffer]),
        (&[], &["cluster.local"], vec![Code::TrustDomainsDiffer]),
    ] {
        let mut case = healthy();
        mesh_of_new(&mut case, |mesh| mesh.trust_domain = Some("new.example".to_owned()));
        for (revision, aliases) in [(OLD, old), (NEW, new)] {
            let mesh = case.around.meshes.get_mut(&rev(revision)).unwrap();
            mesh.aliases = aliases.iter().map(|&it| it.to_owned()).collect();
            mesh.settings.insert("trustDomainAliases".to_owned(), format!("{aliases:?}"));
        }
        assert_eq!(codes(&case), expected, "{old:?} {new:?}");
    }
}

#[test]
fn pods_that_nobody_has_looked_at_are_known_by_the_view() {
    let mut case = healthy();
    trial(&mut case, |it| (it.outcome, it.running) = (Ok(None), None));
    assert_eq!(codes(&case), [Code::TrialWithoutSidecar]);
    trial(&mut case, |it| (it.outcome, it.running) = (Ok(Some(sidecar())), None));
    assert_eq!(codes(&case), []);
    for suffix in ["a", "b"] {
        case.world.pod("shop", deployed("web", "h1", suffix, Injected::No));
    }
    trial(&mut case, |it| it.running = None);
    assert_eq!(codes(&case), [Code::TrialNewSidecar]);
    // Of what runs no pod there is nothing to compare with.
    for suffix in ["a", "b"] {
        case.world.gone(Kind::Pod, "shop", &deployed("web", "h1", suffix, Injected::No).name);
    }
    assert_eq!(codes(&case), []);
}

#[test]
fn gateways_of_the_gateway_api_roll_by_whatever_label_their_namespace_was_on() {
    let mut case = healthy();
    case.world.namespace("shop", &[("istio-injection", "enabled")]);
    case.around.gateways.push(gateway("Gateway", None));
    assert!(codes(&case).contains(&Code::GatewayRollsAtOnce), "{:?}", codes(&case));
    case.world.namespace("shop", &[("istio.io/rev", NEW)]);
    assert!(!codes(&case).contains(&Code::GatewayRollsAtOnce), "{:?}", codes(&case));
}

#[test]
fn an_operator_is_not_called_dead_for_namespaces_that_go() {
    let mut case = healthy();
    case.around.noted.insert(rev(OLD), Some(["shop", "going"].map(str::to_owned).into()));
    assert_eq!(codes(&case), [Code::OperatorStale]);
    case.world.namespace("going", &[("istio.io/rev", OLD)]);
    case.world.edit_namespace("going", |meta| meta.terminating = true);
    assert_eq!(codes(&case), []);
    case.around.noted.insert(rev(OLD), Some(BTreeSet::from(["shop".to_owned()])));
    assert_eq!(codes(&case), []);
    // Lists that are empty are not written, which tells where other planes have any.
    case.world.namespace("moved", &[("istio.io/rev", NEW)]);
    assert_eq!(codes(&case), [], "it could not be read");
    case.around.noted.insert(rev(NEW), None);
    assert_eq!(codes(&case), [Code::OperatorStale]);
    case.around.noted.insert(rev(OLD), None);
    assert_eq!(codes(&case), []);
}

#[test]
fn hosts_are_found_by_any_of_their_names() {
    let mut case = healthy();
    case.around.hosts = Some(
        ["web.shop.svc.cluster.local", "api.example", "*.wild.example"].map(Into::into).into(),
    );
    let known = ["web", "web.shop", "web.shop.svc", "web.shop.svc.cluster.local", "api.example"];
    let wild = ["a.wild.example", "*.example"];
    // Clusters have domains of their own, and all of a mesh share one.
    let domains = ["web.shop.svc.corp.internal", "web.shop.svc.clusterset.local"];
    let destinations = known.into_iter().chain(wild).chain(domains).map(str::to_owned).collect();
    case.around.resources.push(Resource { destinations, ..resource("VirtualService") });
    assert_eq!(found(&case), []);
}

#[test]
fn a_filter_is_judged_by_the_versions_of_both_planes() {
    for (expression, expected) in [
        ("^1\\.14.*", Some(Severity::Warning)),
        ("^1\\.15.*", Some(Severity::Warning)),
        ("^1\\..*", Some(Severity::Info)),
        ("^1\\.20", None),
        ("(", Some(Severity::Warning)),
    ] {
        let mut case = healthy();
        let proxy_versions = vec![expression.to_owned()];
        case.around.resources.push(Resource { proxy_versions, ..resource("EnvoyFilter") });
        let found = found(&case).into_iter().map(|it| it.severity).next();
        assert_eq!(found, expected, "{expression}");
    }
}

#[test]
fn what_was_not_compared_is_told() {
    let mut case = healthy();
    case.around.uncompared = Some("only the first".to_owned());
    let found = found(&case);
    let told: Vec<_> = found.iter().map(|it| (it.code, it.severity)).collect();
    assert_eq!(told, [(Code::TrialImpossible, Severity::Info)]);
}
