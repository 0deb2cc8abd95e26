//! One sentence on where a migration stands, for people: what it waits for, and what helps.

use crate::published::Stored;
use revshift_core::calendar::{self, Cause, Hold};
use revshift_core::command;
use revshift_core::gate::{self, Check, Outcome};
use revshift_core::migration::{
    DueCheck, Migration, MigrationState, Move, MoveState, PauseReason, Skip,
};
use revshift_core::problem::Problem;
use std::fmt::Display;

/// Names in a sentence; more are only counted.
const MOST_NAMES: usize = 3;

/// The sentence for the public state of `stored`.
pub(crate) fn of(stored: &Stored) -> String {
    let migration = &stored.migration;
    match stored.state() {
        MigrationState::Pending => format!(
            "waits for {}, which came first for some of its namespaces",
            list(stored.waiting_for.iter().map(|id| format!("`{id}`")))
        ),
        MigrationState::Running => match &stored.slowed {
            Some(why) => format!("{}; slowed down, because {why}", running(migration)),
            None => running(migration),
        },
        MigrationState::Paused(PauseReason::User) => paused(migration),
        MigrationState::Paused(PauseReason::FailureBudget) => failed(migration),
        MigrationState::Paused(PauseReason::Gate) => stopped(migration),
        MigrationState::Paused(PauseReason::Drift) => drifted(migration),
        MigrationState::WaitingApproval(wave) => waiting_approval(migration, wave),
        MigrationState::Cancelling => cancelling(migration),
        MigrationState::Succeeded => succeeded(migration),
        MigrationState::CompletedWithExceptions => {
            let why = exceptions(migration);
            format!("ended with {}; {why}", moved(migration))
        }
        MigrationState::Cancelled => cancelled(migration),
    }
}

fn running(migration: &Migration) -> String {
    let active: Vec<String> = migration.active().filter_map(|(_, m)| activity(m)).collect();
    let moved = moved(migration);
    if let Some(due) = migration.due_check() {
        return format!("{moved}; {}", checks(migration, &due));
    }
    if let Some(hold) = &migration.hold {
        let active = if active.is_empty() { String::new() } else { format!("{}; ", list(active)) };
        return format!("{active}{moved}; {}", held(migration, hold));
    }
    if active.is_empty() {
        let counts = migration.counts();
        let next =
            if counts.pending > 0 { "the next one is about to start" } else { "it is ending" };
        return format!("{moved}; {next}");
    }
    format!("{}; {moved}", list(active))
}

fn checks(migration: &Migration, due: &DueCheck) -> String {
    let wave = due.wave;
    let Check::Named(name) = &due.check else {
        let soak = gate::soak_after(&migration.spec.gates, wave);
        let until = migration.soak_begun(wave).and_then(|begun| begun.checked_add(soak).ok());
        let until = until.map(|until| calendar::local(&migration.spec.windows, until));
        return format!("wave {wave} soaks until {}", until.unwrap_or_default());
    };
    format!("makes the check `{name}` after wave {wave}")
}

fn stopped(migration: &Migration) -> String {
    let Some((due, verdict)) = migration.stopped_by() else {
        return moved(migration);
    };
    let what = match (&due.check, verdict.outcome) {
        (Check::Soak, Outcome::Inconclusive) => "the soak tells nothing".to_owned(),
        (Check::Soak, _) => "the soak has failed".to_owned(),
        (Check::Named(name), Outcome::Inconclusive) => format!("the check `{name}` tells nothing"),
        (Check::Named(name), _) => format!("the check `{name}` has failed"),
    };
    let (wave, why, moved) = (due.wave, &verdict.message, moved(migration));
    format!(
        "{what} after wave {wave}: {why}; {moved}; resume to make it again, accept it, roll the wave back \
         or cancel"
    )
}

fn drifted(migration: &Migration) -> String {
    let (moved, half) = (moved(migration), half(migration));
    let Some(drift) = migration.drifted() else {
        return moved;
    };
    let Problem { code, message, .. } = drift.problem();
    let (code, planned) = (code.as_str(), &drift.lead.plane);
    format!(
        "{message} ({code}); {moved}{half}; resume once it leads to `{planned}` again, or cancel and plan anew"
    )
}

fn held(migration: &Migration, hold: &Hold) -> String {
    let until = hold.until.map(|until| calendar::local(&migration.spec.windows, until));
    match (&hold.cause, until) {
        (Cause::Window, Some(until)) => format!("the next one waits for a window until {until}"),
        (Cause::Window, None) => "the next one waits for a window".to_owned(),
        (Cause::Freeze(reason), until) => {
            let until = until.map(|until| format!(" until {until}")).unwrap_or_default();
            format!("everything else is frozen{until}: {reason}")
        }
    }
}

fn activity(m: &Move) -> Option<String> {
    let what = match &m.state {
        MoveState::AwaitingLabel(owner) => {
            return Some(format!("waits until {owner} sets the label of `{}`", m.namespace));
        }
        MoveState::Checking => "checks",
        MoveState::Relabeling => "relabels",
        MoveState::Restarting => "restarts the workloads of",
        MoveState::Verifying => "verifies",
        MoveState::Pending
        | MoveState::Moved(_)
        | MoveState::Blocked(_)
        | MoveState::Failed(_)
        | MoveState::Skipped(_)
        | MoveState::Cancelled
        | MoveState::Gone
        | MoveState::Superseded => return None,
    };
    Some(format!("{what} `{}`", m.namespace))
}

fn paused(migration: &Migration) -> String {
    let why = if migration.control.paused {
        "paused on request".to_owned()
    } else {
        let taken = migration.moves.superseded().map(|(_, m)| m);
        let taken = taken.filter(|m| !m.was_taken_back());
        format!("paused because a rollback took {} over", list(names(taken)))
    };
    format!("{why}; {}{}; resume to go on", moved(migration), half(migration))
}

fn failed(migration: &Migration) -> String {
    let failures = migration.moves.failed().chain(migration.moves.superseded());
    let failures = failures.filter_map(|(_, m)| {
        let problem = m.problem()?;
        let back = m.taken_back.as_ref().filter(|_| m.was_taken_back());
        let back = back.map(|it| format!("; rolled back by `{}`", it.rollback)).unwrap_or_default();
        let (code, message) = (problem.code.as_str(), &problem.message);
        Some(format!("`{}` ({code}: {message}{back})", m.namespace))
    });
    let failures = list(failures);
    let moved = moved(migration);
    if migration.moves.failed().next().is_none() {
        return format!("failed: {failures}; {moved}; resume to go on without, or cancel");
    }
    let resume = if migration.counts().unfinished() > 0 { "resume without them, " } else { "" };
    format!("cannot go on with {failures}; {moved}; retry them, {resume}roll them back or cancel")
}

fn waiting_approval(migration: &Migration, wave: u32) -> String {
    let next = migration.moves.iter().filter(|m| m.wave == wave);
    format!("wave {wave} ({}) waits for an approval; {}", list(names(next)), moved(migration))
}

fn cancelling(migration: &Migration) -> String {
    let active: Vec<String> = migration.active().filter_map(|(_, m)| activity(m)).collect();
    if active.is_empty() {
        return format!("being cancelled; {}", moved(migration));
    }
    format!("being cancelled; still {}; {}", list(active), moved(migration))
}

fn succeeded(migration: &Migration) -> String {
    let leftovers: usize = migration
        .moves
        .iter()
        .map(|m| match &m.state {
            MoveState::Moved(leftovers) => leftovers.len(),
            _ => 0,
        })
        .sum();
    let rest = match leftovers {
        0 => String::new(),
        1 => "; 1 object was left as it is".to_owned(),
        many => format!("; {many} objects were left as they are"),
    };
    format!("{} to `{}`{rest}", moved(migration), migration.spec.target)
}

fn cancelled(migration: &Migration) -> String {
    let never = migration.moves.iter().filter(|m| m.state == MoveState::Cancelled).count();
    let never = if never > 0 { format!("; {never} never started") } else { String::new() };
    format!("cancelled; {}{never}{}", moved(migration), half(migration))
}

fn exceptions(migration: &Migration) -> String {
    let among = |state: &MoveState, what: &str| {
        let moves = migration.moves.iter().filter(|m| m.state == *state);
        let names: Vec<String> = names(moves).collect();
        (!names.is_empty()).then(|| format!("{} {what}", list(names)))
    };
    let found = [
        among(&MoveState::Gone, "deleted or created anew"),
        among(&MoveState::Superseded, "taken over by a rollback"),
        among(&MoveState::Cancelled, "never started"),
        among(&MoveState::Skipped(Skip::Asked), "skipped on request"),
    ];
    found.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn moved(migration: &Migration) -> String {
    let total = migration.moves.len();
    let noun = if total == 1 { "namespace" } else { "namespaces" };
    format!("{} of {total} {noun} moved", migration.counts().moved)
}

fn half(migration: &Migration) -> String {
    let half = command::half_moved(migration);
    if half.is_empty() {
        return String::new();
    }
    format!("; half moved: {}", list(half.iter().map(|name| format!("`{name}`"))))
}

fn names<'a>(moves: impl Iterator<Item = &'a Move>) -> impl Iterator<Item = String> {
    moves.map(|m| format!("`{}`", m.namespace))
}

fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let mut items = items.into_iter();
    let mut text: Vec<String> =
        items.by_ref().take(MOST_NAMES).map(|item| item.to_string()).collect();
    let more = items.count();
    if more > 0 {
        text.push(format!("{more} more"));
    }
    text.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::sample;
    use revshift_core::migration::{Leftover, LeftoverReason};

    fn migration(states: &[(&str, MoveState)]) -> Migration {
        let moves = states.iter().map(|(name, state)| sample::movement(name, 1, state.clone()));
        sample::migration("m-0123456789", moves.collect())
    }

    fn sentence(migration: Migration) -> String {
        waiting(migration, &[])
    }

    fn waiting(migration: Migration, waiting_for: &[&str]) -> String {
        let waiting_for = waiting_for.iter().map(|id| (*id).to_owned()).collect();
        of(&Stored { uid: String::new(), migration, waiting_for, slowed: None })
    }

    #[test]
    fn one_that_is_slowed_down_says_why() {
        let migration = migration(&[("a", MoveState::Restarting), ("b", MoveState::Pending)]);
        let slowed = Some("it is too much".to_owned());
        let waiting_for = <_>::default();
        let told = of(&Stored { uid: String::new(), migration, waiting_for, slowed });
        assert!(told.ends_with("; slowed down, because it is too much"), "{told}");
    }

    fn failed() -> MoveState {
        MoveState::Failed(sample::problem())
    }

    #[test]
    fn a_migration_that_waits_names_what_it_waits_for() {
        let pending = migration(&[("a", MoveState::Pending)]);
        assert_eq!(
            waiting(pending, &["m-1", "m-2"]),
            "waits for `m-1`, `m-2`, which came first for some of its namespaces"
        );
    }

    #[test]
    fn a_migration_that_runs_names_the_namespace_that_moves() {
        let moved = MoveState::Moved(Vec::new());
        let running = migration(&[("a", moved.clone()), ("b", MoveState::Restarting)]);
        assert_eq!(sentence(running), "restarts the workloads of `b`; 1 of 2 namespaces moved");
        let between = migration(&[("a", moved.clone()), ("b", MoveState::Pending)]);
        assert_eq!(sentence(between), "1 of 2 namespaces moved; the next one is about to start");
        let owner = MoveState::AwaitingLabel("Argo CD".to_owned());
        let waits = migration(&[("a", moved.clone()), ("b", owner)]);
        assert_eq!(
            sentence(waits),
            "waits until Argo CD sets the label of `b`; 1 of 2 namespaces moved"
        );
        // It is final only once that is stored.
        let ending = migration(&[("a", moved)]);
        assert_eq!(sentence(ending), "1 of 1 namespace moved; it is ending");
    }

    #[test]
    fn a_migration_that_is_held_says_until_when() {
        let moved = MoveState::Moved(Vec::new());
        let mut held = migration(&[("a", moved), ("b", MoveState::Pending)]);
        held.spec.windows = vec!["daily 22:00-04:00 Asia/Tokyo".parse().unwrap()];
        let until = Some(sample::TIME + std::time::Duration::from_hours(13));
        held.hold = Some(Hold { cause: Cause::Window, until });
        assert_eq!(
            sentence(held.clone()),
            "1 of 2 namespaces moved; the next one waits for a window until \
             Thu 1970-01-01 22:00 Asia/Tokyo"
        );
        held.hold = Some(Hold { cause: Cause::Freeze("holidays".to_owned()), until });
        held.moves.edit(0, |m| m.state = MoveState::Restarting);
        assert_eq!(
            sentence(held),
            "restarts the workloads of `a`; 0 of 2 namespaces moved; everything else is frozen \
             until Thu 1970-01-01 22:00 Asia/Tokyo: holidays"
        );
    }

    #[test]
    fn a_gate_says_what_it_waits_for_and_what_stops_it() {
        let moved = MoveState::Moved(Vec::new());
        let mut gated = migration(&[("a", moved), ("b", MoveState::Pending)]);
        gated.moves.edit(1, |m| m.wave = 1);
        let soak = std::time::Duration::from_mins(5);
        let checks = vec!["smoke".to_owned()];
        gated.spec.gates = vec![gate::Gate { waves: <_>::default(), soak, checks }];
        assert_eq!(
            sentence(gated.clone()),
            "1 of 2 namespaces moved; wave 0 soaks until Thu 1970-01-01 00:05 UTC"
        );
        let verdict = |outcome, message: &str| {
            let message = message.to_owned();
            gate::Verdict { run: 0, outcome, at: sample::TIME, message }
        };
        gated.verdicts.insert((0, Check::Soak), verdict(Outcome::Pass, ""));
        assert_eq!(
            sentence(gated.clone()),
            "1 of 2 namespaces moved; makes the check `smoke` after wave 0"
        );
        let smoke = Check::Named("smoke".to_owned());
        gated.verdicts.insert((0, smoke), verdict(Outcome::Fail, "it answers 500"));
        assert_eq!(
            sentence(gated),
            "the check `smoke` has failed after wave 0: it answers 500; 1 of 2 namespaces moved; resume to \
             make it again, accept it, roll the wave back or cancel"
        );
    }

    #[test]
    fn a_pause_on_request_names_what_is_half_moved() {
        let mut paused = migration(&[("a", MoveState::Restarting), ("b", MoveState::Pending)]);
        paused.control.paused = true;
        assert_eq!(
            sentence(paused),
            "paused on request; 0 of 2 namespaces moved; half moved: `a`; resume to go on"
        );
        let taken = migration(&[("a", MoveState::Superseded), ("b", MoveState::Pending)]);
        assert_eq!(
            sentence(taken),
            "paused because a rollback took `a` over; 0 of 2 namespaces moved; resume to go on"
        );
    }

    #[test]
    fn a_failure_is_named_with_what_helps() {
        let some = migration(&[("a", failed()), ("b", MoveState::Pending)]);
        assert_eq!(
            sentence(some),
            "cannot go on with `a` (RS3003: no such image); 0 of 2 namespaces moved; \
             retry them, resume without them, roll them back or cancel"
        );
        let many = migration(&["a", "b", "c", "d", "e"].map(|name| (name, failed())));
        let sentence = sentence(many);
        assert!(sentence.contains("`c` (RS3003: no such image), 2 more; 0 of 5"), "{sentence}");
        assert!(!sentence.contains("resume"), "{sentence}");
    }

    #[test]
    fn an_end_is_summed_up() {
        let leftover = Leftover {
            reason: LeftoverReason::BarePod,
            kind: "Pod".to_owned(),
            name: "debug".to_owned(),
            pods: 1,
        };
        let table = [
            (
                MigrationState::Succeeded,
                vec![
                    ("a", MoveState::Moved(vec![leftover])),
                    ("b", MoveState::Skipped(Skip::Unneeded)),
                ],
                "2 of 2 namespaces moved to `1-31`; 1 object was left as it is",
            ),
            (
                MigrationState::CompletedWithExceptions,
                vec![("a", MoveState::Skipped(Skip::Unneeded)), ("b", MoveState::Gone)],
                "ended with 1 of 2 namespaces moved; `b` deleted or created anew",
            ),
            (
                MigrationState::Cancelled,
                vec![("a", MoveState::Cancelled), ("b", failed())],
                "cancelled; 0 of 2 namespaces moved; 1 never started",
            ),
        ];
        for (state, moves, expected) in table {
            let mut over = migration(&moves);
            over.ended = Some(sample::ended(state, 1));
            assert_eq!(sentence(over), expected);
        }
        let mut cancelling =
            migration(&[("a", MoveState::Restarting), ("b", MoveState::Cancelled)]);
        cancelling.control.cancelled = true;
        assert_eq!(
            sentence(cancelling),
            "being cancelled; still restarts the workloads of `a`; 0 of 2 namespaces moved"
        );
    }
}
