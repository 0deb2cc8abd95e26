//! What an operator does on a simulated cluster, and what he sees.

use crate::simulated::{SimulatedBed, SimulatedReplica};
use jiff::Timestamp;
use revshift_sandbox::fixtures;
use revshift_tests::{Bed, NEW, OLD, Output, Replica};
use serde_json::Value;
use std::time::Duration;
use tokio::time::sleep;

/// Namespaces on the old plane with a Deployment of two pods each, ready.
pub(crate) async fn applications(bed: &SimulatedBed, names: &[&str]) {
    for name in names {
        bed.sandbox.apply(fixtures::namespace(name, &[("istio.io/rev", OLD)]));
    }
    sleep(Duration::from_secs(1)).await;
    for name in names {
        bed.sandbox.apply(fixtures::deployment(name, "web", 2));
    }
    sleep(Duration::from_secs(10)).await;
}

/// A server that serves and leads.
pub(crate) async fn serving(bed: &SimulatedBed) -> SimulatedReplica {
    let server = bed.launch();
    server.ready().await.unwrap();
    sleep(Duration::from_secs(5)).await;
    server
}

/// A run of the CLI that is done.
pub(crate) async fn run(bed: &SimulatedBed, server: &SimulatedReplica, args: &[&str]) -> Output {
    let address = server.address();
    let args = ["--server", &address].into_iter().chain(args.iter().copied());
    let output = bed.revshift(args.map(str::to_owned).collect()).await.unwrap();
    assert_eq!(output.status, 0, "{output:?}");
    output
}

/// The id of a migration of `names`, one after the other.
pub(crate) async fn migrate(
    bed: &SimulatedBed,
    server: &SimulatedReplica,
    names: &[&str],
    extra: &[&str],
) -> String {
    let mut args = vec!["migrate", "--from", OLD, "--to", NEW, "--yes", "--detach"];
    args.extend(names.iter().flat_map(|name| ["-n", name]));
    args.extend(extra);
    run(bed, server, &args).await.stdout.trim().to_owned()
}

/// A migration as stored.
pub(crate) fn stored(bed: &SimulatedBed, id: &str) -> Value {
    bed.sandbox.object(&format!("/apis/revshift.dev/v1alpha1/migrations/{id}")).unwrap()
}

/// The states of a migration's moves, in the order of its plan.
pub(crate) fn states(bed: &SimulatedBed, id: &str) -> Vec<String> {
    moves(bed, id).iter().map(|m| m["state"].as_str().unwrap_or("PENDING").to_owned()).collect()
}

/// The records of its moves.
pub(crate) fn moves(bed: &SimulatedBed, id: &str) -> Vec<Value> {
    let shard = format!("/apis/revshift.dev/v1alpha1/migrationshards/{id}-0");
    let shard = bed.sandbox.object(&shard).unwrap();
    shard["status"]["moves"].as_array().cloned().unwrap_or_default()
}

/// When the first attempt of a move began.
pub(crate) fn started(m: &Value) -> Timestamp {
    m["started"].as_str().unwrap().parse().unwrap()
}

/// A run of the CLI that ends with `status`.
pub(crate) async fn refused(
    bed: &SimulatedBed,
    server: &SimulatedReplica,
    args: &[&str],
    status: i32,
) -> Output {
    let address = server.address();
    let args = ["--server", &address].into_iter().chain(args.iter().copied());
    let output = bed.revshift(args.map(str::to_owned).collect()).await.unwrap();
    assert_eq!(output.status, status, "{output:?}");
    output
}
