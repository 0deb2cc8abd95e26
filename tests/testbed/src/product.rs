//! revshift's own programs, built by cargo from the workspace that the harness belongs to and in
//! the harness' own profile, so that what is tested is never older than the tests.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tokio::process::Command;

/// Where the built programs are.
#[derive(Clone, Debug)]
pub struct Product {
    pub(crate) server: PathBuf,
    pub(crate) client: PathBuf,
}

impl Product {
    /// Builds server and client; the compiler speaks on standard error.
    pub async fn build() -> Result<Self> {
        // Set by `cargo run`; a harness that was started otherwise takes the cargo that built it.
        let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from(env!("CARGO")));
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let output = Command::new(&cargo)
            .args(["build", "--quiet", "--message-format=json-render-diagnostics"])
            .args(["--package=revshift-server", "--bin=revshift-server"])
            .args(["--package=revshift", "--bin=revshift"])
            .arg(format!("--profile={}", profile()?))
            .current_dir(here)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| format!("cannot run {}", cargo.display()))?;
        ensure!(output.status.success(), "revshift does not build, see above");
        let messages = String::from_utf8(output.stdout).context("cargo prints no UTF-8")?;
        let program = |name: &str| {
            executable(&messages, name).with_context(|| format!("cargo built no {name}"))
        };
        Ok(Self { server: program("revshift-server")?, client: program("revshift")? })
    }

    /// Programs that were built already.
    pub fn of(server: PathBuf, client: PathBuf) -> Self {
        Self { server, client }
    }

    /// Copies of the programs in a folder: who builds while a bed runs would replace the originals.
    pub(crate) fn copy_to(&self, folder: &Path) -> Result<Self> {
        let copy = |program: &Path| {
            let name = program.file_name().context("a program without a name")?;
            fs::copy(program, folder.join(name))
                .with_context(|| format!("cannot copy {}", program.display()))?;
            anyhow::Ok(folder.join(name))
        };
        Ok(Self { server: copy(&self.server)?, client: copy(&self.client)? })
    }
}

/// Cargo names the folder of a profile's programs by the profile, with one exception.
fn profile() -> Result<String> {
    let own = env::current_exe().context("the harness does not know where it is")?;
    let folder = own.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    let folder = folder.with_context(|| format!("{} is in no folder", own.display()))?;
    Ok(if folder == "debug" { "dev".to_owned() } else { folder.to_owned() })
}

/// Where cargo says that it put a program; its messages are one JSON object a line.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    messages
        .filter(|it| it["reason"] == "compiler-artifact" && it["target"]["name"] == name)
        .find_map(|it| it["executable"].as_str().map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_found_among_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"name":"a"},"executable":null}
{"reason":"compiler-artifact","target":{"name":"a"},"executable":"/t/debug/a"}
{"reason":"build-finished","success":true}"#;
        assert_eq!(executable(messages, "a"), Some(PathBuf::from("/t/debug/a")));
        assert_eq!(executable(messages, "b"), None);
    }
}
