//! Faults that alter nothing about the end of a migration.

use super::story::{Story, When, absorbed, tell};
use revshift_sandbox::fixtures;

const SERVER: &str = "any * * from replica-0";

#[test]
fn lost_replies_change_nothing() {
    absorbed(When::Create, &["lost-reply:create migrations"]);
    absorbed(When::Create, &["reset-after:create migrations"]);
    absorbed(When::Create, &["lost-reply:create migrationshards"]);
    for fault in [
        "lost-reply:patch namespaces:2",
        "lost-reply:patch deployments:2",
        "reset-after:patch namespaces:2",
        "reset-after:patch deployments:2",
        "truncated:patch deployments:2",
        "lost-reply:writes:always 1 in 4",
        "reset-after:writes:always 1 in 4",
    ] {
        absorbed(When::Run, &[fault]);
    }
}

#[test]
fn late_and_old_watches_change_nothing() {
    for resource in ["pods", "deployments", "namespaces", "migrationshards", "migrations"] {
        absorbed(When::Start, &[&format!("late-watch=20s:watch {resource}:always")]);
    }
    absorbed(When::Start, &["late-watch=3s:watch:always 1 in 2"]);
    absorbed(When::Start, &["repeated-events=20s:watch:always"]);
}

#[test]
fn no_read_may_be_stale() {
    tell(async || {
        let story = Story::begin(When::Start, &["stale-read:reads:always"]).await;
        story.until_state("SUCCEEDED").await;
        story.moved_once();
        // Gates are decided on consistent reads, so nothing asks for less.
        assert_eq!(story.faults.struck()[0].1, 0);
    });
}

#[test]
fn broken_watches_change_nothing() {
    for fault in [
        "merged-events=3s:watch:always",
        "reordered-events=3s:watch:always",
        "watch-closed:watch:always",
        "watch-gap=7s:watch:always",
        "no-bookmarks:watch:always",
        "reset:watch:always 1 in 2",
    ] {
        absorbed(When::Start, &[fault]);
    }
}

#[test]
fn conflicts_change_nothing() {
    for fault in [
        "conflict:patch namespaces:3",
        "conflict:patch deployments:3",
        "conflict:writes:12",
        "touched:patch namespaces a",
        "touched:patch deployments:2",
        "touched:writes migrationshards:3",
        "touched:writes migrations:2",
    ] {
        absorbed(When::Run, &[fault]);
    }
}

#[test]
fn expired_versions_change_nothing() {
    for fault in ["watch-expired:watch:20", "gone:watch:20", "gone:list:9"] {
        absorbed(When::Start, &[fault]);
    }
    absorbed(When::Run, &["compacted:patch", "watches-dropped:patch"]);
    absorbed(When::Run, &["compacted:patch deployments:2", "watches-dropped:patch deployments:2"]);
    // The second page of a list that needs two.
    tell(async || {
        let story = Story::begin(When::Run, &["gone:list namespaces:1 after 1"]).await;
        for number in 0..600 {
            story.bed.sandbox.apply(fixtures::namespace(&format!("more-{number}"), &[]));
        }
        story.bed.sandbox.compact();
        story.bed.sandbox.drop_watches();
        story.until_state("SUCCEEDED").await;
        story.moved_once();
        story.faults_have_struck();
    });
}

#[test]
fn storms_are_waited_out() {
    for kind in
        ["throttled", "throttled=7s", "throttled-bare", "internal-error", "unavailable", "timeout"]
    {
        absorbed(When::Run, &[&format!("{kind}:{SERVER}:for 45s")]);
        absorbed(When::Run, &[&format!("{kind}:{SERVER}:always 1 in 3")]);
    }
    absorbed(When::Run, &[&format!("slow=200ms:{SERVER}:always")]);
    absorbed(When::Run, &["slow=12s:writes:6"]);
}

#[test]
fn silence_is_not_waited_for() {
    for fault in [
        "hang-before:patch namespaces:2",
        "hang-before:patch deployments:2",
        "hang-after:patch namespaces:2",
        "hang-after:patch deployments:2",
        "hang-after:writes migrationshards:3",
        "hang-before:any leases:8",
        "trickle:writes:3",
        "trickle:list pods:2",
        "reset:any:6",
    ] {
        absorbed(When::Run, &[fault]);
    }
    absorbed(When::Start, &["hang-before:list:3"]);
    absorbed(When::Start, &["trickle:list:3"]);
}

#[test]
fn half_open_watches_change_nothing() {
    for fault in ["half-open:watch pods:2", "half-open:watch deployments:2", "half-open:watch:8"] {
        absorbed(When::Start, &[fault]);
    }
    absorbed(When::Start, &["half-open:watch migrationshards", "half-open:watch migrations"]);
}

#[test]
fn a_disturbed_lease_changes_nothing() {
    for fault in [
        "lease-deleted:update leases:2",
        "lease-stolen:update leases:1",
        "unavailable:any leases:for 1m",
        "clock-jump=1h:patch namespaces",
        "clock-jump=-1h:patch namespaces",
        "clock-jump=1h:update leases",
    ] {
        absorbed(When::Run, &[fault]);
    }
}
