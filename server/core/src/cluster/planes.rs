//! The planes of a cluster, from every source that tells of one.

use super::Cluster;
use crate::injection::Injector;
use crate::plane::{Plane, Planes, Revision, Source};

/// An istiod Deployment with a revision label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Istiod {
    /// Its label `istio.io/rev`.
    pub revision: Revision,
    /// Its version, by its image's tag; empty when the image tells none.
    pub version: String,
    /// Replicas that are available.
    pub available: u32,
    /// Replicas asked for.
    pub desired: u32,
    /// Whole cores of a replica, by its limit or else its request; 0 when less or unknown.
    pub cores: u32,
    /// When it was created.
    pub created: Option<jiff::Timestamp>,
}

/// By what a plane is the default one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultBy {
    /// The tag `default`.
    Tag,
    /// The label of the default validator (`istiod-default-validator`).
    Validator,
}

/// Where planes live unless something else is said.
const HOME: &str = "istio-system";

impl Cluster {
    /// The istiods of a revision that run in this cluster.
    pub fn istiods_of(&self, revision: &Revision) -> impl Iterator<Item = &Istiod> {
        self.istiods_at_home().map(|(_, istiod)| istiod).filter(move |it| it.revision == *revision)
    }

    /// Their Deployments, by namespace and name.
    pub fn istiod_deployments(&self, revision: &Revision) -> impl Iterator<Item = (&str, &str)> {
        let own = self.istiods_at_home().filter(move |(_, istiod)| istiod.revision == *revision);
        own.map(|((namespace, name), _)| (namespace.as_str(), name.as_str()))
    }

    /// Whoever may create a Deployment can label it as an istiod. Where a webhook or a resource, which only
    /// administrators write, says in which namespace a plane lives, it has no istiod elsewhere.
    fn istiods_at_home(&self) -> impl Iterator<Item = (&(String, String), &Istiod)> {
        self.istiods.iter().filter(|((namespace, _), istiod)| {
            let mut homes = self.homes(&istiod.revision).peekable();
            if homes.peek().is_some() {
                return homes.any(|home| home == namespace);
            }
            // Webhooks that call a URL tell it by the name of their configuration, as Istio's charts make it.
            let mut own = self.injectors_of(&istiod.revision).peekable();
            own.peek().is_none()
                || namespace == HOME
                || own.any(|it| it.configuration == named_after(&istiod.revision, namespace))
        })
    }

    /// The webhooks of a revision itself, by which it injects.
    pub(crate) fn injectors_of<'a>(
        &'a self,
        revision: &'a Revision,
    ) -> impl Iterator<Item = &'a Injector> {
        let all = self.injectors.values().flatten();
        all.filter(move |it| it.tag.is_none() && it.revision == *revision)
    }

    /// The namespaces in which webhooks and resources say that a plane lives.
    fn homes<'a>(&'a self, revision: &'a Revision) -> impl Iterator<Item = &'a str> {
        let injectors = self.injectors.values().flatten();
        let injectors = injectors.map(|it| (&it.revision, it.namespace.as_str()));
        let declared = self.declared.values().map(|it| (&it.revision, it.namespace.as_str()));
        let told = injectors.chain(declared).filter(|(_, home)| !home.is_empty());
        told.filter(move |(of, _)| *of == revision).map(|(_, home)| home)
    }

    /// The tags by which webhooks lead to a revision.
    pub fn tags_of<'a>(&'a self, revision: &'a Revision) -> impl Iterator<Item = &'a str> {
        self.flat_injectors
            .iter()
            .filter(move |injector| injector.revision == *revision)
            .filter_map(|injector| injector.tag.as_deref())
    }

    /// The revision behind a tag; none when there is no such tag.
    pub fn tag(&self, name: &str) -> Option<&Revision> {
        let tagged = |injector: &&Injector| injector.tag.as_deref() == Some(name);
        self.flat_injectors.iter().find(tagged).map(|injector| &injector.revision)
    }

    /// The default plane, as istiod finds it, and by what it is: the tag `default` wins.
    pub fn default_plane(&self) -> Option<(&Revision, DefaultBy)> {
        let by_tag = self.tag("default").map(|revision| (revision, DefaultBy::Tag));
        let by_validator = self.default_validator.as_ref();
        by_tag.or_else(|| Some((by_validator?, DefaultBy::Validator)))
    }

    /// A resource of Calisti or Sail stands for its revision; otherwise an istiod Deployment or,
    /// where istiod runs elsewhere, its webhook.
    pub(super) fn find_planes(&mut self) {
        let injectors: Vec<Injector> = self.injectors.values().flatten().cloned().collect();
        let mut planes = Planes::new();
        for injector in injectors.iter().filter(|injector| injector.tag.is_none()) {
            planes.entry(injector.revision.clone()).or_insert_with(|| external(injector));
        }
        for ((namespace, name), istiod) in self.istiods_at_home() {
            planes.insert(istiod.revision.clone(), plain(namespace, name, istiod));
        }
        for plane in self.declared.values() {
            let mut plane = plane.clone();
            if plane.version.is_empty()
                && let Some(known) = planes.get(&plane.revision)
            {
                plane.version.clone_from(&known.version);
            }
            planes.insert(plane.revision.clone(), plane);
        }
        if self.planes != planes || self.flat_injectors != injectors {
            self.changed.everything();
            self.planes = planes;
            self.flat_injectors = injectors;
        }
    }
}

/// What Istio's chart calls the webhooks of a revision in another namespace than its usual one.
fn named_after(revision: &Revision, namespace: &str) -> String {
    match revision.as_str() {
        "default" => format!("istio-sidecar-injector-{namespace}"),
        revision => format!("istio-sidecar-injector-{revision}-{namespace}"),
    }
}

fn plain(namespace: &str, name: &str, istiod: &Istiod) -> Plane {
    let available = istiod.available > 0;
    Plane {
        status: if available { "Available" } else { "Unavailable" }.to_owned(),
        error: if available {
            String::new()
        } else {
            format!("{} of {} istiod replicas are available", istiod.available, istiod.desired)
        },
        available,
        version: istiod.version.clone(),
        created: istiod.created,
        ..bare(&istiod.revision, name, namespace)
    }
}

fn external(injector: &Injector) -> Plane {
    let status = if injector.trusted { "External" } else { "NoCABundle" };
    Plane {
        status: status.to_owned(),
        available: injector.trusted,
        ..bare(&injector.revision, &injector.configuration, &injector.namespace)
    }
}

fn bare(revision: &Revision, name: &str, namespace: &str) -> Plane {
    Plane {
        revision: revision.clone(),
        source: Source::Istio,
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        version: String::new(),
        mode: String::new(),
        network: String::new(),
        status: String::new(),
        available: false,
        mesh_expansion: None,
        gateway_addresses: Vec::new(),
        error: String::new(),
        created: None,
    }
}
