//! A segment that any of several programs creates, and that its creator creates again after a
//! restart.

use std::fs::{self, File};
use std::time::{Duration, Instant};

use multiprocessing::{
    BarrierError, ConditionError, LockError, LockFailure, Plan, Queue, QueueError, RawValue,
    Segment, SegmentError, SegmentName, SemaphoreError, SharedState, Value,
};
use nix::sys::signal::Signal;
use nix::unistd::getpid;

use super::reclaim::lock_for_removal;
use crate::common::{
    LIMIT, Program, Random, apply, child, fact, join_all, name, program, segment, sleep_for_ever,
    test, unique_name, wait_until, write_entry,
};

/// A waiter notices the removal at its next look, each 100 ms. Another 100 ms may pass before that.
const NOTICED: Duration = Duration::from_millis(200);
/// Allows for a busy machine.
const SLACK: Duration = Duration::from_secs(2);

#[derive(SharedState)]
struct Service {
    #[shared(segment)]
    segment: Segment,
    served: Value<u64>,
    ready: RawValue<u64>,
    #[shared(capacity = 4)]
    requests: Queue<u64>,
}

/// Serves until it is killed, or until its segment says that it should stop.
#[apply(program)]
fn service(_: &[&str]) {
    let service = Service::open_or_create(&name(), ()).unwrap();
    assert_eq!(service.segment.creator(), getpid(), "another process has created it");
    service.ready.store(1);
    fact("generation", service.segment.generation());
    while service.ready.load() == 1 {
        if let Ok(Some(request)) = service.requests.get_timeout(Duration::from_millis(10)) {
            service.served.update(|served| *served += request).unwrap();
        }
    }
}

fn started() -> (Program, u64) {
    let mut program = Program::start(service, &[]);
    let generation = program.line("generation=").parse().unwrap();
    (program, generation)
}

#[apply(test)]
fn the_first_caller_creates_the_segment_and_the_next_ones_open_it() {
    let name = unique_name();
    let first = Service::open_or_create(&name, ()).unwrap();
    let second = Service::open_or_create(&name, ()).unwrap();
    first.served.set(7).unwrap();
    assert_eq!(second.served.get(), 7);
    assert_eq!(first.segment.generation(), second.segment.generation());
    drop(second);
    assert!(name.path().exists(), "removed by a process that only opened it");
    drop(first);
    assert!(!name.path().exists());
    // A segment of another program is checked against the declaration.
    let _other = Segment::create(&name, &Plan::new().lock("served")).unwrap();
    let refused = Service::open_or_create(&name, ()).err().unwrap();
    assert!(matches!(refused, SegmentError::Object { .. }), "{refused:?}");
}

/// All call at the same moment, in turn for a new name, for the name of a dead creator, and for one
/// that was never finished.
#[apply(test)]
fn exactly_one_of_many_callers_creates_the_segment() {
    const CALLERS: usize = 4;
    let results = Plan::new().raw_array::<u64>("generations", CALLERS);
    let results = results.raw_array::<u8>("created", CALLERS).event("go").event("done");
    let top = segment(&results.barrier("all", CALLERS));
    let generations = top.raw_array::<u64>("generations").unwrap();
    let created = top.raw_array::<u8>("created").unwrap();
    let all = top.barrier("all").unwrap();
    let plan = Plan::new().value::<u64>("value");
    let stale = {
        let name = unique_name();
        let _segment = Segment::create(&name, &plan).unwrap();
        fs::read(name.path()).unwrap()
    };
    for round in 0..30 {
        let name = unique_name();
        match round % 3 {
            0 => {}
            1 => write_entry(&name, &stale),
            // This takes the callers a second.
            _ if round < 3 => write_entry(&name, &stale[..0]),
            _ => continue,
        }
        let caller = |number: usize| {
            let (name, plan, all) = (&name, &plan, all.clone());
            let (generations, created) = (&generations, &created);
            child(move || {
                all.wait().unwrap();
                let segment = Segment::open_or_create(name, plan).unwrap();
                generations.store(number, segment.generation());
                created.store(number, u8::from(segment.creator() == getpid()));
                all.wait().unwrap();
                segment.ensure_current().unwrap();
                all.wait().unwrap();
            })
        };
        join_all((0..CALLERS).map(caller).collect::<Vec<_>>());
        let seen: Vec<_> = generations.iter().collect();
        assert!(seen.iter().all(|generation| *generation == seen[0]), "round {round}: {seen:?}");
        assert_eq!(created.iter().map(u32::from).sum::<u32>(), 1, "round {round}");
        assert!(!name.path().exists(), "round {round}");
    }
}

#[apply(test)]
fn a_killed_creator_that_restarts_replaces_its_segment_by_a_newer_one() {
    let (mut first, old) = started();
    let attached = Service::open(&first.name).unwrap();
    attached.segment.ensure_current().unwrap();
    first.signal(Signal::SIGKILL);
    first.wait();
    assert!(first.name.path().exists());
    // Until the creator is back, the segment is the current one.
    attached.segment.ensure_current().unwrap();

    let again = Service::open_or_create(&first.name, ()).unwrap();
    assert_eq!(again.segment.creator(), getpid());
    assert!(again.segment.generation() > old, "{old}, then {}", again.segment.generation());
    assert_eq!(
        Service::open(&first.name).unwrap().segment.generation(),
        again.segment.generation()
    );
    for refused in [
        attached.segment.ensure_current(),
        attached.segment.value::<u64>("served").map(drop),
        Service::of(attached.segment.clone()).map(drop),
    ] {
        assert!(matches!(refused, Err(SegmentError::Removed { .. })), "{refused:?}");
    }
    // What does not wait for another process works on the old memory.
    assert_eq!(attached.served.update(|served| *served += 1), Ok(1));
    assert_eq!((attached.ready.load(), again.ready.load()), (1, 0));
}

/// Waits for another process in every way. Each wait would last for ever.
fn wait_in_vain(segment: &Segment, way: usize) -> Option<LockFailure> {
    let lock = segment.lock("lock").unwrap();
    match way {
        0 => segment.event("event").unwrap().wait().err(),
        1 => match segment.queue::<u64>("empty").unwrap().get() {
            Err(QueueError::Failed(failure)) => Some(failure),
            other => panic!("{other:?}"),
        },
        2 => match segment.queue::<u64>("full").unwrap().put(2) {
            Err(QueueError::Failed(failure)) => Some(failure),
            other => panic!("{other:?}"),
        },
        3 => match segment.joinable_queue::<u64>("tasks").unwrap().join() {
            Err(QueueError::Failed(failure)) => Some(failure),
            other => panic!("{other:?}"),
        },
        4 => match segment.semaphore("gate").unwrap().acquire() {
            Err(SemaphoreError::Failed(failure)) => Some(failure),
            other => panic!("{other:?}"),
        },
        5 => match segment.barrier("meet").unwrap().wait() {
            Err(BarrierError::Failed(failure)) => Some(failure),
            other => panic!("{other:?}"),
        },
        _ => {
            let changed = segment.condition("changed", &lock).unwrap();
            match changed.wait(lock.lock().unwrap()) {
                Err(ConditionError::Lock(LockError::Failed(failure))) => Some(failure),
                other => panic!("{:?}", other.is_ok()),
            }
        }
    }
}

/// Opens a segment by its name and waits in each way, in a child each.
#[apply(program)]
fn waiter(arguments: &[&str]) {
    let segment = Segment::open(&SegmentName::new(arguments[0]).unwrap()).unwrap();
    let waiting = segment.raw_array::<u64>("waiting").unwrap();
    let ended = segment.raw_value::<u64>("ended").unwrap();
    let waits = |way| {
        let (segment, waiting, ended) = (&segment, &waiting, &ended);
        child(move || {
            waiting.store(way, 1);
            assert_eq!(wait_in_vain(segment, way), Some(LockFailure::Removed), "way {way}");
            ended.fetch_add(1);
        })
    };
    join_all((0..waiting.len()).map(waits).collect::<Vec<_>>());
}

#[apply(test)]
fn every_wait_for_another_process_ends_soon_after_the_creator_has_removed_its_segment() {
    const WAYS: usize = 7;
    let plan = Plan::new().lock("lock").event("event").queue::<u64>("empty", 1);
    let plan = plan.queue::<u64>("full", 1).joinable_queue::<u64>("tasks", 1).semaphore("gate", 0);
    let plan = plan.barrier("meet", 2).condition("changed").raw_value::<u64>("ended");
    let name = unique_name();
    let segment = Segment::create(&name, &plan.raw_array::<u64>("waiting", WAYS)).unwrap();
    segment.queue::<u64>("full").unwrap().put(1).unwrap();
    segment.joinable_queue::<u64>("tasks").unwrap().put(1).unwrap();
    let (waiting, ended) =
        (segment.raw_array::<u64>("waiting").unwrap(), segment.raw_value::<u64>("ended").unwrap());
    let event = segment.event("event").unwrap();
    let mut program = Program::start(waiter, &[name.as_str()]);
    wait_until("all wait", || waiting.iter().all(|waits| waits == 1));
    std::thread::sleep(2 * NOTICED);
    assert_eq!(ended.load(), 0, "a wait ended although the segment is current");

    let begun = Instant::now();
    drop(segment);
    wait_until("all have learned of it", || ended.load() == WAYS as u64);
    assert!(begun.elapsed() < NOTICED + SLACK, "{:?}", begun.elapsed());
    program.succeed();
    // The creator and its children removed the entry themselves, and may go on.
    assert_eq!(event.wait_timeout(NOTICED), Ok(false));
}

/// Creates a segment that takes some milliseconds to create, and waits to be killed.
#[apply(program)]
fn slow_creator(_: &[&str]) {
    fact("begins", 1);
    let _segment = Segment::open_or_create(&name(), &large()).unwrap();
    sleep_for_ever();
}

fn large() -> Plan {
    Plan::new().array::<u8>("large", 32 << 20).value::<u64>("value")
}

#[apply(test)]
fn a_creator_that_is_killed_at_any_moment_leaves_a_name_that_the_next_one_gets() {
    let mut random = Random::new();
    for _ in 0..5 {
        let mut program = Program::start(slow_creator, &[]);
        program.line("begins");
        random.pause(Duration::from_millis(12));
        program.signal(Signal::SIGKILL);
        program.wait();
        let begun = Instant::now();
        let segment = Segment::open_or_create(&program.name, &large()).unwrap();
        assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
        assert_eq!(segment.creator(), getpid());
        assert_eq!(segment.value::<u64>("value").unwrap().update(|value| *value += 1), Ok(1));
    }
}

/// The clock may have been set back since the old segment was created.
#[apply(test)]
fn the_generation_grows_with_every_replacement_whatever_the_clock_says() {
    let name = unique_name();
    let segment = Segment::create(&name, &Plan::new().event("event")).unwrap();
    let mut stale = fs::read(name.path()).unwrap();
    drop(segment);
    let future = u64::MAX - 9;
    stale[72..80].copy_from_slice(&future.to_ne_bytes());
    write_entry(&name, stale);
    assert_eq!(Segment::open(&name).unwrap().generation(), future);
    let segment = Segment::open_or_create(&name, &Plan::new().event("event")).unwrap();
    assert_eq!(segment.generation(), future + 1);
}

/// Another process holds the lock of those who remove an entry, and is stopped.
#[apply(test)]
fn an_entry_that_is_being_removed_for_ever_is_an_error() {
    let name = unique_name();
    let segment = Segment::create(&name, &Plan::new().event("event")).unwrap();
    let stale = fs::read(name.path()).unwrap();
    drop(segment);
    write_entry(&name, stale);
    let remover = File::options().read(true).write(true).open(name.path()).unwrap();
    lock_for_removal(&remover);
    let plan = Plan::new().event("event");
    let refused = Segment::open_or_create(&name, &plan);
    assert!(matches!(refused, Err(SegmentError::InUse { .. })), "{refused:?}");
    drop(remover);
    assert_eq!(Segment::open_or_create(&name, &plan).unwrap().creator(), getpid());
}

#[apply(test)]
fn entries_that_were_never_finished_are_replaced() {
    let name = unique_name();
    let segment = Segment::create(&name, &large()).unwrap();
    let whole = fs::read(name.path()).unwrap();
    drop(segment);
    let mut removed = whole;
    removed[12] = 2;
    // Of the last two, a process was removing the entry when it was killed.
    let removed_early = [vec![0; 12], vec![2, 0, 0, 0], vec![0; 4080]].concat();
    for bytes in [vec![], removed, removed_early] {
        write_entry(&name, bytes);
        let segment = Segment::open_or_create(&name, &large()).unwrap();
        assert_eq!(segment.creator(), getpid());
        segment.ensure_current().unwrap();
    }
    assert!(!name.path().exists());
}

#[apply(test)]
fn unique_names_differ_in_every_process_and_thread() {
    let one = SegmentName::unique("mp-test").unwrap();
    assert!(one.as_str().starts_with(&format!("mp-test.{}-", getpid())), "{one}");
    let threads = [(); 4].map(|()| std::thread::spawn(|| [(); 50].map(|()| unique())));
    let mut names: Vec<_> =
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).chain([one]).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 201);
    assert!(SegmentName::unique("a/b").is_err() && SegmentName::unique(&"x".repeat(240)).is_err());
}

fn unique() -> SegmentName {
    SegmentName::unique("mp-test").unwrap()
}
