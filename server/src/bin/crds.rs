//! Prints revshift's CRDs as YAML: what `deploy/crds.yaml` holds.

use std::io::{self, Write};

fn main() -> anyhow::Result<()> {
    io::stdout().write_all(revshift_server::kube::install::yaml()?.as_bytes())?;
    Ok(())
}
