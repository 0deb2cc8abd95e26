//! The arguments: global options, the list of commands, and how durations are written.

use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use jiff::SignedDuration;
use revshift_proto::v1 as proto;

use crate::{ExitStatus, command, context::Context, failure::Failure};

const AFTER: &str = "\
Examples:
  revshift planes
  revshift check --from cp-v113x --to cp-v115x -n smm-demo
  revshift migrate --from cp-v113x --to cp-v115x -n smm-demo --dry-run
  revshift migrate --from cp-v113x --to cp-v115x -n smm-demo -n bookinfo
  revshift migrate --from cp-v113x --to cp-v115x -l team=shop
  revshift rollback ID --reason 'error rate rose'
  revshift retire cp-v113x --dry-run

Exit status:
  0    done; the migration SUCCEEDED, the plane is RETIRED
  1    failed or refused; the migration ended otherwise, or is PAUSED
       or WAITING_APPROVAL
  2    usage; nothing was done
  3    no server answered
  130  interrupted; a migration goes on";

/// Moves Kubernetes namespaces from one Istio control plane to another.
#[derive(Debug, Parser)]
#[command(name = "revshift", version, after_help = AFTER)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command has.
#[derive(Args, Debug)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Globals {
    /// Servers to ask, separated by commas: ADDR:PORT or `http://ADDR:PORT`
    /// [env: REVSHIFT_SERVER] [default: 127.0.0.1:7878]
    // Not clap's `env`: tests run many programs in one process, which has one environment.
    #[arg(long, global = true, value_name = "SERVERS")]
    pub(crate) server: Option<String>,
    /// How to print data: table, wide, json, yaml or name
    #[arg(
        short,
        long,
        global = true,
        value_enum,
        hide_possible_values = true,
        default_value = "table",
        value_name = "FORMAT"
    )]
    pub(crate) output: Format,
    /// Print tables without their header line
    #[arg(long, global = true)]
    pub(crate) no_headers: bool,
    /// When to use colour: always, never or auto, which is on a terminal without NO_COLOR
    #[arg(
        long,
        global = true,
        value_enum,
        hide_possible_values = true,
        default_value = "auto",
        value_name = "WHEN"
    )]
    pub(crate) color: Color,
}

/// How data is printed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns
    Table,
    /// Aligned columns, more of them
    Wide,
    /// The API's objects as JSON
    Json,
    /// The API's objects as YAML
    Yaml,
    /// Names only
    Name,
}

/// When colour is used.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the control planes of the cluster
    Planes(command::planes::Args),
    /// List namespaces and the control planes of their pods
    Namespaces(command::namespaces::Args),
    /// Find what is to be known before namespaces move; touches nothing
    Check(command::check::Args),
    /// Explain why the pods of a namespace are on their control planes
    Explain(command::explain::Args),
    /// Move namespaces to another control plane
    Migrate(command::migrate::Args),
    /// List migrations, newest first
    Migrations(command::migrations::Args),
    /// Show one migration and its namespaces
    Status(command::status::Args),
    /// Account for a migration: every namespace and workload, and who decided
    Report(command::report::Args),
    /// Follow a migration until it ends
    Watch(command::watch::Args),
    /// Start nothing new in a migration until it is resumed
    Pause(command::pause::Args),
    /// Go on with a paused migration
    Resume(command::resume::Args),
    /// End a migration; namespaces already relabelled run to their end
    Cancel(command::cancel::Args),
    /// Let the next wave of a migration start
    Approve(command::approve::Args),
    /// Try failed or blocked namespaces of a migration again
    Retry(command::retry::Args),
    /// Leave namespaces out of a migration after all
    Skip(command::skip::Args),
    /// Have a migration take further namespaces in
    Extend(command::extend::Args),
    /// Restore the labels that namespaces had before a migration
    Rollback(command::rollback::Args),
    /// Prove that nothing uses a control plane, and delete it
    Retire(command::retire::Args),
    /// List retirements of control planes, newest first
    Retirements(command::retirements::Args),
    /// Print the versions of client and server
    Version(command::version::Args),
    /// Print a completion script for a shell
    Completions(command::completions::Args),
}

impl Command {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<ExitStatus, Failure> {
        match self {
            Self::Planes(args) => args.run(context).await,
            Self::Namespaces(args) => args.run(context).await,
            Self::Check(args) => args.run(context).await,
            Self::Explain(args) => args.run(context).await,
            Self::Migrate(args) => args.run(context).await,
            Self::Migrations(args) => args.run(context).await,
            Self::Status(args) => args.run(context).await,
            Self::Report(args) => args.run(context).await,
            Self::Watch(args) => args.run(context).await,
            Self::Pause(args) => args.run(context).await,
            Self::Resume(args) => args.run(context).await,
            Self::Cancel(args) => args.run(context).await,
            Self::Approve(args) => args.run(context).await,
            Self::Retry(args) => args.run(context).await,
            Self::Skip(args) => args.run(context).await,
            Self::Extend(args) => args.run(context).await,
            Self::Rollback(args) => args.run(context).await,
            Self::Retire(args) => args.run(context).await,
            Self::Retirements(args) => args.run(context).await,
            Self::Version(args) => args.run(context).await,
            Self::Completions(args) => Ok(args.run(context.io)),
        }
    }
}

/// Reads what is allowed and why, such as `RS2013=we have tried it`.
pub(crate) fn allowed(text: &str) -> Result<proto::AllowedFinding, String> {
    match text.split_once('=') {
        Some((code, reason)) if !code.is_empty() && !reason.trim().is_empty() => {
            let (code, reason, by) = (code.to_owned(), reason.to_owned(), String::new());
            Ok(proto::AllowedFinding { code, reason, by })
        }
        _ => Err("write a code and a reason, such as RS2013='we have tried it'".to_owned()),
    }
}

/// Reads a duration such as `90s`, `10m` or `1h30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or_else(|| "write a duration such as 90s, 10m or 1h30m".to_owned())
}
