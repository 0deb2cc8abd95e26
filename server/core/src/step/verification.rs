//! Verification: nothing counts as moved that was not looked at.

use super::eviction::Subject;
use super::passage::{Step, commit, sooner};
use super::{LOOK_AGAIN, Next, STEADY, Scratch};
use crate::cluster::Controller;
use crate::diagnosis::{InspectedPod, Inspection, Restarted};
use crate::headcount::Shortfall;
use crate::migration::MoveState;
use crate::problem::Code;
use crate::rollout::{Goal, Verdict};
use std::collections::BTreeSet;
use std::time::Duration;

impl<'a> Step<'a> {
    pub(super) fn verify(&self, scratch: &mut Scratch) -> Next {
        if let Some(next) = self.strayed() {
            return next;
        }
        let goal = self.goal();
        let mut waiting = Vec::new();
        for (workload, verdict) in self.workloads(&goal) {
            match verdict {
                Verdict::Done | Verdict::OptedOut | Verdict::ScaledToZero => {}
                Verdict::Rolling => waiting.push(Subject::of(workload, verdict)),
                Verdict::Stuck(code, message) => {
                    return self.fail(code, self.within(&workload.key.to_string()), message);
                }
                Verdict::Restart | Verdict::Evict(_) | Verdict::Straggling => {
                    return self.back(scratch);
                }
            }
        }
        if !goal.strangers().is_empty() {
            return self.back(scratch);
        }
        if !waiting.is_empty() {
            return self.await_rollouts(&goal, &waiting, scratch);
        }
        if let Some(short) = self.m.headcount.as_ref().and_then(|it| it.shortfall(self.namespace)) {
            return self.await_endpoints(&goal, &short, scratch);
        }
        let Some(look) = &scratch.inspection else {
            return self.inspect(scratch);
        };
        match self.unverified(&goal, look) {
            None => match self.unsteady(&goal, look) {
                None => match self.unconnected(&goal, scratch) {
                    None => self.moved(&goal),
                    Some(next) => next,
                },
                Some(found) => self.await_steadiness(&goal, found, scratch),
            },
            Some(subject) => {
                let due = look.at + LOOK_AGAIN;
                match self.await_rollouts(&goal, &[subject], scratch) {
                    Next::Wait(wake) if self.facts.elapsed < due => {
                        sooner(Next::Wait(wake), Some(due))
                    }
                    Next::Wait(_) => self.inspect(scratch),
                    other => other,
                }
            }
        }
    }

    /// EndpointSlices follow their pods a little later; a Service that no pod fits any more never gets
    /// its endpoints back.
    fn await_endpoints(&self, goal: &Goal<'a>, short: &Shortfall, scratch: &mut Scratch) -> Next {
        let deadline = self.idle_since(goal, scratch) + self.order.spec.rollout_timeout;
        if self.facts.elapsed < deadline {
            return Next::Wait(Some(deadline));
        }
        let Shortfall { service, before, now } = short;
        let message = format!("it had {before} ready endpoints before the move, and has {now} now");
        self.fail(Code::EndpointsMissing, self.within(&format!("Service/{service}")), message)
    }

    /// A pod that is ready, but has restarted just now, is looked at again once it has run for long enough.
    fn await_steadiness(
        &self,
        goal: &Goal<'a>,
        (pod, restarted, again): (String, Restarted, Duration),
        scratch: &mut Scratch,
    ) -> Next {
        let deadline = self.idle_since(goal, scratch) + self.order.spec.rollout_timeout;
        if self.facts.elapsed >= deadline {
            let Restarted { container, times, .. } = restarted;
            let message = format!("container `{container}` has restarted {times} times");
            let object = self.within(&format!("Pod/{pod}"));
            return self.fail(Code::PodsRestart, object, message);
        }
        if self.facts.elapsed < again { Next::Wait(Some(again)) } else { self.inspect(scratch) }
    }

    /// The first pod that had not run for long enough, at the time of the look, since a container of it
    /// restarted; and when it will have.
    fn unsteady(
        &self,
        goal: &Goal<'a>,
        look: &Inspection,
    ) -> Option<(String, Restarted, Duration)> {
        let steady = STEADY.min(self.order.spec.rollout_timeout / 2);
        let since = self.facts.elapsed.saturating_sub(look.at);
        look.pods.iter().filter(|pod| goal.on_target(&pod.pod)).find_map(|pod| {
            let restarted = pod.restarted.as_ref()?;
            let age = restarted.last.map(|last| self.facts.wall.duration_since(last));
            let age = age.and_then(|age| Duration::try_from(age).ok()).unwrap_or_default();
            let missing = steady.checked_sub(age.saturating_sub(since))?;
            let again = look.at + missing.max(LOOK_AGAIN);
            (!missing.is_zero()).then(|| (pod.pod.name.clone(), restarted.clone(), again))
        })
    }

    /// Whatever came off the target after the restarts is seen to like before.
    fn back(&self, scratch: &mut Scratch) -> Next {
        *scratch = Scratch::default();
        self.enter(MoveState::Restarting)
    }

    fn moved(&self, goal: &Goal<'a>) -> Next {
        let mut next = self.m.enter(MoveState::Moved(goal.leftovers()), self.facts.wall);
        // Which pods were to go, and what was there before, is of no use any more, and long.
        next.headcount = None;
        for evictions in next.evictions.values_mut() {
            evictions.planned.clear();
        }
        commit(next)
    }

    /// The first controller whose pods, as listed, are not all on the target and ready.
    fn unverified(&self, goal: &Goal<'a>, look: &Inspection) -> Option<Subject<'a>> {
        let good = |pod: &&InspectedPod| pod.ready && goal.on_target(&pod.pod);
        let workload = self.workloads(goal).find_map(|(workload, verdict)| {
            if verdict == Verdict::OptedOut {
                return None;
            }
            let subject = Subject::of(workload, verdict);
            let pods: Vec<&InspectedPod> = self.inspected(&subject, look).collect();
            let enough = pods.len() >= usize::try_from(workload.desired).unwrap_or(usize::MAX);
            (!enough || !pods.iter().all(good)).then_some(subject)
        });
        workload.or_else(|| {
            self.evicted(look).find(|subject| {
                let label = subject.controller.label().unwrap_or_default();
                let had = self.m.evictions_of(&label).map_or(0, |evictions| evictions.pods);
                let pods: Vec<&InspectedPod> = self.inspected(subject, look).collect();
                let enough = pods.len() >= usize::try_from(had).unwrap_or(usize::MAX);
                !enough || !pods.iter().all(good)
            })
        })
    }

    /// Controllers whose template is not known and whose pods were evicted in this attempt.
    fn evicted(&self, look: &Inspection) -> impl Iterator<Item = Subject<'a>> {
        let seen: BTreeSet<Controller> =
            look.pods.iter().map(|pod| self.namespace.controller(&pod.pod)).collect();
        let of = |label: &String| {
            seen.iter().find(|controller| controller.label().as_ref() == Some(label)).cloned()
        };
        let evictions = self.m.evictions.iter();
        let now = evictions.filter(|(_, evictions)| evictions.attempt == self.m.attempt);
        let strangers: Vec<Subject<'a>> = now
            .filter_map(|(label, _)| of(label))
            .filter(|controller| matches!(controller, Controller::Other { .. }))
            .map(|controller| Subject { controller, workload: None, verdict: Verdict::Done })
            .collect();
        strangers.into_iter()
    }
}
