//! Gates: what has to hold after a wave before the next one begins.

use crate::refusal::FieldViolation;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::time::Duration;

/// The longest soak.
pub const LONGEST_SOAK: Duration = Duration::from_hours(30 * 24);

/// So many checks after waves a plan may want: what comes of each is kept with the migration.
pub const MOST_CHECKS: usize = 1000;
/// So many characters of why a check has come to what it has.
const LONGEST_TEXT: usize = 300;

/// What has to hold after waves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// The waves; empty: each of them.
    pub waves: BTreeSet<u32>,
    /// How long what a wave has moved has to stay healthy; zero: no time at all.
    pub soak: Duration,
    /// Checks that the server's configuration names, in the order in which they are made.
    pub checks: Vec<String>,
}

/// One thing that has to hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Check {
    /// What was moved stays healthy for a time.
    Soak,
    /// What the server's configuration has under this name.
    Named(String),
}

/// What has come of a check after a wave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The run that it is of, from 0: what has not passed is made again after a resume.
    pub run: u32,
    /// What has come of it.
    pub outcome: Outcome,
    /// When it was asked for; never before the last move that it is about.
    pub at: Timestamp,
    /// Why, for people.
    pub message: String,
}

/// What comes of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Pass,
    /// It does not hold.
    Fail,
    /// That cannot be told.
    Inconclusive,
}

/// What a check measured before its wave began, to be compared with what it measures after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Baseline {
    /// What tells this question from another one that the check may ask later.
    pub question: String,
    /// What was measured, as a decimal number; none where nothing could be.
    pub value: Option<String>,
    /// When.
    pub at: Timestamp,
    /// Why nothing could be measured; else empty.
    pub message: String,
}

impl Gate {
    /// Whether it stands after `wave`.
    pub fn is_after(&self, wave: u32) -> bool {
        self.waves.is_empty() || self.waves.contains(&wave)
    }
}

impl Check {
    /// Its name, for people.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Soak => "soak",
            Self::Named(name) => name,
        }
    }
}

impl Outcome {
    /// The outcome's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
            Self::Inconclusive => "INCONCLUSIVE",
        }
    }

    /// The one of that name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pass, Self::Fail, Self::Inconclusive].into_iter().find(|it| it.as_str() == text)
    }
}

/// The checks after a wave, in the order in which they are made: the soak first, so that the others
/// look at what has run for a while.
pub fn checks_after(gates: &[Gate], wave: u32) -> Vec<Check> {
    let mut checks = Vec::new();
    if !soak_after(gates, wave).is_zero() {
        checks.push(Check::Soak);
    }
    for name in gates.iter().filter(|gate| gate.is_after(wave)).flat_map(|gate| &gate.checks) {
        let check = Check::Named(name.clone());
        if !checks.contains(&check) {
            checks.push(check);
        }
    }
    checks
}

/// How long what a wave has moved has to stay healthy: the longest time that any gate wants.
pub fn soak_after(gates: &[Gate], wave: u32) -> Duration {
    let after = gates.iter().filter(|gate| gate.is_after(wave));
    after.map(|gate| gate.soak).max().unwrap_or_default()
}

/// What is malformed in gates, whatever the plan has.
pub fn check_fields(gates: &[Gate]) -> Vec<FieldViolation> {
    let mut violations = Vec::new();
    for (index, Gate { soak, checks, .. }) in gates.iter().enumerate() {
        let field = format!("spec.gates[{index}]");
        if soak.is_zero() && checks.is_empty() {
            violations.push(FieldViolation::new(&field, "must have a soak or a check"));
        }
        if *soak > LONGEST_SOAK {
            let field = format!("{field}.soak");
            violations.push(FieldViolation::new(&field, "must be at most 30 days"));
        }
        let mut seen = BTreeSet::new();
        for (place, name) in checks.iter().enumerate() {
            let field = format!("{field}.checks[{place}]");
            if name.is_empty() {
                violations.push(FieldViolation::new(&field, "must name a check"));
            } else if !seen.insert(name) {
                violations.push(FieldViolation::new(&field, format!("`{name}` is named twice")));
            }
        }
    }
    violations
}

/// What is wrong with gates in a plan of so many waves: they stand after waves that it does not have, or
/// more would come of them than is kept.
pub(crate) fn check_waves(gates: &[Gate], waves: u32) -> Vec<FieldViolation> {
    let last = gates.iter().map(|gate| gate.waves.last().copied()).enumerate();
    let beyond = last.filter_map(|(index, last)| Some((index, last.filter(|it| *it >= waves)?)));
    let violation = |(index, wave): (usize, u32)| {
        let plan = match waves {
            1 => "the plan has only wave 0".to_owned(),
            more => format!("the plan has waves 0 to {}", more.saturating_sub(1)),
        };
        FieldViolation::new(&format!("spec.gates[{index}].waves"), format!("{wave}: {plan}"))
    };
    let mut violations: Vec<FieldViolation> = beyond.map(violation).collect();
    let checks: usize = (0..waves).map(|wave| checks_after(gates, wave).len()).sum();
    if checks > MOST_CHECKS {
        let why = format!(
            "{checks} checks after {waves} waves are more than {MOST_CHECKS}; make fewer waves, or gate \
             chosen ones"
        );
        violations.push(FieldViolation::new("spec.gates", why));
    }
    violations
}

/// A text that is kept with a verdict: long ones are cut.
pub fn kept(text: &str) -> String {
    if text.chars().count() <= LONGEST_TEXT {
        return text.to_owned();
    }
    let cut: String = text.chars().take(LONGEST_TEXT).collect();
    format!("{cut}…")
}
