//! `revshift resume`: goes on with a paused migration; failed namespaces stay failed, and checks that have
//! not passed are made again.

use revshift_proto::v1 as proto;
use tonic::Response;

use super::{answered, unknown_when_interrupted};
use crate::{ExitStatus, connect, context::Context, failure::Failure};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Id of the migration
    id: String,
    /// Accept what has come of the checks that the migration waits for, or stands at, and go on
    #[arg(long)]
    accept_gates: bool,
}

impl Args {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<ExitStatus, Failure> {
        unknown_when_interrupted(context, &self.id);
        let accept_gates_of_wave =
            if self.accept_gates { Some(self.gating_wave(context).await?) } else { None };
        let request = proto::ResumeMigrationRequest { id: self.id.clone(), accept_gates_of_wave };
        let answer = context
            .servers
            .call(async |channel| {
                let mut client = connect::migrations(channel);
                client.resume_migration(request.clone()).await.map(Response::into_inner)
            })
            .await?;
        let status = answered(context, &answer, answer.migration.as_ref())?;
        context.next("follow it", &format!("watch {}", self.id));
        Ok(status)
    }

    /// The wave whose checks are accepted: the one that is seen now, and no later one.
    async fn gating_wave(&self, context: &mut Context<'_>) -> Result<u32, Failure> {
        let migration = connect::migration(&mut context.servers, &self.id).await?;
        migration.gating_wave.ok_or_else(|| {
            Failure::Usage(format!("migration {} waits for no check: nothing to accept", self.id))
        })
    }
}
