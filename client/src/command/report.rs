//! `revshift report`: what became of every namespace and workload of a migration, and who decided.

use jiff::Timestamp;
use revshift_proto::v1 as proto;
use serde::Serialize;
use tonic::Response;

use crate::{
    ExitStatus,
    args::Format,
    connect,
    context::Context,
    failure::Failure,
    output::{account, report},
};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Id of the migration
    id: String,
}

#[derive(Serialize)]
struct Report {
    migration: proto::Migration,
    moves: Vec<proto::Move>,
    rollbacks: Vec<Rollback>,
}

#[derive(Serialize)]
struct Rollback {
    migration: proto::Migration,
    moves: Vec<proto::Move>,
}

impl Args {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<ExitStatus, Failure> {
        let migration = connect::migration(&mut context.servers, &self.id).await?;
        let moves = connect::moves(&mut context.servers, &self.id).await?;
        let mut rollbacks = Vec::new();
        for migration in all(context).await?.into_iter().filter(|it| it.rollback_of == self.id) {
            let moves = connect::moves(&mut context.servers, &migration.id).await?;
            rollbacks.push(Rollback { migration, moves });
        }
        let report = Report { migration, moves, rollbacks };
        match context.format {
            Format::Json | Format::Yaml => context.document(&report)?,
            Format::Name => context.names(report.moves.iter().map(|it| it.namespace.as_str()))?,
            Format::Table | Format::Wide => show(context, &report)?,
        }
        Ok(ExitStatus::Done)
    }
}

async fn all(context: &mut Context<'_>) -> Result<Vec<proto::Migration>, Failure> {
    context
        .servers
        .pages(async |channel, page_size, page_token| {
            let request = proto::ListMigrationsRequest { page_size, page_token };
            let mut client = connect::migrations(channel);
            let page = client.list_migrations(request).await.map(Response::into_inner)?;
            Ok((page.migrations, page.next_page_token))
        })
        .await
}

fn show(context: &mut Context<'_>, report: &Report) -> Result<(), Failure> {
    let Report { migration, moves, rollbacks } = report;
    let now: Timestamp = context.now();
    context.print(&(report::header(migration, now).join("\n") + "\n\n"))?;
    let undone = |namespace: &str| {
        let mut undoing =
            rollbacks.iter().filter(|it| it.moves.iter().any(|m| m.namespace == namespace));
        undoing.next_back().map(|it| it.migration.id.clone())
    };
    context.table(&account::table(moves, undone))?;
    report::gates(context, migration)?;
    let commands = report::commands(migration, now);
    let commands = commands.into_iter().map(|it| format!("  {it}"));
    let commands: Vec<String> = std::iter::once("commands".to_owned()).chain(commands).collect();
    let commands = if commands.len() > 1 { commands } else { Vec::new() };
    for lines in [report::problems(moves.iter()), report::leftovers(moves.iter()), commands] {
        if !lines.is_empty() {
            context.print(&format!("\n{}\n", lines.join("\n")))?;
        }
    }
    Ok(())
}
