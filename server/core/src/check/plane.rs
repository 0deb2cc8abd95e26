//! The planes themselves: there, served, of versions that go together.

use super::surroundings::{Autoscaler, Purpose};
use super::{Checks, plane};
use crate::plan::{Severity, kept};
use crate::plane::{Plane, Revision, Source};
use crate::problem::Code;
use crate::version::Minor;
use std::collections::BTreeSet;

impl Checks<'_> {
    pub(super) fn planes(&mut self) {
        let (source, target) = (self.scope.source.clone(), self.scope.target.clone());
        let planes = self.cluster.planes();
        let (Some(old), Some(new)) = (planes.get(&source), planes.get(&target)) else {
            return;
        };
        self.available(new);
        self.skew(old, new);
        for revision in [&source, &target] {
            if let Some(violation) = kept(self.cluster, revision) {
                self.error(violation.code, violation.subject, violation.description);
            }
            self.operator(revision);
        }
        self.istiods(&target);
        self.webhooks(&target);
        self.tags_of_own();
    }

    fn available(&mut self, plane: &Plane) {
        if !plane.available {
            let mut why = format!("it is not Available but {}", plane.status);
            if !plane.error.is_empty() {
                why = format!("{why}: {}", plane.error);
            }
            self.error(Code::PlaneUnavailable, super::plane(&plane.revision), why);
        }
    }

    /// Istio supports one minor of skew and tolerates two, which is what Calisti's procedure does.
    fn skew(&mut self, old: &Plane, new: &Plane) {
        let object = plane(&new.revision);
        let (Some(from), Some(to)) = (Minor::of(&old.version), Minor::of(&new.version)) else {
            let unknown = [old, new].into_iter().filter(|it| Minor::of(&it.version).is_none());
            let names: Vec<String> = unknown.map(|it| format!("`{}`", it.revision)).collect();
            let message = format!("nothing tells the version of {}", names.join(" and "));
            return self.warn(Code::VersionUnknown, object, message);
        };
        let (one, other) = (&old.version, &new.version);
        if from.major != to.major || from.minor.abs_diff(to.minor) > 2 {
            let message = format!("from {one} to {other} is more than two minor versions");
            self.error(Code::SkewTooWide, &object, message);
        } else if from.minor.abs_diff(to.minor) == 2 {
            let message = format!("from {one} to {other} skips a minor version");
            self.warn(Code::SkewWide, &object, message);
        }
        if to < from {
            let message = format!("from {one} to {other} is a downgrade");
            self.warn(Code::Downgrade, &object, message);
        }
    }

    /// A dead operator leaves `Available` behind; what it notes of namespaces tells that it lives.
    fn operator(&mut self, revision: &Revision) {
        let calisti = |it: &&Plane| it.source == Source::Calisti;
        let Some(of) = self.cluster.planes().get(revision).filter(calisti) else {
            return;
        };
        // An empty list is not written; where no plane has one, they may be of a version without any.
        let (all, none) = (&self.around.noted, BTreeSet::new());
        let noted = match all.get(&of.revision) {
            Some(Some(noted)) => noted,
            Some(None) if all.values().any(Option::is_some) => &none,
            _ => return,
        };
        let labelled: BTreeSet<String> = self
            .cluster
            .namespaces()
            .filter(|(_, meta, _)| {
                meta.labels.get(crate::label::REVISION).is_some_and(|it| *it == revision.0)
            })
            .map(|(name, _, _)| name.to_owned())
            .collect();
        // What goes may be noted or not.
        let stays =
            |name: &str| !self.cluster.namespace(name).is_some_and(|(it, _)| it.terminating);
        let differing = noted.symmetric_difference(&labelled).map(String::as_str);
        let differing: Vec<&str> = differing.filter(|name| stays(name)).take(3).collect();
        if !differing.is_empty() {
            let message = format!(
                "its status.injectionNamespaces does not follow the labels ({}): its operator may be \
                 dead, and its status stale",
                differing.join(", ")
            );
            self.warn(Code::OperatorStale, plane(revision), message);
        }
    }

    fn istiods(&mut self, target: &Revision) {
        let istiods: Vec<_> = self.cluster.istiods_of(target).cloned().collect();
        let (mut desired, mut available) = (0, 0);
        for istiod in &istiods {
            desired += istiod.desired;
            available += istiod.available;
        }
        let object = plane(target);
        if istiods.is_empty() {
            return;
        }
        if available < desired {
            let message = format!("{available} of {desired} istiod replicas are available");
            self.warn(Code::IstiodDegraded, &object, message);
        }
        if desired == 1 {
            let message =
                "it has one istiod replica: while that is away, no pod of its namespaces can start";
            self.warn(Code::IstiodSingle, &object, message);
        }
        let deployments: BTreeSet<(&str, String)> = self
            .cluster
            .istiod_deployments(target)
            .map(|(namespace, name)| (namespace, format!("Deployment/{name}")))
            .collect();
        let full = |it: &&Autoscaler| it.most > 0 && it.current >= it.most;
        for it in self.around.autoscalers.iter().filter(full) {
            if deployments.contains(&(it.namespace.as_str(), it.target.clone())) {
                let (name, most) = (&it.name, it.most);
                let message =
                    format!("its autoscaler {name} has reached its most, {most} replicas");
                self.warn(Code::IstiodAtLimit, &object, message);
            }
        }
    }

    fn webhooks(&mut self, target: &Revision) {
        let around = self.around;
        let own = || around.webhooks.iter().filter(|it| it.revision == *target);
        let mut told = BTreeSet::new();
        for webhook in own() {
            let object = &webhook.configuration;
            // Without the validator configuration cannot be changed, without the injector no pod starts.
            let severity = match webhook.purpose {
                Purpose::Inject => Severity::Error,
                Purpose::Validate => Severity::Warning,
            };
            if webhook.service.is_some() && webhook.ca_bundle.is_empty() && told.insert((object, 0))
            {
                let message = format!(
                    "its webhook {} has no CA bundle, so the API server cannot call it",
                    webhook.name
                );
                self.find(severity, Code::WebhookUntrusted, object, message);
            }
            if let (Some(service), Some(0)) = (&webhook.service, webhook.endpoints)
                && told.insert((object, 1))
            {
                let message = format!("the Service {service} behind it has no ready endpoint");
                self.find(severity, Code::WebhookUnserved, object, message);
            }
        }
        if !around.unread.iter().any(|it| it.what == "webhook configurations")
            && own().all(|it| it.purpose != Purpose::Inject)
        {
            self.error(Code::InjectorMissing, plane(target), "it has no injector webhook");
        }
    }

    /// Namespaces that are attached by a tag move by themselves when it is set to another plane.
    fn tags_of_own(&mut self) {
        let Self { cluster, scope, .. } = *self;
        for namespace in &scope.namespaces {
            let label = self.labels_of(namespace).and_then(|it| it.get(crate::label::REVISION));
            if let Some(tag) = label.filter(|label| cluster.tag(label).is_some()).cloned() {
                let message =
                    format!("its label names the tag `{tag}`: whoever moves the tag moves it, too");
                self.note(Code::TagMovesAlone, format!("Namespace/{namespace}"), message);
            }
        }
    }
}
