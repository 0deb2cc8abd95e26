//! `revshift check`: what is to be known before namespaces move; nothing is touched.

use revshift_proto::v1::{self as proto, check_migration_response::Part};
use serde::Serialize;
use tonic::{Status, Streaming};

use super::migrate::Selection;
use crate::{
    ExitStatus,
    args::{self, Format},
    connect,
    context::Context,
    failure::Failure,
    output::{findings, wording},
    specification,
};

#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// Control plane to leave: a revision, or a Calisti control plane's name
    #[arg(long, value_name = "REV", required_unless_present = "file", conflicts_with = "file")]
    from: Option<String>,
    /// Control plane to move to, likewise
    #[arg(long, value_name = "REV", required_unless_present = "file", conflicts_with = "file")]
    to: Option<String>,
    #[command(flatten)]
    selection: Selection,
    /// Never take this namespace; may be given several times
    #[arg(long, value_name = "NS", conflicts_with_all = ["namespaces", "file"])]
    exclude: Vec<String>,
    /// Do not fail for errors of this code, such as RS2013=REASON; may be given several times
    #[arg(long, value_name = "CODE=REASON", value_parser = args::allowed, conflicts_with = "file")]
    allow: Vec<proto::AllowedFinding>,
    /// Check what `migrate --allow-downtime` would do
    #[arg(long)]
    allow_downtime: bool,
}

/// What the API tells, put together.
#[derive(Debug, Default, Serialize)]
struct Checked {
    header: proto::CheckHeader,
    findings: Vec<proto::Finding>,
}

impl Args {
    pub(crate) async fn run(self, context: &mut Context<'_>) -> Result<ExitStatus, Failure> {
        let Selection { namespaces, selector, all, file } = self.selection;
        let spec = match file {
            Some(path) => specification::read(&path).map_err(Failure::Usage)?,
            None => proto::MigrationSpec {
                source: self.from.unwrap_or_default(),
                target: self.to.unwrap_or_default(),
                namespaces,
                label_selector: selector.unwrap_or_default(),
                all,
                exclude: self.exclude,
                allow_downtime: self.allow_downtime,
                allowed_findings: self.allow,
                ..proto::MigrationSpec::default()
            },
        };
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
                format!(
                    "{errors} forbid it; what may be allowed is allowed with --allow CODE=REASON"
                )
            }
        };
        context.say(&verdict);
        Ok(())
    }
}
