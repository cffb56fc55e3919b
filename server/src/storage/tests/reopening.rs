//! Reopened bets: the marks are all there or all gone, whatever fails, and later marks count.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use nix::errno::Errno;

use crate::storage::file::Operation;
use crate::storage::file::interposed::interpose;
use crate::storage::{Ledger, Storage};

use super::scratch::{BOTH, Scratch, append, finish};

/// Stores a batch and the marks of agencies 1 and 2.
fn closed(storage: &mut Storage, ledger: Ledger) -> Ledger {
    let ledger = append(storage, ledger, "a", 3);
    let ledger = finish(storage, ledger, 1);
    finish(storage, ledger, 2)
}

fn reopen(storage: &mut Storage, ledger: Ledger) -> Ledger {
    let (after, refused) = storage.reopen(ledger, ledger.records).unwrap();
    assert!(refused.is_none(), "{refused:?}");
    assert_eq!(after.finished, 0);
    after
}

#[test]
fn marks_after_the_reopening_count_and_those_before_do_not() {
    for durability in BOTH {
        let scratch = Scratch::new();
        let (mut storage, recovery) = scratch.open(durability).unwrap();
        let ledger = closed(&mut storage, recovery.ledger);
        assert_eq!(storage.finished_agencies().unwrap(), [1, 2]);
        let before = scratch.read("finished");
        let ledger = reopen(&mut storage, ledger);
        assert!(storage.finished_agencies().unwrap().is_empty());
        let ledger = finish(&mut storage, ledger, 2);
        let ledger = append(&mut storage, ledger, "b", 2);
        drop(storage);
        // A kill, and a power loss that kept the old marks in the file.
        for marks in [scratch.read("finished"), before] {
            std::fs::write(scratch.path("finished"), marks).unwrap();
            let kept = scratch.contents();
            let (storage, recovery) = scratch.open(durability).unwrap();
            assert_eq!(storage.finished_agencies().unwrap(), [2], "{durability}");
            assert_eq!((recovery.ledger.finished, recovery.ledger.bets), (1, 5));
            drop(storage);
            scratch.restore(&kept);
        }
        let (storage, recovery) = scratch.open(durability).unwrap();
        assert_eq!(recovery.ledger.bets, ledger.bets);
        storage.close(recovery.ledger).unwrap();
        drop(storage);
        assert_eq!(scratch.open(durability).unwrap().1.ledger.finished, 1, "{durability}");
    }
}

#[test]
fn whatever_operation_fails_or_is_torn_the_marks_are_all_there_or_all_gone() {
    for durability in BOTH {
        for torn in [false, true] {
            for failing in 0.. {
                let scratch = Scratch::new();
                let (mut storage, recovery) = scratch.open(durability).unwrap();
                let ledger = closed(&mut storage, recovery.ledger);
                storage.sync().unwrap();
                let count = Rc::new(Cell::new(0));
                let seen = Rc::clone(&count);
                let interposed = interpose(move |operation| {
                    if seen.replace(seen.get() + 1) != failing {
                        return Ok(());
                    }
                    if let (true, Operation::Write { path, bytes, offset }) = (torn, operation) {
                        let file = File::options().write(true).open(path).unwrap();
                        file.write_all_at(&bytes[..bytes.len() / 2], *offset).unwrap();
                    }
                    Err(Errno::EIO.into())
                });
                let reopened = storage.reopen(ledger, ledger.records);
                drop(interposed);
                drop(storage);
                let context = format!("{durability}, torn {torn}, operation {failing}");
                let (storage, recovery) =
                    scratch.open(durability).unwrap_or_else(|e| panic!("{context}: {e}"));
                let marks = storage.finished_agencies().unwrap();
                assert!(marks == [1, 2] || marks.is_empty(), "{context}: {marks:?}");
                assert_eq!(recovery.ledger.bets, 3, "{context}");
                if matches!(reopened, Ok((_, None))) {
                    assert!(marks.is_empty(), "{context}: an acknowledged reopening");
                }
                if count.get() <= failing {
                    assert!(failing >= 4, "{context}: record, sync, marks, sync");
                    break;
                }
            }
        }
    }
}
