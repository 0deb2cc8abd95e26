//! The bed as revshift's scenarios see it.

use std::time::Duration;

use anyhow::Result;
use futures::{FutureExt as _, future::LocalBoxFuture};
use kube::Client;
use revshift_tests::{Bed, Output, Power, Replica};

use super::RealBed;
use crate::{cluster, istiod::Installed, replica::RealReplica};

/// So long nothing takes on the slowest machine that is any use.
pub(crate) const PATIENCE: Duration = Duration::from_mins(2);

impl RealBed {
    /// Starts a server on the bed's cluster with these options beside the kubeconfig, and waits
    /// until it says where it listens.
    pub async fn launch(&self, options: &[&str]) -> Result<RealReplica> {
        self.programs.launch(options).await
    }

    /// The same for a server that the audit log is to tell from others, by the name of one of the
    /// bed's administrators: `deputy-0` to `deputy-3`.
    pub async fn launch_as(&self, deputy: &str, options: &[&str]) -> Result<RealReplica> {
        let kubeconfig = cluster::deputy(&self.programs.kubeconfig, deputy);
        self.programs.launch_with(&kubeconfig, options).await
    }

    /// Starts a server as every scenario does, which listens on `address`, and waits until it
    /// serves.
    pub async fn serve(&self, address: &str) -> Result<RealReplica> {
        self.programs.serve(address, "", &self.istiods("")).await
    }

    /// Where the istiods of the bed are asked, as options of a server: their pods have no address that leads
    /// anywhere. What a configuration tells of a plane counts alone.
    fn istiods(&self, config: &str) -> Vec<String> {
        let planes = self.planes();
        let untold = planes.iter().filter(|(revision, _)| !config.contains(revision.as_str()));
        let option = |(revision, installed): (&String, &Installed)| {
            format!("--istiod={revision}=http://{}", installed.istiod.metrics)
        };
        untold.map(option).collect()
    }

    /// Runs a server that is to end by itself.
    pub async fn refused_server(&self, options: &[&str]) -> Result<Output> {
        self.programs.refused_server(options).await
    }
}

impl Bed for RealBed {
    fn client(&self) -> Client {
        self.client()
    }

    fn start_with<'a>(&'a self, config: &'a str) -> LocalBoxFuture<'a, Result<Box<dyn Replica>>> {
        async move {
            let istiods = self.istiods(config);
            let replica = self.programs.serve("127.0.0.1:0", config, &istiods).await?;
            Ok(Box::new(replica) as Box<dyn Replica>)
        }
        .boxed_local()
    }

    fn revshift(&self, args: Vec<String>) -> LocalBoxFuture<'_, Result<Output>> {
        async move { self.programs.revshift(&args).await }.boxed_local()
    }

    fn set_injector_down(&self, revision: &str, down: bool) -> LocalBoxFuture<'_, Result<()>> {
        let revision = revision.to_owned();
        async move {
            if down { self.stop_istiod(&revision) } else { self.start_istiod(&revision).await }
        }
        .boxed_local()
    }

    fn patience(&self) -> Duration {
        PATIENCE
    }

    fn lacks(&self, power: Power) -> Option<String> {
        (power == Power::Rollouts).then(|| "no Rollouts controller runs in it".to_owned())
    }
}
