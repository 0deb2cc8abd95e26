//! What is measured on the real bed: Kubernetes itself, two istiods, and KWOK for the kubelets.

pub(crate) mod failover;
pub(crate) mod requests;
pub(crate) mod wall_clock;

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, PostParams};
use revshift_testbed::{Binaries, ControlPlane, Options, Product, RealBed, until};
use revshift_tests::Bed as _;
use serde_json::json;
use tempfile::NamedTempFile;
use tokio::process::Command;

use crate::role;
use crate::simulation::OLD;

/// Workloads of a namespace.
const WORKLOADS: [&str; 2] = ["web", "api"];
/// Pods of a namespace.
const PODS: usize = 4;
/// What nothing takes here.
const PATIENCE: Duration = Duration::from_mins(5);
/// Requests of the harness in flight.
const HANDS: usize = 8;

/// A bed as Calisti's upgrade procedure finds a cluster.
pub(crate) async fn bed() -> Result<RealBed> {
    Binaries::default().build(|_| {}).await?;
    let folder = tempfile::tempdir()?;
    let product = Some(Product::of(
        role::named(folder.path(), role::SERVER)?,
        role::named(folder.path(), role::CLI)?,
    ));
    let bed = RealBed::start(&Options { product, ..Options::default() }).await?;
    bed.install_calisti(&ControlPlane::of_procedure()).await?;
    Ok(bed)
}

/// Namespaces on the old plane, each with two Deployments of two pods, all ready. What they belong to
/// is the value of their label `bench`.
pub(crate) async fn populate(bed: &RealBed, group: &str, count: usize) -> Result<Vec<String>> {
    let names: Vec<String> = (0..count).map(|index| format!("{group}-{index:03}")).collect();
    futures::stream::iter(&names)
        .map(|name| async move {
            let client = bed.client();
            let namespace: Namespace = serde_json::from_value(json!({
                "metadata": { "name": name, "labels": { "istio.io/rev": OLD, "bench": group } },
            }))?;
            Api::all(client.clone()).create(&PostParams::default(), &namespace).await?;
            for workload in WORKLOADS {
                let labels = json!({ "app": workload, "bench": group });
                let deployment: Deployment = serde_json::from_value(json!({
                    "metadata": { "name": workload },
                    "spec": {
                        "replicas": 2,
                        "selector": { "matchLabels": { "app": workload } },
                        "template": {
                            "metadata": { "labels": labels },
                            "spec": { "containers": [{ "name": "app", "image": "example/app:1" }] },
                        },
                    },
                }))?;
                let api = Api::<Deployment>::namespaced(client.clone(), name);
                api.create(&PostParams::default(), &deployment).await?;
            }
            anyhow::Ok(())
        })
        .buffer_unordered(HANDS)
        .try_collect::<Vec<()>>()
        .await?;
    arrived(bed, group, count, OLD).await?;
    Ok(names)
}

/// Waits until all pods of a group, and no others, are ready on a plane.
pub(crate) async fn arrived(bed: &RealBed, group: &str, count: usize, plane: &str) -> Result<()> {
    let pods = Api::<Pod>::all(bed.client());
    let of_group = ListParams::default().labels(&format!("bench={group}"));
    let good = |pod: &Pod| {
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        let mut conditions = conditions.into_iter().flatten();
        let ready = conditions.any(|one| one.type_ == "Ready" && one.status == "True");
        ready && pod.annotations().get("istio.io/rev").is_some_and(|rev| rev == plane)
    };
    until(&format!("the pods of {group} on {plane}"), PATIENCE, async || {
        let mut found = pods.list(&of_group).await?.items;
        found.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        let there = found.iter().filter(|pod| good(pod)).count();
        ensure!(
            there == count * PODS && found.len() == there,
            "{there} of {} pods are there, of {} wanted",
            found.len(),
            count * PODS
        );
        Ok(())
    })
    .await
}

/// A file of a specification: `namespaces` in one wave.
pub(crate) fn one_wave(names: &[String], from: &str, to: &str) -> Result<NamedTempFile> {
    let mut file = tempfile::Builder::new().suffix(".yaml").tempfile()?;
    let spec = json!({ "source": from, "target": to, "waves": [{ "namespaces": names }] });
    // JSON is YAML.
    file.write_all(spec.to_string().as_bytes())?;
    Ok(file)
}

/// Runs revshift's command line to a good end.
pub(crate) async fn revshift(bed: &RealBed, server: &str, args: &[&str]) -> Result<String> {
    let all = ["--server", server].into_iter().chain(args.iter().copied());
    let output = bed.revshift(all.map(str::to_owned).collect()).await?;
    let command = args.join(" ");
    ensure!(output.status == 0, "`revshift {command}` ended badly:\n{}", output.stderr);
    Ok(output.stdout)
}

/// What people write who have only kubectl: relabel, restart, wait.
const BY_HAND: &str = "kubectl label namespace \"$1\" istio.io/rev=\"$REVISION\" --overwrite \
     && kubectl rollout restart deployment -n \"$1\" \
     && kubectl rollout status deployment -n \"$1\"";

/// Moves namespaces with kubectl: one after the other, or so many side by side.
pub(crate) async fn by_hand(
    bed: &RealBed,
    names: &[String],
    revision: &str,
    side_by_side: usize,
) -> Result<()> {
    let kubectl = bed.bin("kubectl");
    let folder = kubectl.parent().context("a program in no folder")?.display().to_string();
    let mut list = NamedTempFile::new()?;
    list.write_all((names.join("\n") + "\n").as_bytes())?;
    let output = Command::new("xargs")
        .args(["-P", &side_by_side.to_string(), "-n", "1", "-a"])
        .arg(list.path())
        .args(["sh", "-c", BY_HAND, "sh"])
        .env("PATH", format!("{folder}:/usr/bin:/bin"))
        .env("KUBECONFIG", bed.kubeconfig())
        .env("HOME", bed.run_dir())
        .env("REVISION", revision)
        .kill_on_drop(true)
        .output()
        .await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "kubectl: {said}");
    Ok(())
}
