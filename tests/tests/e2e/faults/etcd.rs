//! Backups of etcd that are restored while a migration runs, and replicas that contend.

use super::story::{NAMESPACES, Story, When, tell};
use jiff::SignedDuration;
use revshift_proto::v1 as proto;
use revshift_proto::v1::migration_service_client::MigrationServiceClient;
use revshift_tests::{Bed, NEW};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;

const MIGRATIONS: &str = "/apis/revshift.dev/v1alpha1/migrations";
const SHARDS: &str = "/apis/revshift.dev/v1alpha1/migrationshards";
const LEASE: &str =
    "/apis/coordination.k8s.io/v1/namespaces/revshift-system/leases/revshift-server";

/// The numbers of the records that a client holds, by namespace.
#[derive(Default)]
struct Held {
    token: String,
    numbers: BTreeMap<String, u64>,
}

impl Held {
    /// Follows a migration as long as the connection lives; whether it is over.
    async fn follow(&mut self, channel: Channel, id: &str) -> Result<(), tonic::Status> {
        let request =
            proto::WatchMigrationRequest { id: id.to_owned(), resume_token: self.token.clone() };
        let mut client = MigrationServiceClient::new(channel);
        let mut messages = client.watch_migration(request).await?.into_inner();
        while let Some(message) = messages.message().await? {
            for m in message.moves {
                let before = self.numbers.insert(m.namespace, m.sequence);
                assert!(before.is_none_or(|before| before < m.sequence), "I8: numbers go back");
            }
            self.token = message.resume_token;
        }
        Ok(())
    }
}

/// What the API server says of versions that are not reached yet is nothing, so the Lease tells: the view
/// is made anew, the records get numbers above all that were given, and nobody misses anything.
#[test]
fn an_etcd_whose_versions_go_back_is_seen() {
    for fault in [
        "restored=3s:patch deployments b",
        "restored=7s:patch deployments b",
        "restored=5s:patch namespaces b",
        "restored=4s:update leases:1 after 3",
    ] {
        tell(async || {
            let story = Story::begin(When::Start, &[]).await;
            // The backup holds the migration, and a Lease that is older than what is known of it.
            sleep(Duration::from_secs(1)).await;
            let second = story.bed.start().await.unwrap();
            let faults = story.arm(&[fault]);
            let mut held = Held::default();
            let followed = async {
                loop {
                    let channel = second.channel().await.unwrap();
                    match held.follow(channel, &story.id).await {
                        Ok(()) => break,
                        Err(status) => assert_eq!(status.code(), tonic::Code::Unavailable),
                    }
                    sleep(Duration::from_millis(500)).await;
                }
            };
            tokio::join!(followed, story.until_state("SUCCEEDED"));
            assert_eq!(faults.struck()[0].1, 1, "{fault}");
            story.is_moved();
            let shards = story.bed.sandbox.objects(SHARDS);
            let records = shards[0]["status"]["moves"].as_array().unwrap();
            let stored = records.iter().map(|record| record["sequence"].as_u64().unwrap());
            let stored: BTreeMap<String, u64> =
                NAMESPACES.iter().map(|name| (*name).to_owned()).zip(stored).collect();
            assert_eq!(held.numbers, stored, "{fault}: I8");
            let lease = story.bed.sandbox.object(LEASE).unwrap();
            assert!(lease["spec"]["leaseTransitions"].as_u64().unwrap() > 1, "{fault}: {lease}");
            second.kill().await.unwrap();
        });
    }
}

/// A migration that the backup does not hold has never been.
#[test]
fn what_a_restored_etcd_does_not_hold_is_no_more() {
    tell(async || {
        let story = Story::begin(When::Start, &[]).await;
        let sandbox = &story.bed.sandbox;
        let changes = sandbox.changes_after(0);
        let made = changes.iter().find(|change| change.kind == "Migration").unwrap();
        // It goes on for a while first.
        sleep(Duration::from_secs(4)).await;
        sandbox.restore(made.version - 1, false);
        loop {
            let output = story.run(&["status", &story.id]).await;
            if output.stderr.contains("no migration") || output.stderr.contains("not found") {
                break;
            }
            assert!(output.status == 0 || output.status == 3, "{output:?}");
            sleep(Duration::from_secs(1)).await;
        }
        assert!(sandbox.objects(MIGRATIONS).is_empty());
    });
}

/// What a backup takes back is noticed: the migration goes on from what is stored then, or stops
/// and says so, and never believes what is no more.
#[test]
fn a_restored_etcd_is_seen() {
    for fault in ["restored-ahead=1s:patch deployments b", "restored-ahead=3s:patch deployments b"]
    {
        tell(async || {
            let story = Story::begin(When::Run, &[fault]).await;
            story.until_state("SUCCEEDED").await;
            story.faults_have_struck();
            story.is_moved();
        });
    }
}

/// A lease is judged by what each candidate has seen itself, never by the times that another wrote.
#[test]
fn clocks_that_are_apart_change_nothing() {
    for hours in [-1, 1] {
        tell(async || {
            let mut story = Story::begin(When::Run, &[]).await;
            let second = story.bed.launch_with_clock(SignedDuration::from_hours(hours));
            second.ready().await.unwrap();
            let host = second.host().to_owned();
            while story.label("a").as_deref() != Some(NEW) {
                sleep(Duration::from_millis(100)).await;
            }
            let holder = |story: &Story| {
                let lease = story.bed.sandbox.object(LEASE).unwrap();
                lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
            };
            let first = std::mem::replace(&mut story.replica, Box::new(second));
            assert_ne!(holder(&story), host, "it led although the lease was held");
            first.kill().await.unwrap();
            let killed = Instant::now();
            while holder(&story) != host {
                sleep(Duration::from_millis(100)).await;
            }
            let waited = killed.elapsed().as_secs();
            assert!((12..=17).contains(&waited), "{hours} h apart it waited for {waited} s");
            story.until_state("SUCCEEDED").await;
            story.moved_once();
        });
    }
}

#[test]
fn two_replicas_that_fight_over_the_lease_move_once() {
    for fault in
        ["lease-deleted:update leases:always 1 in 3", "lease-stolen:update leases:3 1 in 2"]
    {
        tell(async || {
            let story = Story::begin(When::Run, &[fault]).await;
            let second = story.bed.start().await.unwrap();
            story.until_state("SUCCEEDED").await;
            story.faults_have_struck();
            story.moved_once();
            second.kill().await.unwrap();
        });
    }
}
