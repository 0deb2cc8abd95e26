//! Patience: what goes on is waited for, what does not is told with its cause.

use super::eviction::Subject;
use super::passage::{Step, block, finished};
use super::{Call, Next, Progress, Scratch};
use crate::diagnosis::{self, InspectedPod, Inspection};
use crate::problem::Code;
use crate::rollout::Goal;
use std::time::Duration;

impl<'a> Step<'a> {
    /// Waits for rollouts while they make progress; looks for the cause, then fails, when not.
    pub(super) fn await_rollouts(
        &self,
        goal: &Goal<'a>,
        waiting: &[Subject<'a>],
        scratch: &mut Scratch,
    ) -> Next {
        let now = self.facts.elapsed;
        let deadline = self.idle_since(goal, scratch) + self.order.spec.rollout_timeout;
        let restart = self.m.restart_id(self.order.migration);
        let overdue = |subject: &&Subject<'_>| {
            subject.workload.is_some_and(|workload| {
                workload.restart.as_deref() == Some(restart.as_str())
                    && workload.observed
                    && workload.complaints.late.is_some()
            })
        };
        let late = waiting.iter().find(overdue);
        scratch.late_from = late.map(|_| scratch.late_from.unwrap_or(now));
        let from = scratch.late_from.unwrap_or(deadline);
        if now < from {
            return Next::Wait(Some(from));
        }
        let held = |subject: &&Subject<'_>| scratch.withheld.contains_key(&subject.label());
        let Some(subject) = late.or_else(|| waiting.iter().find(|subject| !held(subject))) else {
            return self.forbidden(scratch);
        };
        match &scratch.inspection {
            Some(look) if look.at >= from => {
                let pods: Vec<&InspectedPod> = self.inspected(subject, look).collect();
                let namespace = &self.m.namespace;
                let cause = if let Some(workload) = subject.workload {
                    diagnosis::cause(namespace, workload, &pods, look)
                } else {
                    diagnosis::cause_of_pods(namespace, &subject.label(), &pods, look)
                };
                self.fail(cause.code, cause.object, cause.message)
            }
            _ => self.inspect(scratch),
        }
    }

    /// Since when nothing has made progress.
    pub(super) fn idle_since(&self, goal: &Goal<'a>, scratch: &mut Scratch) -> Duration {
        let now = self.facts.elapsed;
        let progress = self.progress(goal);
        match &mut scratch.furthest {
            Some((furthest, since)) => {
                if furthest.advance(progress) {
                    *since = now;
                }
                *since
            }
            None => scratch.furthest.insert((progress, now)).1,
        }
    }

    /// Everything that is waited for waits for a PodDisruptionBudget.
    fn forbidden(&self, scratch: &Scratch) -> Next {
        let Some(held) = scratch.withheld.values().next() else {
            return Next::Wait(None);
        };
        let object = self.within(&format!("Pod/{}", held.pod));
        let message = held.message.clone();
        block(self.m, self.facts, Code::DisruptionBudget, object, message, None)
    }

    /// The pods of a controller, as listed.
    pub(super) fn inspected<'l>(
        &self,
        subject: &Subject<'_>,
        look: &'l Inspection,
    ) -> impl Iterator<Item = &'l InspectedPod> {
        let controller = subject.controller.clone();
        let namespace = self.namespace;
        look.pods
            .iter()
            .filter(|pod| !pod.pod.terminating)
            .filter(move |pod| namespace.controller(&pod.pod) == controller)
    }

    fn progress(&self, goal: &Goal<'a>) -> Progress {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let pods = || self.namespace.pods.values().filter(|pod| !pod.terminating);
        // Broken pods that are out of the way are as good as a restart.
        let cleared = self.m.cleared.values().filter(|cleared| cleared.attempt == self.m.attempt);
        let cleared = cleared.flat_map(|it| it.evicted.iter().chain(&it.deleted));
        let gone = cleared.filter(|uid| pods().all(|pod| pod.uid != **uid)).count();
        Progress {
            restarted: count(self.m.restarts.len() + gone),
            done: count(self.workloads(goal).filter(|(_, verdict)| finished(verdict)).count()),
            updated: self.namespace.workloads.values().map(|workload| workload.updated).sum(),
            on_target: count(pods().filter(|pod| goal.on_target(pod)).count()),
        }
    }

    pub(super) fn inspect(&self, scratch: &Scratch) -> Next {
        match scratch.back_off.filter(|until| self.facts.elapsed < *until) {
            Some(until) => Next::Wait(Some(until)),
            None => Next::Calls(vec![Call::Inspect { namespace: self.m.namespace.clone() }]),
        }
    }

    /// What to do instead of writing, when nothing may be written now.
    pub(super) fn withheld(&self, scratch: &Scratch) -> Option<Next> {
        // A cancelled migration finishes what it has begun; a paused one writes nothing.
        if self.order.paused && !self.order.cancelled {
            return Some(Next::Wait(None));
        }
        if let Some((since, object, message)) = &scratch.failing
            && self.facts.elapsed >= *since + self.order.spec.rollout_timeout
        {
            let code = match diagnosis::classify(message) {
                Code::RolloutStalled => Code::WriteRefused,
                code => code,
            };
            return Some(self.fail(code, object.clone(), message.clone()));
        }
        let until = scratch.back_off.filter(|until| self.facts.elapsed < *until)?;
        Some(Next::Wait(Some(until)))
    }
}
