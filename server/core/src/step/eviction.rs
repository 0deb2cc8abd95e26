//! The evictions of a move: each controller's next pod, by one look at all of them.

use super::passage::{Step, block, commit};
use super::{Call, LINGER, LOOK_AGAIN, Next, STRAY, Scratch};
use crate::cluster::Controller;
use crate::eviction::{Round, Turn};
use crate::problem::Code;
use crate::rollout::{Goal, Verdict};
use crate::workload::Workload;
use std::time::Duration;

/// A controller of pods, and what it needs.
pub(super) struct Subject<'a> {
    pub(super) controller: Controller,
    /// What is known of it; none for a kind that is not watched.
    pub(super) workload: Option<&'a Workload>,
    pub(super) verdict: Verdict,
}

impl<'a> Subject<'a> {
    pub(super) fn of(workload: &'a Workload, verdict: Verdict) -> Self {
        let controller = Controller::Workload(workload.key.clone());
        Self { controller, workload: Some(workload), verdict }
    }

    /// Whether its controller replaces pods by itself, and is not at the end of it.
    fn rolling(&self) -> bool {
        let rolls = self.workload.filter(|workload| workload.obstacle.is_none());
        rolls.is_some_and(|workload| !workload.rolled_out())
    }

    /// `kind/name`.
    pub(super) fn label(&self) -> String {
        self.controller.label().unwrap_or_default()
    }
}

impl<'a> Step<'a> {
    /// Adds the controllers whose template is not known. Pods of a controller that was just deleted
    /// are collected a little later: the time until which they are waited for is answered.
    pub(super) fn strangers(
        &self,
        goal: &Goal<'a>,
        scratch: &mut Scratch,
        evicting: &mut Vec<Subject<'a>>,
    ) -> Result<Option<Duration>, Next> {
        let mut strays = None;
        for (controller, verdict) in goal.strangers() {
            let subject = Subject { controller, workload: None, verdict };
            if matches!(subject.controller, Controller::Other { unseen: true, .. }) {
                let now = self.facts.elapsed;
                let due = *scratch.stray_from.get_or_insert(now) + STRAY;
                if now < due {
                    strays = Some(due);
                    continue;
                }
            }
            if let Verdict::Stuck(code, message) = subject.verdict {
                let label = subject.controller.label().unwrap_or_default();
                return Err(self.fail(code, self.within(&label), message));
            }
            evicting.push(subject);
        }
        if strays.is_none() && evicting.iter().all(|subject| subject.workload.is_some()) {
            scratch.stray_from = None;
        }
        Ok(strays)
    }

    /// The calls that come next, and when to look again; or what is to be done before them.
    pub(super) fn evict(
        &self,
        goal: &Goal<'a>,
        subjects: &[Subject<'a>],
        scratch: &mut Scratch,
    ) -> Result<(Vec<Call>, Option<Duration>), Next> {
        if subjects.is_empty() {
            scratch.straggling_from = None;
            return Ok((Vec::new(), None));
        }
        let now = self.facts.elapsed;
        let (held, due): (Vec<_>, Vec<_>) = subjects.iter().partition(|subject| {
            scratch.withheld.get(&subject.label()).is_some_and(|held| now < held.until)
        });
        let untils = held.iter().filter_map(|it| scratch.withheld.get(&it.label()));
        let mut wake = untils.map(|held| held.until).min();
        if due.is_empty() {
            return Ok((Vec::new(), wake));
        }
        let Some(look) = scratch.inspection.as_ref().filter(|look| now < look.at + LOOK_AGAIN)
        else {
            let look = Call::Inspect { namespace: self.m.namespace.clone() };
            return Ok((vec![look], wake));
        };
        let again = look.at + LOOK_AGAIN;
        let lingered = scratch.straggling_from.is_some_and(|from| now >= from + LINGER);
        let mut next = None;
        let mut calls = Vec::new();
        let mut lingers = false;
        for subject in due {
            let label = subject.label();
            let round = Round {
                goal: *goal,
                m: self.m,
                migration: self.order.migration,
                allow_downtime: self.order.spec.allow_downtime,
                controller: &subject.controller,
                desired: subject.workload.map(|workload| workload.desired),
                rolling: subject.rolling(),
                verdict: &subject.verdict,
                lingered,
            };
            let turn = round.turn(look);
            if !matches!(turn, Turn::Evict(_)) {
                scratch.withheld.remove(&label);
            }
            match turn {
                Turn::Over | Turn::Await => wake = Some(sooner(wake, again)),
                Turn::Linger => lingers = true,
                Turn::Record(evictions) => {
                    let next = next.get_or_insert_with(|| self.m.clone());
                    next.evictions.insert(label, evictions);
                }
                Turn::Evict(pod) => calls.push(Call::Evict {
                    namespace: self.m.namespace.clone(),
                    controller: label,
                    pod: pod.name.clone(),
                    uid: pod.uid.clone(),
                }),
                Turn::Stuck(code, message) => return Err(self.refuse(subject, code, message)),
            }
        }
        if lingers {
            let from = *scratch.straggling_from.get_or_insert(now);
            wake = Some(sooner(wake, from + LINGER));
        }
        if let Some(next) = next {
            return Err(commit(next));
        }
        if !calls.is_empty() {
            // Each look serves one eviction a controller: the next one waits for what it brings.
            scratch.inspection = None;
        }
        Ok((calls, wake))
    }

    fn refuse(&self, subject: &Subject<'_>, code: Code, message: String) -> Next {
        let object = self.within(&subject.label());
        let manager = match code {
            Code::RestartReverted => {
                subject.workload.and_then(|workload| workload.template_manager.clone())
            }
            Code::WorkloadNeedsDowntime => None,
            _ => return self.fail(code, object, message),
        };
        block(self.m, self.facts, code, object, message, manager)
    }
}

fn sooner(wake: Option<Duration>, than: Duration) -> Duration {
    wake.map_or(than, |wake| wake.min(than))
}
