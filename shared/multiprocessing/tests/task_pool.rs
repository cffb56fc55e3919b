//! Python's `Pool`, and what Python does not say of it: processes that are killed.
#![allow(clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Probe, is_gone, parse_pid, run, wait_until};
use multiprocessing::{AsyncResult, TaskPool};
use nix::sys::signal::Signal;

#[test]
fn a_function_is_called_in_a_worker_with_an_argument_of_any_size_and_its_result_comes_back() {
    run("task-pool-apply");
}

#[test]
fn many_results_come_in_the_order_of_the_arguments_in_chunks_of_any_size() {
    run("task-pool-map");
}

#[test]
fn nothing_to_do_is_done_at_once_by_every_way() {
    run("task-pool-nothing-to-do");
}

#[test]
fn a_result_that_comes_later_is_waited_for_told_once_or_given_up() {
    run("task-pool-later");
}

#[test]
fn results_come_one_by_one_in_order_while_arguments_are_still_made() {
    run("task-pool-imap");
}

#[test]
fn unordered_results_come_as_soon_as_they_are_there() {
    run("task-pool-imap-unordered");
}

#[test]
fn a_source_of_arguments_that_panics_leaves_the_pool_and_what_came_before_as_they_are() {
    run("task-pool-sources-that-panic");
}

#[test]
fn what_cannot_be_sent_or_received_is_an_error_of_its_own_and_costs_no_worker() {
    run("task-pool-awkward");
}

#[test]
fn arguments_and_results_are_given_up_in_owner_and_worker() {
    run("task-pool-references");
}

#[test]
fn after_an_early_error_the_rest_is_waited_for_and_a_join_does_not_hang() {
    run("task-pool-no-hurry");
}

#[test]
fn an_error_says_where_it_came_from() {
    let traced = |backtrace: &str| {
        let mut probe = Probe::start_through(&["env", backtrace], &["task-pool-traceback"]);
        probe.succeed();
        let lines: usize = probe.fact("lines").parse().unwrap();
        let errors = probe.errors();
        assert!(errors.contains("in a thread") && errors.contains("in a child"), "{errors}");
        assert!(!errors.contains("no luck"), "told and printed: {errors}");
        (lines, probe.fact("names_the_task") == "true")
    };
    assert_eq!(traced("RUST_BACKTRACE=0"), (1, false));
    let (lines, names_the_task) = traced("RUST_BACKTRACE=1");
    assert!(lines > 1 && names_the_task, "{lines} lines");
}

#[test]
fn there_are_as_many_workers_as_asked_for_and_at_least_one() {
    run("task-pool-size");
}

#[test]
fn a_pool_that_was_joined_or_dropped_is_of_no_use_and_leaves_nothing_behind() {
    run("task-pool-ends");
}

#[test]
fn workers_that_did_their_share_of_tasks_are_replaced_also_while_the_pool_is_joined() {
    run("task-pool-lifetime");
}

/// The processes that a probe has told of are gone soon, also when the machine is busy.
fn are_gone_soon(probe: &Probe, key: &str) {
    let pids: Vec<_> =
        probe.seen.iter().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect();
    assert!(!pids.is_empty());
    let took = wait_until("they end", || pids.iter().all(|pid| is_gone(parse_pid(pid))));
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_program_that_ends_with_a_pool_at_work_ends_well_and_leaves_nobody() {
    let probe = run("task-pool-alive-at-exit");
    are_gone_soon(&probe, "dispatcher");
    are_gone_soon(&probe, "worker");
}

#[test]
fn a_pool_that_cannot_be_started_whole_is_not_started() {
    // Each worker costs the dispatcher two descriptors.
    let wrapper = ["sh", "-c", "ulimit -n 24; exec \"$0\" \"$@\""];
    let mut probe = Probe::start_through(&wrapper, &["task-pool-half-started"]);
    probe.succeed();
    let started: usize = probe.fact("started").parse().unwrap();
    assert!((3..20).contains(&started), "{started}");
    assert!(probe.fact("why").contains("EMFILE"), "{}", probe.fact("why"));
}

#[test]
fn no_task_waits_behind_a_long_one_while_another_worker_has_nothing_to_do() {
    run("task-pool-behind-a-long-task");
}

#[test]
fn a_task_given_to_a_worker_that_is_long_busy_does_not_wait_until_all_others_are_done() {
    let probe = run("task-pool-overtaken");
    let overtaken: u64 = probe.fact("most_overtaken").parse().unwrap();
    // Of 5000. It is taken back after 16 of each of the three workers, more than once if it gets to a busy one again.
    assert!(overtaken < 1000, "{overtaken}");
}

/// Checks that something was refused, where the test may make it so, and that the dispatcher slept meanwhile.
fn is_refused_and_idle(scenario: &str, used: &str) {
    let probe = run(scenario);
    if probe.fact("refused") != "unknown" {
        assert_eq!(probe.fact("refused"), "true");
        let used: u64 = probe.fact(used).parse().unwrap();
        assert!(used < 100_000, "{used} us in a second");
    }
}

#[test]
fn a_large_task_that_cannot_be_sent_keeps_no_result_back_and_is_sent_later() {
    is_refused_and_idle("task-pool-refused-task", "task_us_per_second");
}

#[test]
fn a_large_result_that_cannot_be_sent_is_sent_later() {
    is_refused_and_idle("task-pool-refused-result", "result_us_per_second");
}

#[test]
fn workers_that_end_before_they_have_begun_a_task_are_given_up_after_some() {
    let started: u64 = run("task-pool-short-lived").fact("started").parse().unwrap();
    assert!((2..20).contains(&started), "{started} were started");
}

#[test]
fn an_owner_that_is_cut_off_from_its_pool_is_told_and_ends_it_in_time() {
    run("task-pool-cut-off");
}

#[test]
fn every_worker_is_prepared_once_whenever_it_starts() {
    run("task-pool-initializer");
}

#[test]
fn two_hundred_workers_do_a_thousand_tasks() {
    run("task-pool-large");
}

#[test]
fn handles_of_shared_memory_from_before_the_pool_or_from_its_initializer_work_in_tasks() {
    run("task-pool-shared-memory");
}

#[test]
fn tasks_start_pools_children_and_programs_of_their_own() {
    run("task-pool-families");
}

#[test]
fn a_forked_child_of_the_owner_gets_errors_and_does_no_harm() {
    run("task-pool-inherited");
}

#[test]
fn signals_that_the_owner_ignores_or_blocks_hinder_no_pool_and_an_interrupt_is_the_owners() {
    let wrapper = ["env", "--ignore-signal=CHLD"];
    Probe::start_through(&wrapper, &["task-pool-signals"]).succeed();
}

#[test]
fn threads_of_the_owner_use_one_pool_at_once() {
    fn is_for_threads<T: Send + Sync>() {}
    is_for_threads::<TaskPool>();
    is_for_threads::<AsyncResult<u8>>();
    run("task-pool-threads");
}

#[test]
fn an_owner_that_gives_and_does_not_take_is_not_in_its_own_way() {
    run("task-pool-full-pipes");
}

#[test]
fn who_has_no_descriptor_left_loses_a_large_message_and_nothing_else() {
    run("task-pool-no-descriptors");
}

#[test]
fn tasks_that_print_close_or_write_where_they_should_not_harm_only_themselves() {
    let probe = run("task-pool-rough-tasks");
    assert_eq!(probe.count("printed=by a task"), 1);
}

#[test]
fn a_pool_with_nothing_to_do_uses_no_processor() {
    run("task-pool-idle");
}

#[test]
fn waits_keep_their_time_and_tasks_go_on_under_a_storm_of_signals() {
    run("task-pool-times");
}

#[test]
fn the_task_of_a_killed_worker_fails_and_nothing_else_does() {
    run("task-pool-worker-killed");
}

#[test]
fn the_tasks_that_a_killed_worker_had_not_begun_are_done_by_another_in_their_order() {
    run("task-pool-ahead-of-a-death");
}

#[test]
fn what_a_worker_has_done_counts_also_when_it_ends_while_it_is_given_more() {
    run("task-pool-deaths-in-a-row");
}

#[test]
fn a_task_that_ends_its_worker_fails_with_that_end() {
    run("task-pool-ending-tasks");
}

#[test]
fn when_no_worker_becomes_ready_tasks_fail_within_seconds_instead_of_waiting() {
    let probe = run("task-pool-initializer-that-fails");
    let took: u64 = probe.fact("given_up_ms").parse().unwrap();
    assert!(took < 10_000, "{took} ms");
}

#[test]
fn workers_killed_while_they_prepare_are_replaced() {
    run("task-pool-initializer-killed");
}

#[test]
fn where_workers_only_failed_it_is_tried_again_once_another_is_ready() {
    run("task-pool-initializer-that-fails-at-first");
}

#[test]
fn after_the_death_of_the_dispatcher_every_task_fails_and_the_workers_are_gone() {
    let probe = run("task-pool-dispatcher-killed");
    let took: u64 = probe.fact("gone_ms").parse().unwrap();
    assert!(took < 5000, "{took} ms");
}

#[test]
fn dispatcher_and_workers_of_a_killed_owner_are_gone_soon_and_its_segment_with_them() {
    let mut probe = Probe::start(&["task-pool-owner-killed"]);
    probe.line("all=");
    assert_eq!(probe.count("family="), 4);
    probe.signal(Signal::SIGKILL);
    are_gone_soon(&probe, "family");
    assert!(!probe.name.path().exists());
    probe.wait();
}

#[test]
fn dispatcher_and_workers_of_a_killed_owner_are_gone_soon_also_when_it_had_changed_its_user() {
    let mut probe = Probe::start(&["task-pool-other-user"]);
    probe.line("all=");
    assert_eq!(probe.count("family="), 3);
    probe.signal(Signal::SIGKILL);
    are_gone_soon(&probe, "family");
    assert!(!probe.name.path().exists());
    probe.wait();
}

#[test]
fn a_stopped_worker_is_waited_for_and_ends_with_its_pool() {
    run("task-pool-stopped");
}

#[test]
fn no_task_is_lost_doubled_or_done_twice_when_workers_are_killed_at_random() {
    run("task-pool-soak");
}
