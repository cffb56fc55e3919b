//! A power loss in a run without durability: the disk has any of the files in an earlier state. The
//! start accepts what such a loss leaves, and refuses a journal from a backup.

use std::cell::Cell;
use std::rc::Rc;

use nix::errno::Errno;

use crate::storage::file::interposed::interpose;
use crate::storage::{Durability, Ledger, StorageError};

use super::scratch::{BOTH, Contents, Scratch, append, totals};

/// The state of a storage after each batch: the totals and the files.
type States = Vec<(Ledger, Contents)>;

/// Runs a central that begins three epochs, the first one at the start.
fn run(scratch: &Scratch, durability: Durability) -> States {
    let (mut storage, recovery) = scratch.open(durability).unwrap();
    let mut states = vec![(recovery.ledger, scratch.contents())];
    let first = recovery.ledger.epoch;
    while states.last().is_none_or(|(ledger, _)| ledger.epoch < first + 2) {
        let (ledger, number) = (states[states.len() - 1].0, states.len());
        // Without bytes in its records, an epoch has about 270 batches.
        let ledger = append(&mut storage, ledger, &number.to_string(), 2);
        states.push((ledger, scratch.contents()));
    }
    states
}

/// Returns the states around each checkpoint, and one state in the middle of each epoch.
fn chosen(states: &States) -> Vec<usize> {
    let begins = |index: &usize| states[*index].0.epoch != states[index - 1].0.epoch;
    let checkpoints: Vec<_> = (1..states.len()).filter(begins).collect();
    let around = checkpoints.iter().flat_map(|index| [index - 100, index - 1, *index]);
    [0].into_iter().chain(around).collect()
}

/// Makes the storage hold the files of one state, but the journal of an earlier one.
fn restore(scratch: &Scratch, files: &Contents, journal: &Contents) {
    let mut mixed = files.clone();
    mixed.insert("journal".to_owned(), journal["journal"].clone());
    scratch.restore(&mixed);
}

fn assert_older(refused: &StorageError, context: &str) {
    let text = refused.to_string();
    assert!(text.contains("older") && text.contains("move the journal away"), "{context}: {text}");
}

#[test]
fn checkpoints_that_a_power_loss_took_from_the_journal_are_no_reason_to_refuse() {
    let scratch = Scratch::new();
    let states = run(&scratch, Durability::Process);
    let chosen = chosen(&states);
    for later in &chosen {
        for earlier in chosen.iter().filter(|earlier| *earlier <= later) {
            let (known, journal) = &states[*earlier];
            let (all, files) = &states[*later];
            let context = format!("the files after {later} batches, the journal after {earlier}");
            restore(&scratch, files, journal);
            let (mut storage, recovery) = scratch
                .try_open_after_reboot(Durability::Process)
                .unwrap_or_else(|refused| panic!("{context}: {refused}"));
            assert_eq!(totals(&recovery.ledger), totals(known), "{context}");
            let rows = &files["bets.csv"];
            let kept = scratch.read("bets.csv");
            let moved = scratch.copies().into_iter().find(|name| name.starts_with("bets"));
            let moved = moved.map(|name| scratch.read(&name)).unwrap_or_default();
            assert!([kept, moved].concat() == *rows, "{context}: rows were destroyed");
            // The entry of the last checkpoint shows how many batches were acknowledged.
            let epoch = states.iter().find(|(ledger, _)| ledger.epoch == all.epoch);
            let counted = epoch.unwrap().0.records.saturating_sub(1);
            let lost = counted.saturating_sub(known.records);
            assert_eq!(recovery.lost, lost, "{context}");

            // The new epoch is not mistaken for one of those that were lost.
            let ledger = append(&mut storage, recovery.ledger, "later", 3);
            drop(storage);
            let (storage, recovery) = scratch.open_after_reboot(Durability::Disk);
            assert_eq!(totals(&recovery.ledger), totals(&ledger), "{context}");
            assert_eq!(recovery.lost, 0, "{context}");
            storage.close(recovery.ledger).unwrap();
        }
    }
}

/// Returns what a power loss leaves that has taken a checkpoint, but neither its entry nor the
/// records behind it, and the totals of the records that are left of the epoch before.
fn without_a_checkpoint(scratch: &Scratch) -> (Contents, [u64; 3]) {
    let states = run(scratch, Durability::Process);
    let checkpoint = states.iter().position(|(ledger, _)| ledger.epoch > states[0].0.epoch);
    let (before, after) = (checkpoint.unwrap() - 1, checkpoint.unwrap() + 20);
    let mut files = states[after].1.clone();
    let records_start = states[0].0.journal_end as usize;
    let checkpoints = &states[before].1["journal"][..records_start];
    files.get_mut("journal").unwrap()[..records_start].copy_from_slice(checkpoints);
    // The records of the lost epoch have replaced all of the epoch before, from the first on.
    (files, totals(&states[0].0))
}

#[test]
fn records_of_an_epoch_whose_checkpoint_the_power_loss_took_are_no_damage_then_and_later() {
    let scratch = Scratch::new();
    let (files, left) = without_a_checkpoint(&scratch);
    scratch.restore(&files);
    let (mut storage, recovery) = scratch.open_after_reboot(Durability::Process);
    assert_eq!(totals(&recovery.ledger), left);
    assert!(recovery.lost > 200, "{} lost", recovery.lost);
    let ledger = append(&mut storage, recovery.ledger, "later", 3);
    drop(storage);
    for durability in BOTH {
        let (storage, recovery) = scratch.open_after_reboot(durability);
        assert_eq!((totals(&recovery.ledger), recovery.lost), (totals(&ledger), 0));
        drop(storage);
    }
}

#[test]
fn whatever_operation_of_such_a_start_fails_the_next_one_recovers_the_same() {
    let scratch = Scratch::new();
    let (files, left) = without_a_checkpoint(&scratch);
    for failing in 0.. {
        scratch.restore(&files);
        let count = Rc::new(Cell::new(0));
        let seen = Rc::clone(&count);
        let interposed = interpose(move |_| match seen.replace(seen.get() + 1) {
            operation if operation < failing => Ok(()),
            _ => Err(Errno::EIO.into()),
        });
        let opened = scratch.try_open_after_reboot(Durability::Process);
        drop(interposed);
        let complete = opened.is_ok();
        drop(opened);
        let (_, recovery) = scratch.open_after_reboot(Durability::Process);
        assert_eq!(totals(&recovery.ledger), left, "operation {failing}");
        if complete {
            break;
        }
    }
}

#[test]
fn an_older_journal_is_refused_on_the_same_boot_and_with_durability_disk() {
    for durability in BOTH {
        let scratch = Scratch::new();
        let states = run(&scratch, durability);
        let chosen = chosen(&states);
        let (last, files) = &states[chosen[chosen.len() - 1]];
        for earlier in chosen {
            let (known, journal) = &states[earlier];
            if known.epoch == last.epoch {
                continue;
            }
            restore(&scratch, files, journal);
            let context = format!("{durability}, the journal after {earlier} batches");
            assert_older(&scratch.open(durability).unwrap_err(), &context);
            if durability == Durability::Disk {
                assert_older(&scratch.try_open_after_reboot(durability).unwrap_err(), &context);
            }
            assert!(scratch.copies().is_empty(), "{context}");
        }
    }
}

#[test]
fn a_journal_of_an_earlier_run_is_refused_after_a_reboot_too() {
    let scratch = Scratch::new();
    let states = run(&scratch, Durability::Process);
    // A start syncs its checkpoint, so no power loss leaves the journal of the run before it.
    let (storage, _) = scratch.open(Durability::Process).unwrap();
    drop(storage);
    let files = scratch.contents();
    for state in chosen(&states) {
        restore(&scratch, &files, &states[state].1);
        let refused = scratch.try_open_after_reboot(Durability::Process).unwrap_err();
        assert_older(&refused, &format!("the journal after {state} batches"));
    }
}

#[test]
fn rows_that_the_journal_counts_and_the_power_loss_took_are_refused() {
    let scratch = Scratch::new();
    let states = run(&scratch, Durability::Process);
    let (known, journal) = &states[states.len() - 10];
    let mut files = states[states.len() - 1].1.clone();
    files.get_mut("bets.csv").unwrap()[..16].fill(0);
    restore(&scratch, &files, journal);
    assert!(known.epoch > states[0].0.epoch, "a checkpoint counts these rows");
    let refused = scratch.try_open_after_reboot(Durability::Process).unwrap_err().to_string();
    assert!(refused.contains("bets.csv") && refused.contains("restarted"), "{refused}");
}
