//! One move's passage from state to state, each by what must hold in it.

use super::{
    Call, Facts, LOOK_AGAIN, Next, Order, Progress, SETTLE, STRAY, Scratch, rollout_labels,
};
use crate::cluster::{Controller, Lock, Namespace, NamespaceMeta};
use crate::diagnosis::{self, InspectedPod, Inspection};
use crate::injection::{self, Injection};
use crate::label::InjectionLabels;
use crate::migration::{MigrationSpec, Move, MoveState, Skip};
use crate::pod::InjectionWish;
use crate::problem::{Code, Problem};
use crate::rollout::{self, Goal, Verdict};
use crate::workload::{Workload, WorkloadKey};
use std::collections::BTreeMap;
use std::time::Duration;

/// A move with all that its next step depends on.
pub(super) struct Step<'a> {
    pub(super) order: Order<'a>,
    pub(super) m: &'a Move,
    pub(super) facts: Facts<'a>,
    pub(super) meta: &'a NamespaceMeta,
    pub(super) namespace: &'a Namespace,
}

impl<'a> Step<'a> {
    pub(super) fn check(&self) -> Next {
        let MigrationSpec { source, target, .. } = self.order.spec;
        if self.order.cancelled && !self.ours() {
            return self.enter(MoveState::Cancelled);
        }
        let planes = self.facts.cluster.planes();
        // A rollback may be made because the plane that it leaves is gone.
        let left = Some(source).filter(|_| self.order.spec.rollback_of.is_none());
        for plane in left.into_iter().chain([target]) {
            if !planes.contains_key(plane) {
                let message = format!("control plane `{plane}` does not exist any more");
                return self.fail(Code::PlaneGone, format!("ControlPlane/{plane}"), message);
            }
        }
        if let Some(plane) = planes.get(target).filter(|plane| !plane.available) {
            let message = format!("control plane `{target}` is {} {}", plane.status, plane.error);
            let object = format!("ControlPlane/{target}");
            return self.fail(Code::PlaneUnavailable, object, message.trim_end().to_owned());
        }
        if let Some(next) = self.drift().or_else(|| self.locked()) {
            return next;
        }
        let mut labels = self.meta.labels.clone();
        rollout_labels(&mut labels, &self.m.after);
        let injectors = self.facts.cluster.injectors();
        let wish = InjectionWish::default();
        let injection = injection::resolve(injectors, &labels, &wish, false);
        if injection != Injection::By(target.clone()) {
            let message = format!("new pods would be {}", rollout::describe(&injection));
            return self.fail(Code::InjectorMismatch, self.object(), message);
        }
        let there = self.labels() == self.m.after && !self.ours();
        if there && self.workloads(&self.goal()).all(|(_, verdict)| finished(&verdict)) {
            return self.enter(MoveState::Skipped(Skip::Unneeded));
        }
        self.enter(MoveState::Relabeling)
    }

    pub(super) fn relabel(&self, scratch: &mut Scratch) -> Next {
        if let Some(next) = self.drift().or_else(|| self.locked()) {
            return next;
        }
        let relabelled = self.labels() == self.m.after && self.ours();
        if relabelled {
            let from = *scratch.settled_from.get_or_insert(self.facts.elapsed);
            if self.facts.elapsed < from + SETTLE {
                return Next::Wait(Some(from + SETTLE));
            }
            *scratch = Scratch::default();
            let mut next = self.m.enter(MoveState::Restarting, self.facts.wall);
            next.relabelled = true;
            return commit(next);
        }
        // From here on even a cancelled move runs to its end: its write may be under way.
        if let Some(next) = self.withheld(scratch) {
            return next;
        }
        Next::Calls(vec![Call::Relabel {
            namespace: self.m.namespace.clone(),
            uid: self.m.uid.clone(),
            resource_version: self.meta.resource_version.clone(),
            labels: self.m.after.clone(),
            prior: self.m.before.clone(),
            lock: Lock { migration: self.order.migration.to_owned(), attempt: self.m.attempt },
        }])
    }

    pub(super) fn restart(&self, scratch: &mut Scratch) -> Next {
        if let Some(next) = self.strayed() {
            return next;
        }
        let goal = self.goal();
        let restart = self.m.restart_id(self.order.migration);
        // What was restarted is recorded before anything else is decided: once the annotation is
        // taken back, nothing else would tell.
        let seen: BTreeMap<WorkloadKey, u32> = self
            .namespace
            .workloads
            .values()
            .filter(|workload| workload.restart.as_deref() == Some(restart.as_str()))
            .map(|workload| (workload.key.clone(), self.m.attempt))
            .filter(|(key, attempt)| self.m.restarts.get(key) != Some(attempt))
            .collect();
        if !seen.is_empty() {
            let mut next = self.m.clone();
            next.restarts.extend(seen);
            return commit(next);
        }
        let mut calls = Vec::new();
        let mut waiting = Vec::new();
        let (mut room, mut crowded) = (self.order.room, false);
        for (workload, verdict) in self.workloads(&goal) {
            match verdict {
                Verdict::Done | Verdict::OptedOut | Verdict::ScaledToZero => {}
                Verdict::Rolling => waiting.push(workload),
                Verdict::Stuck(code, message) => return self.stuck(workload, code, message),
                Verdict::Restart if !room.take(workload) => crowded = true,
                Verdict::Restart => calls.push(Call::Restart {
                    namespace: self.m.namespace.clone(),
                    workload: workload.key.clone(),
                    resource_version: workload.resource_version.clone(),
                    restart: restart.clone(),
                    pods: workload.desired,
                }),
            }
        }
        if !calls.is_empty() {
            return match self.withheld(scratch) {
                None => Next::Calls(calls),
                // What is not written must not hide what became of the rest.
                Some(Next::Wait(until)) if !waiting.is_empty() => {
                    sooner(self.await_rollouts(&goal, &waiting, scratch), until)
                }
                Some(next) => next,
            };
        }
        scratch.failing = None;
        if !waiting.is_empty() {
            return self.await_rollouts(&goal, &waiting, scratch);
        }
        // Whoever waits for room is not late.
        if crowded {
            return Next::Wait(None);
        }
        if let Some(next) = self.stray(&goal, scratch) {
            return next;
        }
        *scratch = Scratch::default();
        self.enter(MoveState::Verifying)
    }

    pub(super) fn verify(&self, scratch: &mut Scratch) -> Next {
        if let Some(next) = self.strayed() {
            return next;
        }
        let goal = self.goal();
        let mut waiting = Vec::new();
        for (workload, verdict) in self.workloads(&goal) {
            match verdict {
                Verdict::Done | Verdict::OptedOut | Verdict::ScaledToZero => {}
                Verdict::Rolling => waiting.push(workload),
                Verdict::Stuck(code, message) => return self.stuck(workload, code, message),
                // Whatever came onto another plane after the restarts is a straggler.
                Verdict::Restart => {
                    let pod = goal.pods_of(workload).find(|pod| !goal.on_target(pod));
                    if let Some(Verdict::Stuck(code, message)) = pod.map(|pod| goal.straggler(pod))
                    {
                        return self.stuck(workload, code, message);
                    }
                }
            }
        }
        if !waiting.is_empty() {
            return self.await_rollouts(&goal, &waiting, scratch);
        }
        if let Some(next) = self.stray(&goal, scratch) {
            return next;
        }
        let Some(look) = &scratch.inspection else {
            return self.inspect(scratch);
        };
        match self.unverified(&goal, look) {
            None => self.enter(MoveState::Moved(goal.leftovers())),
            Some(workload) => {
                let due = look.at + LOOK_AGAIN;
                match self.await_rollouts(&goal, &[workload], scratch) {
                    Next::Wait(wake) if self.facts.elapsed < due => {
                        sooner(Next::Wait(wake), Some(due))
                    }
                    Next::Wait(_) => self.inspect(scratch),
                    other => other,
                }
            }
        }
    }

    /// The first workload whose pods, as listed, are not all on the target and ready.
    fn unverified(&self, goal: &Goal<'a>, look: &Inspection) -> Option<&'a Workload> {
        self.workloads(goal).find_map(|(workload, verdict)| {
            if verdict == Verdict::OptedOut {
                return None;
            }
            let pods: Vec<&InspectedPod> = self.inspected(workload, look).collect();
            let good = |pod: &&InspectedPod| pod.ready && goal.on_target(&pod.pod);
            let enough = pods.len() >= usize::try_from(workload.desired).unwrap_or(usize::MAX);
            (!enough || !pods.iter().all(good)).then_some(workload)
        })
    }

    fn inspected<'l>(
        &self,
        workload: &Workload,
        look: &'l Inspection,
    ) -> impl Iterator<Item = &'l InspectedPod> {
        let controller = Controller::Workload(workload.key.clone());
        let namespace = self.namespace;
        look.pods
            .iter()
            .filter(|pod| !pod.pod.terminating)
            .filter(move |pod| namespace.controller(&pod.pod) == controller)
    }

    /// Waits for rollouts while they make progress; looks for the cause, then fails, when not.
    fn await_rollouts(
        &self,
        goal: &Goal<'a>,
        waiting: &[&Workload],
        scratch: &mut Scratch,
    ) -> Next {
        let now = self.facts.elapsed;
        let progress = self.progress(goal);
        let since = match &mut scratch.furthest {
            Some((furthest, since)) => {
                if furthest.advance(progress) {
                    *since = now;
                }
                *since
            }
            None => scratch.furthest.insert((progress, now)).1,
        };
        let deadline = since + self.order.spec.rollout_timeout;
        let restart = self.m.restart_id(self.order.migration);
        let overdue = |workload: &&&Workload| {
            workload.restart.as_deref() == Some(restart.as_str())
                && workload.observed
                && workload.complaints.late.is_some()
        };
        let late = waiting.iter().find(overdue);
        scratch.late_from = late.map(|_| scratch.late_from.unwrap_or(now));
        let from = scratch.late_from.unwrap_or(deadline);
        if now < from {
            return Next::Wait(Some(from));
        }
        let Some(workload) = late.or_else(|| waiting.first()) else {
            return Next::Wait(None);
        };
        match &scratch.inspection {
            Some(look) if look.at >= from => {
                let pods: Vec<&InspectedPod> = self.inspected(workload, look).collect();
                let cause = diagnosis::cause(&self.m.namespace, workload, &pods, look);
                self.fail(cause.code, cause.object, cause.message)
            }
            _ => self.inspect(scratch),
        }
    }

    fn progress(&self, goal: &Goal<'a>) -> Progress {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let pods = self.namespace.pods.values().filter(|pod| !pod.terminating);
        Progress {
            restarted: count(self.m.restarts.len()),
            done: count(self.workloads(goal).filter(|(_, verdict)| finished(verdict)).count()),
            updated: self.namespace.workloads.values().map(|workload| workload.updated).sum(),
            on_target: count(pods.filter(|pod| goal.on_target(pod)).count()),
        }
    }

    /// Labels that somebody else changed are never fought over.
    fn drift(&self) -> Option<Next> {
        let labels = self.labels();
        if labels == self.m.after || labels == self.m.before {
            return None;
        }
        Some(self.drifted(&labels, |found| {
            format!("its label is `{found}`, which is neither the planned one nor the prior")
        }))
    }

    /// After the relabelling only the new labels will do.
    fn strayed(&self) -> Option<Next> {
        let labels = self.labels();
        if labels == self.m.after {
            return None;
        }
        Some(self.drifted(&labels, |found| {
            format!("its label was changed to `{found}` in the middle of the move")
        }))
    }

    fn drifted(&self, labels: &InjectionLabels, tell: impl FnOnce(&str) -> String) -> Next {
        let found = labels.deciding().unwrap_or_else(|| "no injection label".to_owned());
        let manager = self.meta.label_manager.clone();
        block(self.m, self.facts, Code::LabelDrift, self.object(), tell(&found), manager)
    }

    fn locked(&self) -> Option<Next> {
        let Lock { migration, .. } = self.meta.lock.as_ref()?;
        let ours = migration == self.order.migration
            || Some(migration) == self.order.spec.rollback_of.as_ref();
        if ours || !self.facts.unfinished.contains(migration) {
            return None;
        }
        let message = format!("migration `{migration}` holds it");
        Some(block(self.m, self.facts, Code::NamespaceLocked, self.object(), message, None))
    }

    fn inspect(&self, scratch: &Scratch) -> Next {
        match scratch.back_off.filter(|until| self.facts.elapsed < *until) {
            Some(until) => Next::Wait(Some(until)),
            None => Next::Calls(vec![Call::Inspect { namespace: self.m.namespace.clone() }]),
        }
    }

    /// What to do instead of writing, when nothing may be written now.
    fn withheld(&self, scratch: &Scratch) -> Option<Next> {
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

    /// Pods of controllers that no restart reaches fail the move, unless they soon go: the pods of
    /// a controller that was just deleted are collected a little later.
    fn stray(&self, goal: &Goal<'_>, scratch: &mut Scratch) -> Option<Next> {
        let Some((object, (code, message))) = goal.unreachable().into_iter().next() else {
            scratch.stray_from = None;
            return None;
        };
        let due = *scratch.stray_from.get_or_insert(self.facts.elapsed) + STRAY;
        if self.facts.elapsed < due {
            return Some(Next::Wait(Some(due)));
        }
        Some(self.fail(code, self.within(&object), message))
    }

    fn stuck(&self, workload: &Workload, code: Code, message: String) -> Next {
        let object = self.within(&workload.key.to_string());
        if code == Code::RestartReverted {
            let manager = workload.template_manager.clone();
            return block(self.m, self.facts, code, object, message, manager);
        }
        self.fail(code, object, message)
    }

    fn fail(&self, code: Code, object: String, message: String) -> Next {
        let since = self.facts.wall;
        self.enter(MoveState::Failed(Problem { code, object, message, manager: None, since }))
    }

    fn enter(&self, state: MoveState) -> Next {
        commit(self.m.enter(state, self.facts.wall))
    }

    fn workloads(&self, goal: &Goal<'a>) -> impl Iterator<Item = (&'a Workload, Verdict)> {
        let Self { order, m, namespace, .. } = *self;
        let rollback_of = order.spec.rollback_of.as_deref();
        let goal = *goal;
        namespace
            .workloads
            .values()
            .map(move |workload| (workload, goal.judge(workload, m, order.migration, rollback_of)))
    }

    fn goal(&self) -> Goal<'a> {
        Goal {
            cluster: self.facts.cluster,
            namespace: self.namespace,
            labels: &self.meta.labels,
            target: &self.order.spec.target,
        }
    }

    fn labels(&self) -> InjectionLabels {
        InjectionLabels::among(&self.meta.labels)
    }

    /// Whether this migration has written to the namespace; the lock may have been pruned since.
    fn ours(&self) -> bool {
        let lock = self.meta.lock.as_ref();
        self.m.relabelled || lock.is_some_and(|lock| lock.migration == self.order.migration)
    }

    fn object(&self) -> String {
        format!("Namespace/{}", self.m.namespace)
    }

    /// `kind/name` with the namespace between.
    fn within(&self, object: &str) -> String {
        match object.split_once('/') {
            Some((kind, name)) => format!("{kind}/{}/{name}", self.m.namespace),
            None => object.to_owned(),
        }
    }
}

/// The same, but no later than `until` where it waits.
fn sooner(next: Next, until: Option<Duration>) -> Next {
    match next {
        Next::Wait(wake) => Next::Wait([wake, until].into_iter().flatten().min()),
        other => other,
    }
}

fn finished(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Done | Verdict::OptedOut | Verdict::ScaledToZero => true,
        Verdict::Restart | Verdict::Rolling | Verdict::Stuck(..) => false,
    }
}

pub(super) fn commit(m: Move) -> Next {
    Next::Commit(Box::new(m))
}

pub(super) fn block(
    m: &Move,
    facts: Facts<'_>,
    code: Code,
    object: String,
    message: String,
    manager: Option<String>,
) -> Next {
    let problem = Problem { code, object, message, manager, since: facts.wall };
    commit(m.enter(MoveState::Blocked(problem), facts.wall))
}
