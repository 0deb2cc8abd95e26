//! `revshift status`: one migration, its namespaces, what is wrong with them and what they leave.

use revshift_proto::v1 as proto;
use serde::Serialize;

use crate::{
    ExitStatus, args::Format, connect, context::Context, failure::Failure, follow::fold,
    output::report,
};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Id of the migration
    id: String,
}

#[derive(Serialize)]
struct Status {
    migration: proto::Migration,
    moves: Vec<proto::Move>,
}

impl Args {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<ExitStatus, Failure> {
        let migration = connect::migration(&mut context.servers, &self.id).await?;
        let moves = connect::moves(&mut context.servers, &self.id).await?;
        match context.format {
            Format::Json | Format::Yaml => context.document(&Status { migration, moves })?,
            Format::Name => context.names(moves.iter().map(|it| it.namespace.as_str()))?,
            Format::Table | Format::Wide => show(context, &migration, &moves)?,
        }
        Ok(ExitStatus::Done)
    }
}

fn show(
    context: &mut Context<'_>,
    migration: &proto::Migration,
    moves: &[proto::Move],
) -> Result<(), Failure> {
    let now = context.now();
    let header = report::header(migration, now);
    context.print(&(header.join("\n") + "\n\n"))?;
    context.table(&report::moves(moves, now))?;
    for lines in [report::problems(moves.iter()), report::leftovers(moves.iter())] {
        if !lines.is_empty() {
            context.print(&format!("\n{}\n", lines.join("\n")))?;
        }
    }
    report::gates(context, migration)?;
    let commands = report::commands(migration, now);
    if !commands.is_empty() {
        context.print(&format!("\ncommands\n  {}\n", commands.join("\n  ")))?;
    }
    suggest(context, migration, moves);
    Ok(())
}

fn suggest(context: &mut Context<'_>, migration: &proto::Migration, moves: &[proto::Move]) {
    let state = migration.state();
    if fold::needs_somebody(state) {
        for line in report::pause_advice(context, migration, moves.iter()) {
            context.say(&line);
        }
    } else if !fold::is_final(state) {
        context.next("follow it", &format!("watch {}", migration.id));
    }
}
