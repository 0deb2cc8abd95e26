//! Retirements: what would block one, its creation, its cancellation.

use super::{Caller, Control, PATIENCE, TRIES, Ticket};
use crate::failure::Failure;
use crate::kube::census::Question;
use crate::kube::record::retirement as record;
use crate::kube::retirements::retiring;
use crate::published::State;
use revshift_core::plan::{PLAN_VERSION, retirement_id};
use revshift_core::plane::{self, Plane, Revision};
use revshift_core::problem::Code;
use revshift_core::refusal::{Refusal, Violation};
use revshift_core::retirement::census::Census;
use revshift_core::retirement::{
    Allowance, Finding, Retirement, Subject, Target, Terms, judge, plan_hash,
};
use std::time::Duration;
use tokio::time::timeout;

/// Which plane is to be retired, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetirementRequest {
    /// The plane, by revision or short name.
    pub revision: String,
    /// For so long after the last move of a migration its planes are kept.
    pub rollback_window: Duration,
    /// Findings that are not to block, and why.
    pub allowed: Vec<(Code, String)>,
}

/// What keeps a plane from being retired, and what would be deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetirementPlan {
    /// The plane.
    pub plane: Subject,
    /// How it is judged.
    pub terms: Terms,
    /// What was found, what blocks first.
    pub findings: Vec<Finding>,
    /// What would be deleted, in this order.
    pub targets: Vec<Target>,
}

impl RetirementPlan {
    /// The hash of what would be retired, and on which terms.
    pub fn hash(&self) -> String {
        plan_hash(&self.plane, &self.terms)
    }
}

impl Control {
    /// What keeps a plane from being retired; stores nothing.
    pub async fn plan_retirement(
        &self,
        request: &RetirementRequest,
        caller: &Caller,
    ) -> Result<RetirementPlan, Failure> {
        let plane = {
            let state = self.ready()?;
            plane::resolve(state.cluster.planes(), &request.revision)?.clone()
        };
        let allowed = request.allowed.iter().map(|(code, reason)| Allowance {
            code: *code,
            reason: reason.clone(),
            by: caller.0.clone(),
        });
        let rollback_window = request.rollback_window;
        let terms = Terms { rollback_window, allowed: allowed.collect() };
        let mut census = self.counter.census(&Question::of(&plane)).await;
        census.connections = (*self.proxies.connections(&plane.revision).await).clone();
        let subject = found(&census, &plane)?;
        let findings = judge(&census, &subject, &terms, self.clock.now());
        Ok(RetirementPlan { plane: subject, terms, findings, targets: census.targets })
    }

    /// Stores the retirement for `request`, if nothing blocks it and the plane is that of the plan.
    pub async fn create_retirement(
        &self,
        request: &RetirementRequest,
        ticket: &Ticket,
        caller: &Caller,
    ) -> Result<Retirement, Failure> {
        self.storable()?;
        let id = retirement_id(&caller.0, &ticket.request_id);
        if let Some(stored) = self.retirements.read(&id).await? {
            return if stored.spec.plan_hash == ticket.plan_hash {
                record::retirement(&stored)
            } else {
                Err(Refusal::RequestIdReused(id).into())
            };
        }
        let plan = self.plan_retirement(request, caller).await?;
        let (sent, now) = (ticket.plan_hash.clone(), plan.hash());
        if sent != now {
            return Err(Refusal::PlanChanged { sent, now }.into());
        }
        let mut violations: Vec<Violation> =
            plan.findings.iter().filter(|it| it.blocks).map(violation).collect();
        let others = self.retirements.unfinished(&[&plan.plane.revision]).await?;
        violations.extend(others.iter().map(|(id, revision)| retiring(id, revision)));
        if !violations.is_empty() {
            return Err(Refusal::Retirement(violations).into());
        }
        let created = self.clock.now();
        let (plane, terms) = (&plan.plane, &plan.terms);
        let spec = record::spec_record(plane, terms, &caller.0, now, PLAN_VERSION, created);
        let stored = self.retirements.create(&id, spec).await?;
        if stored.spec.plan_hash != ticket.plan_hash {
            return Err(Failure::ConcurrentWrite(id));
        }
        let retirement = record::retirement(&stored)?;
        self.retirement_seen(&retirement).await;
        Ok(retirement)
    }

    /// One retirement: as published, or read live where this replica does not know it yet.
    pub async fn retirement(&self, id: &str) -> Result<Retirement, Failure> {
        self.installed()?;
        let known = self.published.read().retirements.get(id).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let stored = self.retirements.read(id).await?;
        let stored = stored.ok_or_else(|| Refusal::RetirementNotFound(id.to_owned()))?;
        record::retirement(&stored)
    }

    /// Gives a retirement up, and notes who did; durable when it returns.
    pub async fn cancel_retirement(
        &self,
        id: &str,
        caller: &Caller,
    ) -> Result<Retirement, Failure> {
        self.storable()?;
        for _ in 0..TRIES {
            let live = self.retirements.read(id).await?;
            let live = live.ok_or_else(|| Refusal::RetirementNotFound(id.to_owned()))?;
            let version = live.spec.plan_version;
            if version > PLAN_VERSION {
                return Err(Failure::PlanNewer { migration: id.to_owned(), version });
            }
            let retirement = record::retirement(&live)?;
            if retirement.cancelled.is_some() {
                return Ok(retirement);
            }
            let state = retirement.record.state;
            if !state.can_be_cancelled() {
                let why =
                    if state.is_final() { "it has ended" } else { "it deletes the plane already" };
                let (state, why) = (state.as_str().to_owned(), why.to_owned());
                return Err(
                    Refusal::RetirementState { retirement: id.to_owned(), state, why }.into()
                );
            }
            if let Some(live) = self.retirements.cancel(&live, &caller.0, self.clock.now()).await? {
                let retirement = record::retirement(&live)?;
                self.retirement_seen(&retirement).await;
                return Ok(retirement);
            }
        }
        Err(Failure::ConcurrentWrite(id.to_owned()))
    }

    /// Waits, though not for long, until this replica publishes what it has just stored.
    async fn retirement_seen(&self, retirement: &Retirement) {
        let mut versions = self.published.subscribe();
        let published = async {
            let known = || {
                let state = self.published.read();
                let known = state.retirements.get(&retirement.id);
                known.is_some_and(|known| {
                    known.cancelled.is_some() == retirement.cancelled.is_some()
                })
            };
            while !known() {
                if versions.changed().await.is_err() {
                    break;
                }
            }
        };
        let _ = timeout(PATIENCE, published).await;
    }
}

/// The plane as the census has found it. One that is made of webhooks alone has no resource; where planes
/// could not be read, that is what is found.
fn found(census: &Census, plane: &Plane) -> Result<Subject, Failure> {
    if let Some(subject) = &census.plane {
        return Ok(subject.clone());
    }
    let known = census.cluster.planes();
    if census.unread.is_empty() && !known.contains_key(&plane.revision) {
        let name = plane.revision.to_string();
        let known = known.keys().map(ToString::to_string).collect();
        return Err(Refusal::PlaneNotFound { name, known }.into());
    }
    Ok(Subject {
        revision: plane.revision.clone(),
        source: plane.source,
        name: plane.name.clone(),
        namespace: plane.namespace.clone(),
        uid: String::new(),
    })
}

fn violation(finding: &Finding) -> Violation {
    Violation {
        code: finding.code,
        subject: finding.object.clone(),
        description: format!("{}; {}", finding.message, finding.remedy),
    }
}

/// Refuses planes, by revision or short name, that an unfinished retirement names, as far as this replica
/// knows.
pub(super) fn spare(state: &State, planes: [&str; 2]) -> Result<(), Failure> {
    let planes = planes.map(|name| match plane::resolve(state.cluster.planes(), name) {
        Ok(plane) => plane.revision.clone(),
        Err(_) => Revision(name.to_owned()),
    });
    let unfinished = state.retirements.values().filter(|it| !it.record.state.is_final());
    let named = unfinished.filter(|it| planes.contains(&it.spec.plane.revision));
    let violations: Vec<Violation> =
        named.map(|it| retiring(&it.id, &it.spec.plane.revision)).collect();
    if violations.is_empty() { Ok(()) } else { Err(Refusal::Plan(violations).into()) }
}
