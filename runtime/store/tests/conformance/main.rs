//! What every job store does, checked through the trait [`JobStore`](capstan_engine::job_store::JobStore) for each of them.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests make folders of their own, and fail by panicking"
)]

mod changes;
mod claims;
mod follow_ups;
mod graphs;
mod model;
mod output;
mod queries;
mod retention;
mod scheduler;
mod schedules;
mod submits;
mod work;

/// Makes a test of each case for each store.
macro_rules! conformance {
    ($($suite:ident: $($case:ident)*;)*) => {
        mod memory {
            $(mod $suite {
                $(#[tokio::test]
                async fn $case() {
                    let store = capstan_engine::job_store::MemoryJobStore::new(crate::work::limits())
                        .with_follow_ups(crate::follow_ups::rule());
                    crate::$suite::$case(&crate::work::Work::new(&store)).await;
                })*
            })*
        }

        mod sqlite {
            $(mod $suite {
                $(#[tokio::test]
                async fn $case() {
                    let data = crate::work::TempData::new();
                    let store = data.open(capstan_engine::job_store::Now::read());
                    crate::$suite::$case(&crate::work::Work::new(&store)).await;
                })*
            })*
        }
    };
}

conformance! {
    submits:
        repeated_key_returns_the_same_job
        repeated_key_with_another_request_is_an_error
        expired_key_makes_a_new_job
        key_outlives_the_removal_of_its_job
        refused_job_does_not_stop_the_rest_of_a_batch
        oversized_job_is_refused_with_the_limit
        full_queue_refuses_jobs
        array_that_does_not_fit_is_refused_as_a_whole
        submitted_job_is_read_back_unchanged;
    claims:
        claim_returns_jobs_with_plan_and_stdin
        jobs_of_a_handler_run_by_priority_then_age
        handlers_and_keys_take_turns
        excluded_handlers_and_keys_are_not_claimed
        paused_queue_is_not_claimed
        scheduled_job_is_claimed_when_it_is_due
        missed_start_deadline_refuses_the_job
        attempt_is_finished_once
        lease_that_ran_out_is_lost_once_and_its_worker_is_stale
        heartbeat_keeps_a_lease_whatever_the_wall_clock_does
        failed_run_is_retried_when_it_is_due
        run_without_the_queue_is_recorded
        watch_learns_of_every_change;
    changes:
        cancel_ends_a_job_that_does_not_run
        cancel_of_a_running_job_is_recorded_and_prevents_retries
        requeue_of_a_dead_letter_starts_afresh
        requeue_replaces_the_plan
        remove_refuses_jobs_that_have_not_ended
        change_of_an_unknown_job_is_an_error;
    graphs:
        job_waits_for_all_dependencies
        job_that_waits_for_any_runs_after_the_first
        job_whose_dependency_failed_is_refused_and_so_are_its_dependants
        unknown_dependency_is_an_error
        dependency_that_has_ended_counts
        removed_dependency_still_counts
        waiting_job_keeps_its_not_before;
    follow_ups:
        each_end_submits_its_follow_up
        end_without_a_run_submits_its_follow_up
        run_that_is_retried_submits_nothing
        follow_up_is_no_subject_to_limits_on_sizes;
    output:
        output_is_read_from_any_position
        large_output_is_read_back_whole
        output_over_the_limit_of_the_job_drops_the_oldest
        output_over_the_limit_of_the_handler_drops_that_of_ended_jobs
        ended_attempt_takes_no_output
        each_attempt_has_its_own_output
        position_of_a_time_is_found;
    queries:
        filter_selects_by_each_field
        pages_neither_lose_nor_repeat_jobs
        forged_cursor_is_only_a_position
        prefix_names_at_most_two_jobs
        queues_count_jobs_by_state
        next_due_is_the_earliest_time;
    schedules:
        schedule_fires_once_for_each_time
        paused_or_unknown_schedule_does_not_fire
        event_numbers_are_those_that_were_put_last
        schedules_are_listed_replaced_and_removed;
    retention:
        old_jobs_are_removed
        surplus_jobs_are_removed_first_ended_first
        jobs_are_removed_until_the_output_fits
        rule_of_a_handler_replaces_the_default
        batch_bounds_a_call;
    model:
        random_operations_agree_with_a_simple_model;
}
