//! Whether two planes are of one mesh: roots of trust, identities, mesh configuration.

use super::surroundings::{Mesh, Purpose, certificates};
use super::{Checks, plane};
use crate::plane::Revision;
use crate::problem::Code;
use std::collections::BTreeSet;

/// Settings of the mesh configuration that differ between planes by nature, or are compared by themselves.
const OWN: [&str; 6] = [
    "defaultConfig.discoveryAddress",
    "defaultConfig.meshId",
    "defaultConfig.proxyMetadata.ISTIO_META_ENABLE_HBONE",
    "discoverySelectors",
    "rootNamespace",
    "trustDomain",
];

/// Planes of different trust domains differ in this by nature.
const ALIASES: &str = "trustDomainAliases";

impl Checks<'_> {
    pub(super) fn meshes(&mut self) {
        let (source, target) = (self.scope.source.clone(), self.scope.target.clone());
        self.roots(&source, &target);
        let around = self.around;
        let (old, new) = (around.meshes.get(&source), around.meshes.get(&target));
        let (Some(old), Some(new)) = (old, new) else {
            let unknown = [(&source, old), (&target, new)];
            for (revision, _) in unknown.into_iter().filter(|(_, mesh)| mesh.is_none()) {
                let message = "its mesh configuration was not found, so it is not compared";
                self.warn(Code::MeshUnknown, plane(revision), message);
            }
            return;
        };
        self.identities(&target, old, new);
        self.settings(&target, old, new);
        self.discovery(new);
    }

    fn roots(&mut self, source: &Revision, target: &Revision) {
        let (old, new) = (self.root(source), self.root(target));
        match (old, new) {
            (Some(old), Some(new)) if old.is_disjoint(&new) => {
                let message = format!(
                    "its root certificate is not that of `{source}`: workloads on one plane cannot talk \
                     to those on the other by mutual TLS"
                );
                self.error(Code::RootsDiffer, plane(target), message);
            }
            (Some(old), Some(new)) if old != new => {
                let what = if old.is_subset(&new) {
                    "has others beside that"
                } else {
                    "does not have all root certificates"
                };
                let message = format!(
                    "it {what} of `{source}`: workloads on one plane may not trust the certificates of \
                     those on the other"
                );
                self.warn(Code::RootsDiffer, plane(target), message);
            }
            (Some(_), Some(_)) => {}
            (old, new) => {
                for (revision, _) in
                    [(source, old), (target, new)].into_iter().filter(|it| it.1.is_none())
                {
                    let message = "its root certificate is not known, so it is not proven that both planes have the same";
                    self.warn(Code::RootUnknown, plane(revision), message);
                }
            }
        }
    }

    /// The roots of a plane: what it tells itself, or else the CA bundle of its injector, which istiod sets
    /// to its own roots.
    fn root(&self, revision: &Revision) -> Option<BTreeSet<String>> {
        let told = self.around.meshes.get(revision).map(|mesh| mesh.roots.clone());
        told.filter(|roots| !roots.is_empty()).or_else(|| {
            let mut own = self.around.webhooks.iter();
            let injector = own.find(|it| {
                it.revision == *revision
                    && it.purpose == Purpose::Inject
                    && !it.ca_bundle.is_empty()
            })?;
            Some(certificates(&String::from_utf8_lossy(&injector.ca_bundle)))
        })
    }

    fn identities(&mut self, target: &Revision, old: &Mesh, new: &Mesh) {
        let lists = |mesh: &Mesh, domain: &Option<String>| {
            domain.as_ref().is_some_and(|domain| mesh.aliases.contains(domain))
        };
        let aliased = lists(old, &new.trust_domain) && lists(new, &old.trust_domain);
        let compared = [
            (Code::TrustDomainsDiffer, "trust domain", &old.trust_domain, &new.trust_domain),
            (Code::MeshesDiffer, "mesh id", &old.mesh_id, &new.mesh_id),
            (Code::NetworksDiffer, "network", &old.network, &new.network),
            (Code::ClusterIdsDiffer, "cluster id", &old.cluster_id, &new.cluster_id),
        ];
        for (code, what, old, new) in compared {
            // What is not told is not compared.
            let (Some(old), Some(new)) = (old, new) else {
                continue;
            };
            if old == new || code == Code::TrustDomainsDiffer && aliased {
                continue;
            }
            let mut message = format!("its {what} is `{new}`, not `{old}`");
            if code == Code::TrustDomainsDiffer {
                message += ", and not each of them is an alias where the other is the domain";
            }
            self.error(code, plane(target), message);
        }
    }

    fn settings(&mut self, target: &Revision, old: &Mesh, new: &Mesh) {
        let names: BTreeSet<&String> = old.settings.keys().chain(new.settings.keys()).collect();
        for name in names {
            let of_domains = name == ALIASES && old.trust_domain != new.trust_domain;
            if OWN.contains(&name.as_str()) || of_domains {
                continue;
            }
            let show = |mesh: &Mesh| match mesh.settings.get(name) {
                Some(value) => format!("`{}`", shortened(value)),
                None => "not set".to_owned(),
            };
            if old.settings.get(name) != new.settings.get(name) {
                let message =
                    format!("its setting {name} is {}, before it was {}", show(new), show(old));
                self.warn(Code::MeshSettingsDiffer, plane(target), message);
            }
        }
    }

    fn discovery(&mut self, new: &Mesh) {
        if new.discovery.is_empty() {
            return;
        }
        let Self { scope, .. } = *self;
        for namespace in &scope.namespaces {
            // As they are after the move: a selector may well go by the revision.
            let seen = self.labels_of(namespace).is_none_or(|labels| {
                let mut after = labels.clone();
                scope.labels.replace(&mut after);
                new.discovery.iter().any(|it| it.matches(&after))
            });
            if !seen {
                let message = format!(
                    "`{}` does not look at it: its discoverySelectors match none of the namespace's labels",
                    scope.target
                );
                self.error(Code::NamespaceUndiscovered, format!("Namespace/{namespace}"), message);
            }
        }
    }
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= 80 {
        return text.to_owned();
    }
    text.chars().take(79).chain(['…']).collect()
}
