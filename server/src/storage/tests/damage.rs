//! Damaged and older files: a start recovers everything that was acknowledged, or refuses and
//! changes nothing.

use crate::storage::journal::checkpoint::pages;
use crate::storage::journal::header::HEADER_BYTES;
use crate::storage::{Durability, Ledger, StorageError};

use super::scratch::{BOTH, Contents, Scratch, append, finish, totals};

/// Leaves a storage as a kill does, with two batches and a finish mark since the last checkpoint,
/// and one batch before it. Returns the totals.
fn killed(scratch: &Scratch, durability: Durability) -> Ledger {
    let (mut storage, recovery) = scratch.open(durability).unwrap();
    let ledger = append(&mut storage, recovery.ledger, "before", 2);
    storage.close(ledger).unwrap();
    drop(storage);
    let (mut storage, recovery) = scratch.open(durability).unwrap();
    let ledger = append(&mut storage, recovery.ledger, "a", 2);
    let ledger = finish(&mut storage, ledger, 3);
    append(&mut storage, ledger, "b", 1)
}

/// Returns the bits of the journal that are in use: all copies of both checkpoints, and the records
/// up to `end`.
fn used_bits(end: u64) -> impl Iterator<Item = usize> {
    let headers = pages().map(|page| page as usize).flat_map(|page| page..page + HEADER_BYTES);
    let records_start = pages().count() * 4096;
    headers.chain(records_start..end as usize).flat_map(|byte| byte * 8..(byte + 1) * 8)
}

fn flipped(bytes: &[u8], bit: usize) -> Vec<u8> {
    let mut flipped = bytes.to_vec();
    flipped[bit / 8] ^= 1 << (bit % 8);
    flipped
}

/// Asserts that a start refuses these files with all parts of a message and changes nothing.
fn assert_refuses(scratch: &Scratch, durability: Durability, parts: &[&str]) {
    let before = scratch.contents();
    let refused = scratch.open(durability).unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, StorageError::Inconsistent { .. }), "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} in {text:?}");
    }
    assert_eq!(scratch.contents(), before, "nothing was changed");
}

#[test]
fn no_flipped_bit_of_the_journal_loses_anything() {
    for durability in BOTH {
        let scratch = Scratch::new();
        let end = killed(&scratch, durability);
        let whole = scratch.contents();
        for bit in used_bits(end.journal_end) {
            let mut damaged = whole.clone();
            damaged.insert("journal".to_owned(), flipped(&whole["journal"], bit));
            scratch.restore(&damaged);
            let (_, recovery) = scratch.open(durability).unwrap_or_else(|e| panic!("{bit}: {e}"));
            assert_eq!(totals(&recovery.ledger), totals(&end), "bit {bit}, {durability}");
            assert_eq!((recovery.cut, scratch.copies()), (0, vec![]), "bit {bit}, {durability}");
            for file in ["bets.csv", "winners.log", "finished"] {
                assert!(scratch.read(file) == whole[file], "bit {bit}, {durability}: {file}");
            }
        }
    }
}

#[test]
fn no_flipped_bit_of_the_file_checkpoints_loses_anything() {
    for durability in BOTH {
        let scratch = Scratch::new();
        let end = killed(&scratch, durability);
        let whole = scratch.contents();
        for bit in 0..end.entries as usize * HEADER_BYTES * 8 {
            let mut damaged = whole.clone();
            damaged.insert("checkpoints".to_owned(), flipped(&whole["checkpoints"], bit));
            scratch.restore(&damaged);
            let (_, recovery) = scratch.open(durability).unwrap_or_else(|e| panic!("{bit}: {e}"));
            assert_eq!(totals(&recovery.ledger), totals(&end), "bit {bit}, {durability}");
        }
    }
}

/// After a power loss the files are as at the last checkpoint, so that the journal is the only
/// source of the batches since.
#[test]
fn a_flipped_bit_and_a_power_loss_lose_nothing_acknowledged_or_are_refused() {
    let scratch = Scratch::new();
    let (mut storage, recovery) = scratch.open(Durability::Disk).unwrap();
    let start = append(&mut storage, recovery.ledger, "before", 2);
    storage.close(start).unwrap();
    drop(storage);
    let (mut storage, recovery) = scratch.open(Durability::Disk).unwrap();
    let lost = scratch.contents();
    let ledger = append(&mut storage, recovery.ledger, "a", 2);
    let ledger = finish(&mut storage, ledger, 3);
    let acknowledged = append(&mut storage, ledger, "b", 3);
    let end = append(&mut storage, acknowledged, "not acknowledged", 1);
    drop(storage);
    let journal = scratch.read("journal");
    let (mut recovered, mut refused) = (0, 0);
    for bit in used_bits(end.journal_end) {
        let mut damaged = lost.clone();
        damaged.insert("journal".to_owned(), flipped(&journal, bit));
        scratch.restore(&damaged);
        match scratch.open(Durability::Disk) {
            Ok((_, recovery)) => {
                let whole = [acknowledged, end].map(|ledger| totals(&ledger));
                assert!(whole.contains(&totals(&recovery.ledger)), "bit {bit}: {recovery:?}");
                recovered += 1;
            }
            Err(StorageError::Inconsistent { .. }) => refused += 1,
            Err(error) => panic!("bit {bit}: {error}"),
        }
    }
    // Only the bytes of the two acknowledged batches exist once.
    assert!(refused > 0 && recovered > 5 * refused, "{recovered} recovered, {refused} refused");
}

#[test]
fn a_destroyed_record_before_an_acknowledged_one_is_refused_and_named() {
    for durability in BOTH {
        let scratch = Scratch::new();
        let (mut storage, recovery) = scratch.open(durability).unwrap();
        let first = append(&mut storage, recovery.ledger, "a", 2);
        let second = append(&mut storage, first, "b", 1);
        append(&mut storage, second, "c", 1);
        drop(storage);
        let mut damaged = scratch.contents();
        let (start, end) = (first.journal_end as usize, second.journal_end as usize);
        damaged.get_mut("journal").unwrap()[start..end].fill(0);
        scratch.restore(&damaged);
        let place = format!("byte {start}, of batch 2, which begins in line 3 of bets.csv");
        assert_refuses(
            &scratch,
            durability,
            &["journal", &place, "loteria-central verify", "restore"],
        );
    }
}

#[test]
fn a_destroyed_record_at_the_end_is_moved_aside_with_its_batch() {
    for durability in BOTH {
        let scratch = Scratch::new();
        let (mut storage, recovery) = scratch.open(durability).unwrap();
        let first = append(&mut storage, recovery.ledger, "a", 2);
        let last = append(&mut storage, first, "b", 1);
        drop(storage);
        let mut damaged = scratch.contents();
        let (start, end) = (first.journal_end as usize, last.journal_end as usize);
        damaged.get_mut("journal").unwrap()[start..end].fill(0xA5);
        scratch.restore(&damaged);
        let rows = scratch.read("bets.csv");
        let (_, recovery) = scratch.open(durability).unwrap();
        assert_eq!(totals(&recovery.ledger), totals(&first));
        assert_eq!(recovery.cut, last.rows_end - first.rows_end);
        assert_eq!((recovery.kept_in.len(), &recovery.kept_in), (2, &scratch.copies()));
        let kept: Vec<u8> = [scratch.read("bets.csv"), scratch.read(&recovery.kept_in[0])].concat();
        assert_eq!(kept, rows);
    }
}

#[test]
fn a_journal_that_is_older_than_the_other_files_is_refused() {
    for durability in BOTH {
        let scratch = Scratch::new();
        killed(&scratch, durability);
        let older = scratch.read("journal");
        let (mut storage, recovery) = scratch.open(durability).unwrap();
        let ledger = append(&mut storage, recovery.ledger, "later", 5);
        storage.close(ledger).unwrap();
        drop(storage);
        let mut mixed = scratch.contents();
        mixed.insert("journal".to_owned(), older);
        scratch.restore(&mixed);
        assert_refuses(&scratch, durability, &["journal", "older", "move the journal away"]);
    }
}

#[test]
fn an_older_journal_of_the_same_epoch_is_refused_once_a_mib_of_rows_followed() {
    for durability in BOTH {
        let scratch = Scratch::new();
        let (mut storage, recovery) = scratch.open(durability).unwrap();
        let mut ledger = append(&mut storage, recovery.ledger, "a", 1);
        let older = scratch.read("journal");
        let epoch = ledger.epoch;
        // With durability `disk` these batches fill the journal of a unit test.
        for number in 0..30 {
            ledger = append(&mut storage, ledger, &format!("{number}"), 1500);
        }
        assert!(ledger.rows_end > 1 << 20);
        assert_eq!(ledger.epoch == epoch, durability == Durability::Process);
        drop(storage);
        let mut mixed = scratch.contents();
        mixed.insert("journal".to_owned(), older);
        scratch.restore(&mixed);
        assert_refuses(&scratch, durability, &["move the journal away"]);
    }
}

/// Overwrites bytes of `bets.csv` with zeros, as a power loss does.
fn with_hole(contents: &Contents, start: u64, end: u64) -> Contents {
    let mut damaged = contents.clone();
    damaged.get_mut("bets.csv").unwrap()[start as usize..end as usize].fill(0);
    damaged
}

/// Returns a killed storage of three batches without durability, the second of which has a hole,
/// and the totals after the first.
fn with_hole_in_the_second_batch() -> (Scratch, Ledger) {
    let scratch = Scratch::new();
    let (mut storage, recovery) = scratch.open(Durability::Process).unwrap();
    let first = append(&mut storage, recovery.ledger, "a", 2);
    let second = append(&mut storage, first, "b", 4);
    append(&mut storage, second, "c", 1);
    drop(storage);
    scratch.restore(&with_hole(&scratch.contents(), first.rows_end + 10, second.rows_end - 10));
    (scratch, first)
}

#[test]
fn a_hole_in_the_bets_is_refused_and_its_lines_are_named() {
    let (scratch, _) = with_hole_in_the_second_batch();
    assert_refuses(&scratch, Durability::Process, &["bets.csv", "lines 3 to 6 (batch 2", "verify"]);
}

#[test]
fn after_a_power_loss_a_hole_ends_what_durability_process_has_stored() {
    let (scratch, first) = with_hole_in_the_second_batch();
    let (_, recovery) = scratch.open_after_reboot(Durability::Process);
    assert_eq!(totals(&recovery.ledger), totals(&first));
    assert_eq!((recovery.lost, recovery.kept_in.len()), (1, 2), "the last one may be unanswered");
    assert_eq!(scratch.read("bets.csv").len() as u64, first.rows_end);
}

#[test]
fn a_missing_or_additional_mark_of_an_agency_is_refused() {
    for durability in BOTH {
        let scratch = Scratch::new();
        let (mut storage, recovery) = scratch.open(durability).unwrap();
        let ledger = finish(&mut storage, recovery.ledger, 3);
        storage.close(ledger).unwrap();
        drop(storage);
        let whole = scratch.contents();
        for (agency, mark) in [(3, 0), (4, 1), (3, 2)] {
            let mut damaged = whole.clone();
            damaged.get_mut("finished").unwrap()[agency] = mark;
            scratch.restore(&damaged);
            assert_refuses(&scratch, durability, &["finished", "restore"]);
        }
    }
}
