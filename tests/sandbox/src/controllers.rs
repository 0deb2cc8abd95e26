//! The controllers and the kubelet: level-triggered, each reaction a little later than its
//! cause, as in a real controller manager.
//!
//! One agenda holds what is due when. A task looks at the cluster as it is then, so nothing is
//! lost when the driver stops and starts again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::ControllerRate;
use crate::cluster::Cluster;
use crate::kind;
use crate::locked;
use crate::object;
use crate::store::{Change, ChangeKind, Reference};

mod cron_job;
mod daemon_set;
mod deployment;
mod disruption;
mod endpoint_slice;
mod garbage;
mod job;
mod kubelet;
mod namespace;
mod pace;
mod pods;
mod progress;
mod quota;
mod replica_set;
mod revisions;
mod rollout;
mod schedule;
mod scheduler;
mod stateful_set;
mod streams;

pub(crate) use kubelet::Nodes;
use pace::Pace;

/// Who reacts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Controller {
    Kubelet,
    ReplicaSet,
    Deployment,
    StatefulSet,
    DaemonSet,
    Job,
    CronJob,
    Rollout,
    Disruption,
    EndpointSlice,
    Quota,
    Namespace,
    Garbage,
}

/// What comes of a reaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Nothing more to do until something changes.
    Done,
    /// Look again after this time.
    After(Duration),
    /// It failed: look again with exponential back-off.
    Retry,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Task {
    controller: Controller,
    target: Reference,
}

/// What is due when.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    due: BTreeMap<Task, Instant>,
    order: BTreeSet<(Instant, Task)>,
    failures: BTreeMap<Task, u32>,
    paces: BTreeMap<Controller, Pace>,
    /// The next entry of the log to look at.
    position: usize,
}

/// Reacts for ever.
pub(crate) async fn run(cluster: &Arc<Mutex<Cluster>>) {
    let mut changed = locked(cluster).store.subscribe();
    loop {
        changed.mark_unchanged();
        let next = locked(cluster).react();
        // Controllers change the cluster too; the next round then finds nothing due.
        match next {
            Some(next) => {
                tokio::select! {
                    biased;
                    _ = changed.changed() => {}
                    () = tokio::time::sleep_until(next) => {}
                }
            }
            None => {
                let _ = changed.changed().await;
            }
        }
    }
}

impl Controller {
    /// From a change until the controller has seen it and acts.
    fn delay(self) -> Duration {
        Duration::from_millis(match self {
            Self::Kubelet => 5,
            Self::ReplicaSet | Self::StatefulSet | Self::DaemonSet => 15,
            Self::Deployment | Self::Job | Self::CronJob | Self::Rollout => 20,
            Self::Quota | Self::Disruption | Self::EndpointSlice => 30,
            Self::Garbage => 50,
            Self::Namespace => 80,
        })
    }
}

impl Agenda {
    fn add(&mut self, task: Task, at: Instant) {
        match self.due.get(&task) {
            Some(&sooner) if sooner <= at => return,
            Some(&later) => {
                self.order.remove(&(later, task.clone()));
            }
            None => {}
        }
        self.order.insert((at, task.clone()));
        self.due.insert(task, at);
    }

    fn take_due(&mut self, now: Instant) -> Option<Task> {
        if self.order.first()?.0 > now {
            return None;
        }
        let (_, task) = self.order.pop_first()?;
        self.due.remove(&task);
        Some(task)
    }

    /// How long a controller has to wait before it may write again.
    fn wait(
        &mut self,
        controller: Controller,
        rate: Option<ControllerRate>,
        now: Instant,
    ) -> Option<Duration> {
        // Kubelets are many, and write for themselves.
        let rate = rate.filter(|_| controller != Controller::Kubelet)?;
        self.paces.entry(controller).or_insert_with(|| Pace::new(rate, now)).wait(now)
    }

    fn spend(&mut self, controller: Controller, writes: usize) {
        if let Some(pace) = self.paces.get_mut(&controller) {
            pace.spend(writes);
        }
    }

    fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }
}

impl Cluster {
    /// Does all that is due; tells when the next thing is.
    fn react(&mut self) -> Option<Instant> {
        self.notice();
        let now = Instant::now();
        while let Some(task) = self.agenda.take_due(now) {
            if let Some(wait) = self.agenda.wait(task.controller, self.options.controller_rate, now)
            {
                self.agenda.add(task, now + wait);
                continue;
            }
            let before = self.store.log().end();
            let outcome = self.perform(&task);
            self.agenda.spend(task.controller, self.store.log().end() - before);
            match outcome {
                Outcome::Done => {
                    self.agenda.failures.remove(&task);
                }
                Outcome::After(delay) => {
                    self.agenda.failures.remove(&task);
                    self.agenda.add(task, now + delay.max(Duration::from_millis(1)));
                }
                Outcome::Retry => {
                    // The work queues' default: 5 ms doubled each time, up to 1000 s.
                    let failures = self.agenda.failures.entry(task.clone()).or_default();
                    let delay = Duration::from_millis(5 << (*failures).min(18));
                    *failures += 1;
                    self.agenda.add(task, now + delay.min(Duration::from_secs(1000)));
                }
            }
            self.notice();
        }
        self.agenda.next()
    }

    fn perform(&mut self, task: &Task) -> Outcome {
        let target = &task.target;
        match task.controller {
            Controller::Kubelet => kubelet::reconcile(self, target),
            Controller::ReplicaSet => replica_set::reconcile(self, target),
            Controller::Deployment => deployment::reconcile(self, target),
            Controller::StatefulSet => stateful_set::reconcile(self, target),
            Controller::DaemonSet => daemon_set::reconcile(self, target),
            Controller::Job => job::reconcile(self, target),
            Controller::CronJob => cron_job::reconcile(self, target),
            Controller::EndpointSlice => endpoint_slice::reconcile(self, target),
            Controller::Rollout => rollout::reconcile(self, target),
            Controller::Disruption => disruption::reconcile(self, target),
            Controller::Quota => quota::reconcile(self, target),
            Controller::Namespace => namespace::reconcile(self, target),
            Controller::Garbage => garbage::reconcile(self, target),
        }
    }

    /// Puts on the agenda what the new changes concern. Only then may they be forgotten.
    fn notice(&mut self) {
        self.agenda.position = self.agenda.position.max(self.store.log().begin());
        while let Some(change) = self.store.log().get(self.agenda.position) {
            self.agenda.position += 1;
            let at = change.at;
            for task in self.concerned(change) {
                let delay = task.controller.delay();
                self.agenda.add(task, at + delay);
            }
        }
        if let Some(kept) = self.options.history {
            self.store.trim(self.store.log().end().saturating_sub(kept));
        }
    }

    fn concerned(&self, change: &Change) -> Vec<Task> {
        let about = &change.reference;
        let mut tasks = Vec::new();
        let mut add = |controller, target: &Reference| {
            tasks.push(Task { controller, target: target.clone() });
        };
        if let Some(controller) = responsible(&about.resource) {
            add(controller, about);
        }
        if let Some(owner) = object::controller(&change.object) {
            let mut owner = self.owner(owner, &about.namespace);
            if let Some(controller) = responsible(&owner.resource) {
                add(controller, &owner);
            }
            // A Deployment that recreates waits for the pods of its ReplicaSets to go.
            if owner.resource == kind::REPLICA_SETS
                && change.change == ChangeKind::Deleted
                && let Some(set) = self.store.get(&owner)
                && let Some(above) = object::controller(set)
            {
                owner = self.owner(above, &about.namespace);
                if let Some(controller) = responsible(&owner.resource) {
                    add(controller, &owner);
                }
            }
        }
        if about.resource == kind::NODES {
            for set in self.store.list(kind::DAEMON_SETS, None) {
                let (namespace, name) = (object::namespace(set), object::name(set));
                let set = Reference::new(kind::DAEMON_SETS, namespace, name);
                add(Controller::DaemonSet, &set);
            }
        }
        // Events are written all the time, and nobody counts them.
        if !about.namespace.is_empty() && about.resource != kind::EVENTS {
            for quota in self.store.list(kind::QUOTAS, Some(&about.namespace)) {
                let name = object::name(quota);
                add(Controller::Quota, &Reference::new(kind::QUOTAS, &about.namespace, name));
            }
        }
        if about.resource == kind::PODS {
            for budget in self.store.list(kind::BUDGETS, Some(&about.namespace)) {
                let name = object::name(budget);
                let budget = Reference::new(kind::BUDGETS, &about.namespace, name);
                add(Controller::Disruption, &budget);
            }
            for service in self.store.list(kind::SERVICES, Some(&about.namespace)) {
                let name = object::name(service);
                let selects = endpoint_slice::selector(service)
                    .is_some_and(|selector| selector.matches_object(&change.object));
                if selects {
                    let service = Reference::new(kind::SERVICES, &about.namespace, name);
                    add(Controller::EndpointSlice, &service);
                }
            }
        }
        if change.change == ChangeKind::Deleted {
            for dependent in self.store.dependents(&change.uid) {
                add(Controller::Garbage, &dependent);
            }
            // An owner that is being deleted in the foreground waits for this one.
            for owner in object::list(&change.object, "/metadata/ownerReferences") {
                add(Controller::Garbage, &self.owner(owner, &about.namespace));
            }
            let namespace = self.store.find(kind::NAMESPACES, "", &about.namespace);
            if namespace.is_some_and(|namespace| object::deleting(namespace)) {
                let namespace = Reference::new(kind::NAMESPACES, "", &about.namespace);
                add(Controller::Namespace, &namespace);
            }
        } else if object::deleting(&change.object)
            || (change.change == ChangeKind::Added
                && !object::list(&change.object, "/metadata/ownerReferences").is_empty())
        {
            add(Controller::Garbage, about);
        }
        tasks
    }

    /// The object that an owner reference names.
    fn owner(&self, owner: &Value, namespace: &str) -> Reference {
        let api_version = object::text(owner, "/apiVersion");
        let kind = self.store.kind_of(api_version, object::text(owner, "/kind"));
        let (resource, namespace) = match &kind {
            Some(kind) if kind.namespaced() => (kind.resource.as_str(), namespace),
            Some(kind) => (kind.resource.as_str(), ""),
            None => ("", namespace),
        };
        Reference::new(resource, namespace, object::text(owner, "/name"))
    }
}

fn responsible(resource: &str) -> Option<Controller> {
    Some(match resource {
        kind::PODS => Controller::Kubelet,
        kind::REPLICA_SETS | kind::REPLICATION_CONTROLLERS => Controller::ReplicaSet,
        kind::DEPLOYMENTS => Controller::Deployment,
        kind::STATEFUL_SETS => Controller::StatefulSet,
        kind::DAEMON_SETS => Controller::DaemonSet,
        kind::JOBS => Controller::Job,
        kind::CRON_JOBS => Controller::CronJob,
        kind::SERVICES => Controller::EndpointSlice,
        kind::ROLLOUTS => Controller::Rollout,
        kind::BUDGETS => Controller::Disruption,
        kind::NAMESPACES => Controller::Namespace,
        _ => return None,
    })
}
