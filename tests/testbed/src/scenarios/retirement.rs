//! A plane with an istiod that runs and proxies that are connected to it, as `istioctl install` leaves it:
//! used, left and retired, each proved by what istiod itself says.

use anyhow::{Result, ensure};
use futures::FutureExt as _;
use revshift_testbed::{Plane, RealBed, until};
use revshift_tests::Bed as _;

use super::{
    Scenario,
    cli::Cli,
    workloads::{NEW, PATIENCE, arrive, connected, deployment, put},
};

pub(crate) const SCENARIOS: &[Scenario] = &[Scenario {
    name: "retirement/a_plane_goes_with_its_istiod_and_its_proxies",
    run: |bed| a_plane_goes_with_its_istiod_and_its_proxies(bed).boxed_local(),
}];

const REVISION: &str = "leaving";
/// What the plane brings along, beside what all planes share.
const KINDS: &str = "deployment,service,configmap,serviceaccount,role,rolebinding,poddisruptionbudget,\
    clusterrole,clusterrolebinding,mutatingwebhookconfiguration,validatingwebhookconfiguration";
const POLICY: &str = include_str!("../../../../deploy/retirement.yaml");

async fn a_plane_goes_with_its_istiod_and_its_proxies(bed: &RealBed) -> Result<()> {
    bed.install_plane(&Plane::upstream(REVISION)).await?;
    bed.namespace("leaver", &[("istio.io/rev", REVISION)]).await?;
    put(bed, "leaver", &[deployment("web")]).await?;
    arrive(bed, "leaver", REVISION, 2).await?;
    connected(bed, "leaver", REVISION, NEW).await?;
    let others = objects(bed, "cp-v11").await?;
    bed.apply(POLICY, "default").await?;
    let server = bed.start_with("").await?;
    let cli = Cli::new(bed, server.address());
    let retire = ["retire", REVISION, "--yes", "--rollback-window", "0s"];
    until("the plane is known", PATIENCE, async || {
        ensure!(cli.done(&["planes"]).await?.contains(REVISION));
        Ok(())
    })
    .await?;

    // Labels, pods and what istiod says of its proxies, each for itself.
    let words = ["RS6003 Namespace/leaver", "RS6005", "RS6014"];
    cli.refused(&retire, &words).await?;
    let allowed = ["--allow", "RS2012=one module", "--allow", "RS2013=one module"];
    let migrate = ["migrate", "--from", REVISION, "--to", NEW, "-n", "leaver", "--yes"];
    let connect = ["--verify", "connected"];
    cli.done(&[&migrate[..], &allowed, &connect].concat()).await?;
    arrive(bed, "leaver", NEW, 2).await?;
    connected(bed, "leaver", NEW, REVISION).await?;
    cli.refused(&["retire", REVISION, "--yes"], &["RS6012"]).await?;

    // Its operator is istioctl's user: when the Deployment has gone, so has the process.
    let ends = async {
        until("istiod is deleted", PATIENCE, async || {
            let left = bed.kubectl(&["get", "deployment", "-nistio-system", "-oname"]).await?;
            ensure!(!left.contains(REVISION), "{left}");
            Ok(())
        })
        .await?;
        bed.stop_istiod(REVISION)
    };
    let (retired, ended) = futures::join!(cli.done(&retire), ends);
    retired?;
    ended?;
    let left = objects(bed, REVISION).await?;
    ensure!(left.is_empty(), "these are left: {left:?}");
    ensure!(objects(bed, "cp-v11").await? == others, "it took something of other planes");
    bed.kubectl(&["delete", "namespace", "leaver"]).await?;
    for kind in ["validatingadmissionpolicybinding", "validatingadmissionpolicy"] {
        bed.kubectl(&["delete", kind, "revshift-retirement"]).await?;
    }
    server.stop().await?;
    bed.uninstall_plane(REVISION).await
}

/// The objects of a plane's kinds whose names tell of it.
async fn objects(bed: &RealBed, part: &str) -> Result<Vec<String>> {
    let all = bed.kubectl(&["get", KINDS, "--all-namespaces", "--output=name"]).await?;
    Ok(all.lines().filter(|name| name.contains(part)).map(str::to_owned).collect())
}
