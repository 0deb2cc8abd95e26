//! What is said of a migration as a whole: its header, its moves, its problems, how it ended.
//!
//! After an end that is not a success it says what happened, why, and what to do.

use jiff::Timestamp;
use revshift_proto::v1::{self as proto, migration};
use serde::Serialize;

use super::{
    style::{self, Tone},
    table::{Cell, Table},
    wording,
};
use crate::{
    ExitStatus,
    args::Format,
    context::Context,
    failure::Failure,
    follow::fold::{self, Followed},
};

#[derive(Serialize)]
struct Answer<'a> {
    migration: &'a proto::Migration,
}

/// The facts of a migration, one a line.
pub(crate) fn header(migration: &proto::Migration, now: Timestamp) -> Vec<String> {
    let moment = |time: Option<&pbjson_types::Timestamp>| {
        time.map(|time| wording::moment(time, now)).unwrap_or_default()
    };
    let tags = migration.tags.clone().unwrap_or_default();
    let facts = [
        ("ID", migration.id.clone()),
        ("From", wording::tag::plane(&migration.source, &tags.source_tag)),
        ("To", wording::tag::plane(&migration.target, &tags.target_tag)),
        ("State", wording::migration_stand(migration)),
        ("Message", migration.message.clone()),
        ("Waits for", wording::waits_for(migration, Some(now))),
        ("Namespaces", wording::tally(migration)),
        ("Unplanned", wording::unplanned(migration)),
        ("Waves", wording::waves(migration)),
        ("Approved", wording::approvals(&migration.approvals)),
        ("Accepted", wording::approvals(&migration.accepted_gates)),
        ("Rollout timeout", wording::duration(migration.rollout_timeout.as_ref())),
        ("Windows", migration.windows.join("; ")),
        ("Gates", wording::gate::gates(migration)),
        ("On failure", wording::on_failure(migration.on_failure)),
        ("Verification", wording::verification(migration.verification)),
        ("Tags", wording::tag::tags(&tags).join("; ")),
        ("Rolls back", migration.rollback_of.clone()),
        ("Reason", migration.reason.clone()),
        ("Requester", migration.requester.clone()),
        ("Created", moment(migration.create_time.as_ref())),
        ("Ended", moment(migration.end_time.as_ref())),
    ];
    facts
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{:<17}{}", format!("{name}:"), style::one_line(&value)))
        .collect()
}

/// The moves as a table.
pub(crate) fn moves(moves: &[proto::Move], now: Timestamp) -> Table {
    let mut table = Table::new(&["NAMESPACE", "WAVE", "STATE", "ATTEMPT", "SINCE", "PROBLEM"]);
    for it in moves {
        let (state, tone) = wording::move_state(it.state);
        table.row(vec![
            Cell::new(&it.namespace),
            it.wave.into(),
            Cell::new(state).tone(tone),
            it.attempt.into(),
            Cell::new(wording::age(it.state_time.as_ref(), now)),
            Cell::new(it.problem.as_ref().map_or("", |problem| &problem.code)),
        ]);
    }
    table
}

/// What has come of checks, as a table; nothing where none was made yet.
pub(crate) fn gates(
    context: &mut Context<'_>,
    migration: &proto::Migration,
) -> Result<(), Failure> {
    if migration.gate_results.is_empty() {
        return Ok(());
    }
    context.print("\n")?;
    let now = context.now();
    context.table(&wording::gate::results(migration, now))
}

/// What is wrong with moves, one fact a line.
pub(crate) fn problems<'m>(moves: impl Iterator<Item = &'m proto::Move>) -> Vec<String> {
    let mut lines = Vec::new();
    for it in moves {
        let Some(problem) = &it.problem else { continue };
        lines.push(format!("{} {}", it.namespace, wording::move_state(it.state).0));
        for (name, value) in [
            ("code", &problem.code),
            ("object", &problem.object),
            ("message", &problem.message),
            ("manager", &problem.manager),
            ("rollback", &it.rollback),
            ("refused", &it.rollback_refusal),
            ("remedy", &problem.remedy),
        ] {
            if !value.is_empty() {
                let name = format!("{name}:");
                lines.push(format!("  {name:<10}{}", style::one_line(value)));
            }
        }
    }
    lines
}

/// What moves leave as it is, one object a line.
pub(crate) fn leftovers<'m>(moves: impl Iterator<Item = &'m proto::Move>) -> Vec<String> {
    moves
        .flat_map(|it| {
            it.leftovers.iter().map(|left| {
                format!("{} {}", it.namespace, style::one_line(&wording::leftover(left)))
            })
        })
        .collect()
}

/// What a migration was told, by whom and when, one command a line.
pub(crate) fn commands(migration: &proto::Migration, now: Timestamp) -> Vec<String> {
    let told = migration.commands.iter();
    told.map(|it| style::one_line(&wording::command(it, now))).collect()
}

/// What to do where nothing goes on by itself.
pub(crate) fn pause_advice<'m>(
    context: &Context<'_>,
    migration: &proto::Migration,
    moves: impl Iterator<Item = &'m proto::Move>,
) -> Vec<String> {
    let id = &migration.id;
    if migration.state() == migration::State::WaitingApproval {
        let look = format!("next: look at it: {}", context.command(&format!("status {id}")));
        let approve = context.command(&format!("approve {id} --wave {}", migration.wave));
        return vec![look, format!("next: let it go on: {approve}")];
    }
    if migration.pause_reason() == migration::PauseReason::Gate {
        let look = format!("next: look at it: {}", context.command(&format!("status {id}")));
        let again = context.command(&format!("resume {id}"));
        let accept = context.command(&format!("resume {id} --accept-gates"));
        let again = format!("next: mend it and check again: {again}");
        return vec![look, again, format!("next: go on all the same: {accept}")];
    }
    if let Some(problem) = migration.tags.iter().find_map(|tags| tags.drift.as_ref()) {
        let remedy = format!("next: {}", style::one_line(&problem.remedy));
        let resume = context.command(&format!("resume {id}"));
        let cancel = context.command(&format!("cancel {id}"));
        return vec![
            remedy,
            format!("next: once that is done, go on: {resume}"),
            format!("next: leave it at that: {cancel}"),
        ];
    }
    let stuck: Vec<_> = moves
        .filter(|it| fold::is_stuck(it))
        .flat_map(|it| ["-n", it.namespace.as_str()])
        .collect();
    let resume = context.command(&format!("resume {id}"));
    if stuck.is_empty() {
        return vec![format!("next: go on: {resume}")];
    }
    let retry = context.command(&format!("retry {id} {}", stuck.join(" ")));
    let counts = migration.counts.unwrap_or_default();
    let other = if counts.pending + counts.active > 0 {
        format!("next: go on without: {resume}")
    } else {
        // There is nothing to go on with, so the server would refuse a resume.
        format!("next: leave it at that: {}", context.command(&format!("cancel {id}")))
    };
    vec![format!("next: mend it and try again: {retry}"), other]
}

/// The last words on a migration that was followed, and how the program ends by it.
pub(crate) fn end(
    context: &mut Context<'_>,
    id: &str,
    followed: &Followed,
    print: bool,
) -> Result<ExitStatus, Failure> {
    let Some(migration) = &followed.migration else {
        return Err(Failure::Broken("the stream ended without the migration".to_owned()));
    };
    if print {
        match context.format {
            Format::Json | Format::Yaml => context.document(&Answer { migration })?,
            Format::Name => context.names(std::iter::once(id))?,
            Format::Table | Format::Wide => {}
        }
    }
    let color = context.io.stderr.is_colored();
    let tally = format!("{} to {}", wording::tally(migration), migration.target);
    if migration.state() == migration::State::Succeeded {
        context.say(&format!("{} {tally}", style::paint("done:", Tone::Good, color)));
        let namespaces = format!("namespaces --plane {}", migration.target);
        context.next("look at them", &namespaces);
        return Ok(ExitStatus::Done);
    }
    let label = style::paint("error:", Tone::Bad, color);
    let stand = wording::migration_stand(migration);
    context.say(&format!("{label} migration {id} is {stand}: {tally}"));
    if !migration.message.is_empty() {
        context.say(&format!("  {}", style::one_line(&migration.message)));
    }
    for line in problems(followed.ordered().into_iter()) {
        context.say(&line);
    }
    if fold::needs_somebody(migration.state()) {
        for line in pause_advice(context, migration, followed.moves.values()) {
            context.say(&line);
        }
    } else {
        context.next("see what became of each namespace", &format!("status {id}"));
    }
    Ok(ExitStatus::Failed)
}
