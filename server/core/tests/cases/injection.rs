//! The injection matrix of Istio's webhooks: namespace labels × pod labels.

use super::world::{default_injectors, labels, rev, revisioned, wish};
use revshift_core::injection::{Injection, Injector, resolve};
use revshift_core::label::Labels;
use revshift_core::pod::{Injected, InjectionWish};

fn upstream() -> Vec<Injector> {
    let mut injectors = revisioned("istio-sidecar-injector-1-30", "1-30", None);
    injectors.extend(revisioned("istio-revision-tag-prod", "1-30", Some("prod")));
    injectors.extend(revisioned("istio-sidecar-injector-1-31", "1-31", None));
    injectors.extend(default_injectors("1-31"));
    injectors
}

#[track_caller]
fn check(namespace: &[(&str, &str)], pod: &[(&str, &str)], expected: &Injection) {
    assert_eq!(&resolve(&upstream(), &labels(namespace), &wish(pod), false), expected);
}

fn by(revision: &str) -> Injection {
    Injection::By(rev(revision))
}

#[test]
fn a_pod_that_forbids_injection_gets_none() {
    for namespace in [&[("istio-injection", "enabled")][..], &[("istio.io/rev", "1-30")], &[]] {
        check(namespace, &[("sidecar.istio.io/inject", "false")], &Injection::None);
    }
}

#[test]
fn istio_injection_enabled_means_the_default_and_hides_the_revision_label() {
    check(&[("istio-injection", "enabled")], &[], &by("1-31"));
    check(&[("istio-injection", "enabled"), ("istio.io/rev", "1-30")], &[], &by("1-31"));
    check(&[("istio-injection", "enabled")], &[("istio.io/rev", "1-30")], &by("1-31"));
}

#[test]
fn any_other_value_of_istio_injection_means_none() {
    for value in ["disabled", "maybe", ""] {
        check(&[("istio-injection", value)], &[], &Injection::None);
        check(&[("istio-injection", value), ("istio.io/rev", "1-30")], &[], &Injection::None);
        check(&[("istio-injection", value)], &[("istio.io/rev", "1-30")], &Injection::None);
    }
}

#[test]
fn a_namespace_label_hides_pod_labels() {
    check(&[("istio.io/rev", "1-30")], &[], &by("1-30"));
    check(&[("istio.io/rev", "1-30")], &[("istio.io/rev", "1-31")], &by("1-30"));
    check(&[("istio.io/rev", "1-30")], &[("sidecar.istio.io/inject", "true")], &by("1-30"));
}

#[test]
fn a_tag_leads_to_its_revision() {
    check(&[("istio.io/rev", "prod")], &[], &by("1-30"));
    check(&[("istio.io/rev", "default")], &[], &by("1-31"));
}

#[test]
fn a_label_that_no_webhook_serves_dangles() {
    check(&[("istio.io/rev", "1-29")], &[], &Injection::Dangling("1-29".to_owned()));
    check(&[], &[("istio.io/rev", "1-29")], &Injection::Dangling("1-29".to_owned()));
    // The namespace's label decides, and it is served by none.
    let dangling = Injection::Dangling("1-29".to_owned());
    check(&[("istio.io/rev", "1-29")], &[("istio.io/rev", "1-30")], &dangling);
}

#[test]
fn in_an_unlabelled_namespace_the_pod_decides() {
    check(&[], &[("istio.io/rev", "1-30")], &by("1-30"));
    check(&[], &[("istio.io/rev", "1-30"), ("sidecar.istio.io/inject", "true")], &by("1-30"));
    check(&[], &[("sidecar.istio.io/inject", "true")], &by("1-31"));
    check(&[], &[], &Injection::None);
}

#[test]
fn host_network_and_the_legacy_annotation_forbid_injection() {
    let namespace = labels(&[("istio.io/rev", "1-30")]);
    assert_eq!(resolve(&upstream(), &namespace, &wish(&[]), true), Injection::None);
    let annotations = labels(&[("sidecar.istio.io/inject", "false")]);
    let by_annotation = InjectionWish::among(&Labels::new(), &annotations);
    assert_eq!(resolve(&upstream(), &namespace, &by_annotation, false), Injection::None);
    // The label is asked before the annotation.
    let both = InjectionWish::among(&labels(&[("sidecar.istio.io/inject", "true")]), &annotations);
    assert_eq!(resolve(&upstream(), &namespace, &both, false), by("1-30"));
}

#[test]
fn two_planes_that_both_match_are_a_conflict() {
    let mut injectors = upstream();
    let mut greedy = revisioned("greedy", "1-28", None);
    greedy[0].namespace_selector.requirements.clear();
    injectors.extend(greedy);
    assert_eq!(
        resolve(&injectors, &labels(&[("istio.io/rev", "1-30")]), &wish(&[]), false),
        Injection::Conflict(vec![rev("1-28"), rev("1-30")])
    );
}

#[test]
fn calisti_planes_have_no_default() {
    let injectors = revisioned("cp", "cp-v115x.istio-system", None);
    let enabled = labels(&[("istio-injection", "enabled")]);
    assert_eq!(resolve(&injectors, &enabled, &wish(&[]), false), Injection::None);
    let inject = wish(&[("sidecar.istio.io/inject", "true")]);
    assert_eq!(resolve(&injectors, &Labels::new(), &inject, false), Injection::None);
}

/// `sidecar.istio.io/status`.revision (1.11 on), annotation (1.18 on), label (Calisti).
#[test]
fn the_injection_record_is_read_in_order_of_trust() {
    let by = |revision: &str| Injected::By(rev(revision));
    for (status, annotation, label, expected) in [
        (Some("a"), Some("b"), Some("c"), by("a")),
        (Some("a"), None, None, by("a")),
        (Some(""), Some("b"), Some("c"), by("b")),
        (Some(""), None, Some("c"), by("c")),
        (Some(""), None, None, Injected::Unknown),
        // Without a record there is no sidecar: labels and annotations may be wishes.
        (None, Some("b"), Some("c"), Injected::No),
        (None, None, None, Injected::No),
    ] {
        assert_eq!(Injected::read(status, annotation, label), expected);
    }
}
