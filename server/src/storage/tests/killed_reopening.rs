//! A process is killed at any operation of a reopening. The next owner of the ledger's lock, or the
//! next start, finds all marks or none, even if the machine loses power during that recovery.

use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use nix::errno::Errno;

use crate::storage::file::Operation;
use crate::storage::file::interposed::interpose;
use crate::storage::{Durability, Ledger, Storage};

use super::scratch::{BOTH, Contents, Scratch, append, finish, totals};

/// A killed reopening.
#[derive(Debug)]
struct Killed {
    /// The totals in shared memory.
    before: Ledger,
    /// The journal that is certain to be on the disk.
    synced_journal: Vec<u8>,
    /// True if the reopening had ended before the kill.
    complete: bool,
}

/// Where the marks are when the reopening begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Marks {
    /// In records of the journal.
    Recorded,
    /// Counted by the newest checkpoint.
    Counted,
    /// In records that fill the journal, so that the reopening begins with a checkpoint.
    Full,
}

/// Stores a batch and finish marks, durably.
fn close_bets(scratch: &Scratch, durability: Durability, marks: Marks) -> (Storage, Ledger) {
    let (mut storage, recovery) = scratch.open(durability).unwrap();
    let mut ledger = append(&mut storage, recovery.ledger, "a", 3);
    for agency in 1.. {
        ledger = finish(&mut storage, ledger, agency);
        let full = !storage.journal.has_room_for_mark(&ledger);
        if full || agency == 2 && marks != Marks::Full {
            break;
        }
    }
    if marks != Marks::Counted {
        storage.sync().unwrap();
        return (storage, ledger);
    }
    storage.close(ledger).unwrap();
    drop(storage);
    let (storage, recovery) = scratch.open(durability).unwrap();
    (storage, recovery.ledger)
}

/// Reopens the bets in a process that is killed at this operation, in the middle of it if `torn`.
fn kill_at(
    scratch: &Scratch,
    durability: Durability,
    marks: Marks,
    (killing, torn): (usize, bool),
) -> (Storage, Killed) {
    let (mut storage, before) = close_bets(scratch, durability, marks);
    let (count, synced) = (Cell::new(0), Rc::new(RefCell::new(scratch.read("journal"))));
    let journal = Rc::clone(&synced);
    let interposed = interpose(move |operation| {
        let this = count.replace(count.get() + 1);
        if this < killing {
            note_sync(operation, &journal);
            return Ok(());
        }
        if let (true, Operation::Write { path, bytes, offset }) =
            (torn && this == killing, operation)
        {
            let file = File::options().write(true).open(path).unwrap();
            file.write_all_at(&bytes[..bytes.len() / 2], *offset).unwrap();
        }
        Err(Errno::EIO.into())
    });
    let reopened = storage.reopen(before, before.records);
    drop(interposed);
    let synced_journal = synced.take();
    (storage, Killed { before, synced_journal, complete: reopened.is_ok() })
}

/// Notes what a sync of the journal makes durable.
fn note_sync(operation: &Operation<'_>, synced: &RefCell<Vec<u8>>) {
    if let Operation::Sync { path } = operation
        && path.ends_with("journal")
    {
        synced.replace(fs::read(path).unwrap());
    }
}

/// Runs a recovery, and returns what a power loss leaves before each of its operations and after
/// the last one: the disk has every change but those of the journal that no sync has made durable.
fn power_losses(
    scratch: &Rc<Scratch>,
    synced_journal: &[u8],
    recover: impl FnOnce(),
) -> Vec<Contents> {
    let synced = Rc::new(RefCell::new(synced_journal.to_vec()));
    let left = Rc::new(RefCell::new(Vec::new()));
    let lose = |scratch: &Scratch, synced: &RefCell<Vec<u8>>| {
        let mut contents = scratch.contents();
        contents.insert("journal".to_owned(), synced.borrow().clone());
        contents
    };
    let (record, journal, files) = (Rc::clone(&left), Rc::clone(&synced), Rc::clone(scratch));
    let interposed = interpose(move |operation| {
        record.borrow_mut().push(lose(&files, &journal));
        note_sync(operation, &journal);
        Ok(())
    });
    recover();
    drop(interposed);
    left.borrow_mut().push(lose(scratch, &synced));
    let mut left = left.take();
    left.dedup();
    left
}

/// Asserts that there are all marks or none, and none after a complete reopening.
fn assert_all_or_none(storage: &Storage, ledger: &Ledger, killed: &Killed, context: &str) {
    let marks = storage.finished_agencies().unwrap().len() as u32;
    assert!(marks == 0 || marks == killed.before.finished, "{context}: {marks} marks");
    assert!(marks == 0 || !killed.complete, "{context}: the reopening was acknowledged");
    assert_eq!((ledger.finished, ledger.batches, ledger.bets), (marks, 1, 3), "{context}");
}

/// Asserts that a start finds all marks or none in each of these storages.
fn assert_recoverable(scratch: &Scratch, left: &[Contents], killed: &Killed, context: &str) {
    for (operation, contents) in left.iter().enumerate() {
        scratch.restore(contents);
        let context = format!("{context}, power loss at operation {operation} of the recovery");
        let opened = scratch.try_open_after_reboot(Durability::Disk);
        let (storage, recovery) = opened.unwrap_or_else(|refused| panic!("{context}: {refused}"));
        assert_all_or_none(&storage, &recovery.ledger, killed, &context);
    }
}

/// Calls a test with a killed reopening, for every operation at which it can be killed.
fn at_every_operation(test: impl Fn(&Rc<Scratch>, Durability, (Storage, &Killed), &str)) {
    for durability in BOTH {
        for (marks, torn) in [
            (Marks::Recorded, false),
            (Marks::Recorded, true),
            (Marks::Counted, false),
            (Marks::Full, false),
        ] {
            for killing in 0.. {
                let scratch = Rc::new(Scratch::new());
                let (storage, killed) = kill_at(&scratch, durability, marks, (killing, torn));
                let context = format!("{durability}, {marks:?}, operation {killing}, torn {torn}");
                test(&scratch, durability, (storage, &killed), &context);
                if killed.complete {
                    assert!(killing >= 4, "{context}: record, sync, marks, sync");
                    break;
                }
            }
        }
    }
}

#[test]
fn the_next_owner_of_the_lock_finds_all_marks_or_none_and_goes_on() {
    at_every_operation(|scratch, durability, (mut storage, killed), context| {
        let recovered = storage.recover(killed.before).unwrap().ledger;
        assert_all_or_none(&storage, &recovered, killed, context);
        let (ledger, refused) = storage.reopen(recovered, recovered.records).unwrap();
        assert!(refused.is_none(), "{context}: {refused:?}");
        let ledger = finish(&mut storage, ledger, 2);
        let ledger = append(&mut storage, ledger, "later", 1);
        drop(storage);
        let (storage, recovery) = scratch.open(durability).unwrap();
        assert_eq!(totals(&recovery.ledger), totals(&ledger), "{context}");
        assert_eq!(storage.finished_agencies().unwrap(), [2], "{context}");
    });
}

#[test]
fn the_next_start_finds_all_marks_or_none() {
    at_every_operation(|scratch, durability, (storage, killed), context| {
        drop(storage);
        let (storage, recovery) = scratch.open(durability).unwrap();
        assert_all_or_none(&storage, &recovery.ledger, killed, context);
    });
}

#[test]
fn a_power_loss_while_the_next_owner_recovers_leaves_all_marks_or_none() {
    at_every_operation(|scratch, _, (storage, killed), context| {
        let left = power_losses(scratch, &killed.synced_journal, || {
            storage.recover(killed.before).unwrap();
        });
        drop(storage);
        assert_recoverable(scratch, &left, killed, context);
    });
}

#[test]
fn a_power_loss_during_the_next_start_leaves_all_marks_or_none() {
    at_every_operation(|scratch, durability, (storage, killed), context| {
        drop(storage);
        let left = power_losses(scratch, &killed.synced_journal, || {
            scratch.open(durability).unwrap();
        });
        assert_recoverable(scratch, &left, killed, context);
    });
}
