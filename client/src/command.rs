//! The commands: one file each, with its arguments and what it does.
//!
//! A command calls the API and shows the answer; it decides nothing about migrations.

pub(crate) mod approve;
pub(crate) mod cancel;
pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod explain;
pub(crate) mod extend;
pub(crate) mod migrate;
pub(crate) mod migrations;
pub(crate) mod namespaces;
pub(crate) mod pause;
pub(crate) mod planes;
mod proposal;
pub(crate) mod report;
pub(crate) mod resume;
pub(crate) mod retire;
pub(crate) mod retirements;
pub(crate) mod retry;
pub(crate) mod rollback;
pub(crate) mod skip;
pub(crate) mod status;
mod subject;
pub(crate) mod version;
pub(crate) mod watch;

use revshift_proto::v1 as proto;
use serde::Serialize;

use crate::{
    ExitStatus, args::Format, connect, context::Context, failure::Failure, output::wording,
};

/// Shows the answer of a command that changed a migration.
fn answered(
    context: &mut Context<'_>,
    answer: &impl Serialize,
    migration: Option<&proto::Migration>,
) -> Result<ExitStatus, Failure> {
    let migration = connect::present(migration)?;
    match context.format {
        Format::Json | Format::Yaml => context.document(answer)?,
        Format::Name => context.names(std::iter::once(migration.id.as_str()))?,
        Format::Table | Format::Wide => {
            let stand = wording::migration_stand(migration);
            let tally = wording::tally(migration);
            context.say(&format!("migration {} is {stand}: {tally}", migration.id));
        }
    }
    Ok(ExitStatus::Done)
}

/// What an interrupt leaves open while the server is told something.
fn unknown_when_interrupted(context: &mut Context<'_>, id: &str) {
    context.on_interrupt = vec![
        "interrupted: it is not known whether the server was told".to_owned(),
        format!("see: {}", context.command(&format!("status {id}"))),
    ];
}
