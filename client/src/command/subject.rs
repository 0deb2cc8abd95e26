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
    /// What becomes of namespaces that are on --from by a tag or by istio-injection: refuse, or rewrite
    /// to have their labels replaced
    #[arg(
        long,
        value_enum,
        hide_possible_values = true,
        default_value = "refuse",
        value_name = "WHAT",
        conflicts_with = "file"
    )]
    tags: Tags,
    /// Accept that workloads whose pods have to be evicted are interrupted where they have only one
    #[arg(long, conflicts_with = "file")]
    allow_downtime: bool,
    /// What a namespace has to show before it counts as moved: injected, or connected to the target's
    /// istiod with all of its configuration acknowledged
    #[arg(
        long,
        value_enum,
        hide_possible_values = true,
        default_value = "injected",
        value_name = "LEVEL",
        conflicts_with = "file"
    )]
    verify: Verify,
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

/// What a namespace has to show.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Verify {
    /// Every pod is injected by the target
    Injected,
    /// And connected to it
    Connected,
}

impl From<Verify> for proto::Verification {
    fn from(level: Verify) -> Self {
        match level {
            Verify::Injected => Self::Injected,
            Verify::Connected => Self::Connected,
        }
    }
}

/// What becomes of namespaces that are on the source by a tag or by `istio-injection`.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Tags {
    /// They are refused
    Refuse,
    /// Their labels are replaced
    Rewrite,
}

impl From<Tags> for proto::TagPolicy {
    fn from(what: Tags) -> Self {
        match what {
            Tags::Refuse => Self::Refuse,
            Tags::Rewrite => Self::Rewrite,
        }
    }
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
            tags: proto::TagPolicy::from(self.tags).into(),
            allow_downtime: self.allow_downtime,
            verification: proto::Verification::from(self.verify).into(),
            ..proto::MigrationSpec::default()
        }))
    }
}
