//! How the API's values read: states, ages, durations, labels, leftovers, moves.
//!
//! Values that a newer server sends and this client does not know are shown by their number.

pub(crate) mod gate;
pub(crate) mod tag;

use std::{
    collections::{BTreeSet, HashMap},
    fmt::Write,
};

use jiff::Timestamp;
use pbjson_types::{Duration as WireDuration, Timestamp as WireTimestamp};
use revshift_proto::v1::{self as proto, leftover, migration, namespace};

use super::style::{Tone, one_line};

/// How long ago that was, as kubectl writes it.
pub(crate) fn age(then: Option<&WireTimestamp>, now: Timestamp) -> String {
    match then {
        None => "<unknown>".to_owned(),
        Some(then) if now.as_second() < then.seconds => "0s".to_owned(),
        Some(then) => span(now.as_second() - then.seconds),
    }
}

/// A number of seconds in at most two units: the longer the time, the coarser.
fn span(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let two = |whole: i64, unit: char, rest: i64, small: char| match rest {
        0 => format!("{whole}{unit}"),
        rest => format!("{whole}{unit}{rest}{small}"),
    };
    match seconds {
        ..120 => format!("{seconds}s"),
        120..600 => two(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, 'd', hours % 24, 'h'),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => two(days / 365, 'y', days % 365, 'd'),
        _ => format!("{}y", days / 365),
    }
}

/// A point in time, and how long ago it was.
pub(crate) fn moment(then: &WireTimestamp, now: Timestamp) -> String {
    let ago = age(Some(then), now);
    match Timestamp::from_second(then.seconds) {
        Ok(time) => format!("{time} ({ago} ago)"),
        Err(_) => "<unknown>".to_owned(),
    }
}

/// Namespaces that a migration's rule would take by now and its plan does not have.
pub(crate) fn unplanned(migration: &proto::Migration) -> String {
    const MOST: usize = 5;
    let names = &migration.unplanned_namespaces;
    if names.is_empty() {
        return String::new();
    }
    let more = names.len().saturating_sub(MOST);
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    let shown = names[..names.len().min(MOST)].join(", ");
    format!("{shown}{more}: found by its rule since, and not moved; `extend` takes them in")
}

/// A duration as it is given on the command line.
pub(crate) fn duration(duration: Option<&WireDuration>) -> String {
    let Some(duration) = duration else { return "<unknown>".to_owned() };
    let seconds = duration.seconds;
    let mut text = String::new();
    for (amount, unit) in [(seconds / 3_600, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")] {
        if amount != 0 {
            let _ = write!(text, "{amount}{unit}");
        }
    }
    if duration.nanos != 0 {
        let _ = write!(text, "{}ms", duration.nanos / 1_000_000);
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

fn word(known: Option<&str>, prefix: &str, number: i32) -> String {
    known.map_or_else(
        || format!("UNKNOWN({number})"),
        |name| name.strip_prefix(prefix).unwrap_or(name).to_owned(),
    )
}

pub(crate) fn source(value: i32) -> String {
    let known = proto::control_plane::Source::try_from(value).ok();
    word(known.map(|known| known.as_str_name()), "SOURCE_", value)
}

pub(crate) fn severity(value: i32) -> String {
    let known = proto::finding::Severity::try_from(value).ok();
    word(known.map(|known| known.as_str_name()), "SEVERITY_", value)
}

pub(crate) fn action(value: i32) -> String {
    let known = proto::plan_workload::Action::try_from(value).ok();
    word(known.map(|known| known.as_str_name()), "ACTION_", value)
}

/// What becomes of failures; empty where nothing does but a pause.
pub(crate) fn on_failure(value: i32) -> String {
    let text = match proto::OnFailure::try_from(value) {
        Ok(proto::OnFailure::Unspecified | proto::OnFailure::Pause) => "",
        Ok(proto::OnFailure::RollbackNamespace) => "the namespace is rolled back",
        Ok(proto::OnFailure::RollbackWave) => "its wave is rolled back",
        Err(_) => return format!("UNKNOWN({value})"),
    };
    text.to_owned()
}

/// What namespaces have to show before they count as moved; empty for what all have to.
pub(crate) fn verification(value: i32) -> String {
    use proto::Verification::{Connected, Injected, Unspecified};
    match proto::Verification::try_from(value) {
        Ok(Unspecified | Injected) => String::new(),
        Ok(Connected) => {
            "every pod is connected to the target and takes its configuration".to_owned()
        }
        Err(_) => format!("UNKNOWN({value})"),
    }
}

pub(crate) fn namespace_state(value: i32) -> (String, Tone) {
    let known = namespace::State::try_from(value).ok();
    let tone = match known {
        Some(namespace::State::Attached) => Tone::Good,
        Some(namespace::State::PendingRestart | namespace::State::Mixed) => Tone::Warn,
        Some(namespace::State::Dangling) => Tone::Bad,
        Some(namespace::State::NotInjected | namespace::State::Unspecified) | None => Tone::Plain,
    };
    (word(known.map(|known| known.as_str_name()), "STATE_", value), tone)
}

pub(crate) fn migration_state(value: i32) -> (String, Tone) {
    use migration::State;
    let known = State::try_from(value).ok();
    let tone = match known {
        Some(State::Succeeded) => Tone::Good,
        Some(State::Paused | State::WaitingApproval | State::Cancelling | State::Cancelled) => {
            Tone::Warn
        }
        Some(State::CompletedWithExceptions) => Tone::Bad,
        Some(State::Unspecified | State::Pending | State::Running) | None => Tone::Plain,
    };
    (word(known.map(|known| known.as_str_name()), "STATE_", value), tone)
}

/// By what a plane is the default one; empty when it is not.
pub(crate) fn default_by(value: i32) -> String {
    match proto::DefaultBy::try_from(value) {
        Ok(proto::DefaultBy::Unspecified) => String::new(),
        known => word(known.ok().map(|known| known.as_str_name()), "DEFAULT_BY_", value),
    }
}

/// Why something is not where its namespace's labels lead.
pub(crate) fn explained(value: i32) -> String {
    let known = proto::explained::Reason::try_from(value).ok();
    word(known.map(|known| known.as_str_name()), "REASON_", value)
}

/// Why it is paused; empty when it is not.
pub(crate) fn pause_reason(value: i32) -> String {
    match migration::PauseReason::try_from(value) {
        Ok(migration::PauseReason::Unspecified) => String::new(),
        known => word(known.ok().map(|known| known.as_str_name()), "PAUSE_REASON_", value),
    }
}

/// The state, with the reason for a pause.
pub(crate) fn migration_stand(migration: &proto::Migration) -> String {
    let (state, _) = migration_state(migration.state);
    match pause_reason(migration.pause_reason).as_str() {
        "" => state,
        reason => format!("{state} ({reason})"),
    }
}

pub(crate) fn move_state(value: i32) -> (String, Tone) {
    use proto::r#move::State;
    let known = State::try_from(value).ok();
    let tone = match known {
        Some(State::Moved | State::Skipped) => Tone::Good,
        Some(State::Failed) => Tone::Bad,
        Some(State::Blocked | State::Cancelled | State::Gone | State::Superseded) => Tone::Warn,
        _ => Tone::Plain,
    };
    (word(known.map(|known| known.as_str_name()), "STATE_", value), tone)
}

/// How many moves came through, out of all.
pub(crate) fn tally(migration: &proto::Migration) -> String {
    let counts = migration.counts.unwrap_or_default();
    let mut text = format!("{} of {} moved", counts.moved, migration.moves_total);
    for (number, what) in [
        (counts.active, "running"),
        (counts.awaiting, "waiting for a label"),
        (counts.failed, "failed"),
        (counts.blocked, "blocked"),
        (counts.other, "not moved"),
    ] {
        if number > 0 {
            let _ = write!(text, ", {number} {what}");
        }
    }
    text
}

/// Which wave is under way, where there is more than one.
pub(crate) fn waves(migration: &proto::Migration) -> String {
    let total = migration.waves_total;
    match migration.wave {
        _ if total <= 1 => String::new(),
        wave if wave < total => format!("{wave} of 0 to {}", total - 1),
        _ => format!("all {total} over"),
    }
}

/// What it waits for that it cannot do itself; a time also as how far away it is from `now`, where that
/// is wanted.
pub(crate) fn waits_for(migration: &proto::Migration, now: Option<Timestamp>) -> String {
    let named = |it: &&String| !matches!(it.as_str(), "WINDOW" | "FREEZE" | "GATE");
    let others = migration.waiting_for.iter().filter(named).cloned();
    let gate = gate::waited_for(migration).into_iter();
    let held = migration.hold.iter().map(|it| hold(it, now));
    gate.chain(held).chain(others).collect::<Vec<_>>().join(", ")
}

/// What keeps a migration from beginning moves, as something to wait for.
pub(crate) fn hold(hold: &proto::Hold, now: Option<Timestamp>) -> String {
    use proto::hold::Cause;
    let wait = now.zip(hold.until.as_ref()).map(|(now, until)| until.seconds - now.as_second());
    let wait = wait.map(|wait| format!(" (in {})", span(wait.max(0)))).unwrap_or_default();
    let until = &hold.local_time;
    match Cause::try_from(hold.cause) {
        Ok(Cause::Window) if until.is_empty() => "its window".to_owned(),
        Ok(Cause::Window) => format!("its window, opens {until}{wait}"),
        Ok(Cause::Freeze) if until.is_empty() => format!("the end of a freeze: {}", hold.reason),
        Ok(Cause::Freeze) => {
            format!("the end of a freeze, {until}{wait}: {}", hold.reason)
        }
        Ok(Cause::Unspecified) | Err(_) => format!("something else until {until}{wait}"),
    }
}

/// Who approved which wave, or accepted what came after it.
pub(crate) fn approvals(approvals: &[proto::Approval]) -> String {
    let approvals = approvals.iter().map(|it| {
        let time = it.approve_time.as_ref().and_then(|t| Timestamp::from_second(t.seconds).ok());
        let time = time.map(|time| format!(" at {time}")).unwrap_or_default();
        format!("wave {} by {}{time}", it.wave, it.approver)
    });
    approvals.collect::<Vec<_>>().join(", ")
}

/// A command that a migration was given, with who and when.
pub(crate) fn command(command: &proto::Command, now: Timestamp) -> String {
    let verb = command.verb().as_str_name();
    let verb = verb.strip_prefix("VERB_").unwrap_or(verb).to_lowercase();
    let wave = command.wave.map(|wave| format!(" wave {wave}")).unwrap_or_default();
    let more = usize::try_from(command.namespaces_total).unwrap_or(usize::MAX);
    let more = more.saturating_sub(command.namespaces.len());
    let mut names = command.namespaces.join(", ");
    if more > 0 {
        let _ = write!(names, " and {more} more");
    }
    let names = if names.is_empty() { names } else { format!(" {names}") };
    let force = if command.force { " by force" } else { "" };
    let time = command.time.as_ref().map(|time| format!(", {}", moment(time, now)));
    let time = time.unwrap_or_default();
    format!("{verb}{wave}{names}{force}: {}{time}", command.requester)
}

/// How each label changes; nothing for labels that stay.
pub(crate) fn label_changes(
    before: &HashMap<String, String>,
    after: &HashMap<String, String>,
) -> Vec<String> {
    let shown = |labels: &HashMap<String, String>, key: &String| {
        labels.get(key).map_or_else(|| "(not set)".to_owned(), |value| one_line(value))
    };
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    keys.into_iter()
        .filter(|key| before.get(*key) != after.get(*key))
        .map(|key| format!("{key}: {} -> {}", shown(before, key), shown(after, key)))
        .collect()
}

/// What is left as it is, and why.
pub(crate) fn leftover(left: &proto::Leftover) -> String {
    let why = match leftover::Reason::try_from(left.reason) {
        Ok(leftover::Reason::Job) => "runs to its end with the old sidecar",
        Ok(leftover::Reason::CronJob) => "its next run uses the target",
        Ok(leftover::Reason::BarePod) => "has no controller that would bring it back",
        Ok(leftover::Reason::ScaledToZero) => "uses the target when it is scaled up",
        Ok(leftover::Reason::Skipped) => "its owner wants it left alone",
        Ok(leftover::Reason::Unspecified) | Err(_) => "for a reason that this client does not know",
    };
    let name = format!("{}/{}", left.kind, left.name);
    match left.pods {
        0 => format!("{name}: {why}"),
        pods => format!("{name} ({}): {why}", count(pods, "pod")),
    }
}

pub(crate) fn count(number: u32, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// One line on a move as it stands; none before it starts.
pub(crate) fn move_line(
    it: &proto::Move,
    live: Option<&proto::MoveProgress>,
    target: &str,
) -> Option<String> {
    use proto::r#move::State;
    let state = State::try_from(it.state).ok();
    if matches!(state, Some(State::Pending)) && it.attempt == 0 {
        return None;
    }
    let mut text = move_state(it.state).0.to_ascii_lowercase();
    let restarts = matches!(state, Some(State::Restarting | State::Verifying));
    if let Some(live) = live.filter(|_| restarts) {
        let _ = write!(
            text,
            " ({}/{} workloads, {}/{} pods on {target})",
            live.workloads_done, live.workloads_total, live.pods_on_target, live.pods_total
        );
        if !live.waiting_for.is_empty() {
            let _ = write!(text, ", waiting for {}", live.waiting_for);
        }
    }
    if !it.label_owner.is_empty() {
        let _ = write!(text, ": {} has to set its label", it.label_owner);
    }
    if it.attempt > 1 {
        let _ = write!(text, " [attempt {}]", it.attempt);
    }
    if let Some(problem) = &it.problem {
        let _ = write!(text, ": {} {}: {}", problem.code, problem.object, problem.message);
    }
    if matches!(state, Some(State::Moved)) && !it.leftovers.is_empty() {
        let left: Vec<_> = it.leftovers.iter().map(leftover).collect();
        let _ = write!(text, ", but left {}", left.join("; "));
    }
    Some(one_line(&text))
}
