//! `revshift version`: the versions of client and server, and who leads.

use revshift_proto::v1 as proto;
use serde::Serialize;
use tonic::Response;

use crate::{
    ExitStatus,
    args::Format,
    connect,
    context::Context,
    failure::Failure,
    output::{account, style},
};

const CLIENT: &str = env!("CARGO_PKG_VERSION");

#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

#[derive(Serialize)]
struct Versions {
    client: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<proto::GetServerResponse>,
}

impl Args {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<ExitStatus, Failure> {
        let answer = context
            .servers
            .call(async |channel| {
                let request = proto::GetServerRequest {};
                connect::server(channel).get_server(request).await.map(Response::into_inner)
            })
            .await;
        // The client's own version is worth printing without a server too.
        let (server, failure) = match answer {
            Ok(server) => (Some(server), None),
            Err(failure) => (None, Some(failure)),
        };
        match (context.format, &server) {
            (Format::Json | Format::Yaml, _) => {
                context.document(&Versions { client: CLIENT, server })?;
            }
            (Format::Name | Format::Table | Format::Wide, server) => {
                context.print(&format!("client {CLIENT}\n"))?;
                if let Some(server) = server {
                    let line = line(server);
                    context.print(&line)?;
                }
            }
        }
        failure.map_or(Ok(ExitStatus::Done), Err)
    }
}

fn line(server: &proto::GetServerResponse) -> String {
    let leader = match server.leader.as_str() {
        "" => "no leader".to_owned(),
        leader if leader == server.identity => "leads".to_owned(),
        leader => format!("led by {leader}"),
    };
    let ready = if server.ready { "ready" } else { "not ready" };
    let slowed = match style::one_line(&server.slowed) {
        slowed if slowed.is_empty() => String::new(),
        slowed => format!("slowed down to {slowed}\n"),
    };
    let freezes = server.freezes.iter().map(|it| {
        let (from, to) = (account::moment(it.from.as_ref()), account::moment(it.to.as_ref()));
        format!("frozen from {from} to {to}: {}\n", style::one_line(&it.reason))
    });
    let freezes: String = freezes.collect();
    let checks = match server.checks.as_slice() {
        [] => String::new(),
        names => format!("checks: {}\n", style::one_line(&names.join(", "))),
    };
    let (version, identity) = (&server.version, &server.identity);
    format!("server {version} ({identity}, {ready}, {leader})\n{slowed}{freezes}{checks}")
}
