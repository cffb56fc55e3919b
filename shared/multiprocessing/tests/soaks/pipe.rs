//! Pipes whose ends several processes share, of which some are killed.

use std::time::Duration;

use multiprocessing::{Plan, one_way_pipe};

use crate::common::{Traffic, apply, fact, kills, pattern, segment, soak};

/// Kills in a round.
pub const ROUND: u32 = 250;
/// Returns a message that follows from its number and its sender. One of eight is too large for a
/// packet.
pub fn message(sender: u64, number: u64) -> Vec<u8> {
    let length = if number.is_multiple_of(8) {
        60_000 + number.wrapping_mul(31) % 30_000
    } else {
        number.wrapping_mul(7) % 2000
    };
    let head = [sender, number].map(u64::to_le_bytes);
    [&head[0][..], &head[1], &pattern(sender ^ number, length as usize)].concat()
}

/// Checks that a message is whole, and returns its sender and its number.
pub fn examined(received: &[u8]) -> (u64, u64) {
    let (head, _) = received.as_chunks();
    let [sender, number] = [head[0], head[1]].map(u64::from_le_bytes);
    assert!(received == message(sender, number), "a torn message: {sender} {number}");
    (sender, number)
}

/// Several processes share both ends, and every message is whole.
#[apply(soak)]
fn no_message_is_torn_doubled_or_lost_except_by_its_killed_receiver() {
    let mut half_way = 0;
    let rounds = [[0, 1, 0, 1], [0; 4], [1; 4]];
    for killed in rounds.into_iter().cycle().take(kills(3 * ROUND).div_ceil(ROUND) as usize) {
        // Each round needs a segment of its own, under the same name.
        let segment = segment(&Traffic::planned(Plan::new(), 4));
        let (receiver, sender) = one_way_pipe().unwrap();
        let send = |own, number| sender.send_bytes(&message(own, number)).unwrap();
        let receive = || examined(&receiver.recv_bytes().unwrap());
        let counts = Traffic::of(&segment).survives(ROUND, killed, &send, &receive);
        assert!(!receiver.poll(Duration::ZERO).unwrap());
        half_way += counts.lost + counts.unreturned;
    }
    fact("recoveries", half_way);
}
