//! `revshift check`: what is to be known before namespaces move; nothing is touched.

use revshift_proto::v1::{self as proto, check_migration_response::Part};
use serde::Serialize;
use tonic::{Status, Streaming};

use super::subject::Subject;
use crate::{
    ExitStatus,
    args::Format,
    connect,
    context::Context,
    failure::Failure,
    output::{findings, wording},
};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    #[command(flatten)]
    subject: Subject,
}

/// What the API tells, put together.
#[derive(Debug, Default, Serialize)]
struct Checked {
    header: proto::CheckHeader,
    findings: Vec<proto::Finding>,
}

impl Args {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<ExitStatus, Failure> {
        let spec = self.subject.spec(|spec| spec)?;
        let checked = context
            .servers
            .call(async |channel| {
                let request = proto::CheckMigrationRequest { spec: Some(spec.clone()) };
                let answer = connect::migrations(channel).check_migration(request).await?;
                Checked::collect(answer.into_inner()).await
            })
            .await?;
        checked.show(context)?;
        Ok(if checked.header.forbidding == 0 { ExitStatus::Done } else { ExitStatus::Failed })
    }
}

impl Checked {
    async fn collect(mut parts: Streaming<proto::CheckMigrationResponse>) -> Result<Self, Status> {
        let mut checked = Self::default();
        while let Some(message) = parts.message().await? {
            match message.part {
                Some(Part::Header(header)) => checked.header = header,
                Some(Part::Finding(finding)) => checked.findings.push(finding),
                // A part that only newer clients know.
                None => {}
            }
        }
        Ok(checked)
    }

    fn show(&self, context: &mut Context<'_>) -> Result<(), Failure> {
        let Self { header, findings: found } = self;
        match context.format {
            Format::Json | Format::Yaml => return context.document(self),
            Format::Name => return context.names(found.iter().map(|it| it.code.as_str())),
            Format::Table | Format::Wide => {}
        }
        let namespaces = wording::count(header.namespaces, "namespace");
        let mut lines =
            vec![format!("check: {namespaces} from {} to {}", header.source, header.target)];
        let detailed = context.format == Format::Wide;
        lines.extend(findings::lines(found, &header.allowed_findings, detailed));
        lines.push(findings::tally(found));
        context.print(&(lines.join("\n") + "\n"))?;
        let verdict = match header.forbidding {
            0 => "nothing forbids the migration".to_owned(),
            number => {
                let errors = wording::count(number, "error");
                let verb = if number == 1 { "forbids" } else { "forbid" };
                format!(
                    "{errors} {verb} it; what may be allowed is allowed with --allow CODE=REASON"
                )
            }
        };
        context.say(&verdict);
        Ok(())
    }
}
