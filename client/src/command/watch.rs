//! `revshift watch`: follows a migration until it ends.

use crate::{
    ExitStatus,
    context::Context,
    failure::Failure,
    follow::{self, Document},
};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Id of the migration
    id: String,
}

impl Args {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<ExitStatus, Failure> {
        follow::follow(context, &self.id, Document::Messages, false).await
    }
}
