//! Who uses a plane, and what else keeps it from being retired: a function of a census alone.

use super::census::{Census, Template};
use super::{Finding, Subject, Terms, operator, remedy};
use crate::cluster::{Controller, Namespace};
use crate::injection::{self, Injection};
use crate::label::{self, Labels};
use crate::migration::{Migration, MoveState};
use crate::plane::Revision;
use crate::pod::{Injected, InjectionWish, Pod};
use crate::problem::Code;
use crate::workload::Role;
use jiff::{SignedDuration, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// So many findings of one code are told apart.
const MOST: usize = 20;

/// The tag by which what names no revision finds one.
const DEFAULT: &str = "default";

/// What is found of `plane`, what blocks first; an unused one gives nothing that blocks.
pub fn judge(census: &Census, plane: &Subject, terms: &Terms, now: Timestamp) -> Vec<Finding> {
    let look = Judge { census, plane, elsewhere: remedy::elsewhere(census, &plane.revision) };
    let mut findings = look.unread();
    findings.extend(look.migrations(terms, now));
    findings.extend(look.tags());
    findings.extend(look.namespaces());
    findings.extend(look.pods());
    findings.extend(look.gateways());
    findings.extend(look.templates());
    findings.extend(look.machines());
    findings.extend(look.callers());
    findings.extend(look.proxies());
    findings.extend(look.rights());
    // A plane that is gone keeps nothing from being deleted.
    if !look.gone() {
        findings.extend(look.standing());
        findings.extend(look.cni());
        findings.extend(look.unknown_proxies());
        findings.extend(operator::silent(census, plane));
        findings.extend(look.cordon());
    }
    for finding in &mut findings {
        let allowed = terms.allowed.iter().find(|it| it.code == finding.code);
        if let Some(allowance) = allowed.filter(|_| super::ALLOWABLE.contains(&finding.code)) {
            finding.blocks = false;
            finding.allowed = Some(format!("{} (by {})", allowance.reason, allowance.by));
        }
    }
    bounded(findings)
}

/// A judgement that is being made.
pub(super) struct Judge<'a> {
    pub(super) census: &'a Census,
    pub(super) plane: &'a Subject,
    elsewhere: String,
}

impl Judge<'_> {
    pub(super) fn revision(&self) -> &Revision {
        &self.plane.revision
    }

    /// Whether the plane of a retirement is not there any more. One of webhooks alone never was.
    pub(super) fn gone(&self) -> bool {
        self.census.plane.is_none() && !self.plane.uid.is_empty()
    }

    /// The plane as it is shown.
    pub(super) fn object(&self) -> String {
        format!("ControlPlane/{}", self.revision())
    }

    /// Whether a value of `istio.io/rev` leads to the plane. A tag wins over a revision of the same name:
    /// `istioctl tag set default` takes the selectors from the webhook of the revision `default`.
    fn leads(&self, value: &str) -> bool {
        match self.census.cluster.tag(value) {
            Some(plane) => plane == self.revision(),
            None => value == self.revision().as_str(),
        }
    }

    /// Whether the labels of a namespace lead to the plane.
    fn attaches(&self, labels: &Labels) -> bool {
        if labels.get(label::REVISION).is_some_and(|value| self.leads(value)) {
            return true;
        }
        self.injects(labels, &InjectionWish::default())
    }

    /// Whether the plane would inject a pod of this wish in a namespace of these labels.
    fn injects(&self, labels: &Labels, wish: &InjectionWish) -> bool {
        match injection::resolve(self.census.cluster.injectors(), labels, wish, false) {
            Injection::By(revision) => revision == *self.revision(),
            Injection::Conflict(revisions) => revisions.contains(self.revision()),
            Injection::None | Injection::Dangling(_) => false,
        }
    }

    fn unread(&self) -> Vec<Finding> {
        let unread = self.census.unread.iter();
        unread.map(|(what, why)| Finding::blocker(Code::CensusIncomplete, what, why)).collect()
    }

    fn migrations(&self, terms: &Terms, now: Timestamp) -> Vec<Finding> {
        let mut found = Vec::new();
        for (id, planes) in &self.census.unsealed {
            if planes.iter().any(|plane| plane == self.revision().as_str()) {
                let what = "it names the plane, and is just being stored";
                found.push(Finding::blocker(
                    Code::UsedByMigration,
                    format!("Migration/{id}"),
                    what,
                ));
            }
        }
        let naming =
            |it: &&Migration| [&it.spec.source, &it.spec.target].contains(&self.revision());
        for migration in self.census.migrations.iter().filter(naming) {
            let object = format!("Migration/{}", migration.id);
            let Some(ended) = &migration.ended else {
                let what = "it has not ended, and names the plane";
                let command = format!("revshift cancel {}", migration.id);
                let blocker = Finding::blocker(Code::UsedByMigration, object, what);
                found.push(blocker.mended_by(format!("wait until it has ended, or: {command}")));
                continue;
            };
            // What is on the source no more could go back there, while that is there.
            if self.gone() || migration.spec.source != *self.revision() {
                continue;
            }
            let moved = migration.moves.iter().filter(|m| matches!(m.state, MoveState::Moved(_)));
            let Some(last) = moved.map(|m| m.since.min(ended.at)).max() else {
                continue;
            };
            let window = SignedDuration::try_from(terms.rollback_window).unwrap_or_default();
            let until = last.checked_add(window).unwrap_or(Timestamp::MAX);
            if now < until {
                let what = format!("it could still be rolled back to the plane until {until:.0}");
                found.push(Finding::blocker(Code::RollbackWindow, object, what));
            }
        }
        found
    }

    /// Tags, the default among them, and the default validator.
    fn tags(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        let tags: BTreeSet<&str> = self.census.cluster.tags_of(self.revision()).collect();
        for tag in tags {
            let code = if tag == DEFAULT { Code::UsedAsDefault } else { Code::UsedByTag };
            let what = "it leads to the plane";
            let blocker = Finding::blocker(code, format!("Tag/{tag}"), what);
            found.push(blocker.mended_by(remedy::tag(tag, &self.elsewhere)));
        }
        if self.census.validator.as_deref() == Some(self.revision().as_str()) {
            let object = "ValidatingWebhookConfiguration/istiod-default-validator";
            let what = "it has the plane validate all configuration of Istio";
            let blocker = Finding::blocker(Code::UsedAsValidator, object, what);
            found.push(blocker.mended_by(remedy::tag(DEFAULT, &self.elsewhere)));
        }
        found
    }

    fn namespaces(&self) -> Vec<Finding> {
        let all = self.census.cluster.namespaces();
        let attached = all.filter(|(_, meta, _)| self.attaches(&meta.labels));
        attached
            .map(|(name, meta, _)| {
                let labels = label::InjectionLabels::among(&meta.labels);
                let what = match labels.deciding() {
                    Some(label) => format!("its label {label} leads to the plane"),
                    None => "the plane's webhook takes it".to_owned(),
                };
                let mut command = remedy::migrate(self.revision(), &self.elsewhere, name);
                if labels.injection.is_some() || labels.value() != self.revision().as_str() {
                    command += " --tags=rewrite";
                }
                Finding::blocker(Code::UsedByNamespace, format!("Namespace/{name}"), what)
                    .mended_by(command)
            })
            .collect()
    }

    /// Unfinished pods, by what makes them.
    fn pods(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        for (name, meta, namespace) in self.census.cluster.namespaces() {
            let attached = self.attaches(&meta.labels);
            let mut counts: BTreeMap<(String, String, bool), (u32, u32)> = BTreeMap::new();
            for pod in namespace.pods.values().filter(|pod| self.injected(pod)) {
                if self.is_own(name, namespace, pod) {
                    continue;
                }
                let (kind, maker) = maker(namespace, pod);
                let unknown = pod.make.injected == Injected::Unknown;
                let count = counts.entry((kind, maker, unknown)).or_default();
                count.0 += 1;
                count.1 += u32::from(pod.terminating);
            }
            for ((kind, maker, unknown), (pods, terminating)) in counts {
                let by = if unknown {
                    "may have been injected by the plane"
                } else {
                    "were injected by the plane"
                };
                let ending = match terminating {
                    0 => String::new(),
                    some => format!(", {some} of them terminating"),
                };
                let what = format!("{pods} unfinished pods {by}{ending}");
                let gateway = namespace.workloads.iter().any(|(key, workload)| {
                    key.kind.as_str() == kind && key.name == maker && workload.role == Role::Gateway
                });
                let code = if gateway { Code::UsedByGateway } else { Code::UsedByPods };
                let blocker = Finding::blocker(code, format!("{kind}/{name}/{maker}"), what);
                let command = if terminating == pods {
                    "wait until they have ended".to_owned()
                } else if attached {
                    // To restart them now would have the plane inject them again.
                    format!("they move with their namespace {name}")
                } else {
                    remedy::restart(name, &kind, &maker)
                };
                found.push(blocker.mended_by(command));
            }
        }
        found
    }

    fn injected(&self, pod: &Pod) -> bool {
        match &pod.make.injected {
            Injected::By(revision) => revision == self.revision(),
            // Only Istio before 1.11 leaves no trace of its revision.
            Injected::Unknown => true,
            Injected::No => false,
        }
    }

    fn is_own(&self, name: &str, namespace: &Namespace, pod: &Pod) -> bool {
        match namespace.controller(pod) {
            Controller::Workload(key) => self.census.own.contains(&(name.to_owned(), key)),
            _ => false,
        }
    }

    fn gateways(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        for gateway in &self.census.gateways {
            let (kind, namespace, name) = (&gateway.kind, &gateway.namespace, &gateway.name);
            let what = match &gateway.revision {
                Some(value) if self.leads(value) => format!("it names the plane as {value}"),
                Some(_) => continue,
                None => {
                    let home = self.census.cluster.namespace(namespace);
                    if !home.is_some_and(|(meta, _)| self.attaches(&meta.labels)) {
                        continue;
                    }
                    "the label of its namespace leads to the plane".to_owned()
                }
            };
            let command = match kind.as_str() {
                "IstioMeshGateway" => remedy::mesh_gateway(namespace, name, &self.elsewhere),
                _ if gateway.revision.is_none() => {
                    remedy::migrate(self.revision(), &self.elsewhere, namespace)
                }
                _ => remedy::relabel(kind, namespace, name, &self.elsewhere),
            };
            let object = format!("{kind}/{namespace}/{name}");
            found.push(Finding::blocker(Code::UsedByGateway, object, what).mended_by(command));
        }
        found
    }

    fn templates(&self) -> Vec<Finding> {
        let using = self.census.templates.iter().filter_map(|template| {
            let what = self.used_by(template)?;
            let (kind, namespace) = (&template.kind, &template.namespace);
            let object = format!("{kind}/{namespace}/{}", template.name);
            let command = remedy::template(kind, namespace, &template.name, &self.elsewhere);
            Some(Finding::blocker(Code::UsedByTemplate, object, what).mended_by(command))
        });
        using.collect()
    }

    /// How a template uses the plane: by its name, or because the plane would inject what asks for any in a
    /// namespace that leads nowhere. Nothing else tells of the latter while there are no pods of it.
    fn used_by(&self, template: &Template) -> Option<String> {
        let named = template.wish.labels.get(label::REVISION);
        if let Some(name) = named.filter(|name| self.leads(name)) {
            return Some(format!("its pod template names the plane as {name}"));
        }
        let namespace = self.census.cluster.namespace(&template.namespace);
        let labels = namespace.map(|(meta, _)| &meta.labels)?;
        let asks = !self.attaches(labels) && self.injects(labels, &template.wish);
        asks.then(|| {
            "its pod template asks for a sidecar, and the plane would inject it".to_owned()
        })
    }

    fn machines(&self) -> Vec<Finding> {
        let naming = self.census.machines.iter().filter(|it| self.leads(&it.revision));
        naming
            .map(|machine| {
                let (kind, namespace, name) = (&machine.kind, &machine.namespace, &machine.name);
                let what = format!("it names the plane as {}", machine.revision);
                let object = format!("{kind}/{namespace}/{name}");
                let command = remedy::relabel(kind, namespace, name, &self.elsewhere);
                Finding::blocker(Code::UsedByMachine, object, what)
                    .mended_by(format!("{command}; then restart the proxy on its machine"))
            })
            .collect()
    }

    /// Webhooks that somebody has pointed at the plane's Services: nobody would answer them.
    fn callers(&self) -> Vec<Finding> {
        let callers = self.census.callers.iter();
        callers
            .map(|caller| {
                let what = format!("it calls the Service {} of the plane", caller.service);
                Finding::blocker(Code::UsedByWebhook, &caller.configuration, what)
            })
            .collect()
    }

    fn unknown_proxies(&self) -> Option<Finding> {
        let why = self.census.connections.incomplete()?;
        Some(Finding::blocker(Code::ConnectionsUnknown, self.object(), why))
    }

    fn proxies(&self) -> Vec<Finding> {
        let connected = self.census.connections.proxies.iter().filter(|proxy| {
            let home = self.census.cluster.namespace(&proxy.namespace);
            !home.is_some_and(|(_, namespace)| {
                let mut pods = namespace.pods.values().filter(|pod| pod.name == proxy.pod);
                pods.any(|pod| self.is_own(&proxy.namespace, namespace, pod))
            })
        });
        let connected = connected.map(|proxy| {
            let object = format!("Pod/{}/{}", proxy.namespace, proxy.pod);
            Finding::blocker(Code::UsedByProxy, object, "its proxy is connected to the plane")
        });
        connected.collect()
    }
}

/// Kind and name of what makes a pod.
fn maker(namespace: &Namespace, pod: &Pod) -> (String, String) {
    match namespace.controller(pod) {
        Controller::Workload(key) => (key.kind.as_str().to_owned(), key.name),
        Controller::Job(name) => ("Job".to_owned(), name),
        Controller::CronJob(name) => ("CronJob".to_owned(), name),
        Controller::Nobody => ("Pod".to_owned(), pod.name.clone()),
        Controller::Other { kind, name, .. } => (kind, name),
    }
}

/// What blocks first; of many of one code the first, and how many more there are.
fn bounded(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| !finding.blocks);
    let mut counts: BTreeMap<Code, usize> = BTreeMap::new();
    let mut kept = Vec::new();
    for finding in findings {
        let count = counts.entry(finding.code).or_default();
        *count += 1;
        if *count <= MOST {
            kept.push(finding);
        }
    }
    for (code, count) in counts.into_iter().filter(|(_, count)| *count > MOST) {
        if let Some(last) = kept.iter_mut().rfind(|finding| finding.code == code) {
            let more = count - MOST;
            last.message = format!("{}; and {more} more like this", last.message);
        }
    }
    kept
}
