//! `revshift retry`: another attempt for namespaces that failed or are blocked.

use revshift_proto::v1 as proto;
use tonic::Response;

use super::{answered, unknown_when_interrupted};
use crate::{
    ExitStatus, connect,
    context::Context,
    failure::Failure,
    output::{report, wording},
};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Id of the migration
    id: String,
    /// A namespace to try again; may be given several times
    #[arg(short, long = "namespace", value_name = "NS", required = true)]
    namespaces: Vec<String>,
    /// Delete broken pods that a StatefulSet is stuck on, whatever the PodDisruptionBudgets say,
    /// instead of evicting them
    #[arg(long)]
    force: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

impl Args {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<ExitStatus, Failure> {
        let Self { id, namespaces, force, yes } = self;
        context.need_consent("retry", yes)?;
        let mut moves = connect::moves(&mut context.servers, &id).await?;
        moves.retain(|it| namespaces.contains(&it.namespace));
        context.say(&format!("trying again in migration {id}:"));
        for it in &moves {
            let (state, _) = wording::move_state(it.state);
            context.say(&format!("  {} ({state}, attempt {})", it.namespace, it.attempt));
        }
        for line in report::problems(moves.iter()) {
            context.say(&line);
        }
        let number = u32::try_from(namespaces.len()).unwrap_or(u32::MAX);
        let question = format!("Try {} again?", wording::count(number, "namespace"));
        if !yes && !context.ask(&question).await? {
            return Ok(ExitStatus::Failed);
        }
        unknown_when_interrupted(context, &id);
        let request = proto::RetryMovesRequest { migration_id: id.clone(), namespaces, force };
        let answer = context
            .servers
            .call(async |channel| {
                let mut client = connect::migrations(channel);
                client.retry_moves(request.clone()).await.map(Response::into_inner)
            })
            .await?;
        let status = answered(context, &answer, answer.migration.as_ref())?;
        context.next("follow it", &format!("watch {id}"));
        Ok(status)
    }
}
