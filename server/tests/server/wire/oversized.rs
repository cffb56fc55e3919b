//! Endless input and oversized requests are refused like any other bad input, and no worker grows
//! by them.

use std::thread::scope;

use crate::harness::{
    AgencyConnection, Setup, eventually, packet_of, packet_of_records, private_bytes, refusals,
};
use lottery::Results;

/// Memory that a worker may use for connections that it refuses.
const MAX_GROWTH: u64 = 16 << 20;
/// Memory that a worker may keep when all of them are closed: buffers for the next batch.
const MAX_REMAINDER: u64 = 6 << 20;
/// Memory that all connections of a worker may use together, plus the growth above.
const MAX_BUFFERED: u64 = (64 << 20) + MAX_GROWTH;

fn setup() -> Setup {
    Setup::new()
}

/// Returns noise that starts with a given byte and depends only on the seed.
fn noise(seed: u64, first: u8) -> impl Iterator<Item = Vec<u8>> {
    // SplitMix64 of Steele, Lea and Flood.
    let mut state = seed;
    let mut word = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).to_le_bytes()
    };
    let mut first = Some(first);
    std::iter::repeat_with(move || {
        let mut piece: Vec<u8> = (0..NOISE_PIECE / 8).flat_map(|_| word()).collect();
        if let Some(first) = first.take() {
            piece[0] = first;
        }
        piece
    })
}

const NOISE_PIECE: usize = 64 * 1024;
const NOISE_BYTES: usize = 10_000_000;

/// Returns the private memory of the largest of these processes.
fn most_private(pids: &[u32]) -> u64 {
    pids.iter().map(|pid| private_bytes(*pid)).max().unwrap()
}

#[test]
fn ten_megabytes_of_noise_with_any_first_byte_are_refused_and_use_no_memory() {
    let setup = setup();
    let central = setup.start();
    let pids = central.worker_pids();
    let before = most_private(&pids);
    let mut ports = Vec::new();
    // The byte 1 is left out, because it is a complete query, which is answered whatever follows.
    // The byte 0, which begins a batch, gets 16 more seeds.
    let firsts = (0..=255_u8).filter(|first| *first != 1).chain([0; 16]);
    for (seed, first) in firsts.enumerate() {
        let mut agency = central.connect();
        ports.push(agency.port());
        for piece in noise(seed as u64, first).take(NOISE_BYTES / NOISE_PIECE) {
            if !agency.try_send(&piece) {
                break;
            }
        }
        let during = most_private(&pids);
        assert!(
            during < before + MAX_GROWTH,
            "{during} bytes after {before} with seed {seed}, byte {first}"
        );
        assert!(agency.read_until_gone().is_empty(), "a reply to seed {seed}, byte {first}");
        if seed % 16 == 0 {
            assert_eq!(central.request(&packet_of("honest", 1, 0)), [0, 0]);
        }
    }
    central.none_in_flight_within_a_second();
    assert_eq!(central.worker_pids(), pids);
    let after = most_private(&pids);
    assert!(after < before + MAX_REMAINDER, "{after} bytes after {before}");
    assert!(setup.rows().iter().all(|row| row.contains(",honest")));
    let log = central.stop_and_read_log();
    for (seed, port) in ports.iter().enumerate() {
        // Several connections may have had the same port, one after the other.
        let sent = ports.iter().filter(|other| *other == port).count();
        assert_eq!(
            refusals(&log, *port).len(),
            sent,
            "lines about seed {seed} and others from its port"
        );
    }
}

#[test]
fn a_request_above_the_limit_is_refused_while_it_arrives() {
    let setup = setup();
    let central = setup.start();
    // Each record is valid, and so is the number of records.
    let record = format!("{};B;1;1999-03-17", "x".repeat(250));
    let request = packet_of_records(&vec![record; 65_535]);
    assert!(request.len() > 10_000_000);
    let mut agency = central.connect();
    let port = agency.port();
    assert!(!agency.try_send(&request), "the central took all of it");
    assert!(agency.read_until_gone().is_empty());
    assert_eq!(central.results(), Results { winners: 0, in_flight: 0 });
    assert_eq!(setup.rows(), Vec::<String>::new());
    let log = central.stop_and_read_log();
    let lines = refusals(&log, port);
    assert!(lines.len() == 1 && lines[0].contains("request of more than"), "{lines:?}");
}

#[test]
fn unfinished_requests_of_many_connections_stay_within_the_memory_limit_of_a_worker() {
    const SENDERS: usize = 40;
    const PART_BYTES: usize = 2 << 20;
    let setup = setup().with("SERVER_WORKERS", "1");
    let central = setup.start();
    let pids = central.worker_pids();
    let before = most_private(&pids);
    // Each request is within its own limit; together they exceed that of the worker.
    let record = "Santiago Lionel;Lorca;30904465;1999-03-17;7574";
    let mut part = packet_of_records(&vec![record; 65_535]);
    part.truncate(PART_BYTES);
    let mut agencies: Vec<_> = (0..SENDERS).map(|_| central.connect()).collect();
    scope(|scope| {
        for agency in &mut agencies {
            scope.spawn(|| agency.try_send(&part));
        }
    });
    let refused = || central.program.count_lines_with("fill the 67108864 bytes of this worker");
    eventually("refusals for lack of memory", refused, |count| *count > 0);
    let during = most_private(&pids);
    assert!(during < before + MAX_BUFFERED, "{during} bytes, {before} before");
    // An honest request in two pieces needs memory too. The connection that buffers the most is
    // closed, not the newest.
    let packet = packet_of("honest", 100, 1);
    // A batch that has begun is in flight or was refused.
    let begun = || central.number("agencies_in_flight") + refused() as u64;
    eventually("all batches begun", begun, |count| *count == SENDERS as u64);
    let mut honest = central.connect();
    honest.send(&packet[..1460]);
    eventually("the first piece arrived", begun, |count| *count == SENDERS as u64 + 1);
    honest.send(&packet[1460..]);
    assert_eq!(honest.read_to_end()[..2], [0, 1]);
    agencies.into_iter().for_each(AgencyConnection::reset);
    central.none_in_flight_within_a_second();
    let limit = before + MAX_REMAINDER;
    eventually("the memory released", || most_private(&pids), |after| *after < limit);
    assert_eq!((central.worker_pids(), setup.rows().len()), (pids, 100));
}
