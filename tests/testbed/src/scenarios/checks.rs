//! Checks that ask the network itself: an endpoint of somebody's, and a real Prometheus.

use anyhow::{Context as _, Result, ensure};
use futures::FutureExt as _;
use revshift_testbed::{Prometheus, RealBed, Site, until};
use revshift_tests::{Bed as _, Lacking};

use super::{
    Scenario,
    cli::Cli,
    workloads::{NEW, OLD, PATIENCE, arrive, deployment, put},
};

pub(crate) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "checks/an_endpoint_stops_and_lets_go_on",
        run: |bed| endpoint(bed).boxed_local(),
    },
    Scenario {
        name: "checks/a_query_is_compared_with_its_baseline",
        run: |bed| query(bed).boxed_local(),
    },
];

const MIGRATE: [&str; 3] = ["migrate", "--from=cp-v113x", "--to=cp-v115x"];

async fn applications(bed: &RealBed, names: &[&str]) -> Result<()> {
    for name in names {
        bed.namespace(name, &[("istio.io/rev", OLD)]).await?;
        put(bed, name, &[deployment("web")]).await?;
        arrive(bed, name, OLD, 2).await?;
    }
    Ok(())
}

async fn detached(cli: &Cli<'_>, args: &[&str]) -> Result<String> {
    let id = cli.done(&[&MIGRATE[..], args, &["--yes", "--detach"]].concat()).await?;
    Ok(id.trim().to_owned())
}

async fn until_state(cli: &Cli<'_>, id: &str, state: &str) -> Result<()> {
    until(&format!("{id} is {state}"), PATIENCE, async || {
        let shown = cli.done(&["status", id]).await?;
        ensure!(shown.contains(state), "{shown}");
        Ok(())
    })
    .await
}

async fn endpoint(bed: &RealBed) -> Result<()> {
    applications(bed, &["endpoint"]).await?;
    let site = Site::start().await?;
    site.set_health(503)?;
    let url = site.url("/healthz");
    let config =
        format!("checks:\n- name: smoke\n  http: {{url: '{url}', retries: 1, interval: 1s}}\n");
    let server = bed.start_with(&config).await?;
    let cli = Cli::new(bed, server.address());
    let id = detached(&cli, &["-n", "endpoint", "--check", "smoke"]).await?;
    let why = format!("the check `smoke` has failed after wave 0: {url} answers 503");
    cli.refused(&["watch", &id], &["PAUSED (GATE)", &why, "--accept-gates"]).await?;
    arrive(bed, "endpoint", NEW, 2).await?;
    site.set_health(204)?;
    cli.done(&["resume", &id]).await?;
    cli.done(&["watch", &id]).await?;
    server.stop().await
}

async fn query(bed: &RealBed) -> Result<()> {
    if !bed.bin("prometheus").exists() {
        let reason = "there is no Prometheus: its Debian package could not be had";
        return Err(Lacking::new(reason).into());
    }
    applications(bed, &["query-a", "query-b"]).await?;
    let site = Site::start().await?;
    let tell = |errors: &str| {
        let series = ["query-a", "query-b"]
            .map(|name| format!("errors{{namespace=\"{name}\",revision=\"{NEW}\"}} {errors}\n"));
        site.set_metrics(&series.concat());
    };
    tell("1");
    let prometheus = Prometheus::start(bed, &site).await?;
    let now = async |value: &str| {
        until(&format!("Prometheus tells of {value} errors"), PATIENCE, async || {
            let told = prometheus.value("sum(errors)").await?;
            ensure!(told == value, "it tells of {told}");
            Ok(())
        })
        .await
    };
    now("2").await?;
    let config = format!(
        "checks:\n- name: errors\n  prometheus:\n    url: {}\n    interval: 1s\n    query: >-\n      \
         sum(errors{{namespace=~\"{{{{namespaces}}}}\",revision=\"{{{{target}}}}\"}})\n    \
         atMostAboveBaseline: 0.5\n",
        prometheus.url()
    );
    let server = bed.start_with(&config).await?;
    let cli = Cli::new(bed, server.address());
    // What the check finds after the first wave is what was there before it.
    let named = ["-n", "query-a", "-n", "query-b", "--check", "errors", "--soak", "5s"];
    let id = detached(&cli, &named).await?;
    arrive(bed, "query-b", NEW, 2).await?;
    let shown = cli.done(&["status", &id]).await?;
    ensure!(shown.contains("it is 1; it was 1 before the wave"), "{shown}");
    // The second wave is in its soak, or about to begin it.
    tell("2");
    now("4").await?;
    let why = "it is 2; it was 1 before the wave, and may be 1.5";
    cli.refused(&["watch", &id], &["PAUSED (GATE)", why]).await?;
    tell("1");
    now("2").await?;
    cli.done(&["resume", &id]).await?;
    until_state(&cli, &id, "SUCCEEDED").await?;
    drop(prometheus);
    // Nobody answers any more: that stops the next one, and is told apart from a failure.
    bed.namespace("query-c", &[("istio.io/rev", OLD)]).await?;
    put(bed, "query-c", &[deployment("web")]).await?;
    arrive(bed, "query-c", OLD, 2).await?;
    let id = detached(&cli, &["-n", "query-c", "--check", "errors"]).await?;
    let watched = ["the check `errors` tells nothing after wave 0", "Connection refused"];
    cli.refused(&["watch", &id], &watched).await?;
    let told = cli.done(&["status", &id]).await?;
    told.contains("INCONCLUSIVE").then_some(()).with_context(|| told.clone())?;
    server.stop().await
}
