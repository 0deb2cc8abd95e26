//! A bed: one cluster, its Istio planes and the run directory, all gone when it is dropped. Beds
//! share nothing but the cache of programs, so that several can run side by side.

mod stage;

use std::{
    collections::BTreeMap,
    env, fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use kube::Client;
use revshift_tests::Output;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tracing::info;

use crate::{
    audit::Audit,
    binaries::Binaries,
    calisti::{self, ControlPlane, PlaneStatus},
    cluster::{self, Cluster},
    deadline::until,
    istiod::{self, Installed, Istiod, Surroundings},
    manifest::{NAMESPACE, Plane},
    ports,
    process::{self, Process, Usage, Watchdog},
    product::Product,
    programs::{Programs, output},
    proxies::Proxies,
};

/// How often a start is tried when another program takes a port first.
const TRIES: usize = 3;

/// How a bed is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Where the programs are.
    pub binaries: Binaries,
    /// revshift's own programs, for a bed that is to run them.
    pub product: Option<Product>,
    /// Keep the run directory, as `REVSHIFT_TESTBED_KEEP` does too.
    pub keep: bool,
}

/// A running bed.
pub struct RealBed {
    // Dropped in this order: who calls others ends before them, the folder goes last.
    proxies: Proxies,
    planes: Mutex<BTreeMap<String, Installed>>,
    cluster: Cluster,
    watchdog: Arc<Watchdog>,
    run_dir: TempDir,
    keep: bool,
    binaries: Binaries,
    programs: Programs,
}

/// What a webhook that works again may take to be called again.
const REACHABLE: Duration = Duration::from_mins(2);

impl RealBed {
    /// Starts a cluster without Istio.
    pub async fn start(options: &Options) -> Result<Self> {
        options.binaries.check()?;
        let keep = options.keep || env::var_os("REVSHIFT_TESTBED_KEEP").is_some();
        for _ in 1..TRIES {
            match Self::start_once(options, keep).await? {
                Ok(bed) => return Ok(bed),
                Err(lost) => info!(%lost, "a port was taken, trying others"),
            }
        }
        Self::start_once(options, keep).await?.map_err(anyhow::Error::msg)
    }

    /// The inner error is a lost port race.
    async fn start_once(options: &Options, keep: bool) -> Result<Result<Self, String>> {
        let mut run_dir = tempfile::Builder::new().prefix("revshift-bed-").tempdir()?;
        run_dir.disable_cleanup(keep);
        let copied = options.product.as_ref().map(|product| product.copy_to(run_dir.path()));
        let product = copied.transpose()?;
        let watchdog = Watchdog::start((!keep).then_some(run_dir.path()))?;
        match Cluster::start(&options.binaries, run_dir.path(), &watchdog).await {
            Ok(cluster) => Ok(Ok(Self {
                proxies: Proxies::start(cluster.client.clone()),
                planes: Mutex::default(),
                keep,
                binaries: options.binaries.clone(),
                programs: Programs {
                    product,
                    kubeconfig: cluster.kubeconfig.clone(),
                    run_dir: run_dir.path().to_owned(),
                    watchdog: Arc::clone(&watchdog),
                    environment: false,
                    logs: Mutex::default(),
                },
                cluster,
                watchdog,
                run_dir,
            })),
            Err(error) => {
                let text = format!("{error:#}");
                if ports::lost_race(&text) { Ok(Err(text)) } else { Err(error) }
            }
        }
    }

    /// A client with the rights of cluster-admin.
    pub fn client(&self) -> Client {
        self.cluster.client.clone()
    }

    /// The kubeconfig of cluster-admin.
    pub fn kubeconfig(&self) -> &Path {
        &self.cluster.kubeconfig
    }

    /// The API server's audit log: one JSON object a line, at the level Metadata.
    pub fn audit_log(&self) -> &Path {
        &self.cluster.audit_log
    }

    /// The audit log from now on.
    pub fn audit(&self) -> Result<Audit> {
        Audit::of(self.cluster.audit_log.clone())
    }

    /// The folder of logs and state.
    pub fn run_dir(&self) -> &Path {
        self.run_dir.path()
    }

    /// Whether the run directory outlives the bed.
    pub fn is_kept(&self) -> bool {
        self.keep
    }

    /// One of the built programs, for example `grpcurl`.
    pub fn bin(&self, program: &str) -> PathBuf {
        self.binaries.path(program)
    }

    /// Starts a program of the cache folder, which ends with what is given back.
    pub(crate) fn process(&self, program: &str, args: &[String]) -> Result<Process> {
        let mut command = cluster::command(&self.binaries, program, self.run_dir.path());
        Process::start(program, command.args(args), self.run_dir.path(), &self.watchdog)
    }

    /// Runs kubectl as cluster-admin and gives what it prints; a failure carries its error output.
    pub async fn kubectl(&self, args: &[&str]) -> Result<String> {
        let Output { status, stdout, stderr } = self.run("kubectl", args).await?;
        ensure!(status == 0, "kubectl {}: {}", args.join(" "), stderr.trim_end());
        Ok(stdout)
    }

    /// Runs one of the built programs to its end, for example `grpcurl`.
    pub async fn run(&self, program: &str, args: &[&str]) -> Result<Output> {
        output(self.tool(program).args(args)).await.with_context(|| program.to_owned())
    }

    /// Applies objects given as YAML documents, into `namespace` when they name none.
    pub async fn apply(&self, yaml: &str, namespace: &str) -> Result<()> {
        // Manifests are too large for a pipe that nobody reads yet, so kubectl gets a file.
        let mut file = tempfile::Builder::new().suffix(".yaml").tempfile_in(self.run_dir())?;
        std::io::Write::write_all(&mut file, yaml.as_bytes())?;
        let file = file.path().to_str().context("the run directory's name is not UTF-8")?;
        let place = format!("--namespace={namespace}");
        let args = ["apply", "--server-side", "--force-conflicts", &place, "-f", file];
        self.kubectl(&args).await.map(drop)
    }

    /// Creates a namespace with these labels, or sets them on the existing one.
    pub async fn namespace(&self, name: &str, labels: &[(&str, &str)]) -> Result<()> {
        let labels = labels.iter().copied().collect::<BTreeMap<_, _>>();
        let metadata = json!({"name": name, "labels": labels});
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        self.apply(&serde_norway::to_string(&object)?, name).await
    }

    /// Deploys the bookinfo application of Istio's samples into an existing namespace.
    pub async fn deploy_bookinfo(&self, namespace: &str) -> Result<()> {
        self.apply(&self.binaries.file("bookinfo/bookinfo.yaml")?, namespace).await
    }

    /// Installs a plane and starts its istiod; returns once its webhooks inject.
    pub async fn install_plane(&self, plane: &Plane) -> Result<()> {
        for _ in 1..TRIES {
            match self.install_once(plane).await {
                Err(error) if ports::lost_race(&format!("{error:#}")) => {
                    info!(%error, "a port was taken, trying others");
                }
                result => return result,
            }
        }
        self.install_once(plane).await
    }

    async fn install_once(&self, plane: &Plane) -> Result<()> {
        let istiod = Istiod::find_ports()?;
        let generated = self.tool("istioctl").args(plane.generate()).output().await?;
        let error = String::from_utf8_lossy(&generated.stderr);
        ensure!(generated.status.success(), "istioctl: {}", error.trim_end());
        let manifest = String::from_utf8(generated.stdout)?;
        let objects = plane.edit(&manifest, &format!("https://{}", istiod.webhooks))?;
        self.namespace(NAMESPACE, &[]).await?;
        self.apply(&documents(&objects)?, NAMESPACE).await?;
        self.proxies.serve(plane.revision(), istiod.xds);
        let process = Some(istiod::start(plane, &istiod, &self.surroundings()).await?);
        let installed = Installed { plane: plane.clone(), istiod, process };
        self.planes().insert(plane.revision(), installed);
        Ok(())
    }

    /// Takes a plane away as its operator or `istioctl uninstall` would: istiod, its webhooks and
    /// its settings. An IstioControlPlane stays.
    pub async fn uninstall_plane(&self, revision: &str) -> Result<()> {
        self.planes().remove(revision).with_context(|| unknown(revision))?;
        let kinds = "mutatingwebhookconfiguration,validatingwebhookconfiguration,deployment,\
                     service,configmap";
        let selector = format!("--selector=istio.io/rev={revision}");
        let place = format!("--namespace={NAMESPACE}");
        self.kubectl(&["delete", kinds, &selector, &place]).await.map(drop)
    }

    /// Installs the kind IstioControlPlane and these objects of it, each with its plane.
    pub async fn install_calisti(&self, planes: &[ControlPlane]) -> Result<()> {
        calisti::install(&self.client()).await?;
        self.namespace(NAMESPACE, &[]).await?;
        futures::future::try_join_all(planes.iter().map(async |plane| {
            self.install_plane(&Plane::calisti(&plane.name, &plane.version)).await
        }))
        .await?;
        // One after another, so that the first is never younger than the next.
        for plane in planes {
            plane.create(&self.client()).await?;
        }
        Ok(())
    }

    /// Writes an IstioControlPlane's status as its operator would.
    pub async fn set_plane_status(&self, name: &str, status: &PlaneStatus) -> Result<()> {
        calisti::set_status(&self.client(), name, status).await
    }

    /// The ports of the istiod that serves a revision.
    pub fn istiod(&self, revision: &str) -> Result<Istiod> {
        let planes = self.planes();
        let installed = planes.get(revision).with_context(|| unknown(revision))?;
        Ok(installed.istiod)
    }

    /// Kills the istiod that serves a revision: its webhooks fail from now on, as a dead process has
    /// no connection left. Its Deployment and pods, which KWOK plays, stay as they are.
    pub fn stop_istiod(&self, revision: &str) -> Result<()> {
        let mut planes = self.planes();
        planes.get_mut(revision).with_context(|| unknown(revision))?.process = None;
        Ok(())
    }

    /// Starts the istiod again that serves a revision; returns once it injects.
    pub async fn start_istiod(&self, revision: &str) -> Result<()> {
        let (plane, istiod) = {
            let planes = self.planes();
            let installed = planes.get(revision).with_context(|| unknown(revision))?;
            ensure!(installed.process.is_none(), "the istiod of {revision} already runs");
            (installed.plane.clone(), installed.istiod)
        };
        let process = istiod::start(&plane, &istiod, &self.surroundings()).await?;
        if let Some(installed) = self.planes().get_mut(revision) {
            installed.process = Some(process);
        }
        // Its webhooks carried a certificate all the time, so only a call tells.
        let what = format!("an injection by {revision}");
        until(&what, REACHABLE, async || istiod::inject(&self.client(), revision).await).await
    }

    /// What each process holds in memory now.
    pub fn usage(&self) -> Vec<Usage> {
        let mut usage = self.cluster.usage();
        usage.extend(self.planes().values().filter_map(Installed::usage));
        usage
    }

    /// The ends of all logs, for a failed test's report; of revshift's own programs, the last.
    pub fn log_tails(&self) -> Vec<(String, String)> {
        let mut logs = self.cluster.logs();
        logs.extend(self.programs.latest());
        for installed in self.planes().values() {
            logs.extend(installed.process.as_ref().map(|process| process.log().to_owned()));
        }
        process::tails(&logs)
    }

    fn planes(&self) -> MutexGuard<'_, BTreeMap<String, Installed>> {
        self.planes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn surroundings(&self) -> Surroundings<'_> {
        Surroundings {
            binaries: &self.binaries,
            run_dir: self.run_dir.path().to_owned(),
            kubeconfig: self.cluster.kubeconfig.clone(),
            client: self.client(),
            watchdog: &self.watchdog,
        }
    }

    fn tool(&self, program: &str) -> Command {
        let mut command =
            Command::from(cluster::command(&self.binaries, program, self.run_dir.path()));
        command.env("KUBECONFIG", &self.cluster.kubeconfig).kill_on_drop(true);
        command
    }
}

impl fmt::Debug for RealBed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RealBed").field("run_dir", &self.run_dir()).finish_non_exhaustive()
    }
}

fn unknown(revision: &str) -> String {
    format!("no plane with revision {revision} is installed")
}

fn documents(objects: &[Value]) -> Result<String> {
    let mut yaml = String::new();
    for object in objects {
        yaml.push_str("---\n");
        yaml.push_str(&serde_norway::to_string(object)?);
    }
    Ok(yaml)
}
