//! A storage of the first version: a start converts it, and a failure on the way loses nothing.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::rc::Rc;

use nix::errno::Errno;

use crate::storage::Durability;
use crate::storage::file::interposed::interpose;

use super::scratch::{Scratch, totals};

/// Returns a storage that the first version left when it was killed.
pub fn first_version() -> Scratch {
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/storage-v1/killed-disk");
    let scratch = Scratch::new();
    for file in fs::read_dir(Path::new(fixture)).unwrap() {
        let file = file.unwrap();
        let mut content = fs::read(file.path()).unwrap();
        // The fixture leaves out zeros at the end. The journal has no fixed length.
        if file.file_name() == "finished" {
            content.resize(1 << 16, 0);
        }
        fs::write(scratch.path(file.file_name().to_str().unwrap()), content).unwrap();
    }
    scratch
}

#[test]
fn whatever_operation_fails_during_a_conversion_the_next_start_converts_the_same() {
    let expected = [8, 1];
    for failing in 0.. {
        let scratch = first_version();
        let count = Rc::new(Cell::new(0));
        let seen = Rc::clone(&count);
        let interposed = interpose(move |_| match seen.replace(seen.get() + 1) {
            this if this == failing => Err(Errno::EIO.into()),
            _ => Ok(()),
        });
        let converted = scratch.open(Durability::Disk);
        drop(interposed);
        if let Ok((_, recovery)) = &converted {
            assert_eq!(totals(&recovery.ledger)[1..], expected, "operation {failing}");
        }
        drop(converted);
        let (storage, recovery) = scratch.open(Durability::Disk).unwrap();
        let stored = totals(&recovery.ledger);
        assert_eq!(stored[1..], expected, "operation {failing}");
        storage.close(recovery.ledger).unwrap();
        if count.get() <= failing {
            return;
        }
    }
}

#[test]
fn a_journal_of_the_first_version_beside_later_files_is_refused() {
    let scratch = first_version();
    let older = scratch.read("journal");
    let (storage, recovery) = scratch.open(Durability::Disk).unwrap();
    storage.close(recovery.ledger).unwrap();
    drop(storage);
    fs::write(scratch.path("journal"), older).unwrap();
    let refused = scratch.open(Durability::Disk).unwrap_err().to_string();
    assert!(refused.contains("move `checkpoints` away"), "{refused}");
    // The remedy that the message names, for a storage that the first version has used since.
    fs::remove_file(scratch.path("checkpoints")).unwrap();
    let (_, again) = scratch.open(Durability::Disk).unwrap();
    assert_eq!(totals(&again.ledger), totals(&recovery.ledger));
}
