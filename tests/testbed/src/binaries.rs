//! The programs of the bed, built by `go` from the pinned modules into a cache folder, with the
//! few YAML files of those modules that the bed uses beside them. What is current stays: a stamp
//! of module file, checksums, flags and Go version says so, and a bed then starts without Go.

use std::{
    env,
    ffi::OsStr,
    fmt::Write as _,
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    process::Output,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use sha2::{Digest as _, Sha256};
use tokio::{process::Command, time::Instant};

use crate::debian;

/// One Go module of `modules/` and what is taken from it.
struct Module {
    name: &'static str,
    /// Program names and their packages.
    programs: &'static [(&'static str, &'static str)],
    /// A dependency, a folder in it, and the folder of the cache that takes its YAML files.
    files: Option<(&'static str, &'static str, &'static str)>,
}

const MODULES: [Module; 4] = [
    Module {
        name: "kubernetes",
        programs: &[
            ("etcd", "go.etcd.io/etcd/server/v3"),
            ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
            ("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
            ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
            ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
        ],
        files: None,
    },
    Module {
        name: "kwok",
        programs: &[("kwok", "sigs.k8s.io/kwok/cmd/kwok")],
        files: Some(("sigs.k8s.io/kwok", "kustomize/stage", "stages")),
    },
    Module {
        name: "istio",
        programs: &[
            ("pilot-discovery", "istio.io/istio/pilot/cmd/pilot-discovery"),
            ("istioctl", "istio.io/istio/istioctl/cmd/istioctl"),
        ],
        files: Some(("istio.io/istio", "samples/bookinfo/platform/kube", "bookinfo")),
    },
    Module {
        name: "grpcurl",
        programs: &[("grpcurl", "github.com/fullstorydev/grpcurl/cmd/grpcurl")],
        files: None,
    },
];

/// Comes as a Debian package: it is not built, and what needs it is left out where it is not to be had.
const PROMETHEUS: &str = "prometheus";

/// What became of one program in a build.
#[derive(Clone, Debug)]
pub struct Built {
    /// The program's name.
    pub program: &'static str,
    /// How long its build took; `None` when it was current.
    pub took: Option<Duration>,
    /// Why it is not there, and need not be.
    pub lacking: Option<String>,
}

/// The cache folder with the programs.
#[derive(Clone, Debug)]
pub struct Binaries {
    dir: PathBuf,
}

impl Default for Binaries {
    /// `$REVSHIFT_TESTBED_CACHE`, else `testbed/bin` in the workspace's target folder.
    fn default() -> Self {
        let dir = env::var_os("REVSHIFT_TESTBED_CACHE").map_or_else(
            || {
                let target = env::var_os("CARGO_TARGET_DIR").map_or_else(
                    || {
                        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
                        here.ancestors().nth(2).unwrap_or(here).join("target")
                    },
                    PathBuf::from,
                );
                target.join("testbed/bin")
            },
            PathBuf::from,
        );
        Self { dir }
    }
}

impl Binaries {
    /// Uses another cache folder.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Builds what is missing or outdated, one program at a time since `go` fills the cores, and
    /// tells `report` of each.
    pub async fn build(&self, mut report: impl FnMut(&Built)) -> Result<()> {
        let version = go(Path::new("."), &["env", "GOVERSION"]).await?;
        fs::create_dir_all(&self.dir)
            .with_context(|| format!("cannot create {}", self.dir.display()))?;
        for module in &MODULES {
            let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("modules").join(module.name);
            let flags = linker_flags(&sources)?;
            let stamp = stamp(&sources, &version, &flags)?;
            for (program, package) in module.programs {
                let mark = self.dir.join(format!("{program}.stamp"));
                let current = fs::read_to_string(&mark).is_ok_and(|old| old == stamp);
                let mut took = None;
                if !current || !self.path(program).exists() {
                    let start = Instant::now();
                    self.compile(&sources, program, package, &flags).await?;
                    fs::write(mark, &stamp)?;
                    took = Some(start.elapsed());
                }
                report(&Built { program, took, lacking: None });
            }
            if let Some((dependency, from, to)) = module.files {
                let mark = self.dir.join(format!("{to}.stamp"));
                if !fs::read_to_string(&mark).is_ok_and(|old| old == stamp) {
                    let root = go(&sources, &["list", "-m", "-f", "{{.Dir}}", dependency]).await?;
                    copy_yaml(&Path::new(&root).join(from), &self.dir.join(to))?;
                    fs::write(mark, &stamp)?;
                }
            }
        }
        let mut built = Built { program: PROMETHEUS, took: None, lacking: None };
        if !self.path(PROMETHEUS).exists() {
            let start = Instant::now();
            match debian::unpack(PROMETHEUS, PROMETHEUS, &self.dir).await {
                Ok(()) => built.took = Some(start.elapsed()),
                Err(error) => built.lacking = Some(format!("{error:#}")),
            }
        }
        report(&built);
        Ok(())
    }

    /// Where the program with this name is.
    pub fn path(&self, program: &str) -> PathBuf {
        self.dir.join(program)
    }

    /// Fails when a program is missing, so that a bed need not start to find out.
    pub(crate) fn check(&self) -> Result<()> {
        for (program, _) in MODULES.iter().flat_map(|module| module.programs) {
            ensure!(
                self.path(program).exists(),
                "{program} is not in {}: build the bed first",
                self.dir.display(),
            );
        }
        Ok(())
    }

    /// A YAML file taken from a module.
    pub(crate) fn file(&self, path: &str) -> Result<String> {
        let path = self.dir.join(path);
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    async fn compile(
        &self,
        sources: &Path,
        program: &str,
        package: &str,
        flags: &str,
    ) -> Result<()> {
        // Two builds into one cache must not run each other's half-written program.
        let staged = self.dir.join(format!("{program}.{}", std::process::id()));
        let staged_arg = staged.to_str().context("the cache folder's name is not UTF-8")?;
        go(sources, &["build", "-o", staged_arg, "-ldflags", flags, package])
            .await
            .with_context(|| format!("cannot build {program}"))?;
        fs::rename(&staged, self.path(program))?;
        Ok(())
    }
}

/// Without debug information; and with Kubernetes' version, since its programs report to each other
/// what the linker was told and not what they are.
fn linker_flags(sources: &Path) -> Result<String> {
    let modules = fs::read_to_string(sources.join("go.mod"))?;
    let mut flags = String::from("-s -w");
    let version = modules.lines().find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes v"));
    if let Some(version) = version.and_then(|rest| rest.split_whitespace().next()) {
        let mut parts = version.split('.');
        let major = parts.next().unwrap_or_default();
        let minor = parts.next().unwrap_or_default();
        for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
            write!(flags, " -X {package}.gitVersion=v{version}")?;
            write!(flags, " -X {package}.gitMajor={major} -X {package}.gitMinor={minor}")?;
        }
    }
    Ok(flags)
}

/// Identifies what a program was built from.
fn stamp(sources: &Path, version: &str, flags: &str) -> Result<String> {
    let mut hash = Sha256::new();
    for file in ["go.mod", "go.sum"] {
        let path = sources.join(file);
        hash.update(fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    hash.update(version);
    hash.update(flags);
    Ok(format!("{:x}", hash.finalize()))
}

/// Runs `go` in a module and gives what it prints, trimmed.
async fn go(sources: &Path, args: &[&str]) -> Result<String> {
    let mut command = Command::new("go");
    command
        .args(args)
        .current_dir(sources)
        .env("CGO_ENABLED", "0")
        .env("GOFLAGS", "-mod=readonly")
        .env("GOWORK", "off")
        .kill_on_drop(true);
    let Output { status, stdout, stderr } = match command.output().await {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("go is not in PATH; the test bed is built with Go 1.26 or newer")
        }
        Err(error) => return Err(error).context("cannot run go"),
    };
    if !status.success() {
        bail!("go {} failed:\n{}", args.join(" "), String::from_utf8_lossy(&stderr).trim_end());
    }
    Ok(String::from_utf8_lossy(&stdout).trim().to_owned())
}

/// Copies the YAML files below a folder; the module cache's are read-only, the copies are not.
fn copy_yaml(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot list {}", from.display()))? {
        let path = entry?.path();
        let Some(name) = path.file_name() else { continue };
        if path.is_dir() {
            copy_yaml(&path, &to.join(name))?;
        } else if path.extension() == Some(OsStr::new("yaml")) {
            fs::write(to.join(name), fs::read(&path)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stamp_changes_with_the_module_and_with_go() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["go.mod", "go.sum"] {
            fs::write(dir.path().join(file), file).unwrap();
        }
        let first = stamp(dir.path(), "go1.26", "-s").unwrap();
        assert_eq!(first, stamp(dir.path(), "go1.26", "-s").unwrap());
        assert_ne!(first, stamp(dir.path(), "go1.27", "-s").unwrap());
        assert_ne!(first, stamp(dir.path(), "go1.26", "-w").unwrap());
        fs::write(dir.path().join("go.sum"), "other").unwrap();
        assert_ne!(first, stamp(dir.path(), "go1.26", "-s").unwrap());
    }

    #[test]
    fn programs_of_kubernetes_are_told_the_pinned_version() {
        let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("modules");
        let flags = linker_flags(&modules.join("kubernetes")).unwrap();
        assert!(flags.contains("k8s.io/client-go/pkg/version.gitVersion=v1."), "{flags}");
        assert_eq!(linker_flags(&modules.join("istio")).unwrap(), "-s -w");
    }

    #[test]
    fn an_empty_cache_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = Binaries::at(dir.path()).check().unwrap_err().to_string();
        assert!(error.contains("etcd") && error.contains("build"), "{error}");
    }
}
