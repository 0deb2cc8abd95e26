//! Faults by name: what goes wrong, where, how often, and by which seed.
//!
//! A fault strikes at requests that its place selects, or at the creation of pods. As text it is
//! `KIND[=DURATION][:PLACE[:COUNT]]`, for example `lost-reply:patch deployments:3`.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use jiff::SignedDuration;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::Instant;

use crate::exchange::Exchange;

mod act;
mod count;
mod kind;
mod place;
mod verdict;

pub(crate) use act::act;
pub use count::{Count, Most};
pub(crate) use kind::Class;
pub use kind::FaultKind;
pub(crate) use place::Occasion;
pub use place::Place;
pub(crate) use verdict::verdict;

/// One thing that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub kind: FaultKind,
    /// How long, how late or how far, where the kind takes such a measure.
    pub extent: Option<SignedDuration>,
    pub place: Place,
    pub count: Count,
}

/// Faults that are armed. Which requests they strike follows from the seed and the order of the
/// requests alone.
#[derive(Debug, Clone)]
pub struct Faults(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    random: StdRng,
    armed: Vec<Armed>,
}

#[derive(Debug)]
struct Armed {
    fault: Fault,
    met: u64,
    struck: u64,
    first: Option<Instant>,
}

/// Why a text names no fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed(String);

impl Fault {
    /// A fault where its kind usually strikes, once.
    pub fn new(kind: FaultKind) -> Self {
        let (extent, place) = (kind.usual_extent(), kind.usual_place());
        Self { kind, extent, place, count: Count::default() }
    }

    /// What a strike at `occasion` needs beyond the place.
    fn suits(&self, occasion: &Occasion<'_>) -> bool {
        match self.kind.class() {
            Class::Pod => occasion.creates_pod,
            Class::Watch => !occasion.creates_pod && occasion.verb == "watch",
            Class::Stale => {
                let reads = matches!(occasion.verb, "get" | "list" | "watch");
                !occasion.creates_pod && reads && occasion.any_version
            }
            Class::Namespace => !occasion.creates_pod && occasion.space().is_some(),
            Class::Object => !occasion.creates_pod && occasion.name.is_some(),
            Class::Request | Class::Cluster => !occasion.creates_pod,
        }
    }
}

impl Faults {
    /// Arms faults.
    pub fn new(seed: u64, faults: impl IntoIterator<Item = Fault>) -> Self {
        let arm = |fault| Armed { fault, met: 0, struck: 0, first: None };
        let armed = faults.into_iter().map(arm).collect();
        Self(Arc::new(Mutex::new(State { random: StdRng::seed_from_u64(seed), armed })))
    }

    /// Every fault, and how often it has struck so far: one that never did proves nothing.
    pub fn struck(&self) -> Vec<(Fault, u64)> {
        let state = crate::locked(&self.0);
        state.armed.iter().map(|armed| (armed.fault.clone(), armed.struck)).collect()
    }

    /// The faults that strike at a request, in the order in which they were given.
    pub(crate) fn at_request(&self, exchange: &Exchange) -> Vec<Fault> {
        Occasion::of(exchange).map(|occasion| self.strike(&occasion)).unwrap_or_default()
    }

    /// The faults that strike at a pod that is about to be created.
    pub(crate) fn at_pod(&self, namespace: &str, name: &str, author: &str) -> Vec<FaultKind> {
        let occasion = Occasion::pod(namespace, name, author);
        self.strike(&occasion).into_iter().map(|fault| fault.kind).collect()
    }

    fn strike(&self, occasion: &Occasion<'_>) -> Vec<Fault> {
        let now = Instant::now();
        let mut state = crate::locked(&self.0);
        let State { random, armed } = &mut *state;
        let mut struck = Vec::new();
        for one in armed {
            if !one.fault.suits(occasion) || !one.fault.place.selects(occasion) {
                continue;
            }
            let Count { most, after, one_in } = one.fault.count;
            // Whether the others strike must not shift the numbers that this one draws.
            let chosen = one_in <= 1 || random.random_ratio(1, one_in);
            one.met += 1;
            let left = match most {
                Most::Times(times) => one.struck < times,
                Most::Always => true,
                Most::For(time) => one.first.is_none_or(|first| now < first + time),
            };
            // An agent is started once, and counts for itself.
            let once = one.fault.kind == FaultKind::GitOps && one.struck > 0;
            if one.met > after && left && chosen && !once {
                one.struck += 1;
                one.first.get_or_insert(now);
                struck.push(one.fault.clone());
            }
        }
        struck
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self::new(0, [])
    }
}

impl FromStr for Fault {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default().trim();
        let (name, extent) = match name.split_once('=') {
            Some((name, extent)) => (name.trim(), Some(extent.trim())),
            None => (name, None),
        };
        let mut fault = Self::new(name.parse()?);
        if let Some(extent) = extent {
            if fault.extent.is_none() {
                return Err(Malformed(format!("{name} takes no duration")));
            }
            let signed = fault.kind == FaultKind::ClockJump;
            let duration = extent.parse::<SignedDuration>().ok();
            let duration = duration.filter(|one| one.is_positive() || (signed && !one.is_zero()));
            let duration = duration
                .ok_or_else(|| Malformed(format!("`{extent}` is no duration such as 30s or 1h")))?;
            fault.extent = Some(duration);
        }
        if let Some(place) = parts.next().map(str::trim).filter(|place| !place.is_empty()) {
            fault.place = place.parse()?;
        }
        if let Some(count) = parts.next().map(str::trim).filter(|count| !count.is_empty()) {
            fault.count = count.parse()?;
        }
        match parts.next() {
            None => Ok(fault),
            Some(rest) => Err(Malformed(format!("`{rest}` is too much: KIND:PLACE:COUNT is all"))),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        if let Some(extent) = self.extent.filter(|_| self.extent != self.kind.usual_extent()) {
            write!(f, "={}", compact(extent))?;
        }
        write!(f, ":{}:{}", self.place, self.count)
    }
}

impl Malformed {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

/// A duration as it is given: `30s`, `1h30m`.
pub(crate) fn compact(duration: SignedDuration) -> String {
    let sign = if duration.is_negative() { "-" } else { "" };
    format!("{sign}{:#}", duration.abs()).replace(' ', "")
}
