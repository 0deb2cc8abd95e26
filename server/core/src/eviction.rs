//! Evictions: the pods that no change of a template replaces, one at a time a controller.
//!
//! Which pods may go is decided once an attempt and stored before the first one goes, so that no
//! crash makes a leader take for an old pod what this attempt has made. When the next one goes is
//! decided from a list of pods that is no cache.

use crate::cluster::Controller;
use crate::diagnosis::{InspectedPod, Inspection};
use crate::migration::{Evictions, Move, restart_id};
use crate::pod::{Injected, Pod};
use crate::problem::Code;
use crate::rollout::{Goal, Verdict, Why};
use crate::workload::WorkloadKind;
use std::collections::BTreeSet;

/// What comes next for the pods of one controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn<'a> {
    /// Nothing: none of its pods has to go.
    Over,
    /// Time, until its pods are ready.
    Await,
    /// Time, in case what made pods come off the target still lasts.
    Linger,
    /// This is to be stored before a pod goes.
    Record(Evictions),
    /// This pod goes.
    Evict(&'a Pod),
    /// Help: no pod may go.
    Stuck(Code, String),
}

/// The pods of one controller that are to be evicted, and by what rules.
#[derive(Clone, Copy, Debug)]
pub struct Round<'a> {
    /// Where they are to be.
    pub goal: Goal<'a>,
    /// The move, and the id of its migration.
    pub m: &'a Move,
    /// The id of its migration.
    pub migration: &'a str,
    /// Whether the only ready pod may be evicted.
    pub allow_downtime: bool,
    /// The controller.
    pub controller: &'a Controller,
    /// How many pods it is to have, where that is known.
    pub desired: Option<u32>,
    /// Whether it is replacing pods by itself.
    pub rolling: bool,
    /// What it needs.
    pub verdict: &'a Verdict,
    /// Whether stragglers may be evicted by now.
    pub lingered: bool,
}

/// Whether evictions of the present attempt have begun for the pods of a controller (`kind/name`) and are
/// not over, by the view: it counts as under way with one pod from the first that goes until none is
/// left to go and all are there again. They are ready then, too, where the controller is watched; of others
/// the view does not tell.
pub fn under_way(goal: &Goal<'_>, m: &Move, label: &str) -> bool {
    let Some(record) = m.evictions_of(label) else {
        return false;
    };
    let namespace = goal.namespace;
    let of = |pod: &&Pod| namespace.controller(pod).label().as_deref() == Some(label);
    let pods: Vec<&Pod> =
        namespace.pods.values().filter(|pod| !pod.terminating).filter(of).collect();
    let there = |uid: &String| pods.iter().any(|pod| pod.uid == *uid);
    let begun = !record.planned.iter().chain(&record.stragglers).all(there);
    let known = namespace.workloads.values().find(|workload| workload.key.to_string() == label);
    let wanted = known.map_or(record.pods, |workload| workload.desired);
    let missing = pods.len() < usize::try_from(wanted).unwrap_or(usize::MAX);
    let ready = known.is_none_or(|workload| workload.available >= workload.desired);
    begun && (missing || !ready || pods.iter().any(|pod| goal.displaced(pod)))
}

impl<'a> Round<'a> {
    /// What comes next, by a list of the namespace's pods.
    pub fn turn(&self, look: &'a Inspection) -> Turn<'a> {
        let Some(name) = self.controller.label() else {
            return Turn::Over;
        };
        let pods: Vec<&InspectedPod> = look
            .pods
            .iter()
            .filter(|pod| !pod.pod.terminating)
            .filter(|pod| self.goal.namespace.controller(&pod.pod) == *self.controller)
            .collect();
        let off: Vec<&InspectedPod> = pods
            .iter()
            .copied()
            .filter(|pod| self.goal.displaced(&pod.pod) && self.concerns(&pod.pod))
            .collect();
        if off.is_empty() {
            return Turn::Over;
        }
        let record = self.m.evictions_of(&name);
        let planned = |pod: &Pod| record.is_none_or(|record| record.planned.contains(&pod.uid));
        let (old, new): (Vec<&InspectedPod>, Vec<&InspectedPod>) =
            off.iter().copied().partition(|pod| !self.made(&pod.pod) && planned(&pod.pod));
        let fresh = record.map(|record| &record.stragglers);
        let fresh = new.iter().find(|pod| fresh.is_none_or(|known| !known.contains(&pod.pod.uid)));
        if let (Some(record), Some(pod)) = (record, fresh)
            && !record.stragglers.is_empty()
        {
            let (code, message) = self.wrong(&pod.pod);
            return Turn::Stuck(code, format!("{message}, nor was the one before it"));
        }
        if fresh.is_some() && !self.lingered {
            return Turn::Linger;
        }
        if let Some(refusal) = self.forbidden(&pods) {
            return refusal;
        }
        if record.is_none() || fresh.is_some() {
            let known = record.cloned().unwrap_or_else(|| Evictions {
                attempt: self.m.attempt,
                pods: u32::try_from(pods.len()).unwrap_or(u32::MAX),
                planned: uids(&old),
                stragglers: BTreeSet::new(),
            });
            return Turn::Record(Evictions { stragglers: uids(&new), ..known });
        }
        let missing = pods.len() < usize::try_from(self.wanted()).unwrap_or(usize::MAX);
        let going = |pod: &InspectedPod| off.iter().any(|off| off.pod.uid == pod.pod.uid);
        if missing || pods.iter().any(|pod| !pod.ready && !going(pod)) {
            return Turn::Await;
        }
        // What is not ready serves nobody; then as a StatefulSet goes, from the highest ordinal.
        let next = off.iter().max_by_key(|pod| (!pod.ready, pod.pod.name.len(), &pod.pod.name));
        match next {
            None => Turn::Over,
            // A rollout that goes on may take other pods away meanwhile.
            Some(pod) if pod.ready && self.rolling => Turn::Await,
            Some(pod) => Turn::Evict(&pod.pod),
        }
    }

    /// Why no pod may go, where a pod that is ready has to.
    fn forbidden(&self, pods: &[&InspectedPod]) -> Option<Turn<'a>> {
        let [only] = pods else {
            return None;
        };
        if self.allow_downtime || !only.ready || self.wanted() > 1 {
            return None;
        }
        Some(match self.verdict {
            Verdict::Evict(Why::Reverted) => {
                let message = "somebody took the restart out of its pod template again, and evicting \
                               its only pod would interrupt it";
                Turn::Stuck(Code::RestartReverted, message.to_owned())
            }
            Verdict::Evict(why) => {
                let message =
                    format!("{}, and evicting its only pod would interrupt it", why.tell());
                Turn::Stuck(Code::WorkloadNeedsDowntime, message)
            }
            _ => {
                let (code, message) = self.wrong(&only.pod);
                let message = format!("{message}, and evicting it would interrupt the workload");
                Turn::Stuck(code, message)
            }
        })
    }

    /// How many pods the controller is to have.
    fn wanted(&self) -> u32 {
        let label = self.controller.label().unwrap_or_default();
        let had = self.m.evictions_of(&label).map(|record| record.pods);
        self.desired.or(had).unwrap_or_default()
    }

    /// Whether an eviction is what `pod` needs: a rollout replaces the others by itself.
    fn concerns(&self, pod: &Pod) -> bool {
        match self.verdict {
            Verdict::Evict(_) => true,
            _ => self.made(pod),
        }
    }

    /// Whether a restart of this attempt made `pod`. Pods of a workload that is restarted in place do
    /// not tell, but its controller says when it has replaced all that were older.
    fn made(&self, pod: &Pod) -> bool {
        if matches!(self.controller, Controller::Workload(key) if key.kind == WorkloadKind::Rollout)
        {
            return *self.verdict == Verdict::Straggling;
        }
        pod.make.restart == Some(restart_id(self.migration, self.m.attempt))
    }

    /// What is wrong with a pod that was made anew.
    fn wrong(&self, pod: &Pod) -> (Code, String) {
        let (name, target) = (&pod.name, self.goal.target);
        match &pod.make.injected {
            Injected::By(revision) => (
                Code::InjectedByOther,
                format!("pod `{name}` was injected by `{revision}`, not by `{target}`"),
            ),
            Injected::No | Injected::Unknown => {
                (Code::InjectionMissing, format!("pod `{name}` has no sidecar of `{target}`"))
            }
        }
    }
}

fn uids(pods: &[&InspectedPod]) -> BTreeSet<String> {
    pods.iter().map(|pod| pod.pod.uid.clone()).collect()
}
