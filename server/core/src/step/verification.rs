//! Verification: nothing counts as moved that was not looked at.

use super::eviction::Subject;
use super::passage::{Step, commit, sooner};
use super::{LOOK_AGAIN, Next, Scratch};
use crate::cluster::Controller;
use crate::diagnosis::{InspectedPod, Inspection};
use crate::migration::MoveState;
use crate::rollout::{Goal, Verdict};
use std::collections::BTreeSet;

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
        let Some(look) = &scratch.inspection else {
            return self.inspect(scratch);
        };
        match self.unverified(&goal, look) {
            None => self.moved(&goal),
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

    /// Whatever came off the target after the restarts is seen to like before.
    fn back(&self, scratch: &mut Scratch) -> Next {
        *scratch = Scratch::default();
        self.enter(MoveState::Restarting)
    }

    fn moved(&self, goal: &Goal<'a>) -> Next {
        let mut next = self.m.enter(MoveState::Moved(goal.leftovers()), self.facts.wall);
        // Which pods were to go is of no use any more, and long.
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
