//! `revshift cancel`: nothing new is started; namespaces already relabelled run to their end.

use revshift_proto::v1 as proto;
use tonic::Response;

use super::{answered, unknown_when_interrupted};
use crate::{
    ExitStatus, connect, context::Context, failure::Failure, follow::fold, output::wording,
};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Id of the migration
    id: String,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl Args {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<ExitStatus, Failure> {
        let id = &self.id;
        context.need_consent("cancel", self.yes)?;
        let migration = connect::migration(&mut context.servers, id).await?;
        let counts = migration.counts.unwrap_or_default();
        let stand = wording::migration_stand(&migration);
        context.say(&format!("migration {id} is {stand}: {}", wording::tally(&migration)));
        context.say(&format!(
            "cancelling it leaves {} not started, and {} running to the end",
            wording::count(counts.pending, "namespace"),
            counts.active
        ));
        if !self.yes && !context.ask(&format!("Cancel migration {id}?")).await? {
            return Ok(ExitStatus::Failed);
        }
        unknown_when_interrupted(context, id);
        let request = proto::CancelMigrationRequest { id: id.clone() };
        let answer = context
            .servers
            .call(async |channel| {
                let mut client = connect::migrations(channel);
                client.cancel_migration(request.clone()).await.map(Response::into_inner)
            })
            .await?;
        let status = answered(context, &answer, answer.migration.as_ref())?;
        if !answer.finishing.is_empty() {
            context.say(&format!("running to their end: {}", answer.finishing.join(", ")));
        }
        if answer.migration.as_ref().is_some_and(|migration| !fold::is_final(migration.state())) {
            context.next("follow it", &format!("watch {id}"));
        }
        Ok(status)
    }
}
