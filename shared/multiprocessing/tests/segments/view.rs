//! Segments that a process only reads: the memory cannot be written, and every kind is shown.
#![allow(unsafe_code)]

use std::fs;
use std::time::Duration;

use multiprocessing::{
    Event, LockFailure, Plan, Queue, RawArray, RawValue, Segment, SegmentError, SharedState, Value,
    View,
};
use nix::sys::signal::Signal;
use nix::unistd::getpid;

use crate::common::{LIMIT, apply, child, join_all, segment, test, unique_name, wait_until};

#[derive(SharedState)]
#[shared(args(workers: usize))]
struct Shared {
    #[shared(segment)]
    segment: Segment,
    winners: Value<u64>,
    ready: RawValue<i32>,
    #[shared(len = workers)]
    processing: RawArray<u8>,
    started: Event,
    #[shared(capacity = 2)]
    bets: Queue<u64>,
}

#[derive(SharedState)]
#[shared(args(workers: usize))]
struct Seen {
    #[shared(segment)]
    segment: View<Segment>,
    winners: View<Value<u64>>,
    ready: View<RawValue<i32>>,
    #[shared(len = workers)]
    processing: View<RawArray<u8>>,
    started: View<Event>,
    #[shared(capacity = 2)]
    bets: View<Queue<u64>>,
}

#[apply(test)]
fn a_declared_view_shows_what_other_processes_write() {
    let name = unique_name();
    let shared = Shared::create(&name, 3).unwrap();
    let seen = Seen::open(&name).unwrap();
    assert_eq!((seen.winners.get(), seen.ready.load(), seen.bets.len()), (0, 0, 0));
    shared.winners.set(7).unwrap();
    shared.ready.store(-1);
    shared.processing.store(2, 9);
    shared.bets.put(1).unwrap();
    assert!(!seen.started.is_set());
    shared.started.set();
    assert!(seen.started.is_set());
    assert_eq!((seen.winners.get(), seen.ready.load(), seen.bets.len()), (7, -1, 1));
    assert_eq!(seen.processing.iter().collect::<Vec<_>>(), [0, 0, 9]);
    assert_eq!(seen.segment.creator(), getpid());
    assert_eq!(seen.segment.generation(), shared.segment.generation());
    // The sizes are checked, as for a segment that is used.
    drop(seen);
    drop(shared);
    let _other = Segment::create(&name, &Seen::plan(3).lock("more")).unwrap();
    assert!(Seen::open(&name).is_ok());
    let mismatch = Segment::create(&unique_name(), &Plan::new().value::<i64>("winners")).unwrap();
    let refused = Seen::open(mismatch.name()).err().unwrap();
    assert!(matches!(refused, SegmentError::Object { .. }), "{refused:?}");
}

/// A reader that waits for an event sleeps in the kernel like any other waiter.
#[apply(test)]
fn a_view_of_an_event_waits_until_another_process_sets_it_or_removes_the_segment() {
    let name = unique_name();
    let mut segment = Some(Segment::create(&name, &Plan::new().event("started")).unwrap());
    let seen = View::open(&name).unwrap().event("started").unwrap();
    assert_eq!(seen.wait_timeout(Duration::from_millis(20)), Ok(false));
    let event = segment.as_ref().unwrap().event("started").unwrap();
    let waiter = child(|| seen.wait().unwrap());
    let setter = child(|| event.set());
    join_all([waiter, setter]);
    event.clear();
    drop((event, segment.take()));
    assert_eq!(seen.wait(), Err(LockFailure::Removed));
}

#[apply(test)]
fn every_kind_is_shown_without_a_write() {
    let plan = Plan::new().lock("lock").rlock("rlock").value::<u64>("value").event("event");
    let plan = plan.raw_value::<u8>("raw").array::<u16>("array", 3).raw_array::<u32>("many", 2);
    let plan = plan.semaphore("gate", 3).bounded_semaphore("bounded", 3).condition("changed");
    let plan = plan.barrier("meet", 2).queue::<u64>("queue", 4).joinable_queue::<u64>("jobs", 4);
    let segment = segment(&plan);
    segment.array::<u16>("array").unwrap().lock().unwrap()[1] = 5;
    let _permit = segment.semaphore("gate").unwrap().acquire().unwrap();
    let lock = segment.lock("lock").unwrap();
    let guard = lock.lock().unwrap();
    let seen = View::open(segment.name()).unwrap();
    let shown: Vec<_> = seen.objects().iter().map(|it| seen.snapshot(it).to_string()).collect();
    let used: Vec<_> =
        segment.objects().iter().map(|it| segment.snapshot(it).to_string()).collect();
    assert_eq!(shown, used);
    assert_eq!(seen.lock("lock").unwrap().holder(), Some(getpid()));
    assert_eq!(seen.semaphore("gate").unwrap().get_value(), 2);
    drop(guard);
}

/// The kernel ends a process that writes to the memory of a view.
#[apply(test)]
fn the_memory_of_a_view_cannot_be_written() {
    let segment = segment(&Plan::new().raw_array::<u64>("numbers", 512));
    let writes = |view: bool| {
        let maps = fs::read_to_string("/proc/self/maps").unwrap();
        let mut of_segment = maps.lines().filter(|line| line.ends_with(segment.name().as_str()));
        let place = of_segment.find(|line| line.contains("r--s") == view).unwrap();
        let start = usize::from_str_radix(place.split('-').next().unwrap(), 16).unwrap();
        let number = std::ptr::with_exposed_provenance_mut::<u64>(start + 4096);
        // SAFETY: the number is inside the mapping, and nothing has a reference to it.
        unsafe { number.write_volatile(7) };
    };
    let seen = View::open(segment.name()).unwrap();
    let mut writer = child(|| writes(true));
    let exit = writer.join_timeout(LIMIT).unwrap();
    assert!(exit.is_some_and(|exit| exit.is_signal(Signal::SIGSEGV)), "{exit:?}");
    join_all([child(|| writes(false))]);
    wait_until("the view shows the number", || {
        seen.raw_array::<u64>("numbers").unwrap().iter().any(|number| number == 7)
    });
}
