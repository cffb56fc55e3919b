//! Rows are written to the disk in the background, so that a checkpoint has little left to sync.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use crate::storage::Durability;
use crate::storage::file::Operation;
use crate::storage::file::interposed::interpose;
use crate::storage::journal::Journal;
use crate::storage::write_back::PIECE_BYTES;

use super::scratch::{BOTH, Scratch, append};

#[test]
fn with_durability_disk_the_kernel_begins_to_write_each_whole_piece_of_the_rows_once() {
    for durability in BOTH {
        let scratch = Scratch::new();
        let (mut storage, recovery) = scratch.open(durability).unwrap();
        let parts = Rc::new(RefCell::new(Vec::<Range<u64>>::new()));
        let seen = Rc::clone(&parts);
        let _interposed = interpose(move |operation| {
            if let Operation::StartWriting { path, part } = operation {
                assert!(path.ends_with("bets.csv"), "{path:?}");
                seen.borrow_mut().push(part.clone());
            }
            Ok(())
        });
        let mut ledger = recovery.ledger;
        for number in 0.. {
            // Some commits end in the same piece, and some complete several.
            let bets = if number % 8 == 7 { 15_000 } else { 900 };
            let after = append(&mut storage, ledger, &number.to_string(), bets);
            storage.start_writing(&ledger, &after);
            ledger = after;
            let parts = parts.borrow();
            let end = parts.last().map_or(0, |part| part.end);
            if durability == Durability::Process {
                assert!(parts.is_empty(), "{parts:?}");
            } else {
                assert_eq!(end, ledger.rows_end / PIECE_BYTES * PIECE_BYTES);
            }
            if ledger.rows_end > 16 * PIECE_BYTES {
                assert!(parts.windows(2).all(|two| two[0].end == two[1].start), "{parts:?}");
                assert_eq!(parts.first().map_or(0, |part| part.start), 0);
                break;
            }
        }
    }
}

#[test]
fn the_files_are_synced_early_twice_per_epoch_and_at_most_once_per_commit() {
    for (bets, expected) in [(1, 2), (50, 2), (1000, 1)] {
        let scratch = Scratch::new();
        let (mut storage, recovery) = scratch.open(Durability::Disk).unwrap();
        let mut ledger = recovery.ledger;
        let mut syncs = BTreeMap::<u64, u32>::new();
        for number in 0.. {
            let after = append(&mut storage, ledger, &number.to_string(), bets);
            *syncs.entry(after.epoch).or_default() += Journal::nears_end(&ledger, &after) as u32;
            ledger = after;
            if ledger.epoch == recovery.ledger.epoch + 3 {
                break;
            }
        }
        syncs.remove(&ledger.epoch);
        let counts: Vec<_> = syncs.into_values().collect();
        assert_eq!(counts, [expected; 3], "{bets} bets per batch");
    }
}
