//! `revshift retirements`: all retirements of control planes, newest first.

use jiff::Timestamp;
use revshift_proto::v1 as proto;

use crate::{
    ExitStatus, connect,
    context::Context,
    failure::Failure,
    output::{
        retirement,
        table::{Cell, Row},
        wording,
    },
};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Only those of this control plane: a revision, or a Calisti control plane's name
    revision: Option<String>,
}

impl Args {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<ExitStatus, Failure> {
        let revision = self.revision.unwrap_or_default();
        let all = connect::all_retirements(&mut context.servers, &revision).await?;
        context.list(&all, "no retirements found")?;
        Ok(ExitStatus::Done)
    }
}

impl Row for proto::Retirement {
    const COLUMNS: &[&str] = &["ID", "PLANE", "STATE", "BLOCKED BY", "AGE"];
    const WIDE: &[&str] = &["REQUESTER", "ALLOWED"];

    fn key(&self) -> &str {
        &self.id
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        let (state, tone) = retirement::state(self.state);
        let mut blockers = self.findings.iter().filter(|finding| finding.blocks);
        let first = blockers.next().map(|it| format!("{} {}", it.code, it.object));
        let more = blockers.count();
        let blocked = match (first, more) {
            (None, _) => String::new(),
            (Some(first), 0) => first,
            (Some(first), more) => format!("{first} and {more} more"),
        };
        vec![
            Cell::new(&self.id),
            Cell::new(&self.revision),
            Cell::new(state).tone(tone),
            Cell::new(blocked),
            Cell::new(wording::age(self.create_time.as_ref(), now)),
        ]
    }

    fn wide(&self) -> Vec<Cell> {
        let allowed = self.allowed.iter().map(|it| format!("{}={}", it.code, it.reason));
        vec![Cell::new(&self.requester), Cell::new(allowed.collect::<Vec<_>>().join(", "))]
    }
}
