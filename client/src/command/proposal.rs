//! What `migrate`, `extend` and `rollback` share: show a plan, ask, have exactly that plan executed, follow.

use revshift_proto::v1::{self as proto, ErrorReason};
use serde::Serialize;

use crate::{
    ExitStatus,
    args::Format,
    connect::Servers,
    context::Context,
    failure::Failure,
    follow::{self, Document},
    output,
    plan::Plan,
};

/// How a proposal is carried out.
#[derive(clap::Args, Debug)]
pub(super) struct Options {
    /// Show the plan, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the id of the migration, and do not follow it
    #[arg(long)]
    detach: bool,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

/// Something that a plan is made of, and a migration from the plan.
pub(super) trait Proposal {
    /// The command's name.
    const COMMAND: &str;

    /// The question to answer with yes.
    fn question(&self, plan: &Plan) -> String;
    /// What is said once it is stored.
    fn stored(&self, id: &str) -> String {
        format!("migration {id} was accepted")
    }
    /// The plan as it would be now.
    async fn plan(&self, servers: &mut Servers) -> Result<Plan, Failure>;
    /// The migration that executes exactly that plan.
    async fn create(
        &self,
        servers: &mut Servers,
        plan: &Plan,
        request_id: String,
    ) -> Result<proto::Migration, Failure>;
}

#[derive(Serialize)]
struct Answer {
    migration: proto::Migration,
}

/// Shows, asks, creates and follows.
pub(super) async fn carry_out(
    proposal: &impl Proposal,
    options: &Options,
    context: &mut Context<'_>,
) -> Result<ExitStatus, Failure> {
    if !options.dry_run {
        context.need_consent(name(proposal), options.yes)?;
    }
    context.on_interrupt = vec!["interrupted: nothing was changed".to_owned()];
    let mut plan = proposal.plan(&mut context.servers).await?;
    if options.dry_run {
        return dry_run(context, &plan);
    }
    let (wide, color) = (context.format == Format::Wide, context.io.stderr.is_colored());
    let text = output::plan::render(&plan, wide, color, context.now());
    context.say(&text);
    let migration = loop {
        if !options.yes && !context.ask(&proposal.question(&plan)).await? {
            return Ok(ExitStatus::Failed);
        }
        match create(proposal, context, &plan).await {
            Ok(migration) => break migration,
            Err(failure) if failure.reason() == Some(ErrorReason::PlanChanged) => {
                plan = replan(proposal, context, &plan).await?;
                if options.yes {
                    return Err(failure);
                }
            }
            Err(failure) => return Err(failure),
        }
    };
    let id = migration.id.clone();
    context.say(&proposal.stored(&id));
    if options.detach {
        return detach(context, migration);
    }
    follow::follow(context, &id, Document::Result, true).await
}

fn name<P: Proposal>(_: &P) -> &'static str {
    P::COMMAND
}

fn dry_run(context: &mut Context<'_>, plan: &Plan) -> Result<ExitStatus, Failure> {
    match context.format {
        Format::Json | Format::Yaml => context.document(plan)?,
        Format::Name => context.names(plan.entries.iter().map(|entry| entry.namespace.as_str()))?,
        Format::Table | Format::Wide => {
            let detailed = context.format == Format::Wide;
            let color = context.io.stdout.is_colored();
            let text = output::plan::render(plan, detailed, color, context.now());
            context.print(&text)?;
        }
    }
    context.say("nothing was changed; without --dry-run this plan is executed");
    Ok(ExitStatus::Done)
}

async fn create(
    proposal: &impl Proposal,
    context: &mut Context<'_>,
    plan: &Plan,
) -> Result<proto::Migration, Failure> {
    let unknown = vec![
        "interrupted: it is not known whether the migration was accepted".to_owned(),
        format!("see: {}", context.command("migrations")),
    ];
    let nothing_done = std::mem::replace(&mut context.on_interrupt, unknown);
    // Each plan has an id of its own: one id stands for one request, however often it is sent.
    let migration = proposal.create(&mut context.servers, plan, request_id()).await;
    context.on_interrupt = nothing_done;
    migration
}

/// Plans again, and says what differs from the plan that was agreed to.
async fn replan(
    proposal: &impl Proposal,
    context: &mut Context<'_>,
    old: &Plan,
) -> Result<Plan, Failure> {
    let plan = proposal.plan(&mut context.servers).await?;
    let changes = old.changes(&plan);
    context.say("the plan is no longer the one that was shown:");
    if changes.is_empty() {
        context.say("  what is shown of it reads as before");
    }
    for change in changes {
        context.say(&format!("  {}", output::style::one_line(&change)));
    }
    Ok(plan)
}

fn detach(context: &mut Context<'_>, migration: proto::Migration) -> Result<ExitStatus, Failure> {
    let id = migration.id.clone();
    if context.structured() {
        context.document(&Answer { migration })?;
    } else {
        context.names(std::iter::once(id.as_str()))?;
    }
    context.next("follow it", &format!("watch {id}"));
    Ok(ExitStatus::Done)
}

/// A random UUID (version 4, variant 1).
pub(super) fn request_id() -> String {
    let random = rand::random::<u128>();
    let bits = random & !(0xf << 76) & !(0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
