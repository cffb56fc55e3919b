//! Inspection of segments while other processes use them.
#![allow(unsafe_code)]

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use multiprocessing::{Listing, Plan, Scalar, Segment, SegmentName, Snapshot, segments};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, gettid, getuid};

use crate::common::{Program, apply, is_gone, segment, test, unique_name, wait_until, write_entry};
use crate::reclaim::{family, freeze};

fn listing(name: &SegmentName) -> Option<Listing> {
    segments().unwrap().into_iter().find(|listing| listing.name == *name)
}

fn snapshot(segment: &Segment, name: &str) -> Snapshot {
    let object = segment.objects().iter().find(|object| object.name == name).unwrap();
    segment.snapshot(object)
}

#[apply(test)]
fn a_listing_shows_owner_mode_bytes_and_attached_processes() {
    let (mut program, children) = family(3);
    let mut family = children.clone();
    family.push(program.pid());
    family.sort();
    // Another test that lists segments has this one mapped for a moment, too.
    let attached = || listing(&program.name).unwrap().attached;
    wait_until("the listing shows only the family", || attached() == family);

    let found = listing(&program.name).unwrap();
    assert_eq!((found.owner, found.permissions), (getuid().as_raw(), 0o600));
    assert_eq!(found.bytes, fs::metadata(program.name.path()).unwrap().len());
    assert!(!found.is_stale());

    let segment = found.segment.unwrap();
    assert_eq!(segment.creator(), program.pid());
    let shown = |name: &str| {
        segment.snapshot(segment.objects().iter().find(|object| object.name == name).unwrap())
    };
    let lock = shown("lock");
    let holder = lock.lock.unwrap().0.unwrap();
    assert!(children.contains(&holder), "{lock}");
    assert_eq!(lock.to_string(), format!("held by {holder}"));
    assert_eq!(shown("ready").to_string(), "3");

    // Stopped, so that they cannot clean up, and then killed.
    freeze_and_kill(&program, &children);
    program.wait();
    wait_until("the listing shows that it is stale", || listing(&program.name).unwrap().is_stale());
    wait_until("the entry can be reclaimed", || {
        matches!(Segment::reclaim(&program.name), Ok(true))
    });
    assert!(listing(&program.name).is_none());
}

fn freeze_and_kill(program: &Program, children: &[Pid]) {
    freeze(children);
    program.signal(Signal::SIGKILL);
    children.iter().for_each(|child| kill(*child, Signal::SIGKILL).unwrap());
    wait_until("all processes are gone", || {
        is_gone(program.pid()) && children.iter().all(|child| is_gone(*child))
    });
}

#[apply(test)]
fn a_snapshot_decodes_every_kind_and_type() {
    let name = unique_name();
    let plan = Plan::new().lock("lock").value::<u64>("value").value::<[i16; 3]>("triple");
    let plan = plan.raw_value::<i64>("raw").array::<f64>("floats", 2).array::<f32>("halves", 1);
    let segment =
        Segment::create(&name, &plan.raw_array::<u8>("bytes", 3).value::<[u8; 5]>("odd")).unwrap();
    segment.value::<u64>("value").unwrap().set(u64::MAX).unwrap();
    segment.value::<[i16; 3]>("triple").unwrap().set([-1, 0, 1]).unwrap();
    segment.raw_value::<i64>("raw").unwrap().store(i64::MIN);
    segment.array::<f64>("floats").unwrap().lock().unwrap()[1] = -0.5;
    segment.array::<f32>("halves").unwrap().lock().unwrap()[0] = 0.25;
    segment.raw_array::<u8>("bytes").unwrap().store(2, 255);
    segment.value::<[u8; 5]>("odd").unwrap().update(|bytes| bytes[4] = 4).unwrap();

    let other = Segment::open(&name).unwrap();
    let shown = |name: &str| snapshot(&other, name).to_string();
    assert_eq!(shown("lock"), "free");
    assert_eq!(shown("value"), u64::MAX.to_string());
    assert_eq!(shown("triple"), "[-1, 0, 1]");
    assert_eq!(shown("raw"), i64::MIN.to_string());
    assert_eq!(shown("floats"), "[0, -0.5]");
    assert_eq!(shown("halves"), "0.25");
    assert_eq!(shown("bytes"), "[0, 0, 255]");
    assert_eq!(shown("odd"), "[0, 0, 0, 0, 4]");
    assert_eq!(snapshot(&other, "raw").lock, None);
    assert_eq!(snapshot(&other, "value").lock, Some((None, 0)));
}

#[apply(test)]
fn a_snapshot_shows_the_state_of_a_primitive_in_words() {
    let name = unique_name();
    let plan = Plan::new()
        .rlock("rlock")
        .semaphore("gate", 3)
        .bounded_semaphore("tickets", 2)
        .event("start");
    let plan =
        plan.lock("lock").condition("changed").barrier("meet", 5).queue::<[u8; 3]>("bets", 4);
    let plan = plan.queue::<[u8; 8]>("closed", 5).joinable_queue::<[u8; 9]>("tasks", 6);
    let plan = plan.message_queue("texts", 100);
    let segment = Segment::create(&name, &plan).unwrap();
    let other = Segment::open(&name).unwrap();
    let shown = |name: &str| snapshot(&other, name).to_string();
    let own = std::process::id();
    assert_eq!(shown("rlock"), "free");
    assert_eq!(shown("gate"), "3 free");
    assert_eq!(shown("tickets"), "2 free");
    assert_eq!(shown("start"), "unset");
    assert_eq!(shown("changed"), "0 wait");
    assert_eq!(shown("meet"), "0 of 5 wait");
    assert_eq!(shown("bets"), "0 of 4 messages");
    assert_eq!(shown("closed"), "0 of 5 messages");
    assert_eq!(shown("tasks"), "0 of 6 messages");
    assert_eq!(shown("texts"), "0 messages in 0 of 112 bytes");

    let rlock = segment.rlock("rlock").unwrap();
    let gate = segment.semaphore("gate").unwrap();
    let _held = (
        rlock.lock().unwrap(),
        rlock.lock().unwrap(),
        gate.acquire().unwrap(),
        gate.acquire().unwrap(),
    );
    segment.bounded_semaphore("tickets").unwrap().acquire().unwrap().forget();
    segment.event("start").unwrap().set();
    segment.barrier("meet").unwrap().abort().unwrap();
    let bets = segment.queue::<[u8; 3]>("bets").unwrap();
    (0..3).for_each(|bet| bets.put([bet; 3]).unwrap());
    segment.queue::<[u8; 8]>("closed").unwrap().close().unwrap();
    let tasks = segment.joinable_queue::<[u8; 9]>("tasks").unwrap();
    (0..3).for_each(|task| tasks.put([task; 9]).unwrap());
    let _in_hand = tasks.get().unwrap();
    segment.message_queue("texts").unwrap().put("four").unwrap();
    assert_eq!(shown("rlock"), format!("held by {}, depth 2", gettid()));
    assert_eq!(shown("gate"), format!("1 free, 2 held by {own}"));
    assert_eq!(shown("tickets"), "1 free");
    assert_eq!(shown("start"), "set");
    assert_eq!(shown("texts"), "1 messages in 16 of 112 bytes");
    assert_eq!(shown("meet"), "broken: it was aborted");
    assert_eq!(shown("bets"), "3 of 4 messages");
    assert_eq!(shown("closed"), "0 of 5 messages, closed");
    assert_eq!(shown("tasks"), format!("2 of 6 messages, 1 held by {own}"));
}

#[apply(test)]
fn a_snapshot_is_never_torn() {
    let plan = Plan::new().raw_value::<u64>("raw").value::<[u64; 32]>("value");
    let segment = Segment::create(&unique_name(), &plan).unwrap();
    let raw = segment.raw_value::<u64>("raw").unwrap();
    let value = segment.value::<[u64; 32]>("value").unwrap();
    // Two numbers without a common byte: any mixture of them is a third number.
    let numbers = [0, u64::MAX];
    while_writing(
        |step| raw.store(numbers[step % 2]),
        || {
            let seen = snapshot(&segment, "raw").elements;
            assert!(numbers.iter().any(|number| seen == [Scalar::Unsigned(*number)]), "{seen:?}");
        },
    );
    while_writing(
        |step| value.set([numbers[step % 2]; 32]).unwrap(),
        || {
            let seen = snapshot(&segment, "value").elements;
            assert!(seen.iter().all(|element| *element == seen[0]), "{seen:?}");
        },
    );
}

/// Calls `look` over and over while another thread writes.
fn while_writing(write: impl Fn(usize) + Sync, look: impl Fn()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let steps = (0..).take_while(|_| !done.load(Ordering::Relaxed));
            steps.for_each(&write);
        });
        // Stops the writer even if `look` panics.
        let _stop = Stop(&done);
        (0..60_000).for_each(|_| look());
    });
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[apply(test)]
fn foreign_files_are_not_listed_and_broken_segments_are_listed_with_a_reason() {
    let foreign = unique_name();
    write_entry(&foreign, [7; 4096]);
    let broken = unique_name();
    let segment = Segment::create(&broken, &Plan::new().lock("lock")).unwrap();
    let mut bytes = fs::read(broken.path()).unwrap();
    drop(segment);
    bytes[8] = 9;
    write_entry(&broken, bytes);
    let (foreign_listing, broken_listing) = (listing(&foreign), listing(&broken));
    fs::remove_file(foreign.path()).unwrap();
    fs::remove_file(broken.path()).unwrap();
    assert!(foreign_listing.is_none());
    let reason = broken_listing.unwrap().segment.unwrap_err().to_string();
    assert!(reason.contains("layout version 9"), "{reason}");
}

/// A read by this process would be a data race with a thread that changes the elements through its
/// guard. So the kernel copies them, and reports what this process could not read at all.
#[apply(test)]
fn a_snapshot_never_reads_the_elements_of_an_array_itself() {
    const PAGE: usize = 4096;
    let segment = segment(&Plan::new().array::<u64>("array", 2 * PAGE));
    segment.array::<u64>("array").unwrap().lock().unwrap().fill(7);
    assert_eq!(snapshot(&segment, "array").elements, [Scalar::Unsigned(7); 2 * PAGE]);

    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mapped = maps.lines().find(|line| line.ends_with(segment.name().as_str())).unwrap();
    let start = usize::from_str_radix(mapped.split('-').next().unwrap(), 16).unwrap();
    let page = std::ptr::with_exposed_provenance_mut::<libc::c_void>(start + PAGE);
    // SAFETY: the page lies inside the elements, to which nothing has a reference now.
    assert_eq!(unsafe { libc::mprotect(page, PAGE, libc::PROT_NONE) }, 0);
    let unreadable = snapshot(&segment, "array");
    assert!(unreadable.to_string().starts_with("not readable: EFAULT"), "{unreadable}");
}
