//! The explorer: one fault at one request of a three-namespace migration, for every request.
//!
//! A supervisor restarts a server that ends, as a cluster would; a client creates the migration
//! under one request id and follows it over every break. After each run the oracles look at the
//! whole history of the cluster.

use crate::simulated::{self, SimulatedBed, SimulatedReplica};
use anyhow::{Context, Result, anyhow, ensure};
use revshift_proto::v1 as proto;
use revshift_proto::v1::migration_service_client::MigrationServiceClient;
use revshift_sandbox::{Change, ChangeKind, Exchange, Verdict, fixtures};
use revshift_tests::{NEW, OLD, Replica};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

const NAMESPACES: [&str; 3] = ["a", "b", "c"];
const BYSTANDER: &str = "bystander";
const REQUEST: &str = "7d3c0a52-6a53-4b35-9d0c-0b6f2f4d8a11";

/// What happens at one request of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// kill -9 before the request is carried out.
    CrashBefore,
    /// kill -9 after it was carried out, and before its answer.
    CrashAfter,
    /// Carried out; the answer is a 504.
    ReplyLost,
    /// Never carried out, never answered.
    Hangs,
    /// Carried out, never answered.
    HangsAfter,
    /// Refused with this code.
    Refused(u16, &'static str),
}

impl Fault {
    /// Faults for a request that writes.
    pub(crate) const WRITING: [Self; 9] = [
        Self::CrashBefore,
        Self::CrashAfter,
        Self::ReplyLost,
        Self::Hangs,
        Self::HangsAfter,
        Self::Refused(409, "Conflict"),
        Self::Refused(429, "TooManyRequests"),
        Self::Refused(500, "InternalError"),
        Self::Refused(503, "ServiceUnavailable"),
    ];
    /// Faults for a request that reads.
    pub(crate) const READING: [Self; 4] = [
        Self::CrashBefore,
        Self::CrashAfter,
        Self::Hangs,
        Self::Refused(503, "ServiceUnavailable"),
    ];

    fn verdict(self) -> Verdict {
        match self {
            Self::CrashBefore | Self::Hangs => Verdict::HangBefore,
            Self::CrashAfter | Self::HangsAfter => Verdict::HangAfter,
            Self::ReplyLost => Verdict::LoseReply,
            Self::Refused(code, reason) => {
                Verdict::Refuse { code, reason, message: "injected by a test".to_owned() }
            }
        }
    }

    fn crashes(self) -> bool {
        matches!(self, Self::CrashBefore | Self::CrashAfter)
    }
}

/// A run that has ended well.
pub(crate) struct Run {
    /// The server's requests, in order: whether each writes.
    pub(crate) requests: Vec<bool>,
    /// The namespaces' moves as stored at the end, by what must not depend on faults.
    pub(crate) end: BTreeMap<String, String>,
}

/// Runs the migration with `fault` at the server's request number `at`, counted from 0, and looks
/// at everything afterwards.
pub(crate) fn run(fault: Option<(usize, Fault)>) -> Result<Run> {
    simulated::in_virtual_time(async {
        let local = tokio::task::LocalSet::new();
        local.run_until(explore(fault)).await
    })
}

/// What is wrong after a run with this fault, if anything is.
pub(crate) fn defect(schedule: (usize, Fault), calm: &Run) -> Option<String> {
    match run(Some(schedule)) {
        Ok(run) if run.end == calm.end => None,
        Ok(run) => Some(format!("{schedule:?}: I7: {:?}", run.end)),
        Err(error) => Some(format!("{schedule:?}: {error:#}")),
    }
}

async fn explore(fault: Option<(usize, Fault)>) -> Result<Run> {
    let bed = Rc::new(SimulatedBed::new());
    let sandbox = bed.sandbox.clone();
    for namespace in NAMESPACES.iter().chain([&BYSTANDER]) {
        sandbox.apply(fixtures::namespace(namespace, &[("istio.io/rev", OLD)]));
    }
    // Admission sees new namespaces late.
    sleep(Duration::from_secs(1)).await;
    for namespace in NAMESPACES.iter().chain([&BYSTANDER]) {
        sandbox.apply(fixtures::deployment(namespace, "web", 2));
    }
    let quiet = || sandbox.objects("/api/v1/pods").iter().filter(|pod| ready(pod)).count() >= 8;
    while !quiet() {
        sleep(Duration::from_millis(100)).await;
    }
    let beginning = sandbox.version();
    let (kill, crashes) = mpsc::unbounded_channel();
    let mut number = 0;
    sandbox.intercept(move |exchange: &Exchange| {
        if exchange.tag != "revshift-server" {
            return Verdict::Pass;
        }
        number += 1;
        match fault.filter(|(at, _)| at + 1 == number) {
            Some((_, fault)) => {
                if fault.crashes() {
                    let _ = kill.send(());
                }
                fault.verdict()
            }
            None => Verdict::Pass,
        }
    });
    let address = Rc::new(RefCell::new(None));
    let supervisor = tokio::task::spawn_local(supervise(bed.clone(), crashes, address.clone()));
    let told = timeout(Duration::from_mins(30), tell(&bed, &address)).await;
    supervisor.abort();
    let (id, held) = told.map_err(|_| anyhow!("the migration did not end within 30 minutes"))??;
    let requests = sandbox
        .requests()
        .iter()
        .filter(|exchange| exchange.tag == "revshift-server")
        .map(Exchange::writes)
        .collect();
    let end = judge(&bed, &id, &held, &sandbox.changes_after(beginning))?;
    Ok(Run { requests, end })
}

/// Keeps one server running, whatever becomes of it.
async fn supervise(
    bed: Rc<SimulatedBed>,
    mut crashes: mpsc::UnboundedReceiver<()>,
    address: Rc<RefCell<Option<SimulatedReplica>>>,
) {
    loop {
        address.replace(Some(bed.launch()));
        loop {
            tokio::select! {
                biased;
                _ = crashes.recv() => break,
                () = sleep(Duration::from_millis(200)) => {
                    if address.borrow().as_ref().is_none_or(SimulatedReplica::has_ended) {
                        break;
                    }
                }
            }
        }
        // Dropping the replica drops its future: nothing of it runs on.
        address.replace(None);
        sleep(Duration::from_millis(500)).await;
    }
}

/// Records by namespace, as a client that applied the stream holds them.
type Held = BTreeMap<String, proto::Move>;

/// Creates the migration and follows it to its end.
async fn tell(
    bed: &SimulatedBed,
    address: &RefCell<Option<SimulatedReplica>>,
) -> Result<(String, Held)> {
    let id = loop {
        match create(bed, address).await {
            Ok(id) => break id,
            Err(error) => match error.downcast_ref::<tonic::Status>().map(tonic::Status::code) {
                Some(tonic::Code::InvalidArgument | tonic::Code::NotFound) => return Err(error),
                _ => sleep(Duration::from_millis(200)).await,
            },
        }
    };
    let mut held = Held::new();
    let mut token = String::new();
    let mut last = 0;
    loop {
        match follow(bed, address, &id, &mut token, &mut held, &mut last).await {
            Ok(()) => return Ok((id, held)),
            Err(error) => match error.downcast_ref::<tonic::Status>().map(tonic::Status::code) {
                // What was answered with OK must survive whatever happens.
                Some(tonic::Code::NotFound) => return Err(error.context("the migration is lost")),
                _ => sleep(Duration::from_millis(200)).await,
            },
        }
    }
}

async fn connect(
    bed: &SimulatedBed,
    address: &RefCell<Option<SimulatedReplica>>,
) -> Result<MigrationServiceClient<tonic::transport::Channel>> {
    let at = address.borrow().as_ref().map(Replica::address).context("no server runs")?;
    Ok(MigrationServiceClient::new(bed.connect(&at).await?))
}

async fn create(bed: &SimulatedBed, address: &RefCell<Option<SimulatedReplica>>) -> Result<String> {
    let mut client = connect(bed, address).await?;
    let spec = proto::MigrationSpec {
        source: OLD.to_owned(),
        target: NEW.to_owned(),
        namespaces: NAMESPACES.map(str::to_owned).to_vec(),
        rollout_timeout: None,
        allow_downtime: false,
    };
    let request = proto::PlanMigrationRequest { spec: Some(spec.clone()) };
    let mut plan = client.plan_migration(request).await?.into_inner();
    let mut hash = None;
    while let Some(part) = plan.message().await? {
        if let Some(proto::plan_migration_response::Part::Header(header)) = part.part {
            hash = Some(header.plan_hash);
        }
    }
    let request = proto::CreateMigrationRequest {
        spec: Some(spec),
        plan_hash: hash.context("a plan without header")?,
        request_id: REQUEST.to_owned(),
    };
    let migration = client.create_migration(request).await?.into_inner().migration;
    Ok(migration.context("no migration")?.id)
}

async fn follow(
    bed: &SimulatedBed,
    address: &RefCell<Option<SimulatedReplica>>,
    id: &str,
    token: &mut String,
    held: &mut Held,
    last: &mut u64,
) -> Result<()> {
    let mut client = connect(bed, address).await?;
    let request = proto::WatchMigrationRequest { id: id.to_owned(), resume_token: token.clone() };
    let mut stream = client.watch_migration(request).await?.into_inner();
    while let Some(message) = stream.message().await? {
        ensure!(!message.resync, "the stream of one migration began anew");
        for m in message.moves {
            ensure!(m.sequence > *last, "record {} after {last}", m.sequence);
            *last = m.sequence;
            held.insert(m.namespace.clone(), m);
        }
        *token = message.resume_token;
    }
    Ok(())
}

/// The oracles.
fn judge(
    bed: &SimulatedBed,
    id: &str,
    held: &Held,
    changes: &[Change],
) -> Result<BTreeMap<String, String>> {
    let sandbox = &bed.sandbox;
    let path = format!("/apis/revshift.dev/v1alpha1/migrations/{id}");
    let migration = sandbox.object(&path).context("the migration is not stored")?;
    ensure!(migration["status"]["state"] == "SUCCEEDED", "I7: {}", migration["status"]);

    // I7: labels and pods are as without faults.
    for namespace in NAMESPACES {
        let object = sandbox.object(&format!("/api/v1/namespaces/{namespace}"));
        let label = object.map(|object| object["metadata"]["labels"]["istio.io/rev"].clone());
        ensure!(label == Some(NEW.into()), "I7: {namespace} is labelled {label:?}");
    }
    for pod in sandbox.objects("/api/v1/pods") {
        let namespace = pod["metadata"]["namespace"].as_str().unwrap_or_default();
        let record = pod["metadata"]["annotations"]["sidecar.istio.io/status"].as_str();
        let record: Value = serde_json::from_str(record.unwrap_or("{}"))?;
        let by = record["revision"].as_str().unwrap_or_default();
        let wanted = match namespace {
            BYSTANDER => OLD,
            _ if NAMESPACES.contains(&namespace) => NEW,
            _ => continue,
        };
        let going = pod["metadata"]["deletionTimestamp"].is_string();
        ensure!(going || by == wanted, "I7: a pod of {namespace} was injected by `{by}`");
    }

    // I8: the stream gave what is stored.
    let shard = sandbox.object(&format!("/apis/revshift.dev/v1alpha1/migrationshards/{id}-0"));
    let shard = shard.context("the shard is not stored")?;
    let stored = shard["status"]["moves"].as_array().cloned().unwrap_or_default();
    let mut end = BTreeMap::new();
    for (namespace, record) in NAMESPACES.iter().zip(&stored) {
        let m = held.get(*namespace).with_context(|| format!("I8: no record of {namespace}"))?;
        ensure!(record["sequence"] == m.sequence, "I8: {namespace}: {record} is not {m:?}");
        end.insert((*namespace).to_owned(), format!("{} {}", record["state"], record["attempt"]));
    }

    once(changes)?;
    inside(changes)?;
    Ok(end)
}

/// I2: every workload was restarted once, and no pod of a restart went away again.
fn once(changes: &[Change]) -> Result<()> {
    let mut restarts: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for change in changes {
        match (change.kind.as_str(), change.change) {
            ("Deployment", _) => {
                let template = &change.object["spec"]["template"]["metadata"]["annotations"];
                if let Some(restart) = template["revshift.dev/restart"].as_str() {
                    restarts.entry(&change.reference.namespace).or_default().insert(restart);
                }
            }
            ("Pod", ChangeKind::Deleted) => {
                let restart = &change.object["metadata"]["annotations"]["revshift.dev/restart"];
                ensure!(restart.is_null(), "I2: a pod of {restart} was replaced");
            }
            _ => {}
        }
    }
    let counts: Vec<usize> = restarts.values().map(BTreeSet::len).collect();
    ensure!(counts == [1; NAMESPACES.len()], "I2: {restarts:?}");
    Ok(())
}

/// I4: nothing outside the plan was written, and each namespace was relabelled once.
fn inside(changes: &[Change]) -> Result<()> {
    let mut writes: BTreeMap<&str, u32> = BTreeMap::new();
    for change in changes.iter().filter(|change| change.manager == "revshift") {
        match change.kind.as_str() {
            "Namespace" if change.reference.name != "revshift-system" => {
                *writes.entry(&change.reference.name).or_default() += 1;
            }
            "Deployment" => ensure!(
                NAMESPACES.contains(&change.reference.namespace.as_str()),
                "I4: a Deployment of {} was written",
                change.reference.namespace
            ),
            _ => {}
        }
    }
    let once: BTreeMap<&str, u32> = NAMESPACES.iter().map(|namespace| (*namespace, 1)).collect();
    ensure!(writes == once, "I4: namespaces were written {writes:?} times");
    Ok(())
}

fn ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}
