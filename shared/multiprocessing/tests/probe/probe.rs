//! The process that the process tests start: one scenario per call, with real forks. It prints facts as `key=value` lines, and
//! a scenario that goes wrong panics.
#![allow(clippy::unwrap_used)]

mod array;
mod barrier;
mod condition;
mod event;
mod inheritance;
mod joinable_queue;
mod lock;
mod pool;
mod process;
mod queue;
mod raw_sync;
mod record;
mod rlock;
mod segment;
mod semaphore;
mod soak;
mod tools;
mod value;

fn main() {
    // A group of its own, for the test to kill. A session, because the kernel wakes the stopped members of a group that loses its
    // last tie to another one, and a test that stops children means it.
    let _ = nix::unistd::setsid();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["lock-exclusion"] => lock::exclusion(),
        ["lock-dead-holder"] => lock::dead_holder(),
        ["lock-dead-holder-waiter"] => lock::dead_holder_with_a_waiter(),
        ["lock-woken-waiter-killed"] => lock::woken_waiter_killed(),
        ["lock-unrepaired"] => lock::unrepaired(),
        ["lock-times"] => lock::times(),
        ["lock-inherited-guard"] => lock::inherited_guard(),
        ["lock-holder"] => lock::holder(),
        ["raw-sync-killed-holder"] => raw_sync::killed_holder(),
        ["value-basics"] => value::basics(),
        ["value-sum"] => value::sum(),
        ["value-torn"] => value::torn(),
        ["value-killed-update"] => value::killed_update(),
        ["value-inherited-guard"] => value::inherited_guard(),
        ["array-basics"] => array::basics(),
        ["array-dead-holder"] => array::dead_holder(),
        ["raw-sums"] => array::raw_sums(),
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
        ["segment-attach"] => segment::attach(),
        ["segment-share"] => segment::share(),
        ["segment-no-space"] => segment::no_space(),
        ["segment-drop-in-child"] => segment::drop_in_child(),
        ["segment-family", children] => segment::family(children.parse().unwrap()),
        ["segment-grandchild"] => segment::grandchild(),
        ["segment-generations"] => segment::generations(),
        ["segment-orphan"] => segment::orphan(),
        ["segment-drop-anywhere"] => segment::drop_anywhere(),
        ["segment-contest"] => segment::contest(),
        ["segment-exhibit"] => segment::exhibit(),
        ["process-ends"] => process::ends(),
        ["process-panic"] => process::panics(),
        ["process-joins"] => process::joins(),
        ["process-many"] => process::many(),
        ["process-threads"] => process::threads(),
        ["process-threads-of-a-child"] => process::threads_of_a_child(),
        ["process-deaf-child"] => process::deaf_child(),
        ["process-join-storm"] => process::join_storm(),
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
        ["pool", options @ ..] => pool::run(options),
        ["soak"] => soak::run(),
        other => panic!("no scenario {other:?}"),
    }
}
