//! What a leader does for retirements: one call or one write at a time for each.

use super::storing::pause_after;
use super::{Acting, Answer};
use crate::engine::Parts;
use crate::engine::retirements::Retirements;
use crate::kube::census::Question;
use crate::kube::crd::Retirement as RetirementObject;
use crate::kube::record::retirement as record;
use crate::published::State;
use kube::{Error, ResourceExt};
use revshift_core::announcement;
use revshift_core::retirement::census::Cordon;
use revshift_core::retirement::{
    Call, DeleteRefusal, Look, Memory, Record, Retirement, RetirementState, Sight, Step, step,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::task::JoinSet;
use tracing::{info, warn};

/// What a leader remembers of retirements.
#[derive(Debug, Default)]
pub(super) struct Retiring {
    memory: BTreeMap<String, Memory>,
    /// Those with a call or a write in flight.
    busy: BTreeSet<String>,
}

/// The answer to a call for a retirement.
#[derive(Debug)]
pub(crate) enum Told {
    /// Its object was written, or read again after a write whose outcome is unknown; with the time of the
    /// proof that was written.
    Stored(Option<Box<RetirementObject>>, Option<Duration>),
    /// Its object is gone.
    Gone,
    /// A census was taken.
    Census(Sight),
    /// The cordon was tried.
    Cordon(Duration, Cordon),
    /// What is left of the plane was looked at.
    Look(Look),
    /// Something was deleted, or refused to be.
    Deleted(Option<DeleteRefusal>),
}

impl Retiring {
    /// Remembers what an answer tells.
    pub(super) fn answered(&mut self, id: &str, told: &Told, elapsed: Duration) {
        self.busy.remove(id);
        let memory = self.memory.entry(id.to_owned()).or_default();
        match told {
            // Whatever was seen before was seen for another record.
            Told::Stored(_, proved) => {
                *memory = Memory { since: elapsed, proved: *proved, ..Memory::default() };
            }
            Told::Gone => _ = self.memory.remove(id),
            Told::Census(sight) => memory.see(sight.clone()),
            Told::Cordon(at, cordon) => memory.cordon = Some((*at, cordon.clone())),
            Told::Look(look) => memory.look = Some(look.clone()),
            Told::Deleted(refused) => {
                memory.look = memory.look.take().filter(|_| refused.is_some());
                memory.refused.clone_from(refused);
            }
        }
    }
}

impl Acting {
    /// Does what follows for each retirement; answers when to look again without a change.
    pub(super) fn retire(
        &mut self,
        state: &State,
        retirements: &Retirements,
        parts: &Parts,
        tasks: &mut JoinSet<Answer>,
    ) -> Option<Duration> {
        if retirements.epoch() > self.epoch {
            warn!(
                epoch = self.epoch,
                newer = retirements.epoch(),
                "another replica has taken over"
            );
            self.deposed = true;
            return None;
        }
        let (elapsed, now) = (parts.clock.elapsed(), parts.clock.now());
        let mut wake: Option<Duration> = None;
        for (id, retirement) in &state.retirements {
            let Some(object) = retirements.object(id).filter(|_| !self.retiring.busy.contains(id))
            else {
                continue;
            };
            let memory = self.retiring.memory.entry(id.clone());
            let memory = &*memory.or_insert_with(|| Memory { since: elapsed, ..Memory::default() });
            match step(retirement, memory, self.epoch, elapsed, now) {
                Step::Wait(_) if retirement.record.state.is_final() => {
                    self.retiring.memory.remove(id);
                    self.let_retirement_go(id, object, parts, tasks);
                }
                Step::Wait(Some(due)) => wake = Some(wake.map_or(due, |wake| wake.min(due))),
                Step::Wait(None) => {}
                Step::Commit(record) => {
                    self.store_retirement((retirement, object), &record, None, parts, tasks);
                }
                Step::Proved(record) => {
                    let proved = memory.sights.last().map(|sight| sight.ended);
                    self.store_retirement((retirement, object), &record, proved, parts, tasks);
                }
                Step::Call(call) => {
                    self.retiring.busy.insert(id.clone());
                    let told = tell(retirement.clone(), call, parts);
                    let id = id.clone();
                    tasks.spawn(async move { Answer::Retiring(id, Box::new(told.await)) });
                }
            }
        }
        wake
    }

    fn store_retirement(
        &mut self,
        (retirement, object): (&Retirement, &RetirementObject),
        record: &Record,
        proved: Option<Duration>,
        parts: &Parts,
        tasks: &mut JoinSet<Answer>,
    ) {
        let id = object.name_any();
        self.retiring.busy.insert(id.clone());
        let now = parts.clock.now();
        let status = record::status(record, object.status.as_ref(), now);
        let announcement = announcement::of_retirement(retirement, record);
        let (announcer, uid) = (parts.announcer.clone(), object.uid().unwrap_or_default());
        info!(retirement = id, state = status.state, findings = status.findings.len(), "goes on");
        let (store, object) = (parts.retirements.clone(), object.clone());
        tasks.spawn(async move {
            let told = match store.commit(&object, status).await {
                Ok(written) => {
                    if let Some(announcement) = announcement {
                        announcer.tell(announcement, &uid, now);
                    }
                    Told::Stored(Some(Box::new(written)), proved)
                }
                Err(error) => {
                    pause_after(&id, &error).await;
                    match store.again(&id).await {
                        Ok(None) => Told::Gone,
                        Ok(Some(found)) => Told::Stored(Some(Box::new(found)), None),
                        Err(_) => Told::Stored(None, None),
                    }
                }
            };
            Answer::Retiring(id, Box::new(told))
        });
    }

    /// Lets an ended retirement go that somebody deletes.
    fn let_retirement_go(
        &mut self,
        id: &str,
        object: &RetirementObject,
        parts: &Parts,
        tasks: &mut JoinSet<Answer>,
    ) {
        if object.metadata.deletion_timestamp.is_none() || object.finalizers().is_empty() {
            return;
        }
        self.retiring.busy.insert(id.to_owned());
        let (store, id, object) = (parts.retirements.clone(), id.to_owned(), object.clone());
        tasks.spawn(async move {
            let told = match store.let_go(&object).await {
                Ok(_) => Told::Gone,
                Err(Error::Api(status)) if status.is_not_found() => Told::Gone,
                Err(error) => {
                    pause_after(&id, &error).await;
                    Told::Stored(store.again(&id).await.ok().flatten().map(Box::new), None)
                }
            };
            Answer::Retiring(id, Box::new(told))
        });
    }
}

/// Makes a call for a retirement.
fn tell(
    retirement: Retirement,
    call: Call,
    parts: &Parts,
) -> impl Future<Output = Told> + Send + 'static {
    let (counter, proxies, clock) = (parts.counter.clone(), parts.proxies.clone(), parts.clock);
    async move {
        let plane = &retirement.spec.plane;
        match call {
            Call::Census => {
                let begun = clock.elapsed();
                let cordon = retirement.record.state == RetirementState::Proving;
                let mut census = counter.census(&Question::about(plane, cordon)).await;
                // Last, as nothing keeps a proxy from connecting.
                census.connections = (*proxies.connections(&plane.revision).await).clone();
                let (ended, at) = (clock.elapsed(), clock.now());
                Told::Census(Sight::of(&census, &retirement, begun, ended, at))
            }
            Call::Cordon => {
                let cordon = counter.cordon(&plane.revision).await;
                Told::Cordon(clock.elapsed(), cordon)
            }
            Call::Look => {
                let targets = &retirement.record.targets;
                Told::Look(counter.look(plane, targets, clock.elapsed()).await)
            }
            Call::Delete(target, version) => Told::Deleted(counter.delete(&target, version).await),
        }
    }
}
