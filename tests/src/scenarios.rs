//! Every scenario, by the surface that it tells of.

mod blockages;
mod changes;
mod connections;
mod control;
mod crash;
mod drift;
mod endpoints;
mod events;
mod evictions;
mod explain;
mod extends;
mod failures;
mod findings;
mod gates;
mod gitops;
mod grpc;
mod kinds;
mod leftovers;
mod namespaces;
mod overlap;
mod planes;
mod procedure;
mod recourse;
mod refusals;
mod replicas;
mod retirements;
mod rollback;
mod rollouts;
mod tags;
mod times;
mod waves;
mod windows;

use crate::bed::Bed;
use anyhow::Result;
use futures::future::LocalBoxFuture;

/// A story on a bed. Scenarios use namespaces of their own and leave no server behind.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// What it shows.
    pub name: &'static str,
    /// Tells it.
    pub run: for<'a> fn(&'a dyn Bed) -> LocalBoxFuture<'a, Result<()>>,
}

impl std::fmt::Debug for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

macro_rules! scenarios {
    ($($module:ident :: $name:ident,)*) => {
        /// Every scenario.
        pub const SCENARIOS: &[Scenario] = &[$(Scenario {
            name: stringify!($name),
            run: |bed| Box::pin($module::$name(bed)),
        },)*];
    };
}

scenarios! {
    procedure::a_namespace_moves_is_rolled_back_and_moves_again,
    planes::planes_count_what_is_really_attached,
    planes::a_sail_plane_comes_and_goes_without_a_restart,
    planes::a_plain_istiod_is_found_by_its_revision_label,
    namespaces::a_namespace_shows_how_its_pods_fit_its_label,
    namespaces::a_namespace_without_injection_says_why,
    control::a_detached_migration_is_watched_later,
    control::a_paused_migration_starts_nothing,
    control::a_migration_is_paused_before_it_starts,
    control::a_paused_migration_is_cancelled,
    control::a_cancelled_migration_finishes_what_it_began,
    control::a_finished_migration_refuses_commands,
    findings::a_check_tells_what_is_at_risk_and_touches_nothing,
    findings::an_error_stops_a_migration_until_it_is_allowed,
    findings::configuration_is_read_as_the_target_would,
    findings::the_injector_is_asked_about_every_template,
    findings::what_is_wrong_with_planes_is_told,
    failures::a_failed_rollout_pauses_until_it_is_mended,
    failures::failures_are_told_apart_and_rolled_back_together,
    failures::a_stuck_namespace_is_rolled_back_alone,
    failures::a_deployments_own_deadline_is_kept,
    failures::a_rollout_without_progress_fails_in_time,
    failures::a_stuck_stateful_set_needs_no_hand,
    failures::a_stuck_stateful_set_is_forced,
    blockages::a_quota_without_room_fails_the_move,
    blockages::a_webhook_that_is_down_fails_the_move,
    blockages::a_plane_that_is_not_available_takes_nothing,
    blockages::a_plane_that_is_deleted_under_a_migration_is_missed,
    leftovers::leftovers_are_told_and_left,
    kinds::every_kind_is_replaced_pod_by_pod_once,
    evictions::what_does_not_roll_is_evicted_pod_by_pod,
    evictions::the_only_pod_is_evicted_only_when_told,
    evictions::a_budget_holds_its_workload_only,
    evictions::a_restart_that_is_taken_back_becomes_evictions,
    evictions::a_straggler_is_evicted,
    evictions::a_second_wrong_injection_fails_the_move,
    endpoints::a_service_keeps_its_endpoints,
    events::a_namespace_and_its_migration_tell_what_happened,
    recourse::a_failed_namespace_goes_back_by_itself,
    recourse::a_failed_wave_goes_back_by_itself,
    recourse::a_rollback_by_itself_that_fails_pauses,
    refusals::a_migration_needs_two_planes,
    refusals::namespaces_that_cannot_be_moved_are_refused,
    refusals::workloads_that_would_be_interrupted_are_refused,
    refusals::malformed_requests_are_refused,
    grpc::a_migration_is_made_once_for_its_request_id,
    grpc::a_plan_that_changed_is_not_executed,
    grpc::refusals_carry_their_reasons,
    grpc::lists_come_in_pages,
    grpc::a_server_tells_of_itself,
    crash::a_killed_server_goes_on_where_it_was,
    crash::a_failure_outlives_its_server,
    crash::an_empty_namespace_moves_by_its_label,
    overlap::an_overlapping_migration_waits_for_the_older,
    overlap::a_new_migration_finishes_what_a_cancelled_one_left,
    overlap::a_relabelled_namespace_is_only_restarted,
    overlap::a_namespace_on_the_target_is_skipped,
    overlap::independent_migrations_run_side_by_side,
    overlap::an_opposite_migration_waits_and_moves_back,
    drift::a_label_that_drifts_is_not_fought_over,
    drift::a_blocked_namespace_stays_blocked_when_cancelled,
    drift::a_restart_that_is_reverted_is_left_to_its_owner,
    drift::a_deleted_namespace_is_gone_and_its_heir_spared,
    drift::a_deleted_migration_is_cancelled_first,
    drift::a_follower_hears_of_a_deletion,
    drift::a_plan_is_for_the_labels_of_its_time,
    drift::a_workload_that_appears_in_the_middle_is_counted,
    changes::a_workload_is_scaled_in_the_middle,
    changes::a_workload_is_deployed_in_the_middle,
    changes::workloads_are_deleted_and_recreated_in_the_middle,
    gitops::what_another_cluster_decides_on_is_refused,
    gitops::a_label_kept_by_gitops_is_waited_for,
    gitops::a_label_that_gitops_puts_back_is_drift,
    rollback::a_migration_is_rolled_back_in_reverse_order,
    rollback::a_rollback_is_refused_where_it_would_guess,
    rollback::a_running_migration_is_rolled_back,
    rollback::a_rollback_is_rolled_back,
    rollouts::a_rollout_is_restarted_by_its_own_controller,
    rollouts::the_only_pod_of_a_rollout_goes_only_when_told,
    waves::a_rule_moves_in_waves,
    waves::a_file_holds_the_whole_specification,
    waves::a_gateway_waits_for_an_approval,
    waves::a_namespace_is_left_out_after_all,
    waves::a_failure_budget_lets_the_others_go_on,
    explain::a_namespace_is_explained_pod_by_pod,
    explain::what_keeps_a_pod_where_it_is_is_told,
    explain::the_webhooks_of_the_day_are_told,
    times::a_time_that_cannot_be_read_blinds_nobody,
    tags::labels_of_tags_are_rewritten_and_restored,
    tags::a_rule_leaves_tags_out_unless_told,
    tags::a_tag_that_is_named_is_what_is_written,
    tags::a_tag_that_moves_pauses_the_migration,
    tags::a_tag_that_is_left_is_watched_until_it_is_left,
    tags::planes_tell_tags_and_the_default,
    windows::a_window_lets_through_or_holds,
    extends::a_migration_takes_in_what_came_since,
    gates::what_was_moved_soaks_before_anything_later_begins,
    gates::a_job_decides_whether_the_next_wave_begins,
    connections::a_namespace_counts_as_moved_once_it_is_connected,
    connections::a_pod_that_is_not_connected_fails_the_move,
    connections::a_pod_that_rejects_its_configuration_fails_the_move,
    connections::a_pod_that_is_connected_elsewhere_or_never_answers_fails_the_move,
    connections::an_istiod_that_cannot_be_asked_blocks_the_move,
    connections::istiods_decide_whether_the_next_wave_begins,
    retirements::a_used_plane_is_refused_and_an_unused_one_retired,
    retirements::the_old_plane_goes_once_everything_has_moved,
    retirements::a_retirement_is_given_up_before_it_deletes,
    retirements::a_plane_without_an_operator_goes_object_by_object,
    replicas::both_replicas_answer_everything,
    replicas::a_leader_that_stops_hands_over,
    replicas::a_leader_that_is_killed_is_replaced,
}
