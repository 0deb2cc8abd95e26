//! StatefulSets that are stuck: an ordered one waits for a pod that never becomes ready before it
//! replaces it, also once its template was mended. Whoever goes back or tries again has that pod
//! taken out of the way.
//!
//! `kubectl` users know it as the "forced rollback" of the documentation of StatefulSets.

use super::eviction::Subject;
use super::passage::{Step, commit};
use super::{Call, LINGER, LOOK_AGAIN, Next, Scratch};
use crate::diagnosis::{InspectedPod, Inspection};
use crate::migration::Cleared;
use crate::pod::Pod;
use crate::rollout::Goal;
use std::time::Duration;

impl<'a> Step<'a> {
    /// The calls that take broken pods out of the way of what waits for them, and when to look again;
    /// or what is to be stored before.
    pub(super) fn unstick(
        &self,
        goal: &Goal<'a>,
        waiting: &[Subject<'a>],
        scratch: &mut Scratch,
    ) -> Result<(Vec<Call>, Option<Duration>), Next> {
        // In a first attempt nobody has said yet that the template is as it should be.
        let anew = self.order.spec.rollback_of.is_some() || self.m.attempt > 1;
        let stuck = |subject: &&Subject<'_>| {
            let workload = subject.workload;
            workload.is_some_and(|it| it.ordered.is_some() && it.observed && it.rolling())
        };
        let suspects: Vec<&Subject<'a>> = waiting.iter().filter(|_| anew).filter(stuck).collect();
        if suspects.is_empty() {
            return Ok((Vec::new(), None));
        }
        let now = self.facts.elapsed;
        let linger = LINGER.min(self.order.spec.rollout_timeout);
        let from = self.idle_since(goal, scratch) + linger;
        let held = |subject: &&&Subject<'_>| {
            scratch.withheld.get(&subject.label()).filter(|held| now < held.until)
        };
        let until = suspects.iter().filter_map(|subject| held(&subject)).map(|it| it.until).min();
        let due: Vec<&&Subject<'_>> = suspects.iter().filter(|it| held(it).is_none()).collect();
        if now < from || due.is_empty() {
            return Ok((Vec::new(), until.into_iter().chain((now < from).then_some(from)).min()));
        }
        let Some(look) = scratch.inspection.as_ref().filter(|look| look.at >= from) else {
            return Ok((vec![self.a_look()], until));
        };
        // What a look has shown holds for a moment only; the next one is not taken at once.
        let again = look.at + LINGER;
        if now >= look.at + LOOK_AGAIN {
            let calls = if now < again { Vec::new() } else { vec![self.a_look()] };
            return Ok((calls, until.into_iter().chain([again]).min()));
        }
        let mut next = None;
        let mut calls = Vec::new();
        for subject in due {
            let label = subject.label();
            let Some(pod) = self.in_the_way(subject, look) else {
                scratch.withheld.remove(&label);
                continue;
            };
            match self.clear(&label, pod) {
                Ok(call) => calls.push(call),
                Err(cleared) => {
                    next.get_or_insert_with(|| self.m.clone()).cleared.insert(label, cleared);
                }
            }
        }
        if let Some(next) = next {
            return Err(commit(next));
        }
        if !calls.is_empty() {
            scratch.inspection = None;
        }
        Ok((calls, until.into_iter().chain([again]).min()))
    }

    /// The pod that an ordered set waits for and would replace if it were ready: its first one that is
    /// not ready, if it is of an older template and not of this attempt's making.
    fn in_the_way<'l>(&self, subject: &Subject<'a>, look: &'l Inspection) -> Option<&'l Pod> {
        let current = subject.workload?.ordered.as_ref()?;
        let pods = || {
            look.pods.iter().filter(|pod| self.namespace.controller(&pod.pod) == subject.controller)
        };
        // One that is on its way out is waited for first.
        if pods().any(|pod| pod.pod.terminating) {
            return None;
        }
        let ordinal = |pod: &&InspectedPod| (pod.pod.name.len(), pod.pod.name.clone());
        let first = pods().filter(|pod| !pod.ready).min_by_key(ordinal)?;
        let outdated = first.revision.as_ref().is_some_and(|revision| revision != current);
        let made = first.pod.make.restart == Some(self.m.restart_id(self.order.migration));
        (outdated && !made).then_some(&first.pod)
    }

    /// The call by which `pod` goes, once that is stored; before, what is to be stored.
    fn clear(&self, label: &str, pod: &Pod) -> Result<Call, Cleared> {
        let known = self.m.cleared.get(label).filter(|it| it.attempt == self.m.attempt);
        let mut cleared = known.cloned().unwrap_or_default();
        cleared.attempt = self.m.attempt;
        let (namespace, controller) = (self.m.namespace.clone(), label.to_owned());
        let (pod, uid) = (pod.name.clone(), pod.uid.clone());
        if self.order.force {
            return if cleared.deleted.insert(uid.clone()) {
                Err(cleared)
            } else {
                Ok(Call::Delete { namespace, controller, pod, uid })
            };
        }
        if cleared.evicted.insert(uid.clone()) {
            Err(cleared)
        } else {
            Ok(Call::Evict { namespace, controller, pod, uid })
        }
    }

    fn a_look(&self) -> Call {
        Call::Inspect { namespace: self.m.namespace.clone() }
    }
}
