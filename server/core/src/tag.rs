//! Tags: names that webhooks give to planes, and may give to others at any time.
//!
//! What a plan's labels lead to is resolved when it is made and stored with it, so that it can be told
//! later that one of them leads elsewhere.

use crate::cluster::Cluster;
use crate::injection::{self, Injection};
use crate::label::InjectionLabels;
use crate::plane::{self, Plane, Revision};
use crate::pod::InjectionWish;
use crate::problem::{Code, Problem};
use crate::refusal::Refusal;
use jiff::Timestamp;
use std::collections::BTreeSet;
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

    /// The same, with where these labels lead.
    #[must_use]
    pub fn leading<'a>(
        mut self,
        cluster: &Cluster,
        labels: impl Iterator<Item = &'a InjectionLabels>,
    ) -> Self {
        let labels: BTreeSet<&InjectionLabels> = labels.collect();
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

/// Which plane injects pods under labels, by whatever name.
pub(crate) fn destination(cluster: &Cluster, labels: &InjectionLabels) -> Injection {
    let wish = InjectionWish::default();
    injection::resolve(cluster.injectors(), &labels.entries(), &wish, false)
}
