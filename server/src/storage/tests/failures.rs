//! Failed and torn operations: whatever fails, the next start has everything that was acknowledged.

use std::cell::Cell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use nix::errno::Errno;

use crate::storage::file::Operation;
use crate::storage::file::interposed::interpose;
use crate::storage::{Durability, Ledger, StorageError};

use super::scratch::{BOTH, Scratch, append, group, totals};

/// What the failing operation does.
#[derive(Clone, Copy, Debug)]
enum Failure {
    /// Nothing.
    Refused,
    /// It writes half of the bytes.
    Torn,
}

/// Runs a central until an operation fails for good. Returns the totals that were acknowledged.
fn run(scratch: &Scratch, durability: Durability) -> Ledger {
    let Ok((mut storage, recovery)) = scratch.open(durability) else { return Ledger::default() };
    let mut acknowledged = recovery.ledger;
    for step in 0..12 {
        let before = acknowledged;
        let result = if step % 4 == 3 {
            storage.finish(before, step, before.records)
        } else {
            // Large enough for a checkpoint on the way.
            let group = group(&step.to_string(), &[300, 2]);
            storage.append(before, group.all(), before.records)
        };
        let Ok((after, _)) = result else { return acknowledged };
        if durability == Durability::Disk && storage.sync().is_err() {
            return acknowledged;
        }
        acknowledged = after;
    }
    // A failure here loses nothing either.
    let _closed = storage.close(acknowledged);
    acknowledged
}

#[test]
fn whatever_operation_fails_or_is_torn_the_next_start_has_everything_acknowledged() {
    for durability in BOTH {
        for failure in [Failure::Refused, Failure::Torn] {
            for failing in 0.. {
                let scratch = Scratch::new();
                let count = Rc::new(Cell::new(0));
                let seen = Rc::clone(&count);
                let interposed = interpose(move |operation| {
                    let this = seen.replace(seen.get() + 1);
                    if this != failing {
                        return Ok(());
                    }
                    if let (Failure::Torn, Operation::Write { path, bytes, offset }) =
                        (failure, operation)
                    {
                        let file = File::options().write(true).open(path).unwrap();
                        file.write_all_at(&bytes[..bytes.len() / 2], *offset).unwrap();
                    }
                    Err(Errno::EIO.into())
                });
                let acknowledged = totals(&run(&scratch, durability));
                drop(interposed);
                let context = format!("{durability}, {failure:?}, operation {failing}");
                let (storage, recovery) =
                    scratch.open(durability).unwrap_or_else(|e| panic!("{context}: {e}"));
                let stored = totals(&recovery.ledger);
                assert!(
                    stored.iter().zip(&acknowledged).all(|(stored, least)| stored >= least),
                    "{context}: {stored:?} of {acknowledged:?}"
                );
                let rows = scratch.read("bets.csv");
                let lines = rows.iter().filter(|byte| **byte == b'\n').count() as u64;
                assert_eq!((lines, rows.len() as u64), (stored[1], recovery.ledger.rows_end));
                storage.close(recovery.ledger).unwrap();
                if count.get() <= failing {
                    break;
                }
            }
        }
    }
}

#[test]
fn a_refused_write_of_a_file_that_is_shorter_than_counted_is_fatal() {
    for name in ["bets.csv", "winners.log"] {
        let scratch = Scratch::new();
        let (mut storage, recovery) = scratch.open(Durability::Process).unwrap();
        let ledger = append(&mut storage, recovery.ledger, "a", 2);
        File::options().write(true).open(scratch.path(name)).unwrap().set_len(3).unwrap();
        let _interposed = interpose(|operation| match operation {
            Operation::Write { path, .. } if path.ends_with("bets.csv") => {
                Err(Errno::ENOSPC.into())
            }
            _ => Ok(()),
        });
        let failed = storage.append(ledger, group("b", &[1]).all(), ledger.records).unwrap_err();
        let text = failed.to_string();
        assert!(matches!(failed, StorageError::Inconsistent { .. }), "{text}");
        assert!(text.contains(name) && text.contains("are missing"), "{text}");
    }
}
