//! The fault matrix: what can go wrong in the API server and the cluster, and what revshift then
//! does. Every row is held by tests and scenarios, and this file says by which. Left out are TLS and
//! tokens (F21, F22), and a full disk or lack of memory, as a replica keeps nothing of its own.

mod absorbed;
mod etcd;
mod others;
mod rollouts;
mod story;

use revshift_tests::SCENARIOS;
use std::path::Path;

/// What goes wrong, and the tests and scenarios that show what comes of it.
const MATRIX: &[(&str, &[&str])] = &[
    (
        "F1 the server is killed before and after requests",
        &["no_schedule_changes_the_end", "a_killed_server_goes_on_where_it_was"],
    ),
    ("F2 a write is carried out and its reply lost", &["lost_replies_change_nothing"]),
    ("F3 caches are stale", &["late_and_old_watches_change_nothing", "no_read_may_be_stale"]),
    ("F4 events are skipped, merged, reordered", &["broken_watches_change_nothing"]),
    (
        "F5 conflicts and refused patches",
        &["conflicts_change_nothing", "a_refused_write_fails_the_move"],
    ),
    ("F6 versions and continue tokens expire", &["expired_versions_change_nothing"]),
    ("F7 storms of 429, 500, 503, 504", &["storms_are_waited_out"]),
    (
        "F8 hanging calls, trickling answers, half-open watches",
        &["silence_is_not_waited_for", "half_open_watches_change_nothing"],
    ),
    (
        "F9 etcd is compacted or restored",
        &[
            "expired_versions_change_nothing",
            "a_restored_etcd_is_seen",
            "an_etcd_whose_versions_go_back_is_seen",
            "what_a_restored_etcd_does_not_hold_is_no_more",
        ],
    ),
    (
        "F10 the lease is lost, deleted, edited; clocks jump",
        &[
            "a_disturbed_lease_changes_nothing",
            "a_leader_that_is_killed_is_replaced",
            "clocks_that_are_apart_change_nothing",
            "no_schedule_changes_the_end",
        ],
    ),
    ("F11 two leaders", &["two_replicas_that_fight_over_the_lease_move_once"]),
    (
        "F12 a namespace is deleted or recreated",
        &[
            "a_namespace_that_goes_in_the_middle_is_left",
            "a_deleted_namespace_is_gone_and_its_heir_spared",
        ],
    ),
    (
        "F13 somebody else relabels or resets",
        &[
            "who_relabels_in_the_middle_is_named",
            "an_agent_that_resets_is_named",
            "a_label_that_drifts_is_not_fought_over",
            "a_restart_that_is_reverted_is_left_to_its_owner",
        ],
    ),
    (
        "F14 workloads that a restart does not move",
        &[
            "what_does_not_roll_is_evicted_pod_by_pod",
            "leftovers_are_told_and_left",
            "every_kind_is_replaced_pod_by_pod_once",
            "a_rollout_is_restarted_by_its_own_controller",
            "a_workload_is_scaled_in_the_middle",
            "a_stuck_stateful_set_is_forced",
        ],
    ),
    (
        "F15 the new injector is down",
        &["pods_that_fail_are_told_apart", "a_webhook_that_is_down_fails_the_move"],
    ),
    (
        "F16 the wrong revision injects",
        &[
            "pods_that_fail_are_told_apart",
            "webhooks_that_overlap_are_told",
            "a_second_wrong_injection_fails_the_move",
        ],
    ),
    (
        "F17 pods are refused or do not become ready",
        &[
            "pods_that_fail_are_told_apart",
            "a_quota_without_room_fails_the_move",
            "a_deployments_own_deadline_is_kept",
        ],
    ),
    ("F18 an istiod has too much to do", &["an_istiod_that_admits_few_streams_is_waited_for"]),
    (
        "F19 a right is missing or revoked",
        &[
            "a_revoked_right_is_told_and_granted_again",
            "a_right_to_watch_that_is_gone_for_a_while_changes_nothing",
            "a_missing_right_to_read_keeps_it_from_acting",
        ],
    ),
    (
        "F20 clients come and go",
        &[
            "a_detached_migration_is_watched_later",
            "a_killed_server_goes_on_where_it_was",
            "a_client_that_does_not_read_slows_nobody_else",
            "a_client_that_resumes_after_any_prefix_holds_what_is_stored",
            "a_replica_that_holds_less_than_another_did_sends_nothing",
            "tokens_of_something_else_are_refused",
        ],
    ),
    (
        "F23 a server is told to end",
        &[
            "a_leader_that_stops_hands_over",
            "a_thousand_watchers_go_on_elsewhere_when_a_server_ends",
        ],
    ),
    (
        "F24 replicas of different versions",
        &[
            "a_replica_that_does_not_know_an_unfinished_plan_does_not_lead",
            "a_newer_plan_is_not_changed_by_an_older_replica",
            "definitions_of_a_newer_version_are_left",
            "definitions_that_would_drop_something_are_stored_nothing_in",
            "a_migration_that_an_older_version_began_is_finished",
            "records_that_cannot_be_read_are_left_alone",
        ],
    ),
];

#[test]
fn every_row_of_the_matrix_is_held_by_tests_that_exist() {
    let mut sources = String::new();
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![tests.join("tests/e2e"), tests.join("../server/src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                sources.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    for (row, tests) in MATRIX {
        assert!(!tests.is_empty(), "{row} is held by nothing");
        for test in *tests {
            let is_scenario = SCENARIOS.iter().any(|scenario| scenario.name == *test);
            let is_test = ["#[test]\nfn", "#[tokio::test(start_paused = true)]\nasync fn"]
                .iter()
                .any(|kind| sources.contains(&format!("{kind} {test}()")));
            assert!(is_scenario || is_test, "{row}: there is no {test}");
        }
    }
}
