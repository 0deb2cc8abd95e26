//! `revshift rollback`: restores the labels that namespaces had before a migration.

use revshift_proto::v1 as proto;
use tonic::Response;

use super::proposal::{self, Options, Proposal};
use crate::{
    ExitStatus,
    connect::{self, Servers},
    context::Context,
    failure::Failure,
    output::wording,
    plan::Plan,
};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Id of the migration to roll back
    id: String,
    /// A namespace to roll back; may be given several times [default: all that it moved]
    #[arg(short, long = "namespace", value_name = "NS")]
    namespaces: Vec<String>,
    /// Roll back what this wave moved, from 0
    #[arg(long, value_name = "NUMBER", conflicts_with = "namespaces")]
    wave: Option<u32>,
    /// Delete broken pods that a StatefulSet is stuck on, whatever the PodDisruptionBudgets say,
    /// instead of evicting them
    #[arg(long)]
    force: bool,
    /// Why; it is kept with the rollback
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    options: Options,
}

impl Args {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<ExitStatus, Failure> {
        let Self { id, namespaces, wave, force, reason, options } = self;
        let request = proto::RollbackMigrationRequest {
            id,
            namespaces,
            wave,
            force,
            reason,
            ..Default::default()
        };
        proposal::carry_out(&Rollback { request }, &options, context).await
    }
}

struct Rollback {
    request: proto::RollbackMigrationRequest,
}

impl Rollback {
    async fn call(
        servers: &mut Servers,
        request: proto::RollbackMigrationRequest,
    ) -> Result<proto::RollbackMigrationResponse, Failure> {
        servers
            .call(async |channel| {
                let mut client = connect::migrations(channel);
                client.rollback_migration(request.clone()).await.map(Response::into_inner)
            })
            .await
    }
}

impl Proposal for Rollback {
    const COMMAND: &str = "rollback";

    fn question(&self, plan: &Plan) -> String {
        let count = wording::count(plan.header.entries, "namespace");
        format!("Roll {count} back to {}?", plan.header.target)
    }

    async fn plan(&self, servers: &mut Servers) -> Result<Plan, Failure> {
        let request =
            proto::RollbackMigrationRequest { validate_only: true, ..self.request.clone() };
        let answer = Self::call(servers, request).await?;
        let header = connect::present(answer.plan)?;
        Ok(Plan { header, findings: answer.findings, entries: answer.entries })
    }

    async fn create(
        &self,
        servers: &mut Servers,
        plan: &Plan,
        request_id: String,
    ) -> Result<proto::Migration, Failure> {
        let plan_hash = plan.header.plan_hash.clone();
        let request =
            proto::RollbackMigrationRequest { plan_hash, request_id, ..self.request.clone() };
        connect::present(Self::call(servers, request).await?.migration)
    }
}
