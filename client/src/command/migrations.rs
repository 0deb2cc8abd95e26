//! `revshift migrations`: all migrations, newest first.

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
pub(crate) struct Args {}

impl Args {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<ExitStatus, Failure> {
        let migrations = context
            .servers
            .pages(async |channel, page_size, page_token| {
                let request = proto::ListMigrationsRequest { page_size, page_token };
                let mut client = connect::migrations(channel);
                let page = client.list_migrations(request).await.map(Response::into_inner)?;
                Ok((page.migrations, page.next_page_token))
            })
            .await?;
        context.list(&migrations, "no migrations found")?;
        Ok(ExitStatus::Done)
    }
}

impl Row for proto::Migration {
    const COLUMNS: &[&str] =
        &["ID", "FROM", "TO", "STATE", "MOVED", "FAILED", "TOTAL", "AGE", "REASON"];
    const WIDE: &[&str] = &["PAUSE", "WAITS FOR", "ROLLS BACK", "REQUESTER", "MESSAGE"];

    fn key(&self) -> &str {
        &self.id
    }

    fn cells(&self, now: Timestamp) -> Vec<Cell> {
        let counts = self.counts.unwrap_or_default();
        let (state, tone) = wording::migration_state(self.state);
        vec![
            Cell::new(&self.id),
            Cell::new(&self.source),
            Cell::new(&self.target),
            Cell::new(state).tone(tone),
            counts.moved.into(),
            (counts.failed + counts.blocked).into(),
            self.moves_total.into(),
            Cell::new(wording::age(self.create_time.as_ref(), now)),
            Cell::new(&self.reason),
        ]
    }

    fn wide(&self) -> Vec<Cell> {
        vec![
            Cell::new(wording::pause_reason(self.pause_reason)),
            Cell::new(self.waiting_for.join(",")),
            Cell::new(&self.rollback_of),
            Cell::new(&self.requester),
            Cell::new(&self.message),
        ]
    }
}
