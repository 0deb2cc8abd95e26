//! `revshift skip`: namespaces that are not to be moved after all.

use revshift_proto::v1 as proto;
use tonic::Response;

use super::{answered, unknown_when_interrupted};
use crate::{ExitStatus, connect, context::Context, failure::Failure, output::wording};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Id of the migration
    id: String,
    /// A namespace to leave out; may be given several times
    #[arg(short, long = "namespace", value_name = "NS", required = true)]
    namespaces: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl Args {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<ExitStatus, Failure> {
        let Self { id, namespaces, yes } = self;
        context.need_consent("skip", yes)?;
        let mut moves = connect::moves(&mut context.servers, &id).await?;
        moves.retain(|it| namespaces.contains(&it.namespace));
        context.say(&format!("leaving out of migration {id}:"));
        for it in &moves {
            let (state, _) = wording::move_state(it.state);
            context.say(&format!("  {} ({state}, wave {})", it.namespace, it.wave));
        }
        let number = u32::try_from(namespaces.len()).unwrap_or(u32::MAX);
        let question = format!("Skip {}?", wording::count(number, "namespace"));
        if !yes && !context.ask(&question).await? {
            return Ok(ExitStatus::Failed);
        }
        unknown_when_interrupted(context, &id);
        let request = proto::SkipMovesRequest { migration_id: id, namespaces };
        let answer = context
            .servers
            .call(async |channel| {
                let mut client = connect::migrations(channel);
                client.skip_moves(request.clone()).await.map(Response::into_inner)
            })
            .await?;
        answered(context, &answer, answer.migration.as_ref())
    }
}
