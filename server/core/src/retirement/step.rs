//! What comes next for a retirement.

use super::census::{Census, Cordon};
use super::{
    BETWEEN_PROOFS, Finding, PROOF_LASTS, Record, Resume, Retirement, RetirementState, STUCK,
    Subject, Target, judge,
};
use crate::problem::Code;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// For so long the cordon may take to be in force.
const CORDON_PATIENCE: Duration = Duration::from_secs(15);
/// How often it is tried meanwhile.
const CORDON_EVERY: Duration = Duration::from_secs(1);
/// How often a blocked retirement looks again.
const RECHECK_EVERY: Duration = Duration::from_secs(30);
/// How often what is being deleted is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What a leader remembers of a retirement; a new one begins without, and so proves anew.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// Since when the record has been as it is, on the leader's clock.
    pub since: Duration,
    /// What censuses have shown since then, oldest first.
    pub sights: Vec<Sight>,
    /// What the last try at the cordon has shown since then, and when.
    pub cordon: Option<(Duration, Cordon)>,
    /// What is left of the plane, as seen last since then.
    pub look: Option<Look>,
    /// When this leader has proved that nothing uses the plane.
    pub proved: Option<Duration>,
    /// Why the last deletion was refused.
    pub refused: Option<DeleteRefusal>,
}

/// What one census has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// When it began.
    pub begun: Duration,
    /// When it was over.
    pub ended: Duration,
    /// The same by the wall clock.
    pub at: Timestamp,
    /// The plane's resource; none when it is gone.
    pub plane: Option<Subject>,
    /// What was found.
    pub findings: Vec<Finding>,
    /// What is to be deleted.
    pub targets: Vec<Target>,
    /// Whether the plane's name leads to another plane, so that nobody can begin to use it by its name.
    pub moot: bool,
}

/// What is left of a plane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// When it was seen.
    pub at: Duration,
    /// Of each target, in their order, what is there of it; none when it is gone.
    pub present: Vec<Option<Present>>,
    /// Objects that have the name of the plane's resource or of a target, and are others.
    pub anew: Vec<String>,
    /// Webhook configurations of the plane, as `kind/name`.
    pub webhooks: Vec<String>,
    /// CNIs of others that are not ready, as `namespace/name`.
    pub unready: Vec<String>,
    /// What could not be read, and why.
    pub unread: Vec<(String, String)>,
}

/// A target that is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Present {
    /// Its version: the precondition of its deletion.
    pub resource_version: String,
    /// Since when it has been on its way out; none while nobody has deleted it.
    pub deleting: Option<Timestamp>,
    /// What holds it back then.
    pub finalizers: Vec<String>,
}

/// Why a deletion was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRefusal {
    /// What was to be deleted.
    pub object: String,
    /// What the API server says.
    pub message: String,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Store this record.
    Commit(Box<Record>),
    /// Store this record, which follows from two proofs.
    Proved(Box<Record>),
    /// Make this call.
    Call(Call),
    /// Nothing before this moment, or without another fact.
    Wait(Option<Duration>),
}

/// A call to make. None but `Delete` changes anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Count the plane's users.
    Census,
    /// Try whether a new user is denied.
    Cordon,
    /// Look at what is left of the plane.
    Look,
    /// Delete this, if it is still of this version.
    Delete(Target, String),
}

impl Memory {
    /// Remembers what was seen; of many times the first and the last.
    pub fn see(&mut self, sight: Sight) {
        self.sights.truncate(1);
        self.sights.push(sight);
    }
}

impl Sight {
    /// What a census means for a retirement, with the times when it was taken.
    pub fn of(
        census: &Census,
        retirement: &Retirement,
        begun: Duration,
        ended: Duration,
        at: Timestamp,
    ) -> Self {
        let spec = &retirement.spec;
        let mut findings = judge(census, &spec.plane, &spec.terms, at);
        if let Some(found) = census.plane.as_ref().filter(|found| found.uid != spec.plane.uid) {
            let what = format!("its resource is another one now, of uid {}", found.uid);
            let object = format!("ControlPlane/{}", found.revision);
            findings.insert(0, Finding::blocker(Code::PlaneReplaced, object, what));
        }
        let (plane, targets) = (census.plane.clone(), census.targets.clone());
        let moot = census.leads_elsewhere(&spec.plane.revision);
        Self { begun, ended, at, plane, findings, targets, moot }
    }

    /// Whether nothing of the plane is there, which no proof is needed to delete.
    fn gone(&self) -> bool {
        self.plane.is_none() && self.targets.is_empty()
    }

    fn blocked(&self) -> bool {
        self.findings.iter().any(|finding| finding.blocks)
    }
}

/// What comes next for `retirement`, for the leader of `epoch` who remembers `memory`, at `elapsed` on its
/// clock and `now` on the wall.
pub fn step(
    retirement: &Retirement,
    memory: &Memory,
    epoch: u32,
    elapsed: Duration,
    now: Timestamp,
) -> Step {
    let record = &retirement.record;
    if record.state.is_final() {
        return Step::Wait(None);
    }
    if record.epoch != epoch {
        return Step::Commit(Box::new(Record { epoch, ..record.clone() }));
    }
    let turn = Turn { retirement, memory, elapsed, now };
    if retirement.cancelled.is_some() && record.state.can_be_cancelled() {
        return turn.enter(RetirementState::Cancelled, record.findings.clone());
    }
    match record.state {
        RetirementState::Checking => turn.check(),
        RetirementState::Cordoning => turn.cordon(),
        RetirementState::Proving => turn.prove(),
        RetirementState::Deleting => turn.delete(),
        RetirementState::Verifying => turn.verify(),
        RetirementState::Blocked(resume) => turn.blocked(resume),
        RetirementState::Retired | RetirementState::Cancelled => Step::Wait(None),
    }
}

struct Turn<'a> {
    retirement: &'a Retirement,
    memory: &'a Memory,
    elapsed: Duration,
    now: Timestamp,
}

impl Turn<'_> {
    fn record(&self) -> &Record {
        &self.retirement.record
    }

    fn enter(&self, state: RetirementState, findings: Vec<Finding>) -> Step {
        let cordoned = match state {
            RetirementState::Cordoning => true,
            RetirementState::Proving
            | RetirementState::Deleting
            | RetirementState::Verifying
            | RetirementState::Blocked(Resume::Deleting | Resume::Verifying) => {
                self.record().cordoned
            }
            RetirementState::Checking
            | RetirementState::Blocked(Resume::Checking)
            | RetirementState::Retired
            | RetirementState::Cancelled => false,
        };
        let since = if state == self.record().state { self.record().since } else { self.now };
        Step::Commit(Box::new(Record { state, since, cordoned, findings, ..self.record().clone() }))
    }

    fn check(&self) -> Step {
        match self.memory.sights.last() {
            None => Step::Call(Call::Census),
            Some(sight) => self.checked(sight),
        }
    }

    fn checked(&self, sight: &Sight) -> Step {
        let findings = sight.findings.clone();
        let next = match sight {
            // Also where somebody else has deleted the plane: its users are in trouble, and are named.
            _ if sight.blocked() => RetirementState::Blocked(Resume::Checking),
            _ if sight.gone() => RetirementState::Verifying,
            _ if sight.moot => RetirementState::Proving,
            _ => RetirementState::Cordoning,
        };
        self.enter(next, findings)
    }

    fn cordon(&self) -> Step {
        let Some((at, cordon)) = &self.memory.cordon else {
            return Step::Call(Call::Cordon);
        };
        let late = self.elapsed >= self.memory.since + CORDON_PATIENCE;
        if *cordon == Cordon::Active || late {
            return self.enter(RetirementState::Proving, self.record().findings.clone());
        }
        if self.elapsed >= *at + CORDON_EVERY {
            return Step::Call(Call::Cordon);
        }
        Step::Wait(Some(*at + CORDON_EVERY))
    }

    fn prove(&self) -> Step {
        let sights = &self.memory.sights;
        let (Some(first), Some(last)) = (sights.first(), sights.last()) else {
            return Step::Call(Call::Census);
        };
        if last.blocked() || last.gone() {
            return self.checked(last);
        }
        if last.moot == self.record().cordoned {
            // Its name has changed its meaning meanwhile.
            return self.enter(RetirementState::Checking, Vec::new());
        }
        let due = first.ended + BETWEEN_PROOFS;
        if last.begun >= due {
            return Step::Proved(Box::new(Record {
                state: RetirementState::Deleting,
                since: self.now,
                findings: last.findings.clone(),
                proofs: vec![first.at, last.at],
                targets: last.targets.clone(),
                ..self.record().clone()
            }));
        }
        if self.elapsed >= due { Step::Call(Call::Census) } else { Step::Wait(Some(due)) }
    }

    fn delete(&self) -> Step {
        if let Some(refused) = &self.memory.refused {
            let DeleteRefusal { object, message } = refused;
            let finding = Finding::blocker(Code::DeletionRefused, object, message);
            return self.enter(RetirementState::Blocked(Resume::Checking), vec![finding]);
        }
        let Some(look) = &self.memory.look else {
            return Step::Call(Call::Look);
        };
        if !look.unread.is_empty() {
            return self.look_again(look);
        }
        if !look.anew.is_empty() {
            // What was proved was proved of another object.
            return self.enter(RetirementState::Checking, Vec::new());
        }
        if let Some(finding) = self.stuck(look) {
            return self.enter(RetirementState::Blocked(Resume::Deleting), vec![finding]);
        }
        let mut left = self.record().targets.iter().zip(&look.present);
        let next = left.find_map(|(target, present)| Some((target, present.as_ref()?)));
        match next {
            None => self.enter(RetirementState::Verifying, Vec::new()),
            Some((_, present)) if present.deleting.is_some() => self.look_again(look),
            Some((target, present)) => {
                // Nothing is deleted by what another leader has proved, or long ago, though other parts be
                // gone already: nobody can tell whether this retirement has deleted them.
                let fresh = |proved: Duration| self.elapsed < proved + PROOF_LASTS;
                if !self.memory.proved.is_some_and(fresh) {
                    return self.enter(RetirementState::Checking, Vec::new());
                }
                Step::Call(Call::Delete(target.clone(), present.resource_version.clone()))
            }
        }
    }

    fn look_again(&self, look: &Look) -> Step {
        let due = look.at + LOOK_EVERY;
        if self.elapsed >= due { Step::Call(Call::Look) } else { Step::Wait(Some(due)) }
    }

    /// A target that has been on its way out for too long.
    fn stuck(&self, look: &Look) -> Option<Finding> {
        let limit = SignedDuration::try_from(STUCK).unwrap_or_default();
        let targets = self.record().targets.iter().zip(&look.present);
        targets.into_iter().find_map(|(target, present)| {
            let present = present.as_ref()?;
            let since = present.deleting?;
            if self.now.duration_since(since) < limit {
                return None;
            }
            let held = match present.finalizers.join(", ") {
                none if none.is_empty() => "nothing that it tells".to_owned(),
                some => format!("the finalizer {some}"),
            };
            let what = format!("its deletion of {since:.0} is still held back by {held}");
            Some(Finding::blocker(Code::DeletionStuck, target.object(), what))
        })
    }

    fn verify(&self) -> Step {
        let Some(look) = &self.memory.look else {
            return Step::Call(Call::Look);
        };
        let amiss = left(look);
        if amiss.is_empty() {
            return self.enter(RetirementState::Retired, Vec::new());
        }
        if !look.anew.is_empty() || self.elapsed >= self.memory.since + STUCK {
            return self.enter(RetirementState::Blocked(Resume::Verifying), amiss);
        }
        self.look_again(look)
    }

    fn blocked(&self, resume: Resume) -> Step {
        match resume {
            Resume::Checking => self.recheck(),
            Resume::Deleting => self.redelete(),
            Resume::Verifying => match &self.memory.look {
                None => Step::Call(Call::Look),
                Some(look) if left(look).is_empty() => {
                    self.enter(RetirementState::Retired, Vec::new())
                }
                Some(look) => self.update(left(look), look.at),
            },
        }
    }

    fn recheck(&self) -> Step {
        let Some(sight) = self.memory.sights.last() else {
            // What has just been found needs no second look at once.
            let due = self.memory.since + RECHECK_EVERY;
            let wait = self.elapsed < due;
            return if wait { Step::Wait(Some(due)) } else { Step::Call(Call::Census) };
        };
        if !sight.blocked() {
            return self.enter(RetirementState::Checking, Vec::new());
        }
        if sight.findings != self.record().findings {
            return self.enter(self.record().state, sight.findings.clone());
        }
        let due = sight.ended + RECHECK_EVERY;
        if self.elapsed >= due { Step::Call(Call::Census) } else { Step::Wait(Some(due)) }
    }

    /// A deletion that hangs may only be awaited.
    fn redelete(&self) -> Step {
        let Some(look) = &self.memory.look else {
            return Step::Call(Call::Look);
        };
        if look.unread.is_empty() {
            if let Some(finding) = self.stuck(look) {
                return self.update(vec![finding], look.at);
            }
            return self.enter(RetirementState::Deleting, Vec::new());
        }
        self.look_later(look.at)
    }

    /// Stores what is found now if it differs, else looks again later.
    fn update(&self, findings: Vec<Finding>, at: Duration) -> Step {
        if findings == self.record().findings {
            return self.look_later(at);
        }
        self.enter(self.record().state, findings)
    }

    fn look_later(&self, at: Duration) -> Step {
        let due = at + RECHECK_EVERY;
        if self.elapsed >= due { Step::Call(Call::Look) } else { Step::Wait(Some(due)) }
    }
}

/// What is amiss after the deletion.
fn left(look: &Look) -> Vec<Finding> {
    let unread = look.unread.iter();
    let mut left: Vec<Finding> =
        unread.map(|(what, why)| Finding::blocker(Code::CensusIncomplete, what, why)).collect();
    for object in &look.anew {
        let what = "somebody has made it anew";
        left.push(Finding::blocker(Code::PlaneReplaced, object, what));
    }
    for webhook in &look.webhooks {
        let what = "it is still there, and nobody answers it any more";
        left.push(Finding::blocker(Code::PlaneRemains, webhook, what));
    }
    for cni in &look.unready {
        let what = "it is not ready on every node";
        left.push(Finding::blocker(Code::CniNotReady, format!("DaemonSet/{cni}"), what));
    }
    left
}
