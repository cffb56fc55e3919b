//! Sessions: what the storage says about a batch with a key, in one run and after a start.

use lottery::BatchKey;

use crate::storage::sessions::MAX_SESSIONS;
use crate::storage::{Durability, Group, Judgement, KeyRefused, StorageError, Written};

use super::keys::{AGENCY, Stored, assert_sessions, group, judge, key, store, stored};
use super::scratch::{BOTH, Scratch, append, finish, totals};

fn refused(reason: KeyRefused) -> Judgement {
    Judgement::Refused(reason)
}

#[test]
fn a_session_begins_with_batch_1() {
    let scratch = Scratch::new();
    let (storage, _) = scratch.open_keyed(Durability::Disk).unwrap();
    assert_eq!(judge(&storage, key(1, 1)), Judgement::New);
    for found in [0, 2, u64::MAX] {
        let expected = refused(KeyRefused::Sequence { found, expected: 1 });
        assert_eq!(judge(&storage, key(1, found)), expected);
    }
}

#[test]
fn the_last_batch_is_repeated_the_next_one_is_new_and_any_other_is_refused() {
    let scratch = Scratch::new();
    let (mut storage, recovery) = scratch.open_keyed(Durability::Disk).unwrap();
    let ledger = store(&mut storage, recovery.ledger, &[key(1, 1)]);
    store(&mut storage, ledger, &[key(1, 2)]);
    assert_eq!(judge(&storage, key(1, 2)), Judgement::Repeated);
    assert_eq!(judge(&storage, key(1, 3)), Judgement::New);
    for found in [0, 1, 4, u64::MAX] {
        let expected = refused(KeyRefused::Sequence { found, expected: 3 });
        assert_eq!(judge(&storage, key(1, found)), expected);
    }
    let other = BatchKey { content: 5, ..key(1, 2) };
    assert_eq!(judge(&storage, other), refused(KeyRefused::OtherContent { sequence: 2 }));
    for sequence in 1..4 {
        let other = BatchKey { agency: 9, ..key(1, sequence) };
        let expected = refused(KeyRefused::OtherAgency { found: 9, expected: AGENCY });
        assert_eq!(judge(&storage, other), expected);
    }
}

#[test]
fn earlier_batches_of_a_group_count_as_stored() {
    let scratch = Scratch::new();
    let (mut storage, recovery) = scratch.open_keyed(Durability::Process).unwrap();
    let keys = [key(1, 1), key(1, 1), key(1, 2), key(2, 2), key(1, 4), key(2, 1), key(1, 3)];
    let batches = group(&keys.map(|key| (key, 1)));
    let refused = |found, expected| refused(KeyRefused::Sequence { found, expected });
    let expected = [
        Judgement::New,
        Judgement::Repeated,
        Judgement::New,
        refused(2, 1),
        refused(4, 3),
        Judgement::New,
        Judgement::New,
    ];
    assert_eq!(storage.judge(batches.all()).unwrap(), expected);
    let new = [key(1, 1), key(1, 2), key(2, 1), key(1, 3)];
    store(&mut storage, recovery.ledger, &new);
    assert_sessions(&storage, &Stored::from([(1, 3), (2, 1)]), 1..4);
}

#[test]
fn a_batch_without_a_key_is_always_new_and_belongs_to_no_session() {
    let scratch = Scratch::new();
    let (mut storage, recovery) = scratch.open(Durability::Disk).unwrap();
    let without = super::scratch::group("a", &[2, 1]);
    assert_eq!(storage.judge(without.all()).unwrap(), [Judgement::New; 2]);
    append(&mut storage, recovery.ledger, "a", 2);
    assert!(!scratch.path("sessions").exists());
    // A storage without sessions cannot judge.
    let refused = storage.judge(group(&[(key(1, 1), 1)]).all()).unwrap_err().to_string();
    assert!(refused.contains("sessions"), "{refused}");
}

#[test]
fn the_last_free_place_is_given_once_and_known_sessions_go_on() {
    for durability in BOTH {
        let scratch = Scratch::new();
        let (mut storage, recovery) = scratch.open_keyed(durability).unwrap();
        let mut ledger = recovery.ledger;
        let last = MAX_SESSIONS as u8;
        for session in 1..last {
            ledger = store(&mut storage, ledger, &[key(session, 1)]);
        }
        let two = group(&[(key(last, 1), 1), (key(last + 1, 1), 1), (key(last, 2), 1)]);
        let no_room = refused(KeyRefused::NoRoom { limit: MAX_SESSIONS });
        let expected = [Judgement::New, no_room, Judgement::New];
        assert_eq!(storage.judge(two.all()).unwrap(), expected);
        ledger = store(&mut storage, ledger, &[key(last, 1)]);
        assert_eq!(judge(&storage, key(last + 1, 1)), no_room);
        drop(storage);
        let (mut storage, recovery) = scratch.open(durability).unwrap();
        assert_eq!(totals(&recovery.ledger), totals(&ledger));
        assert_eq!(judge(&storage, key(last + 1, 1)), no_room);
        let all: Vec<_> = (1..=last).map(|session| key(session, 2)).collect();
        store(&mut storage, recovery.ledger, &all);
        assert_eq!(stored(&scratch, |_, _| 2).len(), MAX_SESSIONS);
    }
}

#[test]
fn sessions_survive_kills_stops_full_journals_and_other_batches_between_them() {
    for durability in BOTH {
        let scratch = Scratch::new();
        let mut expected = Stored::new();
        let mut epochs = 0;
        for run in 0..6 {
            let (mut storage, recovery) = scratch.open_keyed(durability).unwrap();
            let mut ledger = recovery.ledger;
            let start = ledger.epoch;
            assert_sessions(&storage, &expected, 0..20);
            for step in 0..40_u16 {
                let session = ((step * 7 + run) % 19) as u8;
                let last = expected.entry(session).or_default();
                *last += 1;
                let large = [(key(session, *last), 100)];
                let (after, refused) =
                    storage.append(ledger, group(&large).all(), ledger.records).unwrap();
                assert!(refused.is_none());
                ledger = finish(&mut storage, after, run * 40 + step);
            }
            epochs += ledger.epoch - start;
            assert_sessions(&storage, &expected, 0..20);
            if run % 2 == 0 {
                storage.close(ledger).unwrap();
            }
        }
        assert!(epochs > 6 || durability == Durability::Process, "{epochs} epochs");
        let mut started = expected.clone();
        started.retain(|_, last| *last > 0);
        assert_eq!(stored(&scratch, |_, _| 100), started);
    }
}

/// Batches that no journal can hold: a checkpoint commits them, together with their sessions.
#[test]
fn a_batch_that_a_checkpoint_commits_advances_its_session() {
    for close in [false, true] {
        let scratch = Scratch::new();
        let (mut storage, recovery) = scratch.open_keyed(Durability::Disk).unwrap();
        let ledger = store(&mut storage, recovery.ledger, &[key(1, 1), key(2, 1)]);
        let large = group(&[(key(1, 2), 5000), (key(3, 1), 1), (key(1, 3), 1)]);
        let (ledger, refused) = storage.append(ledger, large.all(), ledger.records).unwrap();
        assert!(refused.is_none());
        let expected = Stored::from([(1, 3), (2, 1), (3, 1)]);
        assert_sessions(&storage, &expected, 1..5);
        let ledger = store(&mut storage, ledger, &[key(2, 2)]);
        if close {
            storage.close(ledger).unwrap();
        }
        drop(storage);
        let (storage, recovery) = scratch.open(Durability::Disk).unwrap();
        assert_eq!(totals(&recovery.ledger), totals(&ledger));
        assert_sessions(&storage, &Stored::from([(1, 3), (2, 2), (3, 1)]), 1..5);
    }
}

#[test]
fn reopened_bets_keep_their_sessions() {
    let scratch = Scratch::new();
    let (mut storage, recovery) = scratch.open_keyed(Durability::Disk).unwrap();
    let ledger = store(&mut storage, recovery.ledger, &[key(1, 1)]);
    let ledger = finish(&mut storage, ledger, AGENCY);
    let (ledger, refused) = storage.reopen(ledger, ledger.records).unwrap();
    assert!(refused.is_none());
    store(&mut storage, ledger, &[key(1, 2)]);
    drop(storage);
    let (storage, _) = scratch.open(Durability::Disk).unwrap();
    assert_sessions(&storage, &Stored::from([(1, 2)]), 1..3);
}

#[test]
fn a_storage_without_sessions_gets_them_at_any_start_and_keeps_them() {
    for durability in BOTH {
        let scratch = Scratch::new();
        let (mut storage, recovery) = scratch.open(durability).unwrap();
        append(&mut storage, recovery.ledger, "1-1", 1);
        drop(storage);
        let (mut storage, recovery) = scratch.open_keyed(durability).unwrap();
        store(&mut storage, recovery.ledger, &[key(9, 1)]);
        drop(storage);
        // Without a dialect that has keys, the file is opened nevertheless.
        let (storage, recovery) = scratch.open(durability).unwrap();
        storage.close(recovery.ledger).unwrap();
        drop(storage);
        let (storage, _) = scratch.open_keyed(durability).unwrap();
        assert_sessions(&storage, &Stored::from([(9, 1)]), 8..10);
    }
}

#[test]
fn a_storage_of_the_first_version_has_no_sessions() {
    let scratch = super::upgrade::first_version();
    let (mut storage, recovery) = scratch.open_keyed(Durability::Disk).unwrap();
    store(&mut storage, recovery.ledger, &[key(1, 1)]);
    drop(storage);
    let sessions = scratch.read("sessions");
    let older = super::upgrade::first_version();
    std::fs::write(older.path("sessions"), sessions).unwrap();
    let refused = older.open(Durability::Disk).unwrap_err();
    assert!(matches!(refused, StorageError::Inconsistent { .. }), "{refused}");
    assert!(refused.to_string().contains("move both"), "{refused}");
}

#[test]
fn a_group_can_mix_batches_with_and_without_keys() {
    for durability in BOTH {
        let scratch = Scratch::new();
        let (mut storage, recovery) = scratch.open_keyed(durability).unwrap();
        let mut mixed = Group::default();
        for (key, name) in [(Some(key(1, 1)), "1-1"), (None, "2-1"), (Some(key(1, 2)), "1-2")] {
            let added = mixed.add(|rows, _| {
                rows.extend(format!("1,Ana,Paz,{name}-0,1999-03-17,1\r\n").into_bytes());
                Ok::<_, ()>(Written { bets: 1, winners: vec![], key })
            });
            added.unwrap();
        }
        assert_eq!(storage.judge(mixed.all()).unwrap(), [Judgement::New; 3]);
        let (ledger, _) = storage.append(recovery.ledger, mixed.all(), 0).unwrap();
        drop(storage);
        let (storage, recovery) = scratch.open(durability).unwrap();
        assert_eq!(totals(&recovery.ledger), totals(&ledger));
        assert_eq!(stored(&scratch, |_, _| 1), Stored::from([(1, 2), (2, 1)]));
        assert_sessions(&storage, &Stored::from([(1, 2)]), 1..3);
    }
}
