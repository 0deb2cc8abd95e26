//! `revshift migrate`: moves namespaces to another control plane.

use std::time::Duration;

use revshift_proto::v1 as proto;
use tonic::Response;

use super::proposal::{self, Options, Proposal};
use crate::{
    ExitStatus, args,
    connect::{self, Servers},
    context::Context,
    failure::Failure,
    output::wording,
    plan::Plan,
};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Control plane to leave: a revision, or a Calisti control plane's name
    #[arg(long, value_name = "REV")]
    from: String,
    /// Control plane to move to, likewise
    #[arg(long, value_name = "REV")]
    to: String,
    /// A namespace to move; several move one after the other in the order given
    #[arg(short, long = "namespace", value_name = "NS", required = true)]
    namespaces: Vec<String>,
    /// How long rollouts may make no progress, such as 90s or 1h30m [default: the server's]
    #[arg(long, value_name = "DURATION", value_parser = args::duration)]
    rollout_timeout: Option<Duration>,
    /// Accept that workloads whose pods have to be evicted are interrupted where they have only one
    #[arg(long)]
    allow_downtime: bool,
    #[command(flatten)]
    options: Options,
}

impl Args {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<ExitStatus, Failure> {
        let spec = proto::MigrationSpec {
            source: self.from,
            target: self.to,
            namespaces: self.namespaces,
            rollout_timeout: self.rollout_timeout.map(Into::into),
            allow_downtime: self.allow_downtime,
        };
        proposal::carry_out(&Migrate { spec }, &self.options, context).await
    }
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
        plan_hash: String,
        request_id: String,
    ) -> Result<proto::Migration, Failure> {
        let spec = Some(self.spec.clone());
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
