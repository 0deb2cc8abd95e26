//! Programs from Debian's packages, unpacked beside those that are built: nothing is installed, and
//! nothing started.

use std::{fs, path::Path, process::Output};

use anyhow::{Context as _, Result, bail};
use tokio::process::Command;

/// Puts a package's program into `dir`.
pub(crate) async fn unpack(package: &str, program: &str, dir: &Path) -> Result<()> {
    let folder = tempfile::Builder::new().prefix("package-").tempdir_in(dir)?;
    if run(folder.path(), "apt-get", &["download", package]).await.is_err() {
        // A machine that is new knows no packages yet; whoever may not update them is told why.
        run(folder.path(), "apt-get", &["update"]).await?;
        run(folder.path(), "apt-get", &["download", package]).await?;
    }
    let mut archives = fs::read_dir(folder.path())?.filter_map(|entry| Some(entry.ok()?.path()));
    let archive = archives.find(|path| path.extension().is_some_and(|it| it == "deb"));
    let archive = archive.with_context(|| format!("apt-get has not brought {package}"))?;
    let archive = archive.to_str().context("the cache folder's name is not UTF-8")?;
    run(folder.path(), "dpkg-deb", &["-x", archive, "content"]).await?;
    // Two beds that are built at once must not run each other's half-written program.
    fs::rename(folder.path().join("content/usr/bin").join(program), dir.join(program))?;
    Ok(())
}

async fn run(folder: &Path, program: &str, args: &[&str]) -> Result<()> {
    let mut command = Command::new(program);
    command.args(args).current_dir(folder).kill_on_drop(true);
    let Output { status, stderr, .. } =
        command.output().await.with_context(|| format!("cannot run {program}"))?;
    if !status.success() {
        let said = String::from_utf8_lossy(&stderr);
        bail!("{program} {} failed: {}", args.join(" "), said.trim_end());
    }
    Ok(())
}
