//! The draw of a storage: its winners and its file, and that the index changes neither.

use std::fs;

use lottery::{Bet, Birthdate};
use proptest::prelude::*;

use crate::storage::draw::{Draw, FILE};
use crate::storage::{Drawing, Durability, Ledger, Storage, winner_index};

use super::scratch::{BOTH, Scratch, draw, hold_draw, store};

/// Rows of another program, some of which win.
const ROWS: &str = "2,Ana,Lorca,11,1999-03-17,7574\r\n\
    1,Eva,Paz,22,1999-03-17,7573\r\n\
    1,Leo,Rey,\"3,3\",1999-03-17,7574\r\n\
    0,Nadie,Nadie,44,1999-03-17,7574\r\n\
    2,Luz,Sol,55,1999-03-17,7574\r\n";

/// Opens a storage with these rows.
fn with_rows(rows: &str) -> (Scratch, Storage, Ledger) {
    let scratch = Scratch::new();
    fs::write(scratch.path("bets.csv"), rows).unwrap();
    let (storage, recovery) = scratch.open(Durability::Process).unwrap();
    (scratch, storage, recovery.ledger)
}

fn documents_of(draw: &Draw, agency: u16) -> Vec<String> {
    let mut winners = draw.winners(agency);
    while !draw.read(&mut winners, 1000).unwrap() {}
    winners.documents().into_iter().map(str::to_owned).collect()
}

#[test]
fn every_agency_gets_its_own_winners_in_the_order_of_storage() {
    let (scratch, storage, ledger) = with_rows(ROWS);
    let mut drawing = storage.begin_draw(&ledger).unwrap();
    assert!(storage.advance_draw(&mut drawing, u64::MAX / 2).unwrap() && drawing.uses_index());
    assert!(
        storage.draw().unwrap().is_none(),
        "the draw has been held only once its result is written"
    );
    storage.write_draw(&drawing).unwrap();
    let draw = storage.draw_over(&ledger).unwrap().unwrap();
    let checksum = crc32fast::hash(ROWS.as_bytes());
    let expected = format!("draw,5,3,{checksum:08x}\r\n1,\"3,3\"\r\n2,11\r\n2,55\r\n");
    assert_eq!(String::from_utf8(scratch.read(FILE)).unwrap(), expected);
    assert_eq!((draw.bets, draw.checksum), (5, Some(checksum)));
    assert!(drawing.has_written(&draw).unwrap());
    for (agency, documents) in [(1, vec!["3,3"]), (2, vec!["11", "55"]), (3, vec![]), (0, vec![])] {
        assert_eq!(documents_of(&draw, agency), documents, "agency {agency}");
    }
}

#[test]
fn a_draw_made_in_pieces_is_the_same() {
    let (_scratch, storage, ledger) = with_rows(ROWS);
    for begin in [Drawing::of_index, Drawing::of_all_bets] {
        let mut drawing = begin(&storage.files, &ledger).unwrap();
        let mut pieces = 0;
        while !storage.advance_draw(&mut drawing, 1).unwrap() {
            pieces += 1;
        }
        // At most one winner or one byte per piece.
        assert!(pieces >= 3, "{pieces}");
        storage.write_draw(&drawing).unwrap();
        assert_eq!(documents_of(&storage.draw().unwrap().unwrap(), 2), ["11", "55"]);
    }
}

#[test]
fn a_draw_stops_at_the_end_of_what_is_stored() {
    let (scratch, storage, ledger) = with_rows(ROWS);
    let longer = [ROWS, "2,Later,Later,66,1999-03-17,7574\r\n"].concat();
    fs::write(scratch.path("bets.csv"), longer).unwrap();
    assert_eq!(hold_draw(&storage, &ledger), draw(&storage, &ledger, Drawing::of_all_bets));
}

#[test]
fn a_truncated_result_is_rejected() {
    let (scratch, storage, ledger) = with_rows(ROWS);
    let whole = hold_draw(&storage, &ledger);
    let last_row = whole.len() - b"2,55\r\n".len();
    for cut in [0, 3, last_row, whole.len() - 3, whole.len() - 2] {
        fs::write(scratch.path(FILE), &whole[..cut]).unwrap();
        assert!(storage.draw().is_err(), "cut at {cut}");
    }
}

#[test]
fn a_result_of_the_first_version_has_no_checksum() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(FILE), "draw,1,1\r\n1,22\r\n").unwrap();
    let draw = Draw::open(directory.path()).unwrap().unwrap();
    assert_eq!((draw.bets, draw.checksum, documents_of(&draw, 1)), (1, None, vec!["22".into()]));
    fs::write(directory.path().join(FILE), "draw,1,1,x\r\n1,22\r\n").unwrap();
    assert!(Draw::open(directory.path()).is_err());
}

#[test]
fn without_the_index_a_draw_over_other_rows_than_were_stored_is_not_held() {
    let (scratch, storage, ledger) = with_rows(ROWS);
    for (from, to, reason) in
        [("Eva", "Eve", "loteria-central verify"), ("1999-03-17,7573", "never-3-17,7573", "line 2")]
    {
        fs::write(scratch.path("bets.csv"), ROWS.replace(from, to)).unwrap();
        assert!(storage.advance_draw(&mut storage.begin_draw(&ledger).unwrap(), 1 << 20).unwrap());
        let mut drawing = Drawing::of_all_bets(&storage.files, &ledger).unwrap();
        let error = storage.advance_draw(&mut drawing, 1 << 20).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
}

/// A bet of the property below: agency, name, document and number.
type AnyBet = (u16, &'static str, u32, Option<u32>);

/// Generates bets as any dialect stores them: with and without agency and number. Some are of the
/// same person, and about a third win.
fn any_bets() -> impl Strategy<Value = Vec<AnyBet>> {
    let name = prop::sample::select(vec![
        "Ana",
        "Ñata",
        "a,b",
        "\"x\"",
        "",
        "long long long long long long",
    ]);
    let number = prop::sample::select(vec![None, None, Some(0), Some(1), Some(7574), Some(75740)]);
    prop::collection::vec((0_u16..4, name, 0_u32..40, number), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_index_and_all_bets_give_the_same_draw_byte_for_byte(
        batches in prop::collection::vec(any_bets(), 1..12), durable: bool, kill_after in 0_usize..14,
    ) {
        let durability = if durable { Durability::Disk } else { Durability::Process };
        let scratch = Scratch::new();
        let (mut storage, recovery) = scratch.open(durability).unwrap();
        let mut ledger = recovery.ledger;
        for (number, batch) in batches.iter().enumerate() {
            let birthdate = Birthdate::new(1999, 3, 17).unwrap();
            let bets: Vec<_> = batch.iter().map(|(agency, first_name, document, number)| Bet {
                agency: *agency, first_name, last_name: "Paz", document: (*document).into(), birthdate, number: *number,
            }).collect();
            ledger = store(&mut storage, ledger, &bets);
            if number == kill_after {
                drop(storage);
                let opened = scratch.open(durability).unwrap();
                (storage, ledger) = (opened.0, opened.1.ledger);
            }
        }
        let by_index = hold_draw(&storage, &ledger);
        prop_assert_eq!(&by_index, &draw(&storage, &ledger, Drawing::of_all_bets));
        prop_assert_eq!(scratch.read(winner_index::FILE).len() as u64, 8 * ledger.winners);
        // Counted again, the same agencies win.
        storage.close(ledger).unwrap();
        drop(storage);
        fs::remove_file(scratch.path("journal")).unwrap();
        fs::remove_file(scratch.path("checkpoints")).unwrap();
        let (storage, recovery) = scratch.open(durability).unwrap();
        prop_assert_eq!(&by_index, &hold_draw(&storage, &recovery.ledger));
    }
}

#[test]
fn winners_without_a_number_are_counted_again_as_they_were_also_those_of_an_agency() {
    for durability in BOTH {
        let scratch = Scratch::new();
        let (mut storage, recovery) = scratch.open(durability).unwrap();
        let birthdate = Birthdate::new(1999, 3, 17).unwrap();
        // The text of this bet has a hash that wins; with the number 0 it does not win.
        let bet = |agency, number| Bet {
            agency,
            first_name: "Eva",
            last_name: "Paz",
            document: "23".into(),
            birthdate,
            number,
        };
        let bets = [bet(2, None), bet(0, None)];
        let ledger = store(&mut storage, recovery.ledger, &bets);
        assert_eq!(ledger.winners, 2);
        storage.close(ledger).unwrap();
        drop(storage);
        fs::remove_file(scratch.path("journal")).unwrap();
        let (_, recovery) = scratch.open(durability).unwrap();
        assert_eq!((recovery.ledger.bets, recovery.ledger.winners), (2, 2), "{durability}");
    }
}
