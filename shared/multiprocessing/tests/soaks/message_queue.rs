//! Queues of messages of any length whose producers and consumers are killed.

use multiprocessing::{MessageQueue, Plan};

use super::queue::recoveries;
use crate::common::{Traffic, apply, fact, kills, segment, soak};

/// Bytes of the longest message.
const LONGEST: usize = 4000;

/// Returns a message whose bytes and length all follow from its number and its producer.
fn message(producer: u64, number: u64) -> Vec<u8> {
    let length = number.wrapping_mul(0x9e37_79b9) as usize % (LONGEST - 16);
    let start = number.wrapping_mul(31) ^ producer;
    let rest = (0..length as u64).map(|index| start.wrapping_add(index * index) as u8);
    producer.to_ne_bytes().into_iter().chain(number.to_ne_bytes()).chain(rest).collect()
}

fn take(queue: &MessageQueue) -> (u64, u64) {
    let taken = queue.get_bytes().unwrap();
    let number = |at: usize| u64::from_ne_bytes(taken[at..at + 8].try_into().unwrap());
    let (producer, number) = (number(0), number(8));
    assert_eq!(taken, message(producer, number), "a torn message");
    (producer, number)
}

#[apply(soak)]
fn no_message_of_any_length_is_torn_doubled_or_lost_except_by_its_killed_receiver() {
    let mut recovered = 0;
    let (both, putters, takers) = ([0, 1, 0, 1], [0; 4], [1; 4]);
    let rounds = [(LONGEST, both), (60_000, both), (9_000, putters), (9_000, takers)];
    for (capacity, killed) in rounds.into_iter().cycle().take(kills(1000).div_ceil(250) as usize) {
        // Each round needs a segment of its own, under the same name.
        let segment = segment(&Traffic::planned(Plan::new().message_queue("queue", capacity), 4));
        let queue = segment.message_queue("queue").unwrap();
        let put = |producer, number| queue.put_bytes(&message(producer, number)).unwrap();
        Traffic::of(&segment).survives(250, killed, &put, &|| take(&queue));
        assert!(queue.is_empty());
        recovered += recoveries(&segment);
    }
    fact("recoveries", recovered);
    assert!(recovered > 0, "no process was killed with the lock");
}
