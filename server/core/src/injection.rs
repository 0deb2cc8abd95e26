//! Which control plane injects a pod: Istio's webhooks' own selectors, evaluated.
//!
//! The rules are those of the injector's MutatingWebhookConfigurations
//! (`mutatingwebhook.yaml`, `revision-tags-mwc.yaml` of istiod's chart, and of the Cisco
//! operator's); since the selectors themselves are read, a customised webhook is honoured too.

use crate::label::{self, Labels, Selector};
use crate::plane::Revision;
use crate::pod::InjectionWish;

/// One sidecar injector: one webhook of a MutatingWebhookConfiguration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Injector {
    /// Name of the webhook configuration.
    pub configuration: String,
    /// Name of the webhook in it, such as `rev.namespace.sidecar-injector.istio.io`.
    pub webhook: String,
    /// The plane that it calls: the configuration's label `istio.io/rev`.
    pub revision: Revision,
    /// The tag that it stands for: the label `istio.io/tag`; none for a revision's own.
    pub tag: Option<String>,
    /// Namespace of the istiod that it calls; empty for a URL.
    pub namespace: String,
    /// Which namespaces it serves.
    pub namespace_selector: Selector,
    /// Which pods it serves there.
    pub object_selector: Selector,
    /// Whether the API server can trust it: a CA bundle is set, or it is called by a URL.
    pub trusted: bool,
}

/// What happens to a pod that is created now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Injection {
    /// This plane injects it.
    By(Revision),
    /// No sidecar, as nothing asks for one or something forbids it.
    None,
    /// No sidecar, though the label asks for this revision or tag: no webhook serves it.
    Dangling(String),
    /// Several planes would inject it.
    Conflict(Vec<Revision>),
}

impl Injector {
    /// Whether it is called for a pod with `wish` in a namespace with `labels`.
    pub fn matches(&self, labels: &Labels, wish: &InjectionWish) -> bool {
        self.namespace_selector.matches(labels) && self.object_selector.matches(&wish.labels)
    }
}

/// What happens to a pod with `wish`, created in a namespace with `labels`.
///
/// `host_network` pods and pods that forbid injection get none, whatever the webhooks match.
pub fn resolve(
    injectors: &[Injector],
    labels: &Labels,
    wish: &InjectionWish,
    host_network: bool,
) -> Injection {
    let forbidden = |value: Option<&String>| value.is_some_and(|value| value == "false");
    let by_label = wish.labels.get(label::SIDECAR_INJECT);
    // The injector reads the annotation only where the label is absent.
    let by_annotation = wish.annotation.as_ref().filter(|_| by_label.is_none());
    if host_network || forbidden(by_label) || forbidden(by_annotation) {
        return Injection::None;
    }
    let mut planes: Vec<Revision> = injectors
        .iter()
        .filter(|injector| injector.matches(labels, wish))
        .map(|injector| injector.revision.clone())
        .collect();
    planes.sort();
    planes.dedup();
    match planes.len() {
        0 => unserved(labels, wish),
        1 => planes.pop().map_or(Injection::None, Injection::By),
        _ => Injection::Conflict(planes),
    }
}

/// The tag whose webhook would inject such a pod; none where a revision's own webhook would, too.
pub fn tag<'a>(
    injectors: &'a [Injector],
    labels: &Labels,
    wish: &InjectionWish,
) -> Option<&'a str> {
    let mut tags =
        injectors.iter().filter(|it| it.matches(labels, wish)).map(|it| it.tag.as_deref());
    let first = tags.next().flatten();
    first.filter(|_| tags.all(|tag| tag.is_some()))
}

/// Whether no webhook matched because none has the revision that the labels ask for.
fn unserved(labels: &Labels, wish: &InjectionWish) -> Injection {
    if labels.contains_key(label::INJECTION) {
        return Injection::None;
    }
    // A namespace's label hides the pod's.
    let asked = labels.get(label::REVISION).or_else(|| wish.labels.get(label::REVISION));
    asked.map_or(Injection::None, |revision| Injection::Dangling(revision.clone()))
}
