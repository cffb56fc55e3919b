//! Damaged, missing and foreign files of sessions: a start recovers all of them, or refuses and
//! changes nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::storage::{Durability, Ledger, Storage, StorageError, back_up_stopped, verify};

use super::keys::{Stored, assert_sessions, group, key, store, stored};
use super::scratch::{BOTH, Contents, Scratch, append, totals};

/// Size of an entry.
const ENTRY: usize = 64;

/// Leaves a storage as a kill does: sessions of earlier epochs, some with later batches in this
/// epoch, and new ones. Returns the totals.
fn killed(scratch: &Scratch, durability: Durability) -> (Ledger, Stored) {
    let (mut storage, recovery) = scratch.open_keyed(durability).unwrap();
    let ledger = store(&mut storage, recovery.ledger, &[key(1, 1), key(2, 1)]);
    storage.close(ledger).unwrap();
    drop(storage);
    let (mut storage, recovery) = scratch.open(durability).unwrap();
    let ledger = store(&mut storage, recovery.ledger, &[key(1, 2)]);
    storage.close(ledger).unwrap();
    drop(storage);
    let (mut storage, recovery) = scratch.open(durability).unwrap();
    let ledger = store(&mut storage, recovery.ledger, &[key(1, 3), key(3, 1), key(1, 4)]);
    (ledger, Stored::from([(1, 4), (2, 1), (3, 1)]))
}

/// Writes what a checkpoint writes into the file of sessions, as if the process died after it.
fn begin_checkpoint(storage: &Storage, ledger: &Ledger) {
    storage.files.sessions().unwrap().begin_epoch(ledger).unwrap();
}

/// Returns the bits of every used entry and summary of the file, and of the zeros behind each.
fn used_bits(file: &[u8]) -> Vec<usize> {
    let used = |entry: &usize| file[*entry..entry + ENTRY].iter().any(|byte| *byte != 0);
    let entries: Vec<_> = (0..file.len()).step_by(ENTRY).filter(used).collect();
    let bytes = entries.iter().flat_map(|entry| (*entry..entry + ENTRY).chain([entry + ENTRY]));
    bytes.filter(|byte| *byte < file.len()).flat_map(|byte| byte * 8..byte * 8 + 8).collect()
}

fn flipped(contents: &Contents, file: &str, bit: usize) -> Contents {
    let mut damaged = contents.clone();
    damaged.get_mut(file).unwrap()[bit / 8] ^= 1 << (bit % 8);
    damaged
}

/// Asserts that a start refuses these files with all parts of a message and changes nothing.
fn assert_refuses(scratch: &Scratch, durability: Durability, parts: &[&str]) {
    let before = scratch.contents();
    let refused = scratch.open_keyed(durability).unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, StorageError::Inconsistent { .. }), "{text}");
    for part in parts {
        assert!(text.contains(part), "{part:?} in {text:?}");
    }
    assert!(scratch.contents() == before, "a refused start has changed something");
}

/// Starts on each of these contents, and asserts that the start recovers everything or refuses.
/// Returns how many were recovered, and how many refused.
fn check_each(
    scratch: &Scratch,
    durability: Durability,
    damaged: impl Iterator<Item = Contents>,
    (ledger, sessions): &(Ledger, Stored),
) -> (usize, usize) {
    let (mut recovered, mut refused) = (0, 0);
    for contents in damaged {
        scratch.restore(&contents);
        match scratch.open(durability) {
            Ok((storage, recovery)) => {
                assert_eq!(totals(&recovery.ledger), totals(ledger));
                assert_sessions(&storage, sessions, 1..5);
                storage.close(recovery.ledger).unwrap();
                recovered += 1;
            }
            Err(StorageError::Inconsistent { .. }) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    (recovered, refused)
}

#[test]
fn every_flipped_bit_of_the_sessions_is_repaired_or_refused() {
    for (durability, clean) in [(Durability::Disk, false), (Durability::Process, true)] {
        let scratch = Scratch::new();
        killed(&scratch, durability);
        let (mut storage, recovery) = scratch.open(durability).unwrap();
        let ledger = store(&mut storage, recovery.ledger, &[key(1, 5), key(4, 1)]);
        match clean {
            true => {
                storage.close(ledger).unwrap();
            }
            // The process dies in a checkpoint.
            false => begin_checkpoint(&storage, &ledger),
        }
        drop(storage);
        let expected = (ledger, Stored::from([(1, 5), (2, 1), (3, 1), (4, 1)]));
        let whole = scratch.contents();
        let bits = used_bits(&whole["sessions"]);
        assert!(bits.len() > 6 * ENTRY * 8, "two summaries and four copies");
        let damaged = bits.iter().map(|bit| flipped(&whole, "sessions", *bit));
        let (recovered, refused) = check_each(&scratch, durability, damaged, &expected);
        assert!(recovered > 500 && refused > 500, "{recovered} recovered, {refused} refused");
    }
}

#[test]
fn no_flipped_bit_of_keyed_records_loses_anything() {
    for durability in BOTH {
        let scratch = Scratch::new();
        let expected = killed(&scratch, durability);
        let whole = scratch.contents();
        let start = whole["journal"].len() - 64 * 1024;
        // Each ninth bit: of all bytes, and each bit of a byte in turn.
        let bits = (start * 8..expected.0.journal_end as usize * 8).step_by(9);
        let count = bits.len();
        let damaged = bits.map(|bit| flipped(&whole, "journal", bit));
        let found = check_each(&scratch, durability, damaged, &expected);
        assert_eq!(found, (count, 0), "{durability}");
    }
}

/// After a power loss, the file of sessions is as at the start of the epoch, or has entries of
/// which the journal knows nothing.
#[test]
fn entries_that_were_lost_and_entries_that_are_ahead_change_nothing() {
    for durability in BOTH {
        let scratch = Scratch::new();
        let (mut storage, recovery) = scratch.open_keyed(durability).unwrap();
        let ledger = store(&mut storage, recovery.ledger, &[key(1, 1)]);
        storage.close(ledger).unwrap();
        drop(storage);
        let (mut storage, recovery) = scratch.open(durability).unwrap();
        let start = scratch.read("sessions");
        let ledger = store(&mut storage, recovery.ledger, &[key(1, 2), key(2, 1)]);
        let middle = scratch.contents();
        assert!(middle["sessions"] == start, "a commit changes only the table in memory");
        begin_checkpoint(&storage, &ledger);
        let checkpoint = scratch.read("sessions");
        let later = store(&mut storage, ledger, &[key(1, 3), key(2, 2), key(3, 1)]);
        begin_checkpoint(&storage, &later);
        drop(storage);
        let end = scratch.read("sessions");
        for sessions in [start, checkpoint, end] {
            let mut mixed = middle.clone();
            mixed.insert("sessions".to_owned(), sessions);
            scratch.restore(&mixed);
            for _ in 0..2 {
                let (storage, recovery) = scratch.open(durability).unwrap();
                assert_eq!(totals(&recovery.ledger), totals(&ledger));
                assert_sessions(&storage, &Stored::from([(1, 2), (2, 1)]), 1..5);
                storage.close(recovery.ledger).unwrap();
            }
        }
    }
}

#[test]
fn sessions_of_an_earlier_or_later_epoch_are_refused() {
    for durability in BOTH {
        let scratch = Scratch::new();
        let mut states = Vec::new();
        for run in 1..6 {
            let (mut storage, recovery) = scratch.open_keyed(durability).unwrap();
            let ledger = store(&mut storage, recovery.ledger, &[key(1, run), key(2, run)]);
            states.push(scratch.contents());
            storage.close(ledger).unwrap();
        }
        for (number, state) in states.iter().enumerate() {
            for (other, from) in states.iter().enumerate().filter(|(other, _)| *other != number) {
                let mut mixed = state.clone();
                mixed.insert("sessions".to_owned(), from["sessions"].clone());
                scratch.restore(&mixed);
                let what = if other < number { "older" } else { "newer" };
                let parts = ["sessions", what, "restore all files", "move both"];
                assert_refuses(&scratch, durability, &parts);
            }
        }
    }
}

#[test]
fn sessions_of_another_storage_are_refused() {
    for durability in BOTH {
        let states = ["1-1", "2-1"].map(|name| {
            let scratch = Scratch::new();
            let (mut storage, recovery) = scratch.open_keyed(durability).unwrap();
            let ledger = append(&mut storage, recovery.ledger, name, 2);
            let ledger = store(&mut storage, ledger, &[key(9, 1)]);
            storage.close(ledger).unwrap();
            scratch.contents()
        });
        let scratch = Scratch::new();
        let mut mixed = states[0].clone();
        mixed.insert("sessions".to_owned(), states[1]["sessions"].clone());
        scratch.restore(&mixed);
        assert_refuses(&scratch, durability, &["sessions", "another storage", "move both"]);
    }
}

#[test]
fn a_missing_shortened_or_emptied_file_is_refused() {
    for durability in BOTH {
        let scratch = Scratch::new();
        let (ledger, _) = killed(&scratch, durability);
        let whole = scratch.contents();
        let mut missing = whole.clone();
        missing.remove("sessions");
        scratch.restore(&missing);
        assert_refuses(&scratch, durability, &["there is no such file", "move the journal away"]);
        let length = whole["sessions"].len();
        for bytes in [vec![], whole["sessions"][..length - 1].to_vec(), vec![0; length]] {
            let mut damaged = whole.clone();
            damaged.insert("sessions".to_owned(), bytes);
            scratch.restore(&damaged);
            assert_refuses(&scratch, durability, &["sessions", "move both"]);
        }
        // The remedy that the message names.
        fs::remove_file(scratch.path("sessions")).unwrap();
        fs::remove_file(scratch.path("journal")).unwrap();
        let (storage, recovery) = scratch.open_keyed(durability).unwrap();
        assert_eq!(recovery.ledger.bets, ledger.bets);
        assert_sessions(&storage, &Stored::new(), 1..5);
    }
}

#[test]
fn a_file_from_a_start_that_was_interrupted_is_used() {
    for durability in BOTH {
        let scratch = Scratch::new();
        let (mut storage, recovery) = scratch.open(durability).unwrap();
        append(&mut storage, recovery.ledger, "9-1", 1);
        drop(storage);
        let before = scratch.contents();
        drop(scratch.open_keyed(durability).unwrap());
        let mut interrupted = before;
        interrupted.insert("sessions".to_owned(), scratch.read("sessions"));
        scratch.restore(&interrupted);
        let (mut storage, recovery) = scratch.open(durability).unwrap();
        store(&mut storage, recovery.ledger, &[key(1, 1)]);
    }
}

/// Runs a central that does not know sessions, as an older version does after a graceful stop.
#[test]
fn sessions_that_a_run_has_ignored_are_refused() {
    for durability in BOTH {
        let scratch = Scratch::new();
        let (mut storage, recovery) = scratch.open_keyed(durability).unwrap();
        let ledger = store(&mut storage, recovery.ledger, &[key(1, 1)]);
        storage.close(ledger).unwrap();
        drop(storage);
        let sessions = scratch.read("sessions");
        for file in ["sessions", "journal", "checkpoints"] {
            fs::remove_file(scratch.path(file)).unwrap();
        }
        let (mut storage, recovery) = scratch.open(durability).unwrap();
        let ledger = append(&mut storage, recovery.ledger, "2-1", 1);
        storage.close(ledger).unwrap();
        drop(storage);
        fs::write(scratch.path("sessions"), sessions).unwrap();
        let parts = ["sessions", "does not know them", "move both"];
        assert_refuses(&scratch, durability, &parts);
    }
}

#[test]
fn without_a_journal_the_sessions_are_kept_only_if_the_bets_are_those_of_a_graceful_stop() {
    for durability in BOTH {
        for checkpoints in [true, false] {
            let scratch = Scratch::new();
            let (ledger, sessions) = killed(&scratch, durability);
            let remove_journal = || {
                fs::remove_file(scratch.path("journal")).unwrap();
                if !checkpoints {
                    fs::write(scratch.path("checkpoints"), "").unwrap();
                }
            };
            let kept = scratch.contents();
            remove_journal();
            assert_refuses(&scratch, durability, &["sessions", "without the journal", "move both"]);
            scratch.restore(&kept);
            let (storage, recovery) = scratch.open(durability).unwrap();
            storage.close(recovery.ledger).unwrap();
            drop(storage);
            remove_journal();
            let stopped = scratch.contents();
            for _ in 0..3 {
                let (storage, recovery) = scratch.open(durability).unwrap();
                assert_eq!(recovery.ledger.bets, ledger.bets);
                assert_sessions(&storage, &sessions, 1..5);
            }
            let mut more = stopped;
            more.get_mut("bets.csv").unwrap().extend(b"3,Ana,Paz,1-5-0,1999-03-17,1\r\n");
            scratch.restore(&more);
            assert_refuses(&scratch, durability, &["sessions", "without the journal", "move both"]);
        }
    }
}

#[test]
fn a_check_names_sessions_that_a_start_refuses() {
    let scratch = Scratch::new();
    let (ledger, _) = killed(&scratch, Durability::Disk);
    let report = verify(scratch.directory()).unwrap();
    assert_eq!((report.problems, totals(&report.ledger)), (vec![], totals(&ledger)));
    let mut missing = scratch.contents();
    missing.remove("sessions");
    scratch.restore(&missing);
    let report = verify(scratch.directory()).unwrap();
    let problems = report.problems.join("\n");
    assert!(problems.contains("sessions") && problems.contains("a start refuses"), "{problems}");
}

#[test]
fn a_copy_of_a_stopped_storage_has_its_sessions() {
    for clean in [false, true] {
        let scratch = Scratch::new();
        let (ledger, sessions) = killed(&scratch, Durability::Disk);
        if clean {
            let (storage, recovery) = scratch.open(Durability::Disk).unwrap();
            storage.close(recovery.ledger).unwrap();
        }
        let copy = Scratch::new();
        let copied = back_up_stopped(scratch.directory(), copy.directory()).unwrap().unwrap();
        assert_eq!(totals(&copied), totals(&ledger));
        let (mut storage, recovery) = copy.open(Durability::Disk).unwrap();
        assert_sessions(&storage, &sessions, 1..5);
        store(&mut storage, recovery.ledger, &[key(1, 5), key(4, 1)]);
        assert_eq!(stored(&copy, |_, _| 2)[&1], 5);
    }
}

#[test]
fn a_copy_of_a_running_storage_has_the_sessions_of_its_moment() {
    use crate::storage::{Moment, back_up_running};
    for durability in BOTH {
        let scratch = Scratch::new();
        let (mut storage, recovery) = scratch.open_keyed(durability).unwrap();
        let mut ledger = recovery.ledger;
        let mut sessions = Stored::new();
        for number in 1..=60 {
            let session = number % 5;
            let last = sessions.entry(session).or_default();
            *last += 1;
            let batch = group(&[(key(session, *last), 100)]);
            ledger = storage.append(ledger, batch.all(), ledger.records).unwrap().0;
            if number % 10 != 0 {
                continue;
            }
            let moment = || Moment { drawn: false, ledger };
            let copy = Scratch::new();
            back_up_running(scratch.directory(), copy.directory(), moment).unwrap();
            let (copied, _) = copy.open(durability).unwrap();
            assert_sessions(&copied, &sessions, 0..7);
        }
    }
}

#[test]
fn the_file_is_private_opened_again_by_a_worker_and_missed_when_it_is_deleted() {
    let scratch = Scratch::new();
    let (mut storage, recovery) = scratch.open_keyed(Durability::Disk).unwrap();
    let mode = fs::metadata(scratch.path("sessions")).unwrap().permissions().mode();
    assert_eq!(mode & 0o137, 0, "{mode:o}");
    storage.open_again().unwrap();
    let ledger = store(&mut storage, recovery.ledger, &[key(1, 1)]);
    storage.check_names(&ledger, false).unwrap();
    fs::rename(scratch.path("sessions"), scratch.path("aside")).unwrap();
    let lost = storage.check_names(&ledger, false).unwrap_err().to_string();
    assert!(lost.contains("sessions was deleted"), "{lost}");
    assert!(storage.open_again().is_err(), "a worker starts without the file");
}
