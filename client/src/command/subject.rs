//! What `check` and `migrate` are about: which planes, which namespaces, and what is allowed.

use std::path::PathBuf;

use revshift_proto::v1 as proto;

use crate::{args, failure::Failure, specification};

#[derive(clap::Args, Debug)]
pub(super) struct Subject {
    /// Control plane to leave: a revision, a Calisti control plane's name, or a tag
    #[arg(long, value_name = "REV", required_unless_present = "file", conflicts_with = "file")]
    from: Option<String>,
    /// Control plane to move to, likewise; a tag that is named here is what namespaces are labelled with
    #[arg(long, value_name = "REV", required_unless_present = "file", conflicts_with = "file")]
    to: Option<String>,
    #[command(flatten)]
    selection: Selection,
    /// Never take this namespace; may be given several times
    #[arg(long, value_name = "NS", conflicts_with_all = ["namespaces", "file"])]
    exclude: Vec<String>,
    /// Go on in spite of errors of this code, such as RS2013=REASON; may be given several times
    #[arg(long, value_name = "CODE=REASON", value_parser = args::allowed, conflicts_with = "file")]
    allow: Vec<proto::AllowedFinding>,
}

/// Which namespaces move.
#[derive(clap::Args, Debug)]
#[group(required = true, multiple = false)]
struct Selection {
    /// A namespace to move; several move one after the other in the order given
    #[arg(short, long = "namespace", value_name = "NS")]
    namespaces: Vec<String>,
    /// Namespaces of --from with these labels, such as `team=shop,tier in (web,api)`, in waves: one,
    /// then 5, 25, 100, then 250 at a time, gateways last
    #[arg(short = 'l', long, value_name = "LABELS")]
    selector: Option<String>,
    /// All namespaces of --from, in waves likewise
    #[arg(long)]
    all: bool,
    /// A file with the whole specification: the API's MigrationSpec as YAML or JSON
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
}

impl Subject {
    /// The specification of the file as it is; else that of the arguments, with what `more` adds.
    pub(super) fn spec(
        self,
        more: impl FnOnce(proto::MigrationSpec) -> proto::MigrationSpec,
    ) -> Result<proto::MigrationSpec, Failure> {
        let Selection { namespaces, selector, all, file } = self.selection;
        if let Some(path) = file {
            return specification::read(&path).map_err(Failure::Usage);
        }
        Ok(more(proto::MigrationSpec {
            source: self.from.unwrap_or_default(),
            target: self.to.unwrap_or_default(),
            namespaces,
            label_selector: selector.unwrap_or_default(),
            all,
            exclude: self.exclude,
            allowed_findings: self.allow,
            ..proto::MigrationSpec::default()
        }))
    }
}
