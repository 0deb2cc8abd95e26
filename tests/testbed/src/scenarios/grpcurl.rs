//! The whole API without a client of revshift's: grpcurl knows nothing but what the server's
//! reflection tells, and drives a migration and its rollback to their ends.

use anyhow::{Context as _, Result, ensure};
use futures::FutureExt as _;
use revshift_testbed::RealBed;
use revshift_tests::{Output, Replica as _};
use serde_json::{Deserializer, Value, json};

use super::{
    Scenario,
    workloads::{NEW, OLD, arrive, connected, deployment, on_plane, put},
};

const NAMESPACE: &str = "grpcurl";
const REQUEST: &str = "6f1c8c1e-0a37-4d7c-9d26-3a1d9f0c5a01";
const ROLLBACK: &str = "6f1c8c1e-0a37-4d7c-9d26-3a1d9f0c5a02";

pub(crate) const SCENARIOS: &[Scenario] =
    &[Scenario { name: "grpcurl/moves_and_rolls_back", run: |bed| story(bed).boxed_local() }];

async fn story(bed: &RealBed) -> Result<()> {
    bed.namespace(NAMESPACE, &[("istio.io/rev", OLD)]).await?;
    put(bed, NAMESPACE, &[deployment("web")]).await?;
    arrive(bed, NAMESPACE, OLD, 2).await?;
    let server = bed.serve("127.0.0.1:0").await?;
    let grpcurl = Grpcurl::new(bed, server.address());
    reflection(&grpcurl).await?;
    health(&grpcurl).await?;
    lists(&grpcurl).await?;
    refusals(&grpcurl).await?;
    let id = migration(bed, &grpcurl).await?;
    rollback(bed, &grpcurl, &id).await?;
    Box::new(server).stop().await
}

async fn reflection(grpcurl: &Grpcurl<'_>) -> Result<()> {
    let services = grpcurl.run(&["list"]).await?;
    for service in ["ControlPlane", "Namespace", "Migration", "Server"] {
        let service = format!("revshift.v1.{service}Service");
        ensure!(services.lines().any(|line| line == service), "{services}");
    }
    let described = grpcurl.run(&["describe", "revshift.v1.MigrationService"]).await?;
    for part in [
        "rpc CreateMigration ( .revshift.v1.CreateMigrationRequest )",
        "rpc WatchMigration ( .revshift.v1.WatchMigrationRequest ) returns ( stream ",
    ] {
        ensure!(described.contains(part), "{described}");
    }
    let message = grpcurl.run(&["describe", ".revshift.v1.MigrationSpec"]).await?;
    ensure!(message.contains("repeated string namespaces = 3;"), "{message}");
    Ok(())
}

async fn health(grpcurl: &Grpcurl<'_>) -> Result<()> {
    for service in ["", "revshift.v1.MigrationService"] {
        let answer = grpcurl.call("grpc.health.v1.Health/Check", json!({"service": service}));
        ensure!(answer.await?["status"] == "SERVING", "{service}");
    }
    Ok(())
}

async fn lists(grpcurl: &Grpcurl<'_>) -> Result<()> {
    let planes = "revshift.v1.ControlPlaneService/ListControlPlanes";
    let first = grpcurl.call(planes, json!({"pageSize": 1})).await?;
    ensure!(first["controlPlanes"][0]["revision"] == OLD, "{first}");
    let next = json!({"pageSize": 1, "pageToken": first["nextPageToken"]});
    let second = grpcurl.call(planes, next).await?;
    ensure!(second["controlPlanes"][0]["revision"] == NEW, "{second}");
    let list = json!({"revision": "cp-v113x"});
    let namespaces = grpcurl.call("revshift.v1.NamespaceService/ListNamespaces", list).await?;
    let namespaces = namespaces["namespaces"].as_array().context("no namespaces")?;
    let ours = namespaces.iter().find(|it| it["name"] == NAMESPACE).context("ours is missing")?;
    ensure!(ours["state"] == "STATE_ATTACHED", "{ours}");
    ensure!(ours["injected"] == json!([{"revision": OLD, "pods": 2}]), "{ours}");
    Ok(())
}

/// An error says why in a form that a program can read, and grpcurl can show.
async fn refusals(grpcurl: &Grpcurl<'_>) -> Result<()> {
    let unknown = json!({"id": "m-0123456789"});
    let get = "revshift.v1.MigrationService/GetMigration";
    grpcurl.refused(get, unknown, "NotFound", "MIGRATION_NOT_FOUND").await?;
    let plan = "revshift.v1.MigrationService/PlanMigration";
    let absent = json!({"spec": spec(&["not-here"])});
    let said = grpcurl.refused(plan, absent, "FailedPrecondition", "PLAN_REFUSED").await?;
    ensure!(said.contains("google.rpc.PreconditionFailure"), "{said}");
    let create = "revshift.v1.MigrationService/CreateMigration";
    let stale =
        json!({"spec": spec(&[NAMESPACE]), "planHash": "0".repeat(64), "requestId": REQUEST});
    grpcurl.refused(create, stale, "Aborted", "PLAN_CHANGED").await?;
    let said = grpcurl.refused(create, json!({}), "InvalidArgument", "INVALID_FIELD").await?;
    ensure!(said.contains("google.rpc.BadRequest"), "{said}");
    Ok(())
}

async fn migration(bed: &RealBed, grpcurl: &Grpcurl<'_>) -> Result<String> {
    let plan = json!({"spec": spec(&[NAMESPACE])});
    let parts = grpcurl.stream("revshift.v1.MigrationService/PlanMigration", plan).await?;
    let header = &parts.first().context("an empty plan")?["header"];
    let entry = &parts.last().context("an empty plan")?["entry"];
    ensure!(header["target"] == NEW && header["entries"] == 1, "{header}");
    ensure!(entry["namespace"] == NAMESPACE && entry["workloads"][0]["podsToMove"] == 2, "{entry}");

    let method = "revshift.v1.MigrationService/CreateMigration";
    let create = json!({
        "spec": spec(&[NAMESPACE]),
        "planHash": header["planHash"],
        "requestId": REQUEST,
    });
    let audit = bed.audit()?;
    let created = grpcurl.call(method, create.clone()).await?;
    let id = created["migration"]["id"].as_str().context("no id")?.to_owned();
    // The same request again is the same migration, whatever has become of it since.
    let repeated = grpcurl.call(method, create.clone()).await?;
    ensure!(repeated["migration"]["id"] == *id, "{repeated}");

    follow(grpcurl, &id, "STATE_SUCCEEDED").await?;
    let repeated = grpcurl.call(method, create.clone()).await?;
    ensure!(repeated["migration"]["id"] == *id, "{repeated}");
    let mut other = create;
    other["planHash"] = json!("0".repeat(64));
    grpcurl.refused(method, other, "AlreadyExists", "REQUEST_ID_REUSED").await?;
    on_plane(bed, NAMESPACE, NEW, 2).await?;
    connected(bed, NAMESPACE, NEW, OLD).await?;
    ensure!(audit.pods_created(NAMESPACE)? == 2, "a pod was replaced twice");
    Ok(id)
}

async fn rollback(bed: &RealBed, grpcurl: &Grpcurl<'_>, id: &str) -> Result<()> {
    let method = "revshift.v1.MigrationService/RollbackMigration";
    let unreasoned = json!({"id": id, "validateOnly": true});
    grpcurl.refused(method, unreasoned, "InvalidArgument", "INVALID_FIELD").await?;
    let mut request = json!({"id": id, "reason": "because", "validateOnly": true});
    let checked = grpcurl.call(method, request.clone()).await?;
    ensure!(checked.get("migration").is_none(), "{checked}");
    ensure!(checked["entries"][0]["labelsAfter"] == json!({"istio.io/rev": OLD}), "{checked}");
    on_plane(bed, NAMESPACE, NEW, 2).await?;

    request["validateOnly"] = json!(false);
    request["planHash"] = checked["plan"]["planHash"].clone();
    request["requestId"] = json!(ROLLBACK);
    let rolled = grpcurl.call(method, request).await?;
    ensure!(rolled["migration"]["rollbackOf"] == id, "{rolled}");
    let back = rolled["migration"]["id"].as_str().context("no id")?;
    follow(grpcurl, back, "STATE_SUCCEEDED").await?;
    on_plane(bed, NAMESPACE, OLD, 2).await?;
    connected(bed, NAMESPACE, OLD, NEW).await
}

/// Watches a migration until the server ends the stream.
async fn follow(grpcurl: &Grpcurl<'_>, id: &str, state: &str) -> Result<()> {
    let watch = "revshift.v1.MigrationService/WatchMigration";
    let messages = grpcurl.stream(watch, json!({"id": id})).await?;
    let mut states = messages.iter().filter_map(|it| it["migration"]["state"].as_str());
    ensure!(states.next_back() == Some(state), "{messages:?}");
    let last = messages.last().context("an empty stream")?;
    ensure!(last["synced"] == true, "{last}");
    // Where a client stands that saw everything, the stream goes on with nothing and ends.
    let resumed = json!({"id": id, "resumeToken": last["resumeToken"]});
    let rest = grpcurl.stream(watch, resumed).await?;
    ensure!(rest.iter().all(|it| it.get("moves").is_none()), "{rest:?}");
    Ok(())
}

fn spec(namespaces: &[&str]) -> Value {
    json!({"source": "cp-v113x", "target": "cp-v115x", "namespaces": namespaces})
}

/// grpcurl and the server that it asks.
#[derive(Debug)]
pub(crate) struct Grpcurl<'a> {
    bed: &'a RealBed,
    address: String,
}

impl<'a> Grpcurl<'a> {
    pub(crate) fn new(bed: &'a RealBed, address: String) -> Self {
        Self { bed, address }
    }

    async fn output(&self, before: &[&str], after: &[&str]) -> Result<Output> {
        let args = [&["-plaintext"], before, &[&self.address], after].concat();
        self.bed.run("grpcurl", &args).await
    }

    /// Asks for what reflection tells.
    async fn run(&self, args: &[&str]) -> Result<String> {
        let Output { status, stdout, stderr } = self.output(&[], args).await?;
        ensure!(status == 0, "grpcurl {args:?} ended with {status}: {stdout}{stderr}");
        Ok(stdout)
    }

    /// Every message that a call answers with.
    async fn stream(&self, method: &str, request: Value) -> Result<Vec<Value>> {
        let request = request.to_string();
        let Output { status, stdout, stderr } = self.output(&["-d", &request], &[method]).await?;
        ensure!(status == 0, "{method} {request} ended with {status}: {stdout}{stderr}");
        Ok(Deserializer::from_str(&stdout).into_iter().collect::<Result<_, _>>()?)
    }

    /// The one message that a call answers with.
    async fn call(&self, method: &str, request: Value) -> Result<Value> {
        let mut messages = self.stream(method, request).await?;
        ensure!(messages.len() == 1, "{messages:?}");
        messages.pop().context("no answer")
    }

    /// A call that is refused with this code, and this reason in decoded details; answers what
    /// grpcurl says.
    pub(crate) async fn refused(
        &self,
        method: &str,
        request: Value,
        code: &str,
        reason: &str,
    ) -> Result<String> {
        let request = request.to_string();
        let Output { status, stdout, stderr } = self.output(&["-d", &request], &[method]).await?;
        ensure!(status != 0, "{method} {request} was accepted: {stdout}");
        let info = "\"@type\": \"type.googleapis.com/google.rpc.ErrorInfo\"";
        let reason = format!("\"reason\": \"{reason}\"");
        for part in [&format!("Code: {code}"), info, &reason, "\"domain\": \"revshift.dev\""] {
            ensure!(stderr.contains(part), "{method} {request} does not say {part}:\n{stderr}");
        }
        Ok(stderr)
    }
}
