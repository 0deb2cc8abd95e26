//! The injection matrix of Istio's webhooks: namespace labels × pod labels.

use super::world::{absent, default_injectors, labels, rev, revisioned, wish};
use revshift_core::injection::{self, Injection, Injector, resolve};
use revshift_core::label::{Labels, Operator, Requirement};
use revshift_core::pod::{Injected, InjectionWish};

fn upstream() -> Vec<Injector> {
    let mut injectors = revisioned("istio-sidecar-injector-1-30", "1-30", None);
    injectors.extend(revisioned("istio-revision-tag-prod", "1-30", Some("prod")));
    injectors.extend(revisioned("istio-sidecar-injector-1-31", "1-31", None));
    injectors.extend(default_injectors("1-31"));
    injectors
}

/// An install without a revision: the webhooks of the tag `default`, as its own.
fn unrevisioned() -> Vec<Injector> {
    let own = |injector| Injector {
        configuration: "istio-sidecar-injector".to_owned(),
        tag: None,
        ..injector
    };
    default_injectors("default").into_iter().map(own).collect()
}

/// The webhook that `enableNamespacesByDefault` adds to it.
fn auto() -> Injector {
    let spared = ["kube-system", "kube-public", "kube-node-lease", "local-path-storage"];
    let mut auto = unrevisioned().remove(0);
    "auto.sidecar-injector.istio.io".clone_into(&mut auto.webhook);
    auto.namespace_selector.requirements = vec![
        absent("istio-injection"),
        absent("istio.io/rev"),
        Requirement {
            key: "kubernetes.io/metadata.name".to_owned(),
            operator: Operator::NotIn(spared.map(str::to_owned).into()),
        },
    ];
    auto.object_selector.requirements =
        vec![absent("sidecar.istio.io/inject"), absent("istio.io/rev")];
    auto
}

/// Every row of Istio's injection matrix, for a default by tag, for one without a revision, and without any.
#[test]
fn the_matrix_holds_for_every_kind_of_default() {
    const FORBIDS: &[(&str, &str)] = &[("sidecar.istio.io/inject", "false")];
    const ASKS: &[(&str, &str)] = &[("sidecar.istio.io/inject", "true")];
    const PINNED: &[(&str, &str)] = &[("istio.io/rev", "1-30")];
    const ENABLED: &[(&str, &str)] = &[("istio-injection", "enabled")];
    const BOTH: &[(&str, &str)] = &[("istio-injection", "enabled"), ("istio.io/rev", "1-30")];
    const DISABLED: &[(&str, &str)] = &[("istio-injection", "disabled"), ("istio.io/rev", "1-30")];
    const REVISION: &[(&str, &str)] = &[("istio.io/rev", "1-30")];
    const DANGLING: &[(&str, &str)] = &[("istio.io/rev", "1-29")];
    const DEFAULT: &[(&str, &str)] = &[("istio.io/rev", "default")];
    let plain = revisioned("istio-sidecar-injector-1-30", "1-30", None);
    let with = |more: Vec<Injector>| [plain.clone(), more].concat();
    for (injectors, default, name) in [
        (with(default_injectors("1-31")), Some("1-31"), "tag"),
        (with(unrevisioned()), Some("default"), "unrevisioned"),
        (with([unrevisioned(), vec![auto()]].concat()), Some("default"), "auto"),
        (with(Vec::new()), None, "none"),
    ] {
        let default = default.map_or(Injection::None, by);
        let of_label = match &default {
            Injection::None => Injection::Dangling("default".to_owned()),
            found => found.clone(),
        };
        let of_nothing = if name == "auto" { default.clone() } else { Injection::None };
        let gone = || Injection::Dangling("1-29".to_owned());
        for (namespace, pod, expected) in [
            (ENABLED, FORBIDS, Injection::None),
            (REVISION, FORBIDS, Injection::None),
            (&[], FORBIDS, Injection::None),
            (ENABLED, &[][..], default.clone()),
            (BOTH, &[], default.clone()),
            (BOTH, PINNED, default.clone()),
            (DISABLED, &[], Injection::None),
            (DISABLED, ASKS, Injection::None),
            (REVISION, &[], by("1-30")),
            (REVISION, &[("istio.io/rev", "1-31")], by("1-30")),
            (DEFAULT, &[], of_label),
            (DANGLING, &[], gone()),
            (DANGLING, ASKS, gone()),
            (&[], PINNED, by("1-30")),
            (&[], &[("istio.io/rev", "1-29")], gone()),
            (&[], ASKS, default.clone()),
            (&[], &[], of_nothing.clone()),
        ] {
            let found = resolve(&injectors, &labels(namespace), &wish(pod), false);
            assert_eq!(found, expected, "{name} {namespace:?} {pod:?}");
        }
        // The namespaces of Kubernetes itself are never injected without being asked.
        let system = labels(&[("kubernetes.io/metadata.name", "kube-system")]);
        assert_eq!(resolve(&injectors, &system, &wish(&[]), false), Injection::None, "{name}");
    }
}

#[test]
fn labels_are_on_a_tag_unless_a_revisions_own_webhook_serves_them() {
    let tag = |pairs: &[(&str, &str)]| {
        injection::tag(&upstream(), &labels(pairs), &wish(&[])).map(str::to_owned)
    };
    assert_eq!(tag(&[("istio.io/rev", "prod")]).as_deref(), Some("prod"));
    assert_eq!(tag(&[("istio-injection", "enabled")]).as_deref(), Some("default"));
    assert_eq!(tag(&[("istio.io/rev", "1-30")]), None);
    assert_eq!(tag(&[]), None);
    let enabled = labels(&[("istio-injection", "enabled")]);
    assert_eq!(injection::tag(&unrevisioned(), &enabled, &wish(&[])), None);
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
