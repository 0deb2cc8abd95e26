//! How servers start and do not start: what is refused says what to do, and a cluster without
//! revshift's CRDs is served as far as that goes, until somebody installs them. So these come
//! before any server that installs them itself.

use anyhow::{Context as _, Result, ensure};
use futures::FutureExt as _;
use revshift_testbed::{RealBed, until};
use revshift_tests::Replica as _;
use serde_json::json;

use super::{
    Scenario,
    cli::Cli,
    grpcurl::Grpcurl,
    workloads::{NEW, OLD, PATIENCE, arrive, deployment, put},
};

/// As the server's own types give it; users install it with kubectl.
const CRDS: &str = include_str!("../../../../deploy/crds.yaml");

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "startup/an_open_address_is_refused",
        run: |bed| open_address(bed).boxed_local(),
    },
    Scenario {
        name: "startup/a_missing_namespace_is_refused",
        run: |bed| missing_namespace(bed).boxed_local(),
    },
    Scenario { name: "startup/crds_may_come_later", run: |bed| late_crds(bed).boxed_local() },
];

async fn open_address(bed: &RealBed) -> Result<()> {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:7878"] {
        refused(bed, &["--listen", address], &[address, "loopback", "127.0.0.1:7878"]).await?;
    }
    Ok(())
}

async fn missing_namespace(bed: &RealBed) -> Result<()> {
    let options = ["--listen=127.0.0.1:0", "--namespace=not-here"];
    refused(bed, &options, &["not-here", "--namespace", "--install-crds"]).await
}

async fn refused(bed: &RealBed, options: &[&str], words: &[&str]) -> Result<()> {
    let output = bed.refused_server(options).await?;
    let said = &output.stderr;
    ensure!(output.status == 1, "{options:?} ended with {}: {said}", output.status);
    for word in words {
        ensure!(said.contains(word), "{options:?} does not say `{word}`: {said}");
    }
    Ok(())
}

async fn late_crds(bed: &RealBed) -> Result<()> {
    let namespace = "startup";
    bed.namespace(namespace, &[("istio.io/rev", OLD)]).await?;
    put(bed, namespace, &[deployment("web")]).await?;
    arrive(bed, namespace, OLD, 2).await?;
    let lease = format!("--namespace={namespace}");
    let options = ["--listen=127.0.0.1:0", "--lease-seconds=6", &lease];
    let server = bed.launch(&options).await?.ready().await?;
    let cli = Cli::new(bed, server.address());
    // What the cluster itself tells is told.
    let planes = cli.done(&["planes"]).await?;
    ensure!(planes.contains(OLD) && planes.contains(NEW), "{planes}");
    let namespaces = cli.done(&["namespaces", "--plane=cp-v113x"]).await?;
    ensure!(namespaces.contains(namespace), "{namespaces}");
    // What has to be stored is refused, with what to do.
    let missing = ["no revshift CRDs", "deploy/crds.yaml", "--install-crds"];
    cli.refused(&["migrations"], &missing).await?;
    let list = "revshift.v1.MigrationService/ListMigrations";
    let grpcurl = Grpcurl::new(bed, server.address());
    grpcurl.refused(list, json!({}), "FailedPrecondition", "CRDS_MISSING").await?;
    let migrate = ["migrate", "--from=cp-v113x", "--to=cp-v115x", "-n", namespace];
    cli.refused(&[&migrate[..], &["--yes"]].concat(), &missing).await?;

    let definitions = bed.run_dir().join("crds.yaml");
    std::fs::write(&definitions, CRDS)?;
    let definitions = definitions.to_str().context("the run directory's name is not UTF-8")?;
    bed.kubectl(&["apply", "-f", definitions]).await?;
    until("migrations without a restart", PATIENCE, async || cli.done(&["migrations"]).await)
        .await?;
    cli.carried_out(&migrate).await?;
    arrive(bed, namespace, NEW, 2).await?;
    Box::new(server).stop().await
}
