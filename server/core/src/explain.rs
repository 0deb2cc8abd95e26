//! Why each pod of a namespace is on the plane that it is on, and what other labels would make of it.

mod reason;

use crate::cluster::{Cluster, Controller, Namespace, NamespaceMeta};
use crate::diagnosis::{self, InspectedPod, Inspection};
use crate::injection::{self, Injection, Injector};
use crate::label::{self, InjectionLabels, Labels};
use crate::migration::Move;
use crate::plan::{self, PlannedWorkload};
use crate::plane::Revision;
use crate::pod::{Injected, InjectionWish};
use crate::problem::Code;
use crate::refusal::Violation;
use crate::rollout::{self, Goal};
use crate::workload::{Obstacle, Workload};
use jiff::{SignedDuration, Timestamp};
use reason::why;
pub use reason::{Reason, Why};
use std::collections::BTreeMap;

/// A namespace's pods as they were just listed.
#[derive(Clone, Debug)]
pub struct Look {
    /// Its pods and warning events.
    pub inspection: Inspection,
    /// Of each pod, by name, when it was created and whether it uses its node's network.
    pub details: BTreeMap<String, Details>,
    /// When the labels that decide on injection were written last.
    pub labelled: Labelled,
    /// When that was.
    pub now: Timestamp,
}

/// So long a pod is given to become ready before it counts as trouble.
const STARTING: SignedDuration = SignedDuration::from_mins(1);

/// When the labels of a namespace were written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Labelled {
    /// Nothing tells.
    #[default]
    Unknown,
    /// By whoever has created the namespace, in that second: all pods are younger.
    AtCreation,
    /// Then; clusters tell times to the second.
    At(Timestamp),
}

impl Labelled {
    /// Whether a pod that was created at `pod` is younger, as far as times to the second tell.
    fn before(self, pod: Option<Timestamp>) -> bool {
        match self {
            Self::Unknown => false,
            Self::AtCreation => true,
            Self::At(labels) => pod.is_some_and(|pod| pod > labels),
        }
    }
}

/// What only a pod in full tells.
#[derive(Clone, Debug, Default)]
pub struct Details {
    /// When it was created.
    pub created: Option<Timestamp>,
    /// Whether it uses its node's network, so that nothing can be injected.
    pub host_network: bool,
}

/// A pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedPod {
    /// Its name.
    pub name: String,
    /// Its controller as `kind/name`; none where it has none.
    pub controller: Option<String>,
    /// What would inject it now.
    pub wanted: Injection,
    /// What has injected it.
    pub injected: Injected,
    /// Whether the two differ.
    pub astray: bool,
    /// Why they differ, or why it is not where its namespace's labels lead.
    pub why: Option<Why>,
}

/// A workload, or another controller of pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainedWorkload {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// What would inject its pods now.
    pub wanted: Injection,
    /// Its pods, by what has injected them.
    pub injected: BTreeMap<Injected, u32>,
    /// Pods for which the two differ.
    pub astray: u32,
    /// Why they differ, or why it is not where its namespace's labels lead.
    pub why: Option<Why>,
    /// What other labels would make of it; none where it was not asked, or where it is not known here.
    pub after: Option<After>,
}

/// What other labels of the namespace would make of a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct After {
    /// What would inject its pods then.
    pub wanted: Injection,
    /// How it would be restarted, or what forbids a move.
    pub restart: Result<PlannedWorkload, Violation>,
    /// Every injector webhook, and whether it is called for its pods.
    pub webhooks: Vec<Webhook>,
}

/// Whether an injector webhook is called for pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Its configuration.
    pub configuration: String,
    /// Its name.
    pub name: String,
    /// The plane that it calls.
    pub revision: Revision,
    /// The tag that it stands for.
    pub tag: Option<String>,
    /// Whether it selects the namespace as it is labelled now.
    pub namespace_now: bool,
    /// Whether it selects the namespace with the other labels.
    pub namespace_after: bool,
    /// Whether it selects the pods.
    pub object: bool,
}

/// A namespace, explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Its workloads, by kind and name.
    pub workloads: Vec<ExplainedWorkload>,
    /// Its pods, those first that are not where they should be.
    pub pods: Vec<ExplainedPod>,
}

/// The namespace to be explained, with what was just read of it.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// What is known of the cluster.
    pub cluster: &'a Cluster,
    /// Its name.
    pub name: &'a str,
    /// The namespace itself.
    pub meta: &'a NamespaceMeta,
    /// What is in it.
    pub namespace: &'a Namespace,
    /// Its pods as they were just listed.
    pub look: &'a Look,
}

impl<'a> Subject<'a> {
    /// Explains it; with labels that lead to a plane, also what would happen.
    pub fn explain(&self, to: Option<(&Revision, &InjectionLabels)>) -> Explanation {
        let mut pods: Vec<ExplainedPod> =
            self.pods().map(|(pod, controller)| self.pod(pod, &controller)).collect();
        let mut workloads: Vec<ExplainedWorkload> =
            self.namespace.workloads.values().map(|it| self.workload(it, &pods)).collect();
        workloads.extend(self.strangers(&pods));
        if let Some((target, labels)) = to {
            self.foresee(&mut workloads, target, labels);
        }
        pods.sort_by_key(|pod| (!pod.astray, pod.why.is_none(), pod.name.clone()));
        Explanation { workloads, pods }
    }

    fn pods(&self) -> impl Iterator<Item = (&'a InspectedPod, Controller)> {
        let namespace = self.namespace;
        let listed = self.look.inspection.pods.iter().filter(|pod| !pod.pod.terminating);
        listed.map(|pod| (pod, namespace.controller(&pod.pod)))
    }

    fn pod(&self, inspected: &InspectedPod, controller: &Controller) -> ExplainedPod {
        let pod = &inspected.pod;
        let workload = match controller {
            Controller::Workload(key) => self.namespace.workloads.get(key),
            _ => None,
        };
        // What an injector has added to a pod is no wish of its template.
        let template = workload.map(|workload| self.namespace.template(workload));
        let wish = template.map_or(&pod.make.wish, |template| &template.wish);
        let details = self.look.details.get(&pod.name).cloned().unwrap_or_default();
        let wanted = self.resolve(wish, details.host_network);
        let injected = pod.make.injected.clone();
        let astray = match &wanted {
            Injection::By(plane) => injected.revision() != Some(plane),
            Injection::None => injected != Injected::No,
            Injection::Dangling(_) | Injection::Conflict(_) => true,
        };
        let why = if astray {
            Some(self.why(inspected, controller, workload, &wanted, &details))
        } else {
            self.apart(wish, &wanted, details.host_network)
        };
        let name = pod.name.clone();
        ExplainedPod { name, controller: named(controller), wanted, injected, astray, why }
    }

    fn resolve(&self, wish: &InjectionWish, host_network: bool) -> Injection {
        injection::resolve(self.cluster.injectors(), &self.meta.labels, wish, host_network)
    }

    /// Why something is where it should be, and not where its namespace's labels lead.
    fn apart(&self, wish: &InjectionWish, wanted: &Injection, host_network: bool) -> Option<Why> {
        let general = self.cluster.injection_of_labels(&self.meta.labels);
        if general == *wanted {
            return None;
        }
        let told =
            |value: &str| wish.labels.get(label::SIDECAR_INJECT).is_some_and(|it| it == value);
        Some(match wish.labels.get(label::REVISION) {
            _ if host_network => {
                why(Reason::HostNetwork, "it uses its node's network, so nothing is injected")
            }
            _ if told("false") => {
                why(Reason::Excluded, "its label sidecar.istio.io/inject is false")
            }
            _ if wish.annotation.as_deref() == Some("false") => {
                why(Reason::Excluded, "its annotation sidecar.istio.io/inject is false")
            }
            Some(own) => why(Reason::Pinned, &format!("its own label istio.io/rev names `{own}`")),
            None => why(Reason::Pinned, "its own label sidecar.istio.io/inject asks for a sidecar"),
        })
    }

    fn why(
        &self,
        inspected: &InspectedPod,
        controller: &Controller,
        workload: Option<&Workload>,
        wanted: &Injection,
        details: &Details,
    ) -> Why {
        match wanted {
            Injection::Dangling(asked) => {
                let text = format!("no webhook serves `{asked}`: new pods get no sidecar");
                return why(Reason::Dangling, &text);
            }
            Injection::Conflict(_) => return why(Reason::Conflict, &rollout::describe(wanted)),
            Injection::By(_) | Injection::None => {}
        }
        match controller {
            Controller::Job(name) => {
                return why(Reason::Job, &format!("Job/{name} runs to its end as it is"));
            }
            Controller::CronJob(name) => {
                let text = format!("it is of a run of CronJob/{name}; the next one begins anew");
                return why(Reason::CronJob, &text);
            }
            Controller::Nobody => {
                return why(Reason::BarePod, "it has no controller that would replace it");
            }
            Controller::Workload(_) | Controller::Other { .. } => {}
        }
        if let Some(found) = workload.and_then(|workload| self.held(workload)) {
            return found;
        }
        let injected = &inspected.pod.make.injected;
        // Labels that name a tag may have led elsewhere when the pod was created.
        let tag =
            injection::tag(self.cluster.injectors(), &self.meta.labels, &InjectionWish::default());
        let younger = self.look.labelled.before(details.created);
        match injected {
            Injected::No if younger => why(
                Reason::WebhookDown,
                "it was created after its namespace was labelled, and has no sidecar: the webhook was not \
                 there or did not answer then, and lets pods pass that it does not see",
            ),
            Injected::By(other) if younger && tag.is_none() && *wanted != Injection::None => why(
                Reason::InjectedByOther,
                &format!(
                    "it was created after its namespace was labelled, and `{other}` has injected it"
                ),
            ),
            _ => {
                let what = match tag {
                    Some(tag) => format!("its namespace's labels, or where tag `{tag}` leads,"),
                    None => "its namespace's labels".to_owned(),
                };
                let mut text = format!("it was not restarted since {what} changed");
                if *wanted == Injection::None {
                    text += "; a restart takes its sidecar away";
                    let labels = &self.meta.labels;
                    let both = [label::INJECTION, label::REVISION];
                    if both.iter().all(|key| labels.contains_key(*key)) {
                        text += ", as the label istio-injection hides istio.io/rev";
                    }
                }
                why(Reason::NotRestarted, &text)
            }
        }
    }

    /// What keeps a workload's pods from being replaced, or is about to replace them.
    fn held(&self, workload: &Workload) -> Option<Why> {
        if self.namespace.template(workload).baked_in {
            return Some(why(Reason::BakedIn, "its pod template carries a sidecar of its own"));
        }
        if let Some(obstacle) = &workload.obstacle {
            let reason = match obstacle {
                Obstacle::Paused => Reason::Paused,
                Obstacle::OnDelete => Reason::OnDelete,
                Obstacle::Partition => Reason::Partition,
                Obstacle::Owned(_) => Reason::Owned,
                Obstacle::Skipped => Reason::Skipped,
            };
            return Some(why(reason, &rollout::Why::Obstacle(obstacle.clone()).tell()));
        }
        self.rolling(workload)
    }

    fn rolling(&self, workload: &Workload) -> Option<Why> {
        if !workload.rolling() && workload.total >= workload.desired {
            return None;
        }
        let own = Controller::Workload(workload.key.clone());
        let pods: Vec<&InspectedPod> =
            self.pods().filter(|(_, of)| *of == own).map(|(pod, _)| pod).collect();
        let look = &self.look.inspection;
        let cause = diagnosis::cause(self.name, workload, &pods, look);
        let starting = pods.iter().filter(|pod| !pod.ready).all(|pod| self.is_young(&pod.pod.name));
        if cause.code == Code::RolloutStalled {
            return Some(why(
                Reason::Rolling,
                &format!("a rollout is under way: {}", cause.message),
            ));
        }
        if cause.code == Code::NotReady && starting && workload.complaints.late.is_none() {
            let text = format!("a rollout is under way: {} is not ready yet", cause.object);
            return Some(why(Reason::Rolling, &text));
        }
        let message = format!("{}: {}", cause.object, cause.message);
        Some(Why { reason: Reason::RolloutStuck, message, code: Some(cause.code) })
    }

    /// Whether a pod was created just now.
    fn is_young(&self, pod: &str) -> bool {
        let created = self.look.details.get(pod).and_then(|details| details.created);
        created.is_some_and(|created| self.look.now.duration_since(created) < STARTING)
    }

    fn workload(&self, workload: &Workload, pods: &[ExplainedPod]) -> ExplainedWorkload {
        let template = self.namespace.template(workload);
        let wanted = self.resolve(&template.wish, template.host_network);
        let none = || {
            if workload.desired == 0 {
                return Some(why(Reason::ScaledToZero, "it has no replicas"));
            }
            if let Injection::Dangling(asked) = &wanted {
                let text = format!("no webhook serves `{asked}`: new pods get no sidecar");
                return Some(why(Reason::Dangling, &text));
            }
            let apart = self.apart(&template.wish, &wanted, template.host_network);
            apart.or_else(|| self.rolling(workload))
        };
        let key = &workload.key;
        let mut explained = of_pods(key.kind.as_str(), &key.name, wanted.clone(), pods);
        explained.why = explained.why.or_else(none);
        explained
    }

    /// Controllers that are not watched, by their pods.
    fn strangers(&self, pods: &[ExplainedPod]) -> Vec<ExplainedWorkload> {
        let known = |name: &str| self.namespace.workloads.keys().any(|key| key.to_string() == name);
        let mut found: BTreeMap<&str, &Injection> = BTreeMap::new();
        for pod in pods {
            if let Some(controller) = pod.controller.as_deref().filter(|name| !known(name)) {
                found.entry(controller).or_insert(&pod.wanted);
            }
        }
        let each = found.into_iter().filter_map(|(controller, wanted)| {
            let (kind, name) = controller.split_once('/')?;
            Some(of_pods(kind, name, wanted.clone(), pods))
        });
        each.collect()
    }

    /// What other labels would make of each workload that is known here.
    fn foresee(
        &self,
        workloads: &mut [ExplainedWorkload],
        target: &Revision,
        after: &InjectionLabels,
    ) {
        let mut labels = self.meta.labels.clone();
        after.replace(&mut labels);
        let Self { cluster, namespace, .. } = *self;
        let goal = Goal { cluster, namespace, labels: &labels, target };
        let before = InjectionLabels::among(&self.meta.labels);
        let uid = &self.meta.uid;
        let m = Move::pending(self.name, uid, before, after.clone(), Timestamp::default());
        let mut planned = plan::foresee(&goal, &m);
        for workload in workloads {
            let known = namespace
                .workloads
                .values()
                .find(|it| it.key.kind.as_str() == workload.kind && it.key.name == workload.name);
            let key = format!("{}/{}", workload.kind, workload.name);
            let Some((known, restart)) = known.zip(planned.remove(&key)) else {
                continue;
            };
            let template = namespace.template(known);
            let injectors = cluster.injectors();
            let wanted =
                injection::resolve(injectors, &labels, &template.wish, template.host_network);
            let webhooks = injectors.iter().map(|it| self.webhook(it, &labels, &template.wish));
            workload.after = Some(After { wanted, restart, webhooks: webhooks.collect() });
        }
    }

    fn webhook(&self, injector: &Injector, after: &Labels, wish: &InjectionWish) -> Webhook {
        Webhook {
            configuration: injector.configuration.clone(),
            name: injector.webhook.clone(),
            revision: injector.revision.clone(),
            tag: injector.tag.clone(),
            namespace_now: injector.namespace_selector.matches(&self.meta.labels),
            namespace_after: injector.namespace_selector.matches(after),
            object: injector.object_selector.matches(&wish.labels),
        }
    }
}

/// A controller by its pods alone: the gravest reason of any of them is its own.
fn of_pods(kind: &str, name: &str, wanted: Injection, pods: &[ExplainedPod]) -> ExplainedWorkload {
    let own = format!("{kind}/{name}");
    let pods: Vec<&ExplainedPod> =
        pods.iter().filter(|pod| pod.controller.as_deref() == Some(own.as_str())).collect();
    let mut injected: BTreeMap<Injected, u32> = BTreeMap::new();
    for pod in &pods {
        *injected.entry(pod.injected.clone()).or_default() += 1;
    }
    let astray = pods.iter().filter(|pod| pod.astray);
    let why = pods.iter().filter_map(|pod| pod.why.as_ref()).min_by_key(|why| why.reason);
    ExplainedWorkload {
        kind: kind.to_owned(),
        name: name.to_owned(),
        wanted,
        injected,
        astray: u32::try_from(astray.count()).unwrap_or(u32::MAX),
        why: why.cloned(),
        after: None,
    }
}

fn named(controller: &Controller) -> Option<String> {
    match controller {
        Controller::Job(name) => Some(format!("Job/{name}")),
        Controller::CronJob(name) => Some(format!("CronJob/{name}")),
        other => other.label(),
    }
}
