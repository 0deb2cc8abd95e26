//! Tags: names that webhooks give to planes, and may give to others at any time.
//!
//! What a plan's labels lead to is resolved when it is made and stored with it, so that it can be told
//! later that one of them leads elsewhere.

use crate::cluster::Cluster;
use crate::injection::{self, Injection};
use crate::label::InjectionLabels;
use crate::migration::Migration;
use crate::plan::Entry;
use crate::plane::{self, Plane, Revision};
use crate::pod::InjectionWish;
use crate::problem::{Code, Problem};
use crate::refusal::Refusal;
use crate::rollout;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// What becomes of namespaces that are on the source by a tag or by `istio-injection`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TagPolicy {
    /// They are refused, or left out where a rule has found them.
    #[default]
    Refuse,
    /// Their labels are replaced by the target's.
    Rewrite,
}

/// How the labels of a plan get their meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tags {
    /// What becomes of namespaces that are on the source by a tag or by `istio-injection`.
    pub policy: TagPolicy,
    /// The tag by which the source was named; none where its revision was.
    pub source: Option<String>,
    /// The tag by which the target was named, which is what namespaces are labelled with; none where
    /// its revision was named.
    pub target: Option<String>,
    /// Where the labels of the plan led when it was made, those before and those after.
    pub leads: BTreeSet<Lead>,
}

/// Labels of a namespace, and where they led.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lead {
    /// The labels.
    pub labels: InjectionLabels,
    /// The tag whose webhook made that of them; none for a revision's own webhook.
    pub tag: Option<String>,
    /// The plane that injected pods under them.
    pub plane: Revision,
}

/// A lead of a plan that leads elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    /// Counts how often the migration had gone on after a drift before.
    pub run: u32,
    /// The lead as planned.
    pub lead: Lead,
    /// Where it leads now, for people.
    pub found: String,
    /// When that was found.
    pub at: Timestamp,
}

/// The plane that somebody has named, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named<'a> {
    /// The plane.
    pub plane: &'a Plane,
    /// The tag by which it was named; none where its revision or its short name was.
    pub tag: Option<String>,
}

impl TagPolicy {
    /// The policy's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refuse => "REFUSE",
            Self::Rewrite => "REWRITE",
        }
    }

    /// The policy of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Refuse, Self::Rewrite].into_iter().find(|policy| policy.as_str() == text)
    }
}

impl Tags {
    /// The labels that attach a namespace to the target: those that were named.
    pub fn labels_of(&self, target: &Revision) -> InjectionLabels {
        InjectionLabels::of_revision(self.target.as_deref().unwrap_or(target.as_str()))
    }

    /// The same, with where the labels of these entries lead.
    #[must_use]
    pub fn leading(mut self, cluster: &Cluster, entries: &[Entry]) -> Self {
        let labels: BTreeSet<&InjectionLabels> =
            entries.iter().flat_map(|entry| [&entry.before, &entry.after]).collect();
        self.leads = labels.into_iter().filter_map(|labels| lead(cluster, labels)).collect();
        self
    }

    /// What the hash of a plan says of it.
    pub(crate) fn text(&self) -> String {
        let name = |tag: &Option<String>| tag.clone().unwrap_or_default();
        let mut text =
            format!("tags {} {} {}", self.policy.as_str(), name(&self.source), name(&self.target));
        for Lead { labels, plane, .. } in &self.leads {
            let InjectionLabels { revision, injection } = labels;
            let _ = write!(text, "\nlead {revision:?} {injection:?} {plane}");
        }
        text
    }
}

impl Lead {
    /// What leads there, for people: the tag, else the label.
    pub fn name(&self) -> String {
        match &self.tag {
            Some(tag) => format!("tag `{tag}`"),
            None => format!("label {}", self.labels.deciding().unwrap_or_default()),
        }
    }
}

impl Drift {
    /// The problem that it is.
    pub fn problem(&self) -> Problem {
        let Self { lead, found, at, .. } = self;
        let (code, object) = match &lead.tag {
            Some(tag) => (Code::TagMoved, format!("Tag/{tag}")),
            None => (Code::InjectorMoved, format!("ControlPlane/{}", lead.plane)),
        };
        let message =
            format!("{} led to `{}` when the plan was made; now {found}", lead.name(), lead.plane);
        Problem { code, object, message, manager: None, since: *at }
    }
}

/// The plane that `name` means: a revision, the short name of exactly one Calisti plane, else a tag.
pub fn named<'a>(cluster: &'a Cluster, name: &str) -> Result<Named<'a>, Refusal> {
    let planes = cluster.planes();
    let unknown = match plane::resolve(planes, name) {
        Ok(plane) => return Ok(Named { plane, tag: None }),
        Err(unknown @ Refusal::PlaneNotFound { .. }) => unknown,
        Err(refusal) => return Err(refusal),
    };
    let tagged = cluster.injectors().iter().filter(|it| it.tag.as_deref() == Some(name));
    let behind: BTreeSet<&Revision> = tagged.map(|injector| &injector.revision).collect();
    let mut behind = behind.into_iter();
    match (behind.next(), behind.next()) {
        (None, _) => Err(unknown),
        (Some(revision), None) => {
            let plane = plane::resolve(planes, revision.as_str())?;
            Ok(Named { plane, tag: Some(name.to_owned()) })
        }
        (Some(one), Some(other)) => Err(Refusal::PlaneAmbiguous {
            name: name.to_owned(),
            candidates: [one, other].into_iter().chain(behind).map(ToString::to_string).collect(),
        }),
    }
}

/// Where labels lead; none where not exactly one plane serves them.
fn lead(cluster: &Cluster, labels: &InjectionLabels) -> Option<Lead> {
    let Injection::By(plane) = destination(cluster, labels) else {
        return None;
    };
    let tag = injection::tag(cluster.injectors(), &labels.entries(), &InjectionWish::default());
    Some(Lead { labels: labels.clone(), tag: tag.map(str::to_owned), plane })
}

fn destination(cluster: &Cluster, labels: &InjectionLabels) -> Injection {
    let wish = InjectionWish::default();
    injection::resolve(cluster.injectors(), &labels.entries(), &wish, false)
}

/// The first lead of an unfinished migration that leads elsewhere by now, while something still rests on
/// it; those to the target come first, as everything that is restarted follows them.
pub fn drift(cluster: &Cluster, migration: &Migration, now: Timestamp) -> Option<Drift> {
    if migration.ended.is_some() {
        return None;
    }
    let leads = migration.spec.tags.leads.iter();
    let (target, others): (Vec<&Lead>, Vec<&Lead>) =
        leads.partition(|lead| lead.plane == migration.spec.target);
    target.into_iter().chain(others).find_map(|lead| {
        let injection = destination(cluster, &lead.labels);
        let astray = injection != Injection::By(lead.plane.clone()) && rests_on(migration, lead);
        let found = match injection {
            Injection::By(plane) => format!("it leads to `{plane}`"),
            other => format!("new pods would be {}", rollout::describe(&other)),
        };
        let run = migration.control.drifts;
        astray.then(|| Drift { run, lead: lead.clone(), found, at: now })
    })
}

/// Whether it matters where a lead leads: always for the labels that are written, for those that are
/// replaced as long as a namespace has them. What a rollback leaves may be gone: it may be made for that.
fn rests_on(migration: &Migration, lead: &Lead) -> bool {
    if lead.plane == migration.spec.target {
        return true;
    }
    let moves = &migration.moves;
    let mut left = moves.pending().chain(moves.active()).chain(moves.failed()).map(|(_, m)| m);
    migration.spec.rollback_of.is_none() && left.any(|m| !m.relabelled && m.before == lead.labels)
}

/// Refuses to go on after a drift while the plan's labels still lead elsewhere: its pods would land on
/// another plane than it says.
pub fn resumable(cluster: &Cluster, migration: &Migration) -> Result<(), Refusal> {
    let Some(known) = migration.drifted() else {
        return Ok(());
    };
    let Some(drift) = drift(cluster, migration, known.at) else {
        return Ok(());
    };
    let why = format!(
        "{}; lead it back to `{}` first, or cancel and plan again",
        drift.problem().message,
        drift.lead.plane
    );
    let state = migration.state(&BTreeSet::new());
    Err(Refusal::State { migration: migration.id.clone(), state: state.as_str().to_owned(), why })
}

/// The drifts of all unfinished migrations, by id. What was found before keeps its time.
pub fn drifts(
    cluster: &Cluster,
    migrations: &BTreeMap<String, Migration>,
    before: &BTreeMap<String, Drift>,
    now: Timestamp,
) -> BTreeMap<String, Drift> {
    let found = migrations.values().filter_map(|migration| {
        let id = &migration.id;
        let known = before.get(id).or_else(|| migration.drifted());
        let since = |drift: &Drift| {
            known.filter(|it| {
                (it.run, &it.lead, &it.found) == (drift.run, &drift.lead, &drift.found)
            })
        };
        let drift = drift(cluster, migration, now)?;
        let at = since(&drift).map_or(drift.at, |known| known.at);
        Some((id.clone(), Drift { at, ..drift }))
    });
    found.collect()
}
