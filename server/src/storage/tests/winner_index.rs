//! The index of the winners: it is complete after every commit and every start, and whatever it
//! holds, the draw is the same.

use std::cell::Cell;
use std::fs;
use std::rc::Rc;

use nix::errno::Errno;

use crate::storage::file::Operation;
use crate::storage::file::interposed::interpose;
use crate::storage::winner_index::FILE;
use crate::storage::{Drawing, Durability, Ledger, Storage};

use super::scratch::{BOTH, Scratch, append, draw, finish, group, hold_draw};

/// Stores four batches with a winner each.
fn with_winners(durability: Durability) -> (Scratch, Storage, Ledger) {
    let scratch = Scratch::new();
    let (mut storage, recovery) = scratch.open(durability).unwrap();
    let mut ledger = recovery.ledger;
    for name in ["a", "b"] {
        let group = group(name, &[3, 0, 2]);
        ledger = storage.append(ledger, group.all(), ledger.records).unwrap().0;
    }
    let ledger = finish(&mut storage, ledger, 1);
    (scratch, storage, ledger)
}

/// Holds a draw and asserts that it does not rely on the index, which it then writes again.
fn assert_falls_back(storage: &Storage, ledger: &Ledger, expected: &[u8], context: &str) {
    let mut drawing = storage.begin_draw(ledger).unwrap();
    while !storage.advance_draw(&mut drawing, 50).unwrap() {}
    assert!(!drawing.uses_index(), "{context}");
    storage.write_draw(&drawing).unwrap();
    let directory = &storage.files.directory;
    assert!(fs::read(directory.join("draw.csv")).unwrap() == expected, "{context}");
    assert!(hold_draw(storage, ledger) == expected, "{context}: the index is written again");
}

#[test]
fn whatever_bit_of_the_index_is_flipped_the_draw_is_the_same() {
    let (scratch, storage, ledger) = with_winners(Durability::Process);
    let expected = draw(&storage, &ledger, Drawing::of_all_bets);
    let good = scratch.read(FILE);
    assert_eq!(good.len(), 8 * 4);
    for bit in 0..good.len() * 8 {
        let mut damaged = good.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        fs::write(scratch.path(FILE), damaged).unwrap();
        assert_falls_back(&storage, &ledger, &expected, &format!("bit {bit}"));
        assert_eq!(scratch.read(FILE), good);
    }
}

#[test]
fn an_index_that_lacks_entries_or_has_others_does_not_change_the_draw() {
    let (scratch, storage, ledger) = with_winners(Durability::Process);
    let expected = draw(&storage, &ledger, Drawing::of_all_bets);
    let good = scratch.read(FILE);
    let entry = |number: usize| &good[8 * number..8 * number + 8];
    let with = |entries: &[&[u8]]| entries.concat();
    for (context, bytes) in [
        ("none", vec![]),
        ("zeros", vec![0; good.len()]),
        ("one less", good[..24].to_vec()),
        ("half of one less", good[..28].to_vec()),
        ("the first one is missing", good[8..].to_vec()),
        ("one twice", with(&[entry(0), entry(1), entry(1), entry(2)])),
        ("another order", with(&[entry(1), entry(0), entry(2), entry(3)])),
        ("a bet that does not win", with(&[entry(0), &40_u64.to_le_bytes(), &good[16..]])),
    ] {
        fs::write(scratch.path(FILE), bytes).unwrap();
        assert_falls_back(&storage, &ledger, &expected, context);
    }
    // Entries that nothing counts are those of a batch that was not stored.
    fs::write(scratch.path(FILE), [&good[..], &[7; 12]].concat()).unwrap();
    assert!(hold_draw(&storage, &ledger) == expected);
}

#[test]
fn a_start_completes_an_index_that_lost_what_no_checkpoint_made_durable() {
    for durability in BOTH {
        let (scratch, storage, ledger) = with_winners(durability);
        let expected = hold_draw(&storage, &ledger);
        drop(storage);
        fs::remove_file(scratch.path("draw.csv")).unwrap();
        let whole = scratch.contents();
        let good = &whole[FILE];
        let longer = [&good[..], &[9; 5]].concat();
        for left in [vec![], vec![0; good.len()], good[..12].to_vec(), longer] {
            let mut state = whole.clone();
            state.insert(FILE.to_owned(), left);
            scratch.restore(&state);
            let (storage, recovery) = scratch.open(durability).unwrap();
            assert_eq!(scratch.read(FILE), *good, "{durability}");
            assert!(hold_draw(&storage, &recovery.ledger) == expected, "{durability}");
        }
    }
}

#[test]
fn a_storage_of_a_program_without_an_index_gets_one_with_its_first_draw() {
    for durability in BOTH {
        let (scratch, storage, ledger) = with_winners(durability);
        storage.close(ledger).unwrap();
        drop(storage);
        fs::remove_file(scratch.path(FILE)).unwrap();
        let (mut storage, recovery) = scratch.open(durability).unwrap();
        let ledger = append(&mut storage, recovery.ledger, "later", 2);
        let expected = draw(&storage, &ledger, Drawing::of_all_bets);
        fs::remove_file(scratch.path("draw.csv")).unwrap();
        // As the bets were stored, without the entries of the first program.
        let entry = scratch.read(FILE)[8 * 4..].to_vec();
        fs::write(scratch.path(FILE), [&[0; 8 * 4][..], &entry].concat()).unwrap();
        assert_falls_back(&storage, &ledger, &expected, &durability.to_string());
    }
}

#[test]
fn an_index_that_cannot_be_written_refuses_the_batches_and_stores_none_of_them() {
    for durability in BOTH {
        let (scratch, mut storage, ledger) = with_winners(durability);
        let before = scratch.contents();
        let full = Rc::new(Cell::new(true));
        let is_full = Rc::clone(&full);
        let _interposed = interpose(move |operation| match operation {
            Operation::Write { path, .. } if path.ends_with(FILE) && is_full.get() => {
                Err(Errno::ENOSPC.into())
            }
            _ => Ok(()),
        });
        let group = group("c", &[2, 1]);
        let (after, refused) = storage.append(ledger, group.all(), ledger.records).unwrap();
        let refused = refused.unwrap().to_string();
        assert!(refused.contains("winners.idx: No space left"), "{refused}");
        assert_eq!(after, ledger);
        for name in ["bets.csv", "winners.log", FILE] {
            assert!(scratch.read(name) == before[name], "{durability}: {name}");
        }
        full.set(false);
        let ledger = append(&mut storage, ledger, "c", 3);
        drop(storage);
        let (storage, recovery) = scratch.open(durability).unwrap();
        assert_eq!((recovery.ledger.bets, recovery.ledger.winners), (ledger.bets, ledger.winners));
        let expected = draw(&storage, &recovery.ledger, Drawing::of_all_bets);
        assert!(hold_draw(&storage, &recovery.ledger) == expected);
    }
}
