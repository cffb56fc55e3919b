//! Processes that die in a commit of keyed batches, and operations that fail: each batch is stored
//! once, and its session says so.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::rc::Rc;

use lottery::BatchKey;
use nix::errno::Errno;

use crate::storage::file::Operation;
use crate::storage::file::interposed::{Interposed, interpose};
use crate::storage::{Durability, Judgement, Ledger, Storage};

use super::keys::{Stored, assert_sessions, group, judge, key, store, stored};
use super::scratch::{BOTH, Scratch, finish};

/// Offset of the entries.
const TABLE: usize = 2 * 4096;
/// Sessions whose batches the tests store, and some that have none.
const SESSIONS: std::ops::Range<u8> = 1..8;

/// A commit, and what is stored before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Commit {
    /// Its records follow others.
    Ordinary,
    /// The journal is full, so a checkpoint begins an epoch first.
    AfterCheckpoint,
    /// No journal can hold its records, so a checkpoint commits it.
    ByCheckpoint,
}

impl Commit {
    const ALL: [Self; 3] = [Self::Ordinary, Self::AfterCheckpoint, Self::ByCheckpoint];

    fn keys(self) -> Vec<BatchKey> {
        let mut keys = vec![key(1, 3), key(3, 1), key(1, 4), key(4, 1)];
        if self == Self::ByCheckpoint {
            keys.extend((2..250).map(|sequence| key(4, sequence)));
        }
        keys
    }

    /// Stores what precedes the commit: batches in this epoch and in the one before.
    fn prepare(self, scratch: &Scratch, durability: Durability) -> (Storage, Ledger) {
        let (mut storage, recovery) = scratch.open_keyed(durability).unwrap();
        let ledger = store(&mut storage, recovery.ledger, &[key(1, 1), key(2, 1)]);
        storage.close(ledger).unwrap();
        drop(storage);
        let (mut storage, recovery) = scratch.open_keyed(durability).unwrap();
        let mut ledger = store(&mut storage, recovery.ledger, &[key(1, 2), key(5, 1)]);
        if self == Self::AfterCheckpoint {
            let journal_bytes = scratch.read("journal").len() as u64;
            for agency in 0.. {
                if ledger.journal_end + 500 > journal_bytes {
                    break;
                }
                ledger = finish(&mut storage, ledger, agency);
            }
        }
        storage.sync().unwrap();
        (storage, ledger)
    }
}

/// Lets operations succeed until one of this number, which fails, like all after it if `forever`.
/// If `torn`, it writes half of its bytes first. The counter counts the operations.
fn fail(failing: u64, forever: bool, torn: bool) -> (Interposed, Rc<Cell<u64>>) {
    let count = Rc::new(Cell::new(0));
    let seen = Rc::clone(&count);
    let interposed = interpose(move |operation| {
        let number = seen.replace(seen.get() + 1);
        if number < failing || (number > failing && !forever) {
            return Ok(());
        }
        if torn && number == failing {
            match operation {
                Operation::Write { path, bytes, offset } => {
                    let file = File::options().write(true).open(path).unwrap();
                    file.write_all_at(&bytes[..bytes.len() / 2], *offset).unwrap();
                }
                Operation::Store { memory, first, words } => {
                    let half = words.iter().take(words.len() / 2);
                    (*first..).zip(half).for_each(|(index, word)| memory.store(index, *word));
                }
                _ => {}
            }
        }
        Err(Errno::EIO.into())
    });
    (interposed, count)
}

/// Asserts that the sessions are those of the stored batches, and that the next batches of all of
/// them can follow, also after another start.
fn check(scratch: &Scratch, mut storage: Storage, ledger: Ledger, context: &str) -> Stored {
    println!("{context}");
    let found = stored(scratch, |_, _| 2);
    assert_sessions(&storage, &found, SESSIONS);
    let next: Vec<_> = SESSIONS.map(|session| key(session, next(&found, session))).collect();
    store(&mut storage, ledger, &next);
    drop(storage);
    let (storage, _) = scratch.open(Durability::Disk).unwrap();
    assert_sessions(&storage, &stored(scratch, |_, _| 2), SESSIONS);
    found
}

fn next(stored: &Stored, session: u8) -> u64 {
    stored.get(&session).copied().unwrap_or_default() + 1
}

/// What happens after a process has died in a commit.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// The next owner of the ledger recovers.
    Recovery,
    /// The next owner dies in its recovery at this operation, and a third one recovers.
    AnotherDeath(u64),
    /// All processes die, and the central starts again.
    Start,
    /// The start dies at this operation, and another one follows.
    FailedStart(u64),
}

/// Lets a process die at an operation of a commit. Returns false if the commit has fewer, or the
/// recovery has fewer than the second death needs.
fn die(commit: Commit, durability: Durability, torn: bool, failing: u64, then: Then) -> bool {
    let scratch = Scratch::new();
    let (mut storage, before) = commit.prepare(&scratch, durability);
    let keys = commit.keys();
    let batches: Vec<_> = keys.iter().map(|key| (*key, 2)).collect();
    let (interposed, count) = fail(failing, true, torn);
    let died = storage.append(before, group(&batches).all(), before.records).is_err();
    drop(interposed);
    let context = format!("{commit:?}, {durability}, torn {torn}, operation {failing}, {then:?}");
    let mut reached = true;
    let (storage, ledger) = match then {
        Then::Recovery => {
            let ledger = storage.recover(before).unwrap().ledger;
            (storage, ledger)
        }
        Then::AnotherDeath(second) => {
            let (interposed, count) = fail(second, true, torn);
            let _failed = storage.recover(before);
            drop(interposed);
            reached = count.get() > second;
            let ledger = storage.recover(before).unwrap().ledger;
            (storage, ledger)
        }
        Then::Start => {
            drop(storage);
            let (storage, recovery) = scratch.open(durability).unwrap();
            (storage, recovery.ledger)
        }
        Then::FailedStart(second) => {
            drop(storage);
            let (interposed, count) = fail(second, true, torn);
            drop(scratch.open(durability));
            drop(interposed);
            reached = count.get() > second;
            let (storage, recovery) = scratch.open(durability).unwrap();
            (storage, recovery.ledger)
        }
    };
    let found = check(&scratch, storage, ledger, &context);
    if !died && count.get() <= failing {
        assert_eq!(next(&found, 1), 5, "{context}: an acknowledged batch");
    }
    reached && count.get() > failing
}

/// Numbers of operations: all of the first ones, and some of the many entries of a large group.
fn numbers() -> impl Iterator<Item = u64> {
    (0..24).chain((24..).step_by(31))
}

#[test]
fn a_process_that_dies_at_any_operation_of_a_commit_leaves_sessions_that_match_the_batches() {
    for durability in BOTH {
        for commit in Commit::ALL {
            for torn in [false, true] {
                for then in [Then::Recovery, Then::Start] {
                    let reached = numbers()
                        .take_while(|failing| die(commit, durability, torn, *failing, then));
                    let operations = reached.count();
                    // Rows, lines, records, and entries with the number of sessions.
                    assert!(operations >= 9, "{operations} operations in {commit:?}");
                }
            }
        }
    }
}

#[test]
fn a_second_death_in_the_recovery_changes_nothing() {
    for durability in BOTH {
        for commit in Commit::ALL {
            // In the records, in the entries, and in a checkpoint, of whichever kind of commit.
            for failing in [2, 4, 8, 11, 260] {
                let recoveries = (0..).step_by(2).take_while(|second| {
                    die(commit, durability, true, failing, Then::AnotherDeath(*second))
                });
                let starts = (1..).step_by(4).take_while(|second| {
                    die(commit, durability, true, failing, Then::FailedStart(*second))
                });
                println!("{} and {} deaths", recoveries.count(), starts.count());
            }
        }
    }
}

/// A failed sync may have dropped entries, and the kernel reports that only once.
#[test]
fn a_start_after_an_unclean_stop_writes_all_entries_again_before_it_syncs_them() {
    for durability in BOTH {
        let scratch = Scratch::new();
        let (mut storage, recovery) = scratch.open_keyed(durability).unwrap();
        store(&mut storage, recovery.ledger, &[key(1, 1)]);
        drop(storage);
        let table = scratch.read("sessions").split_off(TABLE);
        let seen = Rc::new(RefCell::new(Vec::new()));
        let record = Rc::clone(&seen);
        let _interposed = interpose(move |operation| {
            record.borrow_mut().extend(match operation {
                Operation::Write { path, bytes, offset }
                    if path.ends_with("sessions") && *offset == TABLE as u64 =>
                {
                    assert!(*bytes == table, "the entries that were there");
                    Some("entries")
                }
                Operation::Write { path, .. } if path.ends_with("sessions") => Some("summary"),
                Operation::Sync { path } if path.ends_with("sessions") => Some("sync"),
                Operation::Write { path, .. } if path.ends_with("journal") => Some("journal"),
                _ => None,
            });
            Ok(())
        });
        scratch.open(durability).unwrap();
        let mut seen = seen.take();
        seen.dedup();
        // The journal: the checkpoint that the start has used, and its own.
        let expected = ["entries", "sync", "journal", "summary", "sync", "journal"];
        assert_eq!(seen, expected, "{durability}");
    }
}

/// Sends the batches of two sessions to a central until each is acknowledged, as agencies do that
/// send a batch again after an error. The central starts again when it fails for good.
fn exchange(scratch: &Scratch, durability: Durability) -> Stored {
    let mut opened = None;
    let mut acknowledged = Stored::new();
    for _attempt in 0..100 {
        let (storage, ledger): &mut (Storage, Ledger) = match &mut opened {
            Some(opened) => opened,
            None => match scratch.open_keyed(durability) {
                Ok((storage, recovery)) => opened.insert((storage, recovery.ledger)),
                Err(_) => continue,
            },
        };
        let wanted: Vec<_> = [1, 2]
            .map(|session| (session, next(&acknowledged, session)))
            .into_iter()
            .filter(|(_, sequence)| *sequence <= 5)
            .collect();
        if wanted.is_empty() {
            // A failure here loses nothing either.
            let _closed = storage.close(*ledger);
            return acknowledged;
        }
        let mut failed = false;
        for (session, sequence) in wanted {
            let key = key(session, sequence);
            let group = group(&[(key, 300)]);
            let Ok(judgements) = storage.judge(group.all()) else { continue };
            match judgements[0] {
                Judgement::Repeated => {}
                Judgement::New => match storage.append(*ledger, group.all(), ledger.records) {
                    Ok((after, None)) => *ledger = after,
                    Ok((after, Some(_))) => {
                        // The record may be there although the operation failed.
                        *ledger = after;
                        continue;
                    }
                    Err(_) => {
                        failed = true;
                        break;
                    }
                },
                Judgement::Refused(refused) => panic!("{key:?}: {refused}"),
            }
            if durability == Durability::Disk && storage.sync().is_err() {
                failed = true;
                break;
            }
            acknowledged.insert(session, sequence);
        }
        if failed {
            opened = None;
        }
    }
    panic!("the batches were never acknowledged: {acknowledged:?}");
}

#[test]
fn whatever_operation_fails_or_is_torn_batches_that_are_sent_again_are_stored_once() {
    let expected = Stored::from([(1, 5), (2, 5)]);
    for durability in BOTH {
        for torn in [false, true] {
            for failing in 0.. {
                let scratch = Scratch::new();
                let (interposed, count) = fail(failing, false, torn);
                let acknowledged = exchange(&scratch, durability);
                drop(interposed);
                let context = format!("{durability}, torn {torn}, operation {failing}");
                assert_eq!(acknowledged, expected, "{context}");
                let (storage, _) = scratch.open(durability).unwrap();
                assert_eq!(stored(&scratch, |_, _| 300), expected, "{context}");
                assert_sessions(&storage, &expected, 1..4);
                assert_eq!(judge(&storage, key(1, 5)), Judgement::Repeated, "{context}");
                if count.get() <= failing {
                    assert!(failing > 40, "{failing} operations");
                    break;
                }
            }
        }
    }
}
