//! The checks after waves, and what is measured before them: asked once at a time, and stored before
//! anything follows from it.

use super::{Acting, Answer};
use crate::engine::Parts;
use crate::prober::Subject;
use crate::published::State;
use jiff::Timestamp;
use revshift_core::admission;
use revshift_core::gate::{self, Baseline, Check, Outcome, Verdict};
use revshift_core::migration::{DueCheck, Migration, Move};
use revshift_core::soak::{Soak, Soaking};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::task::JoinSet;
use tracing::info;

/// What is said of a check that gates name and the configuration does not have.
const UNKNOWN: &str = "the server's configuration has no such check any more";

/// What a leader remembers of gates; a new leader asks again.
#[derive(Debug, Default)]
pub(super) struct Gates {
    /// Soaks that last, by migration: which, what was seen of it, and when to look again.
    soaking: BTreeMap<String, (DueCheck, Soaking, Duration)>,
    /// Questions under way, by migration.
    asked: BTreeSet<(String, Question)>,
    /// What was found and is not stored yet, by migration.
    found: BTreeMap<String, Findings>,
}

/// Something that is asked of somebody else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Question {
    /// A check after a wave.
    After(DueCheck),
    /// What a check measures before this wave.
    Before(u32, String),
}

/// The answer to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    After(Verdict),
    Before(Baseline),
}

/// What was found.
#[derive(Debug, Default)]
struct Findings {
    verdicts: BTreeMap<(u32, Check), Verdict>,
    baselines: BTreeMap<(u32, String), Baseline>,
}

impl Gates {
    /// The migration with what was found and is not stored yet.
    pub(super) fn with_findings<'a>(&self, migration: &'a Migration) -> Cow<'a, Migration> {
        let Some(found) = self.found.get(&migration.id) else {
            return Cow::Borrowed(migration);
        };
        let mut migration = migration.clone();
        migration.verdicts.extend(found.verdicts.clone());
        migration.baselines.extend(found.baselines.clone());
        Cow::Owned(migration)
    }

    /// When a soak is to be looked at again.
    pub(super) fn next(&self) -> Option<Duration> {
        self.soaking.values().map(|(_, _, again)| *again).min()
    }

    /// Takes in the answer to a question about a migration.
    pub(super) fn answered(&mut self, id: String, question: Question, finding: Finding) {
        let found = self.found.entry(id.clone()).or_default();
        match (&question, finding) {
            (Question::After(due), Finding::After(verdict)) => {
                found.verdicts.insert((due.wave, due.check.clone()), verdict);
            }
            (Question::Before(wave, name), Finding::Before(baseline)) => {
                found.baselines.insert((*wave, name.clone()), baseline);
            }
            (Question::After(_), Finding::Before(_))
            | (Question::Before(..), Finding::After(_)) => {}
        }
        self.asked.remove(&(id, question));
    }

    /// Forgets what is stored by now, and what nobody wants to know any more.
    fn tidy(&mut self, migrations: &BTreeMap<String, Migration>) {
        self.found.retain(|id, found| {
            let Some(migration) = migrations.get(id).filter(|it| it.ended.is_none()) else {
                return false;
            };
            found.verdicts.retain(|key, verdict| migration.verdicts.get(key) != Some(verdict));
            found.baselines.retain(|key, baseline| migration.baselines.get(key) != Some(baseline));
            !found.verdicts.is_empty() || !found.baselines.is_empty()
        });
        self.soaking.retain(|id, (due, ..)| {
            migrations.get(id).and_then(Migration::due_check).as_ref() == Some(due)
        });
    }

    /// Looks at a soak; the verdict where there is one.
    fn soak(
        &mut self,
        state: &State,
        migration: &Migration,
        due: &DueCheck,
        elapsed: Duration,
        now: Timestamp,
    ) -> Option<Verdict> {
        let begin = || (due.clone(), Soaking::default(), elapsed);
        let (_, soaking, again) = self.soaking.entry(migration.id.clone()).or_insert_with(begin);
        if elapsed < *again {
            return None;
        }
        let (outcome, message) =
            match soaking.look(&state.cluster, migration, due.wave, elapsed, now) {
                Soak::Lasts(pause) => {
                    *again = elapsed.saturating_add(pause);
                    return None;
                }
                Soak::Passed => (Outcome::Pass, "all of it stayed healthy".to_owned()),
                Soak::Failed(why) => (Outcome::Fail, why),
            };
        self.soaking.remove(&migration.id);
        Some(verdict(migration, due, outcome, now, &message))
    }
}

impl Acting {
    /// Sees to what has to hold after waves, and to what is measured before them. Whether anything was
    /// found that is to be stored.
    pub(super) fn watch_gates(
        &mut self,
        state: &State,
        parts: &Parts,
        tasks: &mut JoinSet<Answer>,
    ) -> bool {
        let gated = state.migrations.values().filter(|it| {
            it.ended.is_none() && !it.spec.gates.is_empty() && !state.waits.any(&it.id)
        });
        let gated: Vec<&Migration> = gated.collect();
        self.gates.tidy(&state.migrations);
        if gated.is_empty() {
            return false;
        }
        let (elapsed, now) = (parts.clock.elapsed(), parts.clock.now());
        let measuring = parts.config.borrow().measuring();
        let mut found = false;
        for migration in gated {
            // Until it is stored what was found, nothing follows from it.
            if self.gates.found.contains_key(&migration.id) {
                continue;
            }
            // What is measured long before a wave tells nothing of the time just before it.
            let freezes = self.calendar.freezes();
            let held = admission::hold(migration, &state.waits, freezes, now).is_some();
            if let Some((wave, names)) = migration.unmeasured(&measuring).filter(|_| !held) {
                for name in names {
                    self.ask(migration, Question::Before(wave, name), parts, tasks);
                }
            }
            let Some(due) = migration.due_check() else {
                continue;
            };
            if due.check != Check::Soak {
                self.ask(migration, Question::After(due), parts, tasks);
            } else if let Some(verdict) = self.gates.soak(state, migration, &due, elapsed, now) {
                tell(&migration.id, &due, &verdict);
                let (id, question) = (migration.id.clone(), Question::After(due));
                self.gates.answered(id, question, Finding::After(verdict));
                found = true;
            }
        }
        found
    }

    /// Has a question asked, unless it is being asked.
    fn ask(
        &mut self,
        migration: &Migration,
        question: Question,
        parts: &Parts,
        tasks: &mut JoinSet<Answer>,
    ) {
        let id = migration.id.clone();
        if !self.gates.asked.insert((id.clone(), question.clone())) {
            return;
        }
        let (Question::After(DueCheck { check: Check::Named(name), .. })
        | Question::Before(_, name)) = &question
        else {
            return;
        };
        let config = parts.config.borrow().check(name).cloned();
        let subject = subject(migration, &question);
        let baseline = migration.baselines.get(&(subject.wave, name.clone())).cloned();
        let (prober, now) = (parts.prober.clone(), parts.clock.now());
        let migration = migration.clone();
        tasks.spawn(async move {
            let finding = match &question {
                Question::After(due) => {
                    let (outcome, message) = match &config {
                        Some(config) => prober.check(config, &subject, baseline.as_ref()).await,
                        None => (Outcome::Inconclusive, UNKNOWN.to_owned()),
                    };
                    let verdict = verdict(&migration, due, outcome, now, &message);
                    tell(&id, due, &verdict);
                    Finding::After(verdict)
                }
                Question::Before(..) => {
                    let measured = match &config {
                        Some(config) => prober.measure(config, &subject).await,
                        None => Err(UNKNOWN.to_owned()),
                    };
                    let (value, message) = match measured {
                        Ok(value) => (Some(value), String::new()),
                        Err(why) => (None, gate::kept(&why)),
                    };
                    let question = config.map(|config| config.question()).unwrap_or_default();
                    Finding::Before(Baseline { question, value, at: now, message })
                }
            };
            Answer::Checked(id, question, Box::new(finding))
        });
    }
}

/// The verdict on a check that was asked for now. Clocks of leaders differ, and what was moved before it was
/// asked for is part of it.
fn verdict(
    migration: &Migration,
    due: &DueCheck,
    outcome: Outcome,
    now: Timestamp,
    message: &str,
) -> Verdict {
    let moved = migration.moves.last_moved(due.wave);
    let at = moved.map_or(now, |moved| moved.max(now));
    Verdict { run: due.run, outcome, at, message: gate::kept(message) }
}

fn tell(id: &str, due: &DueCheck, verdict: &Verdict) {
    let (check, outcome) = (due.check.as_str(), verdict.outcome.as_str());
    info!(migration = id, wave = due.wave, check, outcome, message = verdict.message, "checked");
}

/// What a question is about. Before a wave nothing of it was moved: then it is all that is to be.
fn subject(migration: &Migration, question: &Question) -> Subject {
    let (wave, run) = match question {
        Question::After(due) => (due.wave, due.run),
        Question::Before(wave, _) => (*wave, 0),
    };
    let name = |m: &Move| m.namespace.clone();
    let namespaces = match question {
        Question::After(_) => migration.moves.moved_in(wave).map(name).collect(),
        Question::Before(..) => migration.moves.pending_of(wave).map(|(_, m)| name(m)).collect(),
    };
    Subject {
        migration: migration.id.clone(),
        wave,
        since: migration.soak_begun(wave).unwrap_or(migration.spec.created),
        run,
        source: migration.spec.source.to_string(),
        target: migration.spec.target.to_string(),
        namespaces,
    }
}
