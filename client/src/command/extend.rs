//! `revshift extend`: has an unfinished migration take further namespaces in.

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
    /// Id of the migration
    id: String,
    /// A namespace to take in; several move one after the other in the order given [default: what the
    /// migration's rule finds by now]
    #[arg(short, long = "namespace", value_name = "NS")]
    namespaces: Vec<String>,
    #[command(flatten)]
    options: Options,
}

impl Args {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<ExitStatus, Failure> {
        let Self { id, namespaces, options } = self;
        let request = proto::ExtendMigrationRequest { id, namespaces, ..Default::default() };
        proposal::carry_out(&Extend { request }, &options, context).await
    }
}

struct Extend {
    request: proto::ExtendMigrationRequest,
}

impl Extend {
    async fn call(
        servers: &mut Servers,
        request: proto::ExtendMigrationRequest,
    ) -> Result<proto::ExtendMigrationResponse, Failure> {
        servers
            .call(async |channel| {
                let mut client = connect::migrations(channel);
                client.extend_migration(request.clone()).await.map(Response::into_inner)
            })
            .await
    }
}

impl Proposal for Extend {
    const COMMAND: &str = "extend";

    fn question(&self, plan: &Plan) -> String {
        let count = wording::count(plan.header.entries, "namespace");
        format!("Take {count} into migration {}?", self.request.id)
    }

    fn stored(&self, id: &str) -> String {
        format!("migration {id} takes them in")
    }

    async fn plan(&self, servers: &mut Servers) -> Result<Plan, Failure> {
        let request = proto::ExtendMigrationRequest { validate_only: true, ..self.request.clone() };
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
            proto::ExtendMigrationRequest { plan_hash, request_id, ..self.request.clone() };
        connect::present(Self::call(servers, request).await?.migration)
    }
}
