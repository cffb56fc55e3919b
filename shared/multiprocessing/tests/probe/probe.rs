//! The process that the process tests start: one scenario per call, with real forks. It prints facts as `key=value` lines, and
//! a scenario that goes wrong panics.
#![allow(clippy::unwrap_used)]

mod accounts;
mod array;
mod barrier;
mod condition;
mod event;
mod inheritance;
mod joinable_queue;
mod listener;
mod lock;
mod pipe;
mod pipe_death;
mod pipe_signals;
mod pipe_soak;
mod pool;
mod process;
mod queue;
mod raw_sync;
mod record;
mod rlock;
mod segment;
mod semaphore;
mod task_pool;
mod task_pool_ahead;
mod task_pool_crew;
mod task_pool_death;
mod task_pool_refusals;
mod task_pool_soak;
mod task_pool_strain;
mod tools;
mod traffic;
mod value;

use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};

fn main() {
    // A group of its own, for the test to kill. A session, because the kernel wakes the stopped members of a group that loses its
    // last tie to another one, and a test that stops children means it.
    let _ = nix::unistd::setsid();
    // It ends with whoever has started it, which nothing else would tell it in a session of its own; and it waits for the signals
    // that may be blocked there.
    prctl::set_pdeathsig(Signal::SIGKILL).unwrap();
    SigSet::empty().thread_set_mask().unwrap();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    if arguments.first().is_some_and(|scenario| scenario.ends_with("-soak")) {
        tools::panic_together();
    }
    match arguments.as_slice() {
        ["lock-exclusion"] => lock::exclusion(),
        ["lock-dead-holder"] => lock::dead_holder(),
        ["lock-dead-holder-waiter"] => lock::dead_holder_with_a_waiter(),
        ["lock-woken-waiter-killed"] => lock::woken_waiter_killed(),
        ["lock-unrepaired"] => lock::unrepaired(),
        ["lock-times"] => lock::times(),
        ["lock-inherited-guard"] => lock::inherited_guard(),
        ["lock-holder"] => lock::holder(),
        ["lock-soak"] => lock::soak(),
        ["raw-sync-killed-holder"] => raw_sync::killed_holder(),
        ["value-basics"] => value::basics(),
        ["value-sum"] => value::sum(),
        ["value-soak"] => value::soak(),
        ["value-killed-update"] => value::killed_update(),
        ["value-inherited-guard"] => value::inherited_guard(),
        ["array-basics"] => array::basics(),
        ["array-dead-holder"] => array::dead_holder(),
        ["array-soak"] => array::soak(),
        ["raw-sums"] => array::raw_sums(),
        ["raw-soak"] => array::raw_soak(),
        ["event-basics"] => event::basics(),
        ["event-times"] => event::times(),
        ["event-idle"] => event::idle(),
        ["event-soak"] => event::soak(),
        ["semaphore-basics"] => semaphore::basics(),
        ["semaphore-bounded"] => semaphore::bounded(),
        ["semaphore-death"] => semaphore::death(),
        ["semaphore-full"] => semaphore::full(),
        ["semaphore-inherited-permit"] => semaphore::inherited_permit(),
        ["semaphore-times"] => semaphore::times(),
        ["semaphore-idle"] => semaphore::idle(),
        ["semaphore-soak"] => semaphore::soak(),
        ["bounded-semaphore-soak"] => semaphore::bounded_soak(),
        ["barrier-rounds"] => barrier::rounds(),
        ["barrier-action"] => barrier::action(),
        ["barrier-broken"] => barrier::broken(),
        ["barrier-death"] => barrier::death(),
        ["barrier-orderly-end"] => barrier::orderly_end(),
        ["barrier-full"] => barrier::full(),
        ["barrier-times"] => barrier::times(),
        ["barrier-idle"] => barrier::idle(),
        ["barrier-soak"] => barrier::soak(),
        ["condition-notify"] => condition::notify(),
        ["condition-wait-for"] => condition::wait_for(),
        ["condition-not-held"] => condition::not_held(),
        ["condition-rlock"] => condition::rlock(),
        ["condition-death"] => condition::death(),
        ["condition-full"] => condition::full(),
        ["condition-times"] => condition::times(),
        ["condition-idle"] => condition::idle(),
        ["condition-soak"] => condition::soak(),
        ["rlock-basics"] => rlock::basics(),
        ["rlock-death"] => rlock::death(),
        ["rlock-inherited-guard"] => rlock::inherited_guard(),
        ["rlock-times"] => rlock::times(),
        ["rlock-idle"] => rlock::idle(),
        ["rlock-soak"] => rlock::soak(),
        ["queue-put"] => queue::put(),
        ["queue-get"] => queue::get(),
        ["queue-fork"] => queue::fork(),
        ["queue-length"] => queue::length(),
        ["queue-crowd"] => queue::crowd(),
        ["queue-death"] => queue::death(),
        ["queue-woken-waiter-killed"] => queue::woken_waiter_killed(),
        ["queue-times"] => queue::times(),
        ["queue-idle"] => queue::idle(),
        ["queue-soak"] => queue::soak(),
        ["queue-refused"] => queue::refused(),
        ["queue-close"] => queue::close(),
        ["queue-close-waiters"] => queue::close_waiters(),
        ["queue-close-death"] => queue::close_death(),
        ["queue-descriptors"] => queue::descriptors(),
        ["joinable-queue-join"] => joinable_queue::join(),
        ["joinable-queue-call"] => joinable_queue::call(),
        ["joinable-queue-tasks"] => joinable_queue::tasks(),
        ["joinable-queue-refused"] => joinable_queue::refused(),
        ["joinable-queue-close"] => joinable_queue::close(),
        ["joinable-queue-death"] => joinable_queue::death(),
        ["joinable-queue-full"] => joinable_queue::full(),
        ["joinable-queue-inherited-task"] => joinable_queue::inherited_task(),
        ["joinable-queue-panic"] => joinable_queue::panics(),
        ["joinable-queue-times"] => joinable_queue::times(),
        ["joinable-queue-idle"] => joinable_queue::idle(),
        ["joinable-queue-soak"] => joinable_queue::soak(),
        ["pipe-messages"] => pipe::messages(),
        ["pipe-limits"] => pipe::limits(),
        ["pipe-sent-descriptors"] => pipe::sent_descriptors(),
        ["pipe-sent-ends"] => pipe::sent_ends(),
        ["pipe-waits"] => pipe::waits(),
        ["pipe-waits-in-vain"] => pipe::waits_in_vain(),
        ["pipe-many"] => pipe::many(),
        ["pipe-room"] => pipe::room(),
        ["pipe-times"] => pipe::times(),
        ["pipe-idle"] => pipe::idle(),
        ["pipe-storms"] => pipe_signals::storms(),
        ["pipe-broken"] => pipe_signals::broken_pipe(),
        ["pipe-sender-killed"] => pipe_death::sender_killed(),
        ["pipe-receiver-killed"] => pipe_death::receiver_killed(),
        ["pipe-woken-receiver-killed"] => pipe_death::woken_receiver_killed(),
        ["pipe-told"] => pipe_death::told(),
        ["pipe-not-handed-over"] => pipe_death::not_handed_over(),
        ["pipe-cannot-be-given-up"] => pipe_death::cannot_be_given_up(),
        ["pipe-leaks"] => pipe_death::leaks(),
        ["pipe-in-flight"] => pipe_death::in_flight(),
        ["pipe-no-room"] => pipe_death::no_room(),
        ["pipe-too-many-in-flight"] => pipe_death::too_many_in_flight(),
        ["pipe-soak"] => pipe_soak::shared(),
        ["pipe-handed-over-soak"] => pipe_soak::handed_over(),
        ["listener-names"] => listener::names(),
        ["listener-left-before"] => listener::left_before(),
        ["listener-crowd"] => listener::crowd(),
        ["listener-handed-over"] => listener::handed_over(),
        ["listener-full"] => listener::full(),
        ["listener-times"] => listener::times(),
        ["listener-idle"] => listener::idle(),
        ["listener-no-room"] => listener::no_room(),
        ["listener-other-users"] => listener::other_users(),
        ["listener-storms"] => pipe_signals::listener_storms(),
        ["listener-interrupted-connect"] => pipe_signals::interrupted_connect(),
        ["listener-server", name] => listener::serve(name),
        ["listener-client", name] => listener::ask(name),
        ["segment-attach"] => segment::attach(),
        ["segment-share"] => segment::share(),
        ["segment-no-space"] => segment::no_space(),
        ["segment-drop-in-child"] => segment::drop_in_child(),
        ["segment-family", children] => segment::family(children.parse().unwrap()),
        ["segment-grandchild"] => segment::grandchild(),
        ["segment-generations"] => segment::generations(),
        ["segment-orphan"] => segment::orphan(),
        ["segment-drop-anywhere"] => segment::drop_anywhere(),
        ["segment-soak"] => segment::soak(),
        ["segment-exhibit"] => segment::exhibit(),
        ["process-ends"] => process::ends(),
        ["process-panic"] => process::panics(),
        ["process-joins"] => process::joins(),
        ["process-number-of-another"] => process::number_of_another(),
        ["process-many"] => process::many(),
        ["process-threads"] => process::threads(),
        ["process-threads-of-a-child"] => process::threads_of_a_child(),
        ["process-quick-child"] => process::quick_child(),
        ["process-deaf-child"] => process::deaf_child(),
        ["process-join-storm"] => process::join_storm(),
        ["process-soak"] => process::soak(),
        ["child-captures"] => inheritance::captures(),
        ["child-destructors"] => inheritance::destructors(),
        ["child-copies"] => inheritance::copies(),
        ["child-replaced"] => inheritance::replaced(),
        ["child-identity"] => inheritance::identity(),
        ["child-recursion"] => inheritance::recursion(),
        ["child-sentinel"] => inheritance::sentinel(),
        ["child-interrupt"] => inheritance::interrupt(),
        ["child-signal-mask"] => inheritance::signal_mask(),
        ["child-closed-streams"] => inheritance::closed_streams(),
        ["child-buffered-output"] => inheritance::buffered_output(),
        ["child-programs"] => inheritance::programs(),
        ["record-doubled"] => record::doubled(),
        ["record-raw-types"] => record::raw_types(),
        ["pool-soak"] => pool::soak(),
        ["pool", options @ ..] => pool::run(options),
        ["task-pool-apply"] => task_pool::apply(),
        ["task-pool-map"] => task_pool::map(),
        ["task-pool-nothing-to-do"] => task_pool::nothing_to_do(),
        ["task-pool-later"] => task_pool::later(),
        ["task-pool-imap"] => task_pool::imap(),
        ["task-pool-imap-unordered"] => task_pool::imap_unordered(),
        ["task-pool-sources-that-panic"] => task_pool::sources_that_panic(),
        ["task-pool-awkward"] => task_pool::awkward(),
        ["task-pool-references"] => task_pool::references(),
        ["task-pool-no-hurry"] => task_pool::no_hurry(),
        ["task-pool-traceback"] => task_pool::traceback(),
        ["task-pool-size"] => task_pool_crew::size(),
        ["task-pool-ends"] => task_pool_crew::ends(),
        ["task-pool-lifetime"] => task_pool_crew::lifetime(),
        ["task-pool-alive-at-exit"] => task_pool_crew::alive_at_exit(),
        ["task-pool-half-started"] => task_pool_crew::half_started(),
        ["task-pool-initializer"] => task_pool_crew::initializer(),
        ["task-pool-large"] => task_pool_crew::large(),
        ["task-pool-shared-memory"] => task_pool_crew::shared_memory(),
        ["task-pool-families"] => task_pool_crew::families(),
        ["task-pool-inherited"] => task_pool_crew::inherited(),
        ["task-pool-signals"] => task_pool_crew::signals(),
        ["task-pool-behind-a-long-task"] => task_pool_ahead::behind_a_long_task(),
        ["task-pool-overtaken"] => task_pool_ahead::overtaken(),
        ["task-pool-ahead-of-a-death"] => task_pool_ahead::death(),
        ["task-pool-deaths-in-a-row"] => task_pool_ahead::deaths_in_a_row(),
        ["task-pool-refused-task"] => task_pool_refusals::refused_task(),
        ["task-pool-refused-result"] => task_pool_refusals::refused_result(),
        ["task-pool-short-lived"] => task_pool_refusals::short_lived(),
        ["task-pool-cut-off"] => task_pool_refusals::cut_off(),
        ["task-pool-other-user"] => task_pool_refusals::other_user(),
        ["task-pool-worker-killed"] => task_pool_death::worker(),
        ["task-pool-ending-tasks"] => task_pool_death::ending_tasks(),
        ["task-pool-initializer-that-fails"] => task_pool_death::initializer_that_fails(),
        ["task-pool-initializer-killed"] => task_pool_death::initializer_killed(),
        ["task-pool-initializer-that-fails-at-first"] => {
            task_pool_death::initializer_that_fails_at_first()
        }
        ["task-pool-dispatcher-killed"] => task_pool_death::dispatcher_killed(),
        ["task-pool-owner-killed"] => task_pool_death::owner_killed(),
        ["task-pool-stopped"] => task_pool_death::stopped(),
        ["task-pool-soak"] => task_pool_soak::soak(),
        ["task-pool-threads"] => task_pool_strain::threads(),
        ["task-pool-full-pipes"] => task_pool_strain::full_pipes(),
        ["task-pool-no-descriptors"] => task_pool_strain::no_descriptors(),
        ["task-pool-rough-tasks"] => task_pool_strain::rough_tasks(),
        ["task-pool-idle"] => task_pool_strain::idle(),
        ["task-pool-times"] => task_pool_strain::times(),
        other => panic!("no scenario {other:?}"),
    }
    tools::tell_kills();
}
