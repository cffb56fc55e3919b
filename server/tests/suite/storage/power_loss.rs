//! With durability `disk` the journal alone is made durable with each batch: whatever a power loss leaves of the other files since
//! the last checkpoint, the next start puts them back byte for byte.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use crate::harness::{Random, Setup, large_packet, packet_of};

/// Place of the epoch in the ledger.
const EPOCH: usize = 5;
/// Files that the kernel may not have written.
const VOLATILE: [&str; 2] = ["bets.csv", "winners.log"];

fn setup() -> Setup {
    Setup::new().with("SERVER_DURABILITY", "disk")
}

fn contents(setup: &Setup) -> [Vec<u8>; 2] {
    VOLATILE.map(|file| setup.read_stored(file))
}

/// Starts once more and expects exactly these files and totals.
fn has_all(setup: &Setup, expected: &[Vec<u8>; 2], bets: u64, winners: u64) {
    let central = setup.start();
    assert!(contents(setup) == *expected, "the files are as they were");
    assert_eq!((central.number("bets"), central.results().winners), (bets, winners));
    assert_eq!(central.stop().0, 0);
    assert!(contents(setup) == *expected, "also after stopping");
}

#[test]
fn what_was_written_since_the_last_checkpoint_and_lost_is_put_back_from_the_journal() {
    for loss in ["never written", "written as zeros", "partly written", "pages in random order"] {
        let setup = setup();
        let central = setup.start();
        assert!(central.request(&packet_of("a", 10, 4)).len() > 2);
        assert_eq!(central.stop().0, 0);
        let kept = contents(&setup);
        let central = setup.start();
        for batch in 0..10 {
            assert!(central.request(&packet_of(&format!("b{batch}"), 100, 40)).len() > 2);
        }
        central.kill_everything();
        let whole = contents(&setup);
        let mut random = Random::seeded();
        for (file, (kept, whole)) in VOLATILE.iter().zip(kept.iter().zip(&whole)) {
            let (kept, whole) = (kept.len() as u64, whole.len() as u64);
            let file = OpenOptions::new().write(true).open(setup.stored(file)).unwrap();
            match loss {
                "never written" => file.set_len(kept).unwrap(),
                "written as zeros" => {
                    file.write_all_at(&vec![0; (whole - kept) as usize], kept).unwrap()
                }
                "partly written" => file.set_len(kept + random.below(whole - kept)).unwrap(),
                _ => {
                    for page in (kept.next_multiple_of(4096)..whole - 4096).step_by(4096) {
                        file.write_all_at(&[0; 4096], page + random.below(2) * 4096).unwrap();
                    }
                }
            }
        }
        assert!(contents(&setup) != whole, "{loss}");
        has_all(&setup, &whole, 1010, 404);
    }
}

#[test]
fn a_journal_that_is_full_starts_over_and_nothing_is_lost() {
    let setup = setup();
    let central = setup.start();
    let ledger = central.segment().value::<[u64; 7]>("ledger").unwrap();
    let epoch = ledger.get()[EPOCH];
    for mark in ["a", "b", "c", "d", "e", "f"] {
        assert!(central.request(&large_packet(mark, 65_535, 100)).len() > 2);
    }
    assert!(ledger.get()[EPOCH] > epoch, "six times 2 MB do not fit 8 MB");
    central.kill_everything();
    let whole = contents(&setup);
    has_all(&setup, &whole, 6 * 65_535, 600);
}

#[test]
fn a_batch_larger_than_the_whole_journal_is_stored_like_any_other() {
    let setup = setup();
    let central = setup.start();
    // 10 MB of rows and winner lines.
    let mark = "a document of some length".repeat(2);
    assert!(central.request(&packet_of("before", 10, 4)).len() > 2);
    assert!(central.request(&large_packet(&mark, 50_000, 50_000)).len() > 2);
    assert!(central.request(&packet_of("after", 10, 4)).len() > 2);
    let whole = contents(&setup);
    assert!(whole[0].len() + whole[1].len() > 8 << 20);
    central.kill_everything();
    has_all(&setup, &whole, 50_020, 50_008);
}
