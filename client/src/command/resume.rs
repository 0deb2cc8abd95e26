//! `revshift resume`: goes on with a paused migration; failed namespaces stay failed.

use revshift_proto::v1 as proto;
use tonic::Response;

use super::{answered, unknown_when_interrupted};
use crate::{ExitStatus, connect, context::Context, failure::Failure};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Id of the migration
    id: String,
}

impl Args {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<ExitStatus, Failure> {
        unknown_when_interrupted(context, &self.id);
        let request = proto::ResumeMigrationRequest { id: self.id.clone() };
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
}
