//! What a start does after a kill: it restores, syncs, and leaves a storage that can be used.

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use crate::storage::file::Operation;
use crate::storage::file::interposed::interpose;
use crate::storage::journal::checkpoint::pages;
use crate::storage::{Durability, Storage};

use super::scratch::{BOTH, Scratch, append, finish, group, totals};

#[test]
fn a_group_whose_records_are_torn_at_any_byte_leaves_whole_batches_and_the_rest_can_follow() {
    for durability in BOTH {
        let scratch = Scratch::new();
        let files = || ["bets.csv", "winners.log"].map(|file| scratch.read(file));
        let (mut storage, start) = scratch.open(durability).unwrap();
        let before = append(&mut storage, start.ledger, "first", 2);
        let [rows_before, lines_before] = files();

        let batches = [3, 0, 5];
        let group_of_all = group("g", &batches);
        let after = storage.append(before, group_of_all.all(), 0).unwrap().0;
        let whole = files();
        let mut records = vec![0; (after.journal_end - before.journal_end) as usize];
        let journal = File::options().read(true).write(true).open(scratch.path("journal")).unwrap();
        journal.read_exact_at(&mut records, before.journal_end).unwrap();
        for torn in 0..records.len() {
            let left = [&records[..torn], &vec![0xA5; records.len() - torn]].concat();
            journal.write_all_at(&left, before.journal_end).unwrap();
            let mut ledger = storage.recover(before).unwrap().ledger;
            let stored = (ledger.batches - before.batches) as usize;
            let prefix = group("g", &batches[..stored]);
            let rows = [&rows_before, prefix.all().rows].concat();
            let lines = [&lines_before, prefix.all().lines].concat();
            assert!(files() == [rows, lines], "torn at {torn}, {stored} batches");
            for batch in group_of_all.all().one_by_one().skip(stored) {
                ledger = storage.append(ledger, batch, 0).unwrap().0;
            }
            let same = totals(&ledger) == totals(&after) && ledger.journal_end == after.journal_end;
            assert!(same && files() == whole, "torn at {torn}");
        }
    }
}

#[test]
fn a_start_restores_batches_and_marks_that_only_the_journal_has() {
    let scratch = Scratch::new();
    let (mut storage, recovery) = scratch.open(Durability::Disk).unwrap();
    let lost = scratch.contents();
    let ledger = append(&mut storage, recovery.ledger, "a", 3);
    let ledger = finish(&mut storage, ledger, 9);
    let ledger = append(&mut storage, ledger, "b", 2);
    drop(storage);
    let whole = scratch.contents();
    let mut mixed = lost;
    mixed.insert("journal".to_owned(), whole["journal"].clone());
    scratch.restore(&mixed);
    for durability in [Durability::Process, Durability::Disk] {
        let (storage, recovery) = scratch.open(durability).unwrap();
        assert_eq!(totals(&recovery.ledger), totals(&ledger));
        assert!(storage.files.finished.contains(9).unwrap());
        for file in ["bets.csv", "winners.log", "finished"] {
            assert!(scratch.read(file) == whole[file], "{file}");
        }
    }
}

/// Returns the names of the files that a start syncs before it writes its checkpoint, and after.
fn syncs_of_a_start(scratch: &Scratch, durability: Durability) -> [Vec<String>; 2] {
    let seen = Rc::new(RefCell::new([Vec::new(), Vec::new()]));
    let (record, mut checkpoint) = (Rc::clone(&seen), 0);
    let interposed = interpose(move |operation| {
        match operation {
            Operation::Sync { path } => {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                record.borrow_mut()[checkpoint].push(name);
            }
            Operation::Write { path, .. } if path.ends_with("journal") => checkpoint = 1,
            _ => {}
        }
        Ok(())
    });
    scratch.open(durability).unwrap();
    drop(interposed);
    seen.take()
}

#[test]
fn a_start_after_an_unclean_stop_syncs_what_it_relies_on_whatever_the_durabilities() {
    let everything =
        ["journal", "bets.csv", "winners.log", "winners.idx", "finished", "checkpoints"];
    for before in BOTH {
        for after in BOTH {
            let scratch = Scratch::new();
            let (mut storage, recovery) = scratch.open(before).unwrap();
            append(&mut storage, recovery.ledger, "a", 1);
            drop(storage);
            let [first, then] = syncs_of_a_start(&scratch, after);
            assert_eq!(first, everything, "{before}, then {after}");
            assert_eq!(then, ["journal"], "{before}, then {after}");
        }
    }
}

#[test]
fn a_start_after_a_clean_stop_syncs_the_files_only_if_that_is_promised() {
    let scratch = Scratch::new();
    for (durability, files) in [(Durability::Process, 0), (Durability::Disk, 5)] {
        let (mut storage, recovery) = scratch.open(Durability::Process).unwrap();
        let ledger = append(&mut storage, recovery.ledger, "a", 1);
        storage.close(ledger).unwrap();
        drop(storage);
        let [first, then] = syncs_of_a_start(&scratch, durability);
        assert_eq!((first.len(), then), (files, vec!["journal".to_owned()]), "{durability}");
    }
}

#[test]
fn a_clean_stop_syncs_the_files_whatever_is_promised() {
    for durability in BOTH {
        let scratch = Scratch::new();
        let (mut storage, recovery) = scratch.open(durability).unwrap();
        let ledger = append(&mut storage, recovery.ledger, "a", 1);
        let synced = Rc::new(RefCell::new(Vec::new()));
        let record = Rc::clone(&synced);
        let _interposed = interpose(move |operation| {
            if let Operation::Sync { path } = operation {
                record.borrow_mut().push(path.file_name().unwrap().to_owned());
            }
            Ok(())
        });
        storage.close(ledger).unwrap();
        let files =
            ["bets.csv", "winners.log", "winners.idx", "finished", "checkpoints", "journal"];
        assert_eq!(*synced.borrow(), files, "{durability}");
    }
}

#[test]
fn zeros_below_a_checkpoint_are_found_after_the_machine_restarted_in_a_run_without_durability() {
    for file in ["bets.csv", "winners.log"] {
        let scratch = Scratch::new();
        let (mut storage, recovery) = scratch.open(Durability::Process).unwrap();
        let mut ledger = recovery.ledger;
        let epoch = ledger.epoch;
        while ledger.epoch == epoch {
            ledger = append(&mut storage, ledger, "a", 1);
        }
        drop(storage);
        let lost = File::options().write(true).open(scratch.path(file)).unwrap();
        lost.write_all_at(&[0; 8], 0).unwrap();
        let before = scratch.contents();
        let refused = scratch.try_open_after_reboot(Durability::Disk).unwrap_err().to_string();
        assert!(refused.contains(file) && refused.contains("loteria-central verify"), "{refused}");
        assert!(scratch.contents() == before, "a refused start changed {file}");
    }
}

/// A failed sync may have dropped these bytes, and the kernel reports that only once.
#[test]
fn a_start_after_an_unclean_stop_writes_again_what_follows_the_last_checkpoint() {
    for durability in BOTH {
        let scratch = Scratch::new();
        let (mut storage, recovery) = scratch.open(durability).unwrap();
        let start = append(&mut storage, recovery.ledger, "a", 1);
        let start = storage.close(start).unwrap();
        let ledger = append(&mut storage, start, "b", 2);
        let ledger = finish(&mut storage, ledger, 5);
        drop(storage);
        let written = Rc::new(RefCell::new(Vec::new()));
        let record = Rc::clone(&written);
        let _interposed = interpose(move |operation| {
            if let Operation::Write { path, bytes, offset } = operation {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                record.borrow_mut().push((name, *offset, offset + bytes.len() as u64));
            }
            Ok(())
        });
        scratch.open(durability).unwrap();
        let bets = ("bets.csv".to_owned(), start.rows_end, ledger.rows_end);
        let finished = ("finished".to_owned(), 0, 65_536);
        assert!(written.borrow().contains(&bets), "{written:?}");
        assert!(written.borrow().contains(&finished), "{written:?}");
    }
}

#[test]
fn a_full_journal_begins_a_new_epoch_and_every_mib_of_rows_has_an_entry() {
    for durability in BOTH {
        let scratch = Scratch::new();
        let (mut storage, recovery) = scratch.open(durability).unwrap();
        let mut ledger = recovery.ledger;
        for number in 0..60 {
            ledger = append(&mut storage, ledger, &number.to_string(), 1000);
        }
        let entries = storage.files.checkpoints.read().unwrap();
        let entries: Vec<_> = entries.into_iter().flatten().map(|entry| entry.ledger).collect();
        assert_eq!(entries.len(), ledger.entries as usize);
        let ends = entries.iter().map(|entry| entry.rows_end).chain([ledger.rows_end]);
        assert!(ledger.rows_end > 2 << 20 && ends.is_sorted_by(|a, b| b - a <= 3 << 19));
        drop(storage);
        let (storage, recovery) = scratch.open(durability).unwrap();
        assert_eq!(totals(&recovery.ledger), totals(&ledger));
        storage.close(recovery.ledger).unwrap();
    }
}

#[test]
fn a_batch_that_no_journal_can_hold_is_committed_by_a_checkpoint() {
    let scratch = Scratch::new();
    let (mut storage, recovery) = scratch.open(Durability::Disk).unwrap();
    let ledger = append(&mut storage, recovery.ledger, "large", 5000);
    let ledger = append(&mut storage, ledger, "small", 1);
    drop(storage);
    let (_, recovery) = scratch.open(Durability::Disk).unwrap();
    assert_eq!(totals(&recovery.ledger), totals(&ledger));
}

#[test]
fn one_of_the_first_two_pages_shows_the_first_version_that_the_journal_is_not_empty() {
    let scratch = Scratch::new();
    for _ in 0..3 {
        let (storage, recovery) = scratch.open(Durability::Process).unwrap();
        let journal = scratch.read("journal");
        let used = |page: usize| journal[page * 4096..][..88] != [0; 88];
        assert!(used(0) || used(1), "epoch {}", recovery.ledger.epoch);
        drop(storage);
    }
}

#[test]
fn a_journal_of_a_newer_version_is_refused_by_name() {
    let scratch = Scratch::new();
    drop(scratch.open(Durability::Disk).unwrap());
    let journal = File::options().write(true).open(scratch.path("journal")).unwrap();
    for page in pages() {
        journal.write_all_at(b"LOTJRNL3", page).unwrap();
    }
    let refused = scratch.open(Durability::Disk).unwrap_err().to_string();
    assert!(refused.contains("newer version"), "{refused}");
}

#[test]
fn without_a_journal_a_bet_with_the_number_0_keeps_its_winner_rule() {
    use lottery::{Bet, Birthdate, is_winner, write_rows, write_winner_line};
    let scratch = Scratch::new();
    let birthdate = Birthdate::from_iso("1999-03-17").unwrap();
    let documents: Vec<_> = (0..400).map(|number| format!("d{number}")).collect();
    let mut bets = Vec::new();
    for (index, document) in documents.iter().enumerate() {
        let (first_name, last_name, document) = ("Ana", "Paz", document.as_str().into());
        let number = (index % 2 == 0).then_some(0);
        bets.push(Bet { agency: 0, first_name, last_name, document, birthdate, number });
    }
    let (mut rows, mut lines) = (Vec::new(), Vec::new());
    write_rows(&bets, &mut rows).unwrap();
    let winners: Vec<_> = bets.iter().filter(|bet| is_winner(bet)).collect();
    winners.iter().for_each(|bet| write_winner_line(bet, &mut lines));
    let by_hash = |bet: &&Bet<'_>| is_winner(&Bet { number: None, ..**bet });
    assert!(winners.len() < bets.iter().filter(by_hash).count());
    std::fs::write(scratch.path("bets.csv"), rows).unwrap();
    std::fs::write(scratch.path("winners.log"), &lines).unwrap();
    let (_, recovery): (Storage, _) = scratch.open(Durability::Process).unwrap();
    assert_eq!(recovery.ledger.winners, winners.len() as u64);
    assert!(scratch.read("winners.log") == lines);
}
