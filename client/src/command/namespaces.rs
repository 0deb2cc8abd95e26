//! `revshift namespaces`: which control plane namespaces ask for, and which their pods have.

use jiff::Timestamp;
use revshift_proto::v1 as proto;
use tonic::Response;

use crate::{
    ExitStatus, connect,
    context::Context,
    failure::Failure,
    output::{
        table::{Cell, Row},
        wording,
    },
};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Only namespaces whose labels lead to this control plane
    #[arg(long, value_name = "REV")]
    plane: Option<String>,
}

impl Args {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<ExitStatus, Failure> {
        let plane = self.plane.unwrap_or_default();
        let namespaces = context
            .servers
            .pages(async |channel, page_size, page_token| {
                let revision = plane.clone();
                let request = proto::ListNamespacesRequest { page_size, page_token, revision };
                let mut client = connect::namespaces(channel);
                let page = client.list_namespaces(request).await.map(Response::into_inner)?;
                Ok((page.namespaces, page.next_page_token))
            })
            .await?;
        context.list(&namespaces, "no namespaces found")?;
        Ok(ExitStatus::Done)
    }
}

impl Row for proto::Namespace {
    const COLUMNS: &[&str] = &["NAME", "LABEL", "TAG", "PLANE", "INJECTED", "STATE", "MIGRATION"];
    const WIDE: &[&str] = &["TERMINATING"];

    fn key(&self) -> &str {
        &self.name
    }

    fn cells(&self, _now: Timestamp) -> Vec<Cell> {
        let (state, tone) = wording::namespace_state(self.state);
        vec![
            Cell::new(&self.name),
            Cell::new(&self.label),
            Cell::new(&self.tag),
            Cell::new(&self.resolved_plane),
            Cell::new(injected(&self.injected)),
            Cell::new(state).tone(tone),
            Cell::new(&self.migration),
        ]
    }

    fn wide(&self) -> Vec<Cell> {
        vec![Cell::new(self.terminating.to_string())]
    }
}

/// Pods by plane; `-` stands for pods without a sidecar.
pub(super) fn injected(pods: &[proto::InjectedPods]) -> String {
    let parts: Vec<_> = pods
        .iter()
        .map(|it| {
            let revision = if it.revision.is_empty() { "-" } else { &it.revision };
            format!("{revision}:{}", it.pods)
        })
        .collect();
    parts.join(",")
}
