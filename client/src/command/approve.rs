//! `revshift approve`: lets a wave start that waits for it.

use revshift_proto::v1 as proto;
use tonic::Response;

use super::{answered, unknown_when_interrupted};
use crate::{ExitStatus, connect, context::Context, failure::Failure};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Id of the migration
    id: String,
    /// Number of the wave, from 0; without it, the one that waits now
    #[arg(long, value_name = "NUMBER")]
    wave: Option<u32>,
}

impl Args {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<ExitStatus, Failure> {
        let Self { id, wave } = self;
        unknown_when_interrupted(context, &id);
        let request = proto::ApproveMigrationRequest { id: id.clone(), wave };
        let answer = context
            .servers
            .call(async |channel| {
                let mut client = connect::migrations(channel);
                client.approve_migration(request.clone()).await.map(Response::into_inner)
            })
            .await?;
        let status = answered(context, &answer, answer.migration.as_ref())?;
        context.next("follow it", &format!("watch {id}"));
        Ok(status)
    }
}
