//! Python's `Queue` of objects of any length, also when processes are killed.

use std::collections::BTreeMap;
use std::time::Duration;

use multiprocessing::{MessageQueue, MessageQueueError, Plan, Segment, SegmentError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize, Serializer};

use crate::common::{
    LIMIT, Random, apply, child, join_all, keeps_time, kill_and_join, segment, sleep_for_ever,
    test, unique_name, wait_until, wait_until_blocked, waits_idly,
};

fn queue(capacity: usize) -> (Segment, MessageQueue) {
    let segment = segment(&Plan::new().message_queue("queue", capacity));
    let queue = segment.message_queue("queue").unwrap();
    (segment, queue)
}

fn is_full(outcome: Result<(), MessageQueueError>) -> bool {
    matches!(outcome, Err(MessageQueueError::Full))
}

fn is_closed<T>(outcome: Result<T, MessageQueueError>) -> bool {
    matches!(outcome, Err(MessageQueueError::Closed))
}

#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
enum Job {
    Stop,
    Count { text: String, words: Vec<String> },
    Lengths(BTreeMap<String, u64>),
}

#[apply(test)]
fn values_of_any_type_and_length_come_out_of_another_process_in_order() {
    let (_segment, queue) = queue(1000);
    let jobs = [
        Job::Count { text: "señor".repeat(100), words: vec!["a".into(), String::new()] },
        Job::Stop,
        Job::Lengths((0..20).map(|number| (number.to_string(), number)).collect()),
    ];
    join_all([child(|| {
        jobs.iter().for_each(|job| queue.put(job).unwrap());
        queue.put("borrowed text").unwrap();
    })]);
    assert_eq!(queue.len(), 4);
    assert_eq!(queue.get::<Job>().unwrap(), jobs[0]);
    assert_eq!(queue.try_get::<Job>().unwrap(), Some(jobs[1].clone()));
    assert_eq!(queue.get_timeout::<Job>(LIMIT).unwrap(), Some(jobs[2].clone()));
    assert_eq!(queue.get::<String>().unwrap(), "borrowed text");
    assert_eq!(queue.try_get::<Job>().unwrap(), None);
    assert!(queue.is_empty());
}

#[apply(test)]
fn bytes_of_every_length_up_to_the_capacity_go_many_times_around_the_ring() {
    const CAPACITY: usize = 61;
    let (_segment, queue) = queue(CAPACITY);
    assert_eq!(queue.capacity(), CAPACITY);
    let mut random = Random::new();
    let message = |number: usize, length: usize| -> Vec<u8> {
        (0..length).map(|index| (number + 7 * index) as u8).collect()
    };
    let (mut put, mut taken) = (Vec::new(), 0);
    for _ in 0..20_000 {
        let next = message(put.len(), random.below(CAPACITY as u64 + 1) as usize);
        match queue.try_put_bytes(&next) {
            Ok(()) => put.push(next),
            Err(MessageQueueError::Full) => {
                assert_eq!(queue.get_bytes().unwrap(), put[taken], "message {taken}");
                taken += 1;
            }
            Err(other) => panic!("{other}"),
        }
        assert_eq!(queue.len(), put.len() - taken);
    }
    assert!(taken > 5_000, "{taken} messages");
}

#[apply(test)]
fn a_message_of_the_capacity_fits_and_a_longer_one_is_an_error_that_says_so() {
    for capacity in [1, 7, 8, 9, 4096] {
        let (_segment, queue) = queue(capacity);
        let mut message = vec![7; capacity];
        queue.try_put_bytes(&message).unwrap();
        assert_eq!(queue.try_get_bytes().unwrap().as_ref(), Some(&message));
        message.push(8);
        // At once, although there is no limit to the wait.
        let refused = queue.put_bytes(&message).unwrap_err();
        let (bytes, error) = (capacity + 1, refused.to_string());
        let expected = format!(
            "a message of {bytes} bytes is too long for a queue with a capacity of {capacity}"
        );
        assert_eq!(error, expected);
        assert!(queue.is_empty());
        drop(_segment);
    }
}

#[apply(test)]
fn a_full_queue_refuses_a_message_at_once_or_after_the_timeout_or_lets_it_wait_for_room() {
    let (_segment, queue) = queue(24);
    // With its length, the first message leaves 16 of 32 bytes.
    queue.put_bytes(&[1; 8]).unwrap();
    assert!(is_full(queue.try_put_bytes(&[2; 9])));
    assert!(is_full(queue.put_bytes_timeout(&[2; 9], Duration::from_millis(1))));
    assert!(is_full(queue.try_put(&[2; 9])));
    queue.try_put_bytes(&[2; 8]).unwrap();
    assert!(is_full(queue.try_put_bytes(&[])));
    // The waiters need more than the first message frees. A long wait lets no short one starve.
    let long = child(|| queue.put_bytes(&[3; 24]).unwrap());
    wait_until_blocked(long.pid());
    let short =
        [child(|| queue.put_bytes(&[4]).unwrap()), child(|| queue.put_bytes(&[4]).unwrap())];
    short.iter().for_each(|waiter| wait_until_blocked(waiter.pid()));
    assert_eq!((queue.get_bytes().unwrap(), queue.get_bytes().unwrap()), (vec![1; 8], vec![2; 8]));
    let mut rest: Vec<_> = (0..3).map(|_| queue.get_bytes().unwrap()).collect();
    join_all(short.into_iter().chain([long]));
    rest.sort();
    assert_eq!(rest, [vec![3; 24], vec![4], vec![4]]);
}

struct Unencodable;

impl Serialize for Unencodable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("as planned"))
    }
}

/// _TestQueue.test_queue_feeder_donot_stop_onexc.
#[apply(test)]
fn a_value_that_cannot_be_encoded_or_decoded_is_an_error_and_affects_no_other() {
    let (_segment, queue) = queue(100);
    queue.put(&1_u8).unwrap();
    let refused = queue.put(&Unencodable).unwrap_err();
    assert!(matches!(refused, MessageQueueError::Encode(_)), "{refused}");
    queue.put("two").unwrap();
    queue.put(&3_u8).unwrap();
    queue.close().unwrap();
    assert_eq!((queue.len(), queue.get::<u8>().unwrap()), (3, 1));
    let rest: Vec<_> = queue.iter::<u8>().collect();
    assert!(
        matches!(rest[..], [Err(MessageQueueError::Decode(_)), Ok(3)]),
        "the text is no number, and the number follows: {rest:?}"
    );
}

#[apply(test)]
fn a_closed_queue_refuses_messages_ends_every_wait_and_gives_out_the_remaining_ones() {
    let (_segment, queue) = queue(64);
    let waiting = child(|| assert!(is_closed(queue.get_bytes())));
    wait_until_blocked(waiting.pid());
    queue.close().unwrap();
    join_all([waiting]);
    assert!(queue.is_closed() && is_closed(queue.put(&1)) && is_closed(queue.try_get::<u8>()));

    let segment = segment_of_two();
    let [full, other] = ["full", "other"].map(|name| segment.message_queue(name).unwrap());
    full.put_bytes(&[1; 64]).unwrap();
    let waiting = child(|| assert!(is_closed(full.put_bytes(&[2; 64]))));
    wait_until_blocked(waiting.pid());
    full.close().unwrap();
    join_all([waiting]);
    assert_eq!(full.to_string(), "1 messages in 72 of 72 bytes, closed");
    assert_eq!(full.iter_bytes().map(Result::unwrap).collect::<Vec<_>>(), [vec![1; 64]]);
    assert!(is_closed(full.get_bytes()));
    assert_eq!(format!("{other:?}"), "MessageQueue(0 messages in 0 of 72 bytes)");
}

fn segment_of_two() -> Segment {
    let plan = Plan::new().message_queue("full", 64).message_queue("other", 64);
    Segment::create(&unique_name(), &plan).unwrap()
}

#[apply(test)]
fn an_iterator_waits_for_messages_until_the_queue_is_closed_or_none_comes_for_a_while() {
    let (_segment, queue) = queue(16);
    let putting = child(|| {
        (0..100_u32).for_each(|number| queue.put(&number).unwrap());
        queue.close().unwrap();
    });
    assert!(queue.iter::<u32>().map(Result::unwrap).eq(0..100));
    join_all([putting]);

    let segment = segment_of_two();
    let queue = segment.message_queue("other").unwrap();
    (0..3_u32).for_each(|number| queue.put(&number).unwrap());
    assert!(queue.iter_timeout::<u32>(Duration::from_millis(50)).map(Result::unwrap).eq(0..3));
    assert!(!queue.is_closed());
}

#[apply(test)]
fn messages_of_dead_processes_stay_and_dead_waiters_block_no_other_waiter() {
    let (_segment, queue) = queue(16);
    kill_and_join({
        let putting = child(|| {
            queue.put_bytes(&[1; 16]).unwrap();
            sleep_for_ever();
        });
        wait_until("the child has put its message", || queue.len() == 1);
        putting
    });
    let dying = [child(|| queue.put_bytes(&[2; 16]).unwrap()), child(|| queue.put(&2).unwrap())];
    dying.iter().for_each(|waiter| wait_until_blocked(waiter.pid()));
    let living = child(|| queue.put_bytes(&[3; 16]).unwrap());
    wait_until_blocked(living.pid());
    dying.into_iter().for_each(kill_and_join);
    assert_eq!(queue.get_bytes().unwrap(), [1; 16]);
    join_all([living]);
    assert_eq!(queue.get_bytes().unwrap(), [3; 16]);

    let dying = [child(|| _ = queue.get_bytes()), child(|| _ = queue.get_bytes())];
    dying.iter().for_each(|waiter| wait_until_blocked(waiter.pid()));
    let living = child(|| assert_eq!(queue.get_bytes().unwrap(), [4]));
    wait_until_blocked(living.pid());
    dying.into_iter().for_each(kill_and_join);
    queue.put_bytes(&[4]).unwrap();
    join_all([living]);
}

#[apply(test)]
fn waits_time_out_on_time_even_under_a_storm_of_signals() {
    let segment = segment_of_two();
    let [full, empty] = ["full", "other"].map(|name| segment.message_queue(name).unwrap());
    full.put_bytes(&[0; 64]).unwrap();
    keeps_time(|_, timeout| assert!(empty.get_bytes_timeout(timeout).unwrap().is_none()));
    keeps_time(|_, timeout| assert!(is_full(full.put_timeout(&1, timeout))));
}

#[apply(test)]
fn an_idle_waiter_uses_no_processor_time() {
    let (_segment, queue) = queue(8);
    waits_idly(child(|| _ = queue.get_bytes()));
    queue.put_bytes(&[1; 8]).unwrap();
    waits_idly(child(|| queue.put_bytes(&[2; 8]).unwrap()));
}

#[apply(test)]
fn only_a_queue_of_messages_of_any_length_opens_as_one() {
    let name = unique_name();
    let plan = Plan::new().queue::<u8>("fixed", 8).message_queue("queue", 100);
    let segment = Segment::create(&name, &plan).unwrap();
    let message = segment.message_queue("fixed").unwrap_err().to_string();
    assert!(message.ends_with("expected MessageQueue of messages of any length"), "{message}");
    assert!(segment.queue::<u8>("queue").is_err());
    assert_eq!(segment.message_queue("queue").unwrap().capacity(), 100);
    for capacity in [0, usize::MAX, usize::MAX - 8, isize::MAX as usize] {
        let plan = Plan::new().message_queue("queue", capacity);
        let refused = Segment::create(&unique_name(), &plan).unwrap_err();
        assert!(matches!(refused, SegmentError::Plan { .. }), "{capacity}: {refused}");
    }
}

/// Queues carry what is owned, so that it can outlive the queue.
#[apply(test)]
fn values_are_owned_by_their_consumer() {
    fn takes<T: DeserializeOwned>(queue: MessageQueue) -> T {
        queue.get().unwrap()
    }
    let (_segment, queue) = queue(8);
    queue.put("kept").unwrap();
    assert_eq!(takes::<String>(queue), "kept");
}
