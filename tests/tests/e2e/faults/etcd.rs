//! Backups of etcd that are restored while a migration runs, and replicas that contend.

use super::story::{Story, When, tell};
use revshift_tests::Bed;

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
