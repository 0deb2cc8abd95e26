//! One move's passage from state to state, each by what must hold in it.

use super::eviction::Subject;
use super::{Call, Facts, LOOK_AGAIN, Next, Order, SETTLE, Scratch};
use crate::cluster::{Lock, Namespace, NamespaceMeta};
use crate::eviction;
use crate::headcount::Headcount;
use crate::injection::{self, Injection};
use crate::label::{self, InjectionLabels, Labels};
use crate::migration::{MigrationSpec, Move, MoveState, Skip};
use crate::plan;
use crate::pod::InjectionWish;
use crate::problem::{Code, Problem};
use crate::refusal::Violation;
use crate::rollout::{self, Goal, Verdict};
use crate::tag::Drift;
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
        if self.meta.skip && !self.ours() {
            let message = format!("its annotation {} wants it left alone", label::SKIP);
            return self.fail(Code::NamespaceSkipped, self.object(), message);
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
        for plane in [source, target] {
            if let Some(Violation { code, subject, description }) =
                plan::kept(self.facts.cluster, plane)
            {
                return block(self.m, self.facts, code, subject, description, None);
            }
        }
        if let Some(next) = self.drift().or_else(|| self.locked()) {
            return next;
        }
        let mut labels = self.meta.labels.clone();
        self.m.after.replace(&mut labels);
        let injectors = self.facts.cluster.injectors();
        let wish = InjectionWish::default();
        let injection = injection::resolve(injectors, &labels, &wish, false);
        if injection != Injection::By(target.clone()) {
            let message = format!("new pods would be {}", rollout::describe(&injection));
            return self.fail(Code::InjectorMismatch, self.object(), message);
        }
        if let Some(next) = self.unfit(&labels) {
            return next;
        }
        let there = self.labels() == self.m.after && !self.ours();
        let goal = self.goal();
        let finished = self.workloads(&goal).all(|(_, verdict)| finished(&verdict));
        if there && finished && goal.strangers().is_empty() {
            return self.enter(MoveState::Skipped(Skip::Unneeded));
        }
        let mut next = self.m.enter(
            match &self.meta.label_owner {
                Some(owner) => MoveState::AwaitingLabel(owner.clone()),
                None => MoveState::Relabeling,
            },
            self.facts.wall,
        );
        // What an earlier attempt has left is no measure.
        if next.headcount.is_none() || !(self.m.relabelled || self.ours()) {
            next.headcount = Some(Headcount::of(self.namespace));
        }
        commit(next)
    }

    /// What has come since the plan and forbids it, while nothing is written yet: the namespace would be left
    /// on both planes. Whoever goes back wants to be back, and one that is relabelled is on both already.
    fn unfit(&self, labels: &Labels) -> Option<Next> {
        let Order { spec, .. } = self.order;
        if self.ours() || spec.rollback_of.is_some() || self.labels() == self.m.after {
            return None;
        }
        let allowed = |code: Code| spec.allowances.iter().any(|it| it.code == code);
        let wish = InjectionWish::default();
        let mut injectors = self.facts.cluster.injectors().iter();
        let distrusted = injectors.any(|it| it.matches(labels, &wish) && !it.trusted);
        if distrusted && !allowed(Code::WebhookUntrusted) {
            let object = format!("ControlPlane/{}", spec.target);
            let message = "its injector webhook has no CA bundle, so the API server cannot call it";
            return Some(self.fail(Code::WebhookUntrusted, object, message.to_owned()));
        }
        let goal = Goal { labels, ..self.goal() };
        let Violation { code, subject, description } =
            plan::violation(&goal, self.m, spec.allow_downtime)?;
        Some(block(self.m, self.facts, code, subject, description, None))
    }

    /// While labels of the plan lead elsewhere, whatever is restarted would land there: what has begun waits.
    /// A cancelled move cannot wait for that, as nobody will have it go on: it runs to its end where only what
    /// it has left leads elsewhere.
    pub(super) fn adrift(&self, drift: &Drift) -> Option<Next> {
        if !self.order.cancelled {
            return Some(Next::Wait(None));
        }
        if self.m.relabelled && drift.lead.plane != self.order.spec.target {
            return None;
        }
        let untouched = match self.m.state {
            MoveState::Checking => !self.ours(),
            MoveState::AwaitingLabel(_) => !self.m.relabelled,
            _ => false,
        };
        if untouched {
            return Some(self.enter(MoveState::Cancelled));
        }
        let Problem { code, object, message, .. } = drift.problem();
        Some(block(self.m, self.facts, code, object, message, None))
    }

    /// Waits until the owner of the label has set it: whoever writes it in his place has it taken back.
    pub(super) fn await_label(&self, scratch: &mut Scratch) -> Next {
        if self.order.cancelled && !self.m.relabelled {
            return self.enter(MoveState::Cancelled);
        }
        if let Some(next) = self.drift().or_else(|| self.locked()) {
            return next;
        }
        if self.labels() != self.m.after {
            scratch.settled_from = None;
            return Next::Wait(None);
        }
        if let Some(until) = self.unsettled(scratch) {
            return Next::Wait(Some(until));
        }
        if self.order.places == 0 {
            return Next::Wait(Some(self.facts.elapsed + LOOK_AGAIN));
        }
        self.relabelled(scratch)
    }

    pub(super) fn relabel(&self, scratch: &mut Scratch) -> Next {
        if let Some(next) = self.drift().or_else(|| self.locked()) {
            return next;
        }
        let relabelled = self.labels() == self.m.after && self.ours();
        if relabelled {
            return match self.unsettled(scratch) {
                Some(until) => Next::Wait(Some(until)),
                None => self.relabelled(scratch),
            };
        }
        if let Some(owner) = &self.meta.label_owner {
            return self.enter(MoveState::AwaitingLabel(owner.clone()));
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

    /// Until when admission may still match the old label; none once it has seen the new one.
    fn unsettled(&self, scratch: &mut Scratch) -> Option<Duration> {
        let until = *scratch.settled_from.get_or_insert(self.facts.elapsed) + SETTLE;
        (self.facts.elapsed < until).then_some(until)
    }

    fn relabelled(&self, scratch: &mut Scratch) -> Next {
        *scratch = Scratch::default();
        let mut next = self.m.enter(MoveState::Restarting, self.facts.wall);
        // Nothing of the namespace was touched yet but its label.
        if !self.m.relabelled {
            let now = Headcount::of(self.namespace);
            let before = next.headcount.take();
            // Much may have changed while it waited for its label; else only what had gone is told off.
            let before = before.filter(|_| !matches!(self.m.state, MoveState::AwaitingLabel(_)));
            next.headcount = Some(before.map_or_else(|| now.clone(), |it| it.settled(&now)));
        }
        next.relabelled = true;
        commit(next)
    }

    pub(super) fn restart(&self, scratch: &mut Scratch) -> Next {
        scratch.crowded = None;
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
        let mut evicting = Vec::new();
        let mut room = self.order.room;
        let mut crowded: Option<u32> = None;
        for (workload, verdict) in self.workloads(&goal) {
            match verdict {
                Verdict::Done | Verdict::OptedOut | Verdict::ScaledToZero => {}
                Verdict::Rolling => waiting.push(Subject::of(workload, verdict)),
                Verdict::Evict(_) | Verdict::Straggling => {
                    evicting.push(Subject::of(workload, verdict));
                }
                Verdict::Stuck(code, message) => {
                    return self.fail(code, self.within(&workload.key.to_string()), message);
                }
                Verdict::Restart if self.interrupts(workload) => {
                    return self.needs_downtime(workload);
                }
                Verdict::Restart if !room.take(workload.desired) => {
                    let pods = workload.desired;
                    crowded = Some(crowded.map_or(pods, |least| least.min(pods)));
                }
                Verdict::Restart => calls.push(Call::Restart {
                    namespace: self.m.namespace.clone(),
                    workload: workload.key.clone(),
                    resource_version: workload.resource_version.clone(),
                    restart: restart.clone(),
                    at: self.facts.wall,
                    pods: workload.desired,
                }),
            }
        }
        let strays = match self.strangers(&goal, scratch, &mut evicting) {
            Ok(strays) => strays,
            Err(next) => return next,
        };
        // One pod of each goes at a time; whose first one has gone has its room.
        let (evicting, outside): (Vec<_>, Vec<_>) = evicting.into_iter().partition(|subject| {
            eviction::under_way(&goal, self.m, &subject.label()) || room.take(1)
        });
        crowded = if outside.is_empty() { crowded } else { Some(1) };
        scratch.crowded = crowded;
        let subjects = || evicting.iter().chain(&outside).chain(&waiting).map(Subject::label);
        scratch.withheld.retain(|label, _| subjects().any(|subject| subject == *label));
        let (evictions, wake) = match self.evict(&goal, &evicting, scratch) {
            Ok(turns) => turns,
            Err(next) => return next,
        };
        calls.extend(evictions);
        let (cleared, again) = match self.unstick(&goal, &waiting, scratch) {
            Ok(turns) => turns,
            Err(next) => return next,
        };
        calls.extend(cleared);
        let wake = [wake, strays, again].into_iter().flatten().min();
        if calls.is_empty() {
            scratch.failing = None;
        }
        let writes = !calls.is_empty() || !evicting.is_empty();
        match self.withheld(scratch).filter(|_| writes) {
            None => {}
            // What is not written must not hide what became of the rest.
            Some(Next::Wait(until)) if !waiting.is_empty() => {
                return sooner(self.await_rollouts(&goal, &waiting, scratch), until);
            }
            Some(next) => return next,
        }
        if !calls.is_empty() {
            return Next::Calls(calls);
        }
        waiting.extend(evicting);
        if !waiting.is_empty() {
            return sooner(self.await_rollouts(&goal, &waiting, scratch), wake);
        }
        // Whoever waits for room is not late.
        if crowded.is_some() {
            return Next::Wait(wake);
        }
        if strays.is_some() {
            return Next::Wait(wake);
        }
        *scratch = Scratch::default();
        self.enter(MoveState::Verifying)
    }

    /// Whether its controller would evict the only pod of `workload`, and nobody has allowed it.
    fn interrupts(&self, workload: &Workload) -> bool {
        let only = workload.desired < 2 && workload.available > 0;
        workload.restarts_in_place() && only && !self.order.spec.allow_downtime
    }

    fn needs_downtime(&self, workload: &Workload) -> Next {
        let object = self.within(&workload.key.to_string());
        let message = "its controller restarts it by evicting its only pod".to_owned();
        block(self.m, self.facts, Code::WorkloadNeedsDowntime, object, message, None)
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
    pub(super) fn strayed(&self) -> Option<Next> {
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

    pub(super) fn fail(&self, code: Code, object: String, message: String) -> Next {
        let since = self.facts.wall;
        self.enter(MoveState::Failed(Problem { code, object, message, manager: None, since }))
    }

    pub(super) fn enter(&self, state: MoveState) -> Next {
        commit(self.m.enter(state, self.facts.wall))
    }

    pub(super) fn workloads(
        &self,
        goal: &Goal<'a>,
    ) -> impl Iterator<Item = (&'a Workload, Verdict)> {
        let Self { order, m, namespace, .. } = *self;
        let rollback_of = order.spec.rollback_of.as_deref();
        let goal = *goal;
        namespace
            .workloads
            .values()
            .map(move |workload| (workload, goal.judge(workload, m, order.migration, rollback_of)))
    }

    pub(super) fn goal(&self) -> Goal<'a> {
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
    pub(super) fn within(&self, object: &str) -> String {
        match object.split_once('/') {
            Some((kind, name)) => format!("{kind}/{}/{name}", self.m.namespace),
            None => object.to_owned(),
        }
    }
}

/// The same, but no later than `until` where it waits.
pub(super) fn sooner(next: Next, until: Option<Duration>) -> Next {
    match next {
        Next::Wait(wake) => Next::Wait([wake, until].into_iter().flatten().min()),
        other => other,
    }
}

pub(super) fn finished(verdict: &Verdict) -> bool {
    match verdict {
        Verdict::Done | Verdict::OptedOut | Verdict::ScaledToZero => true,
        Verdict::Restart
        | Verdict::Rolling
        | Verdict::Evict(_)
        | Verdict::Straggling
        | Verdict::Stuck(..) => false,
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
