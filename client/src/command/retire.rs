//! `revshift retire`: proves that nothing uses a control plane, and deletes it.

use std::time::Duration;

use revshift_proto::v1 as proto;
use tonic::Response;

use super::proposal::request_id;
use crate::{
    ExitStatus, args,
    args::Format,
    connect::{self, Servers},
    context::Context,
    failure::Failure,
    follow::retirement as follow,
    output::retirement as output,
};

#[derive(clap::Args, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(crate) struct Args {
    /// The control plane: a revision, or a Calisti control plane's name
    revision: String,
    /// For so long after the last move of a migration its planes are kept, such as 30m [default: 24h]
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    rollback_window: Option<Duration>,
    /// Let a finding be that nobody can look into, with the reason, which is kept; may be given several
    /// times
    #[arg(long, value_name = "CODE=REASON", value_parser = args::allowed)]
    allow: Vec<proto::AllowedFinding>,
    /// Show what uses the plane and what would be deleted, and do nothing
    #[arg(long, conflicts_with_all = ["detach", "yes"])]
    dry_run: bool,
    /// Print the id of the retirement, and do not follow it
    #[arg(long)]
    detach: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
    /// Follow the retirement of this plane that was begun before
    #[arg(long, conflicts_with_all = ["cancel", "dry_run", "detach", "yes", "rollback_window", "allow"])]
    watch: bool,
    /// Give the retirement of this plane up, while it has not begun to delete
    #[arg(long, conflicts_with_all = ["dry_run", "detach", "rollback_window", "allow"])]
    cancel: bool,
}

/// What the commands that change a retirement print for programs.
#[derive(serde::Serialize)]
struct Answer {
    retirement: proto::Retirement,
}

impl Args {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<ExitStatus, Failure> {
        if self.watch {
            let found = newest(&mut context.servers, &self.revision, false).await?;
            return follow::follow(context, &found.id).await;
        }
        if self.cancel {
            return self.give_up(context).await;
        }
        self.retire(context).await
    }

    async fn retire(self, context: &mut Context<'_>) -> Result<ExitStatus, Failure> {
        let Self { revision, rollback_window, allow, dry_run, detach, yes, .. } = self;
        if !dry_run {
            context.need_consent("retire", yes)?;
        }
        context.on_interrupt = vec!["interrupted: nothing was changed".to_owned()];
        let window = rollback_window.map(|window| pbjson_types::Duration {
            seconds: i64::try_from(window.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(window.subsec_nanos()).unwrap_or_default(),
        });
        let spec = proto::RetirementSpec { revision, rollback_window: window, allowed: allow };
        let plan = plan(&mut context.servers, &spec).await?;
        let blocked = plan.findings.iter().any(|finding| finding.blocks);
        if dry_run {
            match context.format {
                Format::Json | Format::Yaml => context.document(&plan)?,
                Format::Name => {
                    context.names(plan.findings.iter().map(|finding| finding.object.as_str()))?;
                }
                Format::Table | Format::Wide => {
                    let color = context.io.stdout.is_colored();
                    context.print(&output::plan(&plan, color))?;
                }
            }
            context.say(if blocked {
                "the plane cannot be retired now; nothing was changed"
            } else {
                "nothing was changed; without --dry-run the plane is retired"
            });
            return Ok(if blocked { ExitStatus::Failed } else { ExitStatus::Done });
        }
        let text = output::plan(&plan, context.io.stderr.is_colored());
        context.say(text.trim_end());
        if blocked {
            context.say("refused: the plane cannot be retired now; nothing was changed");
            return Ok(ExitStatus::Failed);
        }
        let names = [plan.revision.as_str(), plan.name.as_str()];
        if !yes && !context.ask_name("Its deletion cannot be undone.", &names).await? {
            return Ok(ExitStatus::Failed);
        }
        context.on_interrupt = vec![
            "interrupted: it is not known whether the retirement was accepted".to_owned(),
            format!("see: {}", context.command("retirements")),
        ];
        // The plan has resolved a short name: exactly that plane is meant from here on.
        let spec = proto::RetirementSpec { revision: plan.revision.clone(), ..spec };
        let retirement = create(&mut context.servers, spec, plan.plan_hash).await?;
        let id = retirement.id.clone();
        context.say(&format!("retirement {id} was accepted"));
        if !detach {
            return follow::follow(context, &id).await;
        }
        let revision = retirement.revision.clone();
        if context.structured() {
            context.document(&Answer { retirement })?;
        } else {
            context.names(std::iter::once(id.as_str()))?;
        }
        context.next("follow it", &format!("retire {revision} --watch"));
        Ok(ExitStatus::Done)
    }

    async fn give_up(self, context: &mut Context<'_>) -> Result<ExitStatus, Failure> {
        context.need_consent("retire --cancel", self.yes)?;
        let found = newest(&mut context.servers, &self.revision, true).await?;
        context.say(&output::line(&found));
        let question = format!("Cancel retirement {}?", found.id);
        if !self.yes && !context.ask(&question).await? {
            return Ok(ExitStatus::Failed);
        }
        let request = proto::CancelRetirementRequest { id: found.id.clone() };
        let answer = context
            .servers
            .call(async |channel| {
                let mut client = connect::retirements(channel);
                client.cancel_retirement(request.clone()).await.map(Response::into_inner)
            })
            .await?;
        let retirement = connect::present(answer.retirement)?;
        let (id, begun) = (retirement.id.clone(), !retirement.proof_times.is_empty());
        match context.format {
            Format::Json | Format::Yaml => context.document(&Answer { retirement })?,
            Format::Name => context.names(std::iter::once(id.as_str()))?,
            Format::Table | Format::Wide => {
                // The proofs for a deletion are stored with its beginning.
                let what = if begun {
                    "it had begun to delete: what is gone stays gone, and what is left is left"
                } else {
                    "the plane stays as it is"
                };
                context.say(&format!("retirement {id} is cancelled; {what}"));
            }
        }
        Ok(ExitStatus::Done)
    }
}

async fn plan(
    servers: &mut Servers,
    spec: &proto::RetirementSpec,
) -> Result<proto::PlanRetirementResponse, Failure> {
    let request = proto::PlanRetirementRequest { spec: Some(spec.clone()) };
    servers
        .call(async |channel| {
            let mut client = connect::retirements(channel);
            client.plan_retirement(request.clone()).await.map(Response::into_inner)
        })
        .await
}

async fn create(
    servers: &mut Servers,
    spec: proto::RetirementSpec,
    plan_hash: String,
) -> Result<proto::Retirement, Failure> {
    let request =
        proto::CreateRetirementRequest { spec: Some(spec), request_id: request_id(), plan_hash };
    let answer = servers
        .call(async |channel| {
            let mut client = connect::retirements(channel);
            client.create_retirement(request.clone()).await.map(Response::into_inner)
        })
        .await?;
    connect::present(answer.retirement)
}

/// The newest retirement of a plane.
async fn newest(
    servers: &mut Servers,
    revision: &str,
    unfinished: bool,
) -> Result<proto::Retirement, Failure> {
    let all = connect::all_retirements(servers, revision).await?;
    let mut all = all.into_iter().filter(|it| !unfinished || !follow::is_final(it.state()));
    let what = if unfinished { "no unfinished retirement" } else { "no retirement" };
    all.next().ok_or_else(|| Failure::Usage(format!("there is {what} of `{revision}`")))
}
