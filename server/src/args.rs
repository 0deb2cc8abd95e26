//! The server's command line.

use crate::config;
use clap::Parser;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Moves the workloads of a Kubernetes cluster from one Istio control plane to another.
///
/// Serves revshift's gRPC API and holds the access to Kubernetes. Any number of replicas may run;
/// one of them acts.
#[derive(Clone, Debug, Parser)]
#[command(name = "revshift-server", version)]
pub struct Args {
    /// Kubeconfig of the cluster; without it, the account of the pod that this runs in
    #[arg(long, env = "REVSHIFT_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig; its current one by default
    #[arg(long, env = "REVSHIFT_CONTEXT", value_name = "NAME", requires = "kubeconfig")]
    pub context: Option<String>,
    /// Where to listen; a loopback address, and port 0 picks a free port
    #[arg(
        long,
        env = "REVSHIFT_LISTEN",
        value_name = "ADDR:PORT",
        default_value = "127.0.0.1:7878"
    )]
    pub listen: SocketAddr,
    /// Namespace of the Lease; the pod's own by default, else revshift-system
    #[arg(long, env = "REVSHIFT_NAMESPACE", value_name = "NS")]
    pub namespace: Option<String>,
    /// Install or update revshift's CRDs, and create --namespace, before serving
    #[arg(long, env = "REVSHIFT_INSTALL_CRDS")]
    pub install_crds: bool,
    /// How long other replicas wait for a leader that went silent, in seconds
    #[arg(
        long,
        env = "REVSHIFT_LEASE_SECONDS",
        value_name = "SECONDS",
        default_value = "15",
        value_parser = lease
    )]
    pub lease_seconds: Duration,
    /// Configuration: budgets, freezes, checks, istiods; read again when it changes
    #[arg(long, env = "REVSHIFT_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Monitoring address of an istiod replica, such as 1-31=http://10.0.0.5:15014; may be given several
    /// times. A plane that is named is asked there and nowhere else
    #[arg(
        long = "istiod",
        env = "REVSHIFT_ISTIODS",
        value_name = "REVISION=URL",
        value_delimiter = ',',
        value_parser = config::istiod
    )]
    pub istiods: Vec<(String, String)>,
}

/// The lease must outlast the margins that are kept for writes in flight.
fn lease(text: &str) -> Result<Duration, String> {
    let seconds: u64 = text.parse().map_err(|_| format!("`{text}` is no number of seconds"))?;
    if (6..=3600).contains(&seconds) {
        Ok(Duration::from_secs(seconds))
    } else {
        Err("must be between 6 and 3600 seconds".to_owned())
    }
}
