//! Queues whose producers and consumers are killed.

use std::fs::File;
use std::os::unix::fs::FileExt;

use multiprocessing::{Plan, Segment};

use crate::common::{Traffic, apply, fact, kills, name, segment, soak};

/// Long, so that processes are often killed while they copy one.
type Message = [u64; 512];

/// Returns a message whose words all follow from its number and its producer.
fn message(producer: u64, number: u64) -> Message {
    std::array::from_fn(|word| match word {
        0 => producer,
        1 => number,
        _ => number.wrapping_mul(2 * word as u64 + 1).rotate_left(word as u32) ^ producer,
    })
}

/// Returns how often the lock of the queue was recovered from a dead holder: word 6 of its lock
/// block.
pub fn recoveries(segment: &Segment) -> u64 {
    let place = segment.objects().iter().find(|object| object.name == "queue").unwrap().offset;
    let mut word = [0; 8];
    File::open(name().path()).unwrap().read_exact_at(&mut word, place as u64 + 48).unwrap();
    u64::from_ne_bytes(word)
}

#[apply(soak)]
fn no_message_is_torn_doubled_or_lost_except_by_its_killed_receiver() {
    let mut recovered = 0;
    let (both, putters, takers) = ([0, 1, 0, 1], [0; 4], [1; 4]);
    let rounds = [(1, both), (64, both), (5, putters), (5, takers)];
    for (capacity, killed) in rounds.into_iter().cycle().take(kills(1000).div_ceil(250) as usize) {
        // Each round needs a segment of its own, under the same name.
        let segment =
            segment(&Traffic::planned(Plan::new().queue::<Message>("queue", capacity), 4));
        let queue = segment.queue::<Message>("queue").unwrap();
        let put = |producer, number| queue.put(message(producer, number)).unwrap();
        let take = || {
            let taken = queue.get().unwrap();
            let [producer, number, ..] = taken;
            assert_eq!(taken, message(producer, number), "a torn message");
            (producer, number)
        };
        Traffic::of(&segment).survives(250, killed, &put, &take);
        assert!(queue.is_empty());
        recovered += recoveries(&segment);
    }
    fact("recoveries", recovered);
    assert!(recovered > 0, "no process was killed with the lock");
}
