//! Queues whose other side is dead: what a put and a get do then.
//!
//! A queue does not know which processes will come. So a wait lasts until its timeout, until the
//! queue is closed, or until a new process of the other side comes.

use std::time::{Duration, Instant};

use multiprocessing::{Plan, Process, QueueError, Segment};

use crate::common::{
    apply, child, fact, join_all, kill_and_join, segment, sleep_for_ever, test, wait_until,
    wait_until_blocked,
};

const TIMEOUT: Duration = Duration::from_millis(300);
/// How much longer than its timeout a wait may take on a busy machine.
const SLACK: Duration = Duration::from_secs(1);

/// The calls of one kind of queue, which has room for one message.
struct Calls<'a> {
    put: &'a (dyn Fn(Option<Duration>) -> bool + Sync),
    get: &'a (dyn Fn(Option<Duration>) -> bool + Sync),
    close: &'a dyn Fn(),
    len: &'a dyn Fn() -> usize,
}

/// Starts a process of one side, lets it do its work, and kills it.
fn dies(work: impl FnOnce(), done: impl FnMut() -> bool) {
    let dying = child(|| {
        work();
        sleep_for_ever();
    });
    wait_until("the process has done its work", done);
    kill_and_join(dying);
}

/// Checks that a call that nothing ends fails after its timeout, and returns how long it took.
fn times_out(call: impl Fn(Option<Duration>) -> bool) {
    let begun = Instant::now();
    assert!(!call(Some(TIMEOUT)));
    let waited = begun.elapsed();
    assert!((TIMEOUT..TIMEOUT + SLACK).contains(&waited), "{waited:?}");
}

/// Checks that a call without a limit waits, and how it ends after `event`.
fn waits_until(
    call: &(dyn Fn(Option<Duration>) -> bool + Sync),
    succeeds: bool,
    event: impl FnOnce(),
) {
    let waiting: Process = child(|| assert_eq!(call(None), succeeds));
    wait_until_blocked(waiting.pid());
    let begun = Instant::now();
    event();
    join_all([waiting]);
    fact("ended_after_us", begun.elapsed().as_micros());
    assert!(begun.elapsed() < SLACK, "{:?}", begun.elapsed());
}

fn outlives_its_other_side(calls: &Calls) {
    let Calls { put, get, close, len } = *calls;
    // All consumers are dead: one took a message, the other waited for one.
    assert!(put(None));
    dies(|| assert!(get(None)), || len() == 0);
    let waiting = child(|| _ = get(None));
    wait_until_blocked(waiting.pid());
    kill_and_join(waiting);
    assert!(put(None), "the place of the taken message is free");
    times_out(put);
    waits_until(put, true, || join_all([child(|| assert!(get(None)))]));
    // All producers are dead.
    assert!(get(None));
    dies(|| assert!(put(None)), || len() == 1);
    assert!(get(None), "the message of the dead producer is there");
    times_out(get);
    waits_until(get, true, || join_all([child(|| assert!(put(None)))]));
    // A close ends waits on both sides.
    waits_until(get, false, close);
}

fn is_ok<T>(outcome: Result<T, QueueError>) -> bool {
    match outcome {
        Ok(_) => true,
        Err(QueueError::Full | QueueError::Closed) => false,
        Err(other) => panic!("{other}"),
    }
}

#[apply(test)]
fn a_queue_whose_other_side_is_dead_waits_for_the_timeout_a_close_or_a_new_process() {
    let segment: Segment = segment(&Plan::new().queue::<u64>("queue", 1));
    let queue = segment.queue::<u64>("queue").unwrap();
    outlives_its_other_side(&Calls {
        put: &|timeout| match timeout {
            None => is_ok(queue.put(7)),
            Some(timeout) => is_ok(queue.put_timeout(7, timeout)),
        },
        get: &|timeout| match timeout {
            None => is_ok(queue.get()),
            Some(timeout) => queue.get_timeout(timeout).unwrap().is_some(),
        },
        close: &|| queue.close().unwrap(),
        len: &|| queue.len(),
    });
}

#[apply(test)]
fn a_joinable_queue_whose_other_side_is_dead_waits_in_the_same_way() {
    let segment = segment(&Plan::new().joinable_queue::<u64>("queue", 1));
    let queue = segment.joinable_queue::<u64>("queue").unwrap();
    outlives_its_other_side(&Calls {
        put: &|timeout| match timeout {
            None => is_ok(queue.put(7)),
            Some(timeout) => is_ok(queue.put_timeout(7, timeout)),
        },
        get: &|timeout| match timeout {
            None => is_ok(queue.get()),
            Some(timeout) => queue.get_timeout(timeout).unwrap().is_some(),
        },
        close: &|| queue.close().unwrap(),
        len: &|| queue.len(),
    });
}

#[apply(test)]
fn a_queue_of_messages_of_any_length_whose_other_side_is_dead_waits_in_the_same_way() {
    let segment = segment(&Plan::new().message_queue("queue", 8));
    let queue = segment.message_queue("queue").unwrap();
    outlives_its_other_side(&Calls {
        put: &|timeout| match timeout {
            None => queue.put_bytes(&[7; 8]).is_ok(),
            Some(timeout) => queue.put_bytes_timeout(&[7; 8], timeout).is_ok(),
        },
        get: &|timeout| match timeout {
            None => queue.get_bytes().is_ok(),
            Some(timeout) => queue.get_bytes_timeout(timeout).unwrap().is_some(),
        },
        close: &|| queue.close().unwrap(),
        len: &|| queue.len(),
    });
}
