//! A server that is told to end while a thousand clients watch.

use crate::simulated::{self, SimulatedBed, SimulatedReplica};
use revshift_proto::v1 as proto;
use revshift_proto::v1::migration_service_client::MigrationServiceClient;
use revshift_sandbox::fixtures;
use revshift_tests::{Bed, NEW, OLD, Replica};
use serde_json::Value;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

const WATCHERS: usize = 1000;
/// So many of them read nothing.
const STALLED: usize = 10;
/// Bytes that a connection of theirs takes in: less than the first message has.
const WINDOW: u32 = 1024;
const NAMESPACES: usize = 40;
/// Far less than what Kubernetes leaves a pod between SIGTERM and SIGKILL, 30 s.
const GRACE: Duration = Duration::from_secs(6);
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/revshift-system/leases";

/// A stream and the token of its last message.
struct Watcher {
    stream: Streaming<proto::WatchMigrationResponse>,
    token: String,
    last: u64,
}

impl Watcher {
    async fn open(channel: Channel, id: &str, token: &str) -> Result<Self, Status> {
        let request =
            proto::WatchMigrationRequest { id: id.to_owned(), resume_token: token.to_owned() };
        let mut client = MigrationServiceClient::new(channel);
        let stream = client.watch_migration(request).await?.into_inner();
        Ok(Self { stream, token: token.to_owned(), last: 0 })
    }

    /// Takes in the next message; whether it makes the client hold everything.
    async fn next(&mut self) -> Result<Option<bool>, Status> {
        let Some(message) = self.stream.message().await? else {
            return Ok(None);
        };
        assert!(!message.resync, "a stream began anew");
        for m in message.moves {
            assert!(m.sequence > self.last, "record {} came after {}", m.sequence, self.last);
            self.last = m.sequence;
        }
        self.token = message.resume_token;
        Ok(Some(message.synced))
    }
}

/// Who holds the Lease; empty when nobody does.
fn holder(bed: &SimulatedBed) -> String {
    let lease = bed.sandbox.object(&format!("{LEASES}/revshift-server")).unwrap_or_default();
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
}

async fn started(bed: &SimulatedBed) -> SimulatedReplica {
    let replica = bed.launch();
    replica.ready().await.unwrap();
    replica
}

/// A migration that goes on for as long as its first namespace is not ready.
async fn begun(bed: &SimulatedBed, server: &str) -> String {
    let names: Vec<String> = (0..NAMESPACES).map(|index| format!("n-{index:02}")).collect();
    for name in &names {
        bed.sandbox.apply(fixtures::namespace(name, &[("istio.io/rev", OLD)]));
    }
    sleep(Duration::from_secs(1)).await;
    let held = fixtures::deployment(&names[0], "web", 2);
    let held = fixtures::with_pod_label(held, "bed.revshift.dev/fails", "never-ready");
    bed.sandbox.apply(fixtures::with_pod_label(held, "bed.revshift.dev/fails-on", NEW));
    sleep(Duration::from_secs(5)).await;
    let migrate = ["--server", server, "migrate", "--from", OLD, "--to", NEW, "--yes", "--detach"];
    let selected = names.iter().flat_map(|name| ["-n", name]);
    let args = migrate.into_iter().chain(selected).map(str::to_owned).collect();
    let output = bed.revshift(args).await.unwrap();
    assert_eq!(output.status, 0, "{}", output.stderr);
    output.stdout.trim().to_owned()
}

/// Reads until the stream is ended for another replica to go on.
async fn drained(watcher: &mut Watcher) {
    let status = loop {
        match timeout(GRACE, watcher.next()).await.expect("a stream does not end") {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a stream ended as if the migration had"),
            Err(status) => break status,
        }
    };
    let reason = status.get_details_error_info().map(|info| info.reason);
    let expected = (Code::Unavailable, Some("DRAINING".to_owned()));
    assert_eq!((status.code(), reason), expected, "{status:?}");
}

#[test]
fn a_thousand_watchers_go_on_elsewhere_when_a_server_ends() {
    simulated::in_virtual_time(async {
        let bed = SimulatedBed::new();
        let first = started(&bed).await;
        sleep(Duration::from_secs(1)).await;
        let second = started(&bed).await;
        let (address, other) = (first.address(), second.address());
        assert_eq!(holder(&bed), first.host());
        let id = begun(&bed, &address).await;
        // The first namespace restarts and stays so.
        sleep(Duration::from_secs(20)).await;
        let mut watchers = Vec::new();
        for _ in STALLED..WATCHERS {
            let channel = bed.connect(&address).await.unwrap();
            let mut watcher = Watcher::open(channel, &id, "").await.unwrap();
            while watcher.next().await.unwrap() != Some(true) {}
            watchers.push(watcher);
        }
        let mut stalled = Vec::new();
        for _ in 0..STALLED {
            let channel = bed.connect_narrow(&address, WINDOW).await.unwrap();
            stalled.push(Watcher::open(channel, &id, "").await.unwrap());
        }

        let (told, at) = (Instant::now(), bed.sandbox.now());
        let end = async {
            Box::new(first).stop().await.unwrap();
            told.elapsed()
        };
        let drain = async {
            for watcher in &mut watchers {
                drained(watcher).await;
            }
            told.elapsed()
        };
        let (took, drained) = tokio::join!(end, drain);
        println!("{WATCHERS} watchers: all that read told after {drained:?}, ended after {took:?}");
        assert!(took <= GRACE, "it took {took:?} to end");
        // Those who do not read are the last to be let go, and nobody waits for them.
        assert!(took > Duration::from_secs(1), "nobody stalled: {took:?}");

        let requests = bed.sandbox.requests();
        let given_back = requests.iter().rfind(|one| one.tag == "replica-0").unwrap();
        let lease: Value = serde_json::from_slice(&given_back.body).unwrap();
        assert!(given_back.path.starts_with(LEASES), "{given_back:?}");
        assert!(lease["spec"]["holderIdentity"].is_null(), "{lease}");
        let after = given_back.time.duration_since(at);
        assert!(after.as_millis() < 1000, "the lease was given back after {after:?}");
        assert_eq!(holder(&bed), second.host(), "nobody leads while clients are let go");

        for watcher in &watchers {
            let channel = bed.connect(&other).await.unwrap();
            let mut resumed = Watcher::open(channel, &id, &watcher.token).await.unwrap();
            resumed.last = watcher.last;
            while resumed.next().await.unwrap() != Some(true) {}
        }
        Box::new(second).stop().await.unwrap();
    });
}
