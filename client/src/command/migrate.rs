//! `revshift migrate`: moves namespaces to another control plane.

use std::time::Duration;

use revshift_proto::v1 as proto;
use tonic::Response;

use super::proposal::{self, Options, Proposal};
use super::subject::Subject;
use crate::{
    ExitStatus, args,
    connect::{self, Servers},
    context::Context,
    failure::Failure,
    output::wording,
    plan::Plan,
    specification,
};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    subject: Subject,
    /// Let no wave wait for an approval
    #[arg(long, conflicts_with = "file")]
    approve_all: bool,
    /// So many failed namespaces do not pause the migration
    #[arg(long, value_name = "NUMBER", default_value_t = 0, conflicts_with = "file")]
    failure_budget: u32,
    /// What becomes of namespaces that fail: pause, rollback-namespace or rollback-wave
    #[arg(
        long,
        value_enum,
        hide_possible_values = true,
        default_value = "pause",
        value_name = "WHAT",
        conflicts_with = "file"
    )]
    on_failure: OnFailure,
    /// How long rollouts may make no progress, such as 90s or 1h30m [default: the server's]
    #[arg(long, value_name = "DURATION", value_parser = args::duration, conflicts_with = "file")]
    rollout_timeout: Option<Duration>,
    /// Begin moves only in this weekly window, such as 'Mon-Fri 22:00-04:00 Europe/Berlin'; may be given
    /// several times
    #[arg(long = "window", value_name = "WINDOW", conflicts_with = "file")]
    windows: Vec<String>,
    /// What each wave has moved must stay healthy for so long before anything else begins, such as 10m
    #[arg(long, value_name = "DURATION", value_parser = args::duration, conflicts_with = "file")]
    soak: Option<Duration>,
    /// After each wave make this check of the server's configuration before anything else begins; may be
    /// given several times
    #[arg(long = "check", value_name = "NAME", conflicts_with = "file")]
    checks: Vec<String>,
    #[command(flatten)]
    options: Options,
}

/// What becomes of namespaces that fail.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum OnFailure {
    /// Nothing: the migration pauses
    Pause,
    /// Each is rolled back
    RollbackNamespace,
    /// All that its wave has moved is rolled back
    RollbackWave,
}

impl From<OnFailure> for proto::OnFailure {
    fn from(what: OnFailure) -> Self {
        match what {
            OnFailure::Pause => Self::Pause,
            OnFailure::RollbackNamespace => Self::RollbackNamespace,
            OnFailure::RollbackWave => Self::RollbackWave,
        }
    }
}

impl Args {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<ExitStatus, Failure> {
        let spec = self.subject.spec(|spec| proto::MigrationSpec {
            approve_all: self.approve_all,
            failure_budget: self.failure_budget,
            rollout_timeout: self.rollout_timeout.map(Into::into),
            on_failure: proto::OnFailure::from(self.on_failure).into(),
            gates: gates(self.soak, self.checks),
            windows: self.windows,
            ..spec
        })?;
        proposal::carry_out(&Migrate { spec }, &self.options, context).await
    }
}

/// The same after each wave; a file may want it after chosen ones.
fn gates(soak: Option<Duration>, checks: Vec<String>) -> Vec<proto::Gate> {
    if soak.is_none() && checks.is_empty() {
        return Vec::new();
    }
    vec![proto::Gate { waves: Vec::new(), soak: soak.map(Into::into), checks }]
}

struct Migrate {
    spec: proto::MigrationSpec,
}

impl Proposal for Migrate {
    const COMMAND: &str = "migrate";

    fn question(&self, plan: &Plan) -> String {
        let count = wording::count(plan.header.entries, "namespace");
        format!("Move {count} to {}?", plan.header.target)
    }

    async fn plan(&self, servers: &mut Servers) -> Result<Plan, Failure> {
        servers
            .call(async |channel| {
                let request = proto::PlanMigrationRequest { spec: Some(self.spec.clone()) };
                let answer = connect::migrations(channel).plan_migration(request).await?;
                Plan::collect(answer.into_inner()).await
            })
            .await
    }

    async fn create(
        &self,
        servers: &mut Servers,
        plan: &Plan,
        request_id: String,
    ) -> Result<proto::Migration, Failure> {
        let spec = Some(specification::of_plan(&self.spec, &plan.header, &plan.entries));
        let plan_hash = plan.header.plan_hash.clone();
        let request = proto::CreateMigrationRequest { spec, plan_hash, request_id };
        let answer = servers
            .call(async |channel| {
                let mut client = connect::migrations(channel);
                client.create_migration(request.clone()).await.map(Response::into_inner)
            })
            .await?;
        connect::present(answer.migration)
    }
}
