//! With durability `disk` only the journal is made durable with each batch. Whatever a power loss
//! leaves of the other files since the last checkpoint, the next start restores them byte for byte.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use crate::harness::{Random, Setup, large_packet, packet_of};

/// Index of the epoch in the ledger.
const EPOCH: usize = 5;
/// Files that the kernel may not have written when the power fails.
const VOLATILE: [&str; 3] = ["bets.csv", "winners.log", "winners.idx"];

fn setup() -> Setup {
    Setup::new().with("SERVER_DURABILITY", "disk")
}

fn contents(setup: &Setup) -> [Vec<u8>; 3] {
    VOLATILE.map(|file| setup.read_stored(file))
}

/// Starts the central and asserts that it has exactly these files and totals.
fn assert_restored(setup: &Setup, expected: &[Vec<u8>; 3], bets: u64, winners: u64) {
    let central = setup.start();
    assert!(contents(setup) == *expected, "the files are restored");
    assert_eq!((central.number("bets"), central.results().winners), (bets, winners));
    assert_eq!(central.stop().0, 0);
    assert!(contents(setup) == *expected, "also after stopping");
}

#[test]
fn losses_since_the_last_checkpoint_are_restored_from_the_journal() {
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
        central.kill_all();
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
                    for page in
                        (kept.next_multiple_of(4096)..whole.saturating_sub(4096)).step_by(4096)
                    {
                        file.write_all_at(&[0; 4096], page + random.below(2) * 4096).unwrap();
                    }
                }
            }
        }
        assert!(contents(&setup) != whole, "{loss}");
        assert_restored(&setup, &whole, 1010, 404);
    }
}

#[test]
fn a_full_journal_begins_a_new_epoch_and_nothing_is_lost() {
    let setup = setup();
    let central = setup.start();
    let ledger = central.segment().value::<[u64; 11]>("ledger").unwrap();
    let epoch = ledger.get()[EPOCH];
    for mark in 'a'..='r' {
        assert!(central.request(&large_packet(&mark.to_string(), 65_535, 100)).len() > 2);
    }
    assert!(ledger.get()[EPOCH] > epoch, "18 times 2 MB exceed 32 MB");
    central.kill_all();
    let whole = contents(&setup);
    assert_restored(&setup, &whole, 18 * 65_535, 1800);
}

#[test]
fn a_batch_of_many_megabytes_is_stored_like_any_other() {
    let setup = setup();
    let central = setup.start();
    // 10 MB of rows and winner lines.
    let mark = "a document of some length".repeat(2);
    assert!(central.request(&packet_of("before", 10, 4)).len() > 2);
    assert!(central.request(&large_packet(&mark, 50_000, 50_000)).len() > 2);
    assert!(central.request(&packet_of("after", 10, 4)).len() > 2);
    let whole = contents(&setup);
    assert!(whole[0].len() + whole[1].len() > 8 << 20);
    central.kill_all();
    assert_restored(&setup, &whole, 50_020, 50_008);
}
