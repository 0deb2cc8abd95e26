//! Plans: what a migration would do, as data with a hash, or why it is refused.

pub mod extension;
mod finding;
mod prospect;
mod survey;

use crate::allowance::Allowance;
use crate::calendar::Window;
use crate::cluster::{Cluster, Namespace, NamespaceMeta};
use crate::gate::{self, Gate};
use crate::injection::Injection;
use crate::label::{self, InjectionLabels, Labels};
use crate::migration::{Leftover, Move, OnFailure, Verification};
use crate::plane::{self, Revision};
use crate::problem::Code;
use crate::refusal::{FieldViolation, Refusal, Violation};
use crate::rollout::{self, Goal};
use crate::selection::{Matching, Selection};
use crate::tag::{self, TagPolicy, Tags};
use crate::wave;
pub use finding::{Finding, Severity};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;
use survey::{Survey, in_waves};

/// How long a rollout may make no progress, unless asked otherwise.
pub const ROLLOUT_TIMEOUT: Duration = Duration::from_mins(10);
/// The rules by which a stored plan is executed; part of its hash. A replica that does not know
/// the version of an unfinished plan does not stand for election.
pub const PLAN_VERSION: u32 = 6;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The plane to leave, by revision, short name or tag.
    pub source: String,
    /// The plane to move to, likewise.
    pub target: String,
    /// Which namespaces, in which groups.
    pub selection: Selection,
    /// The rule that has found the namespaces of given waves: what it finds later is reported.
    pub rule: Option<Matching>,
    /// Whether waves that would wait for an approval need none. Waves given as such say so
    /// themselves.
    pub approve_all: bool,
    /// How long a rollout may make no progress.
    pub rollout_timeout: Duration,
    /// So many failed moves do not pause the migration.
    pub failure_budget: u32,
    /// Whether the only ready pod of a workload may be evicted.
    pub allow_downtime: bool,
    /// What becomes of failed moves.
    pub on_failure: OnFailure,
    /// What a namespace has to show before it counts as moved.
    pub verification: Verification,
    /// When moves may begin; empty: at any time.
    pub windows: Vec<Window>,
    /// What has to hold after waves before more begins.
    pub gates: Vec<Gate>,
    /// Errors that do not stop it.
    pub allowances: Vec<Allowance>,
    /// What becomes of namespaces that are on the source by a tag or by `istio-injection`.
    pub tags: TagPolicy,
}

impl Request {
    /// The same request, by which no rule takes `namespace`.
    #[must_use]
    pub fn sparing(&self, namespace: &str) -> Self {
        let mut request = self.clone();
        if let Selection::Matching(matching) = &mut request.selection {
            matching.exclude.insert(namespace.to_owned());
        }
        if let Some(rule) = &mut request.rule {
            rule.exclude.insert(namespace.to_owned());
        }
        request
    }
}

/// What a migration does, fixed before anything is touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The plane to leave.
    pub source: Revision,
    /// The plane to move to.
    pub target: Revision,
    /// How long a rollout may make no progress.
    pub rollout_timeout: Duration,
    /// So many failed moves do not pause the migration.
    pub failure_budget: u32,
    /// Whether the only ready pod of a workload may be evicted.
    pub allow_downtime: bool,
    /// Whether a broken pod that a StatefulSet is stuck on is deleted instead of being evicted.
    pub force: bool,
    /// What becomes of failed moves.
    pub on_failure: OnFailure,
    /// What a namespace has to show before it counts as moved.
    pub verification: Verification,
    /// The migration that it rolls back.
    pub rollback_of: Option<String>,
    /// The migration that takes this in.
    pub extends: Option<String>,
    /// The rule that has found its namespaces. Not part of the hash: it only tells what is to be reported
    /// later.
    pub rule: Option<Matching>,
    /// When moves may begin; empty: at any time.
    pub windows: Vec<Window>,
    /// What has to hold after waves before more begins.
    pub gates: Vec<Gate>,
    /// Errors among its findings that do not stop it.
    pub allowances: Vec<Allowance>,
    /// How its labels get their meaning.
    pub tags: Tags,
    /// One entry a namespace, in order.
    pub entries: Vec<Entry>,
    /// Waves that start only once somebody has approved them.
    pub approvals: BTreeSet<u32>,
    /// What does not forbid it, and should be known.
    pub findings: Vec<Finding>,
}

/// One namespace of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The namespace.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
    /// The wave in which it moves, from 0.
    pub wave: u32,
    /// Labels before.
    pub before: InjectionLabels,
    /// Labels after.
    pub after: InjectionLabels,
    /// Who sets the label, for people; none where revshift does.
    pub label_owner: Option<String>,
    /// Its workloads as they stand; not part of the hash.
    pub workloads: Vec<PlannedWorkload>,
    /// What would stay off the target; not part of the hash.
    pub leftovers: Vec<Leftover>,
}

/// One workload of a plan, as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedWorkload {
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Replicas asked for.
    pub replicas: u32,
    /// Pods that are off the target.
    pub pods_to_move: u32,
    /// How it would be restarted; none when it would not.
    pub method: Option<Method>,
    /// Why it would not be restarted, or not by a change of its template; else empty.
    pub reason: String,
    /// The code under which a plan tells of that; none where it goes without saying.
    pub code: Option<Code>,
}

/// How a workload is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// By a change of its pod template.
    Roll,
    /// By the eviction of its pods, one at a time.
    Evict,
    /// By its own controller, which evicts its pods.
    Restart,
}

/// The plan for `request`, by what is known of the cluster.
pub fn plan(cluster: &Cluster, request: &Request) -> Result<Plan, Refusal> {
    let fields = check_fields(request);
    if !fields.is_empty() {
        return Err(Refusal::InvalidFields(fields));
    }
    let from = tag::named(cluster, &request.source)?;
    let source = from.plane.revision.clone();
    let to = tag::named(cluster, &request.target)?;
    let target = available(cluster, to.plane.revision.as_str())?;
    let leads = BTreeSet::new();
    let tags = Tags { policy: request.tags, source: from.tag, target: to.tag, leads };
    if source == target {
        return Err(Refusal::PlanesIdentical(source.0));
    }
    refuse_kept(cluster, [&source, &target])?;
    let survey = Survey {
        cluster,
        source: &source,
        target: &target,
        tags: &tags,
        allow_downtime: request.allow_downtime,
    };
    let (waves, made, mut findings) = match &request.selection {
        Selection::Named(names) => {
            let made = survey.entries(names.iter())?;
            let gateways = survey.gateways(names.iter());
            (wave::in_order(names, &gateways, request.approve_all), made, Vec::new())
        }
        Selection::Waves(waves) => {
            let made = survey.entries(waves.iter().flat_map(|wave| &wave.namespaces))?;
            (waves.clone(), made, Vec::new())
        }
        Selection::Matching(matching) => survey.matching(matching, request.approve_all)?,
    };
    let rule = match &request.selection {
        Selection::Matching(matching) => Some(matching.clone()),
        Selection::Waves(_) => request.rule.clone(),
        Selection::Named(_) => None,
    };
    let wrong = gate::check_waves(&request.gates, u32::try_from(waves.len()).unwrap_or(u32::MAX));
    if !wrong.is_empty() {
        return Err(Refusal::InvalidFields(wrong));
    }
    let (entries, approvals) = in_waves(waves, made);
    findings.extend(entries.iter().flat_map(finding::findings));
    let Request {
        rollout_timeout, failure_budget, allow_downtime, on_failure, verification, ..
    } = *request;
    Ok(Plan {
        source,
        target,
        rollout_timeout,
        failure_budget,
        allow_downtime,
        force: false,
        on_failure,
        verification,
        rollback_of: None,
        extends: None,
        rule,
        windows: request.windows.clone(),
        gates: request.gates.clone(),
        allowances: request.allowances.clone(),
        tags: tags.leading(cluster, labels(&entries)),
        entries,
        approvals,
        findings,
    })
}

/// The labels before and after of each entry.
pub(crate) fn labels(entries: &[Entry]) -> impl Iterator<Item = &InjectionLabels> {
    entries.iter().flat_map(|entry| [&entry.before, &entry.after])
}

/// What would become of each workload if `m` were made, or what forbids it, by `kind/name`.
pub(crate) fn foresee(
    goal: &Goal<'_>,
    m: &Move,
) -> BTreeMap<String, Result<PlannedWorkload, Violation>> {
    prospect::each(goal, m, false).into_iter().collect()
}

/// The first of the workloads that are watched which forbids a move that has not begun. Of other controllers
/// the view tells too little: pods may be seen before what controls them.
pub(crate) fn violation(goal: &Goal<'_>, m: &Move, allow_downtime: bool) -> Option<Violation> {
    prospect::of_watched(goal, m, allow_downtime).find_map(|(_, made)| made.err())
}

/// The plane `name`, if it takes namespaces now.
pub fn available(cluster: &Cluster, name: &str) -> Result<Revision, Refusal> {
    let plane = plane::resolve(cluster.planes(), name)?;
    if !plane.available {
        return Err(Refusal::PlaneUnavailable {
            revision: plane.revision.to_string(),
            status: plane.status.clone(),
            error: plane.error.clone(),
        });
    }
    Ok(plane.revision.clone())
}

/// Refuses planes for which labels may not be written here.
fn refuse_kept(cluster: &Cluster, planes: [&Revision; 2]) -> Result<(), Refusal> {
    let kept: Vec<Violation> = planes.into_iter().filter_map(|it| kept(cluster, it)).collect();
    if kept.is_empty() { Ok(()) } else { Err(Refusal::Plan(kept)) }
}

/// What forbids to write labels for a plane here: another cluster decides on them.
pub(crate) fn kept(cluster: &Cluster, revision: &Revision) -> Option<Violation> {
    let peer = cluster.label_source(revision)?;
    Some(Violation {
        code: Code::InjectionSourcePeer,
        subject: format!("ControlPlane/{revision}"),
        description: format!(
            "cluster `{peer}` decides on the labels of its namespaces, and its operator puts back what \
             is written here"
        ),
    })
}

impl Plan {
    /// The hash of all that is executed: planes, waves of namespaces with uid and labels before and
    /// after, approvals, windows, gates, rules. Which workloads restart is decided after the relabelling and not part of it.
    pub fn hash(&self) -> String {
        let mut text = format!(
            "{PLAN_VERSION}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{}\n{:?}\n",
            self.source,
            self.target,
            self.rollout_timeout.as_millis(),
            self.failure_budget,
            self.allow_downtime,
            self.force,
            self.on_failure.as_str(),
            self.rollback_of.as_deref().unwrap_or_default(),
            self.approvals,
        );
        for entry in &self.entries {
            // Namespaces, uids and label values contain no line breaks; `-` marks absence.
            let value = |value: &Option<String>| match value {
                Some(value) => format!("={value}"),
                None => "-".to_owned(),
            };
            let labels = [
                &entry.before.revision,
                &entry.before.injection,
                &entry.after.revision,
                &entry.after.injection,
            ]
            .map(value)
            .join("\n");
            let owner = entry.label_owner.as_deref().unwrap_or_default();
            let Entry { wave, namespace, uid, .. } = entry;
            let _ = writeln!(text, "{wave}\n{namespace}\n{uid}\n{labels}\n{owner}");
        }
        if self.verification != Verification::default() {
            let _ = writeln!(text, "verification {}", self.verification.as_str());
        }
        if let Some(extended) = &self.extends {
            let _ = writeln!(text, "extends {extended}");
        }
        for window in &self.windows {
            let _ = writeln!(text, "window {window}");
        }
        for Gate { waves, soak, checks } in &self.gates {
            let _ = writeln!(text, "gate {waves:?} {} {checks:?}", soak.as_millis());
        }
        for Allowance { code, reason } in &self.allowances {
            let _ = writeln!(text, "allow {} {reason:?}", code.as_str());
        }
        let _ = writeln!(text, "{}", self.tags.text());
        hex(&Sha256::digest(text.as_bytes()))
    }

    /// The moves that execute it.
    pub fn moves(&self, now: Timestamp) -> Vec<Move> {
        self.entries
            .iter()
            .map(|Entry { namespace, uid, wave, before, after, .. }| {
                let m = Move::pending(namespace, uid, before.clone(), after.clone(), now);
                Move { wave: *wave, ..m }
            })
            .collect()
    }
}

/// The id of the migration that `requester` asks for with `request_id`: the same for the same
/// request, so that a repeated creation finds the first.
pub fn migration_id(requester: &str, request_id: &str) -> String {
    format!("m-{}", identified(requester, request_id))
}

/// The id of a retirement, likewise.
pub fn retirement_id(requester: &str, request_id: &str) -> String {
    format!("r-{}", identified(requester, request_id))
}

/// The id of an extension, likewise.
pub fn extension_id(requester: &str, request_id: &str) -> String {
    format!("x-{}", identified(requester, request_id))
}

fn identified(requester: &str, request_id: &str) -> String {
    let digest = Sha256::digest(format!("{requester}\n{request_id}").as_bytes());
    hex(&digest)[..10].to_owned()
}

/// A namespace that is to move.
pub(crate) struct Place<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) name: &'a str,
    pub(crate) meta: &'a NamespaceMeta,
    pub(crate) namespace: &'a Namespace,
    pub(crate) target: &'a Revision,
    pub(crate) allow_downtime: bool,
}

impl Place<'_> {
    /// Whether these labels lead to the target.
    pub(crate) fn leads(&self, labels: &InjectionLabels) -> bool {
        self.injection(labels).1 == Injection::By(self.target.clone())
    }

    /// All labels of the namespace with these among them, and what they would make of new pods.
    fn injection(&self, by: &InjectionLabels) -> (Labels, Injection) {
        let mut labels = self.meta.labels.clone();
        by.replace(&mut labels);
        let injection = self.cluster.injection_of_labels(&labels);
        (labels, injection)
    }

    /// Its entry, or what forbids it.
    pub(crate) fn entry(
        &self,
        before: InjectionLabels,
        after: InjectionLabels,
    ) -> Result<Entry, Vec<Violation>> {
        let Self { cluster, name, meta, namespace, target, allow_downtime } = *self;
        if meta.skip {
            return Err(vec![Violation {
                code: Code::NamespaceSkipped,
                subject: format!("Namespace/{name}"),
                description: format!("its annotation {} wants it left alone", label::SKIP),
            }]);
        }
        let (labels, injection) = self.injection(&after);
        if injection != Injection::By(target.clone()) {
            let description =
                format!("with its new label, new pods would be {}", rollout::describe(&injection));
            let subject = format!("Namespace/{name}");
            return Err(vec![Violation { code: Code::InjectorMismatch, subject, description }]);
        }
        let goal = Goal { cluster, namespace, labels: &labels, target };
        // Nothing was restarted yet, so every verdict is about the workload as it stands.
        let fresh =
            Move::pending(name, &meta.uid, before.clone(), after.clone(), Timestamp::default());
        let workloads = prospect::workloads(&goal, &fresh, allow_downtime)?;
        let leftovers = goal.leftovers();
        let (namespace, uid) = (name.to_owned(), meta.uid.clone());
        let label_owner = meta.label_owner.clone();
        Ok(Entry { namespace, uid, wave: 0, before, after, label_owner, workloads, leftovers })
    }
}

/// What is malformed in `request`, whatever the cluster holds.
pub fn check_fields(request: &Request) -> Vec<FieldViolation> {
    let mut violations = Vec::new();
    for (field, value) in [("spec.source", &request.source), ("spec.target", &request.target)] {
        if value.is_empty() {
            violations.push(FieldViolation::new(field, "must name a control plane"));
        }
    }
    violations.extend(request.selection.check());
    if request.rollout_timeout < Duration::from_secs(1) {
        violations.push(FieldViolation::new("spec.rollout_timeout", "must be at least 1 second"));
    }
    violations.extend(gate::check_fields(&request.gates));
    violations
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
