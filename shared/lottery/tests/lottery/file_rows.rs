//! Rows of a file that are copied to a batch yield the bytes that pushing their bets yields.

use lottery::protocol::{AgencyCodec, DIALECTS, Push};
use lottery::{Bet, FileRows};
use proptest::prelude::*;

use crate::common::agency;
use crate::common::bets::{lorca, of_agency};
use crate::scan::usual_bets;

/// Returns the rows of these bets, all with or all without a number.
fn rows(bets: &[Bet<'_>], line_break: csv::Terminator) -> Vec<u8> {
    let mut writer = csv::WriterBuilder::new().terminator(line_break).from_writer(Vec::new());
    for bet in bets {
        let birthdate = bet.birthdate.to_string();
        let number = bet.number.map(|number| number.to_string());
        let texts = [bet.first_name, bet.last_name, bet.document.as_str(), &birthdate];
        writer.write_record(texts.into_iter().chain(number.as_deref())).unwrap();
    }
    writer.into_inner().unwrap()
}

/// Copies as many rows as possible, and pushes the bet of each row that needs care. Returns the
/// number of bets in the batch and the number of copied ones.
fn copy(codec: &mut dyn AgencyCodec, bets: &[Bet<'_>], rows: &[u8]) -> (usize, usize) {
    let has_number = bets.iter().any(|bet| bet.number.is_some());
    let (mut at, mut done, mut copied) = (0, 0, 0);
    while done < bets.len() {
        let rest = FileRows { bytes: &rows[at..], has_number, with_number: true, max: usize::MAX };
        let found = codec.copy_rows(rest);
        (at, done, copied) = (at + found.bytes, done + found.rows, copied + found.rows);
        if found.is_full {
            break;
        }
        let Some(bet) = bets.get(done) else { break };
        if codec.push(bet).unwrap() == Push::Full {
            break;
        }
        done += 1;
        at += self::rows(&[*bet], csv::Terminator::CRLF).len();
    }
    assert_eq!(codec.bets(), done);
    (done, copied)
}

#[test]
fn copied_rows_and_pushed_bets_yield_the_same_batch() {
    for dialect in DIALECTS.iter().filter(|dialect| dialect.agency.is_some()) {
        proptest!(|(owned in usual_bets(dialect), number in dialect.max_agency / 2..dialect.max_agency)| {
            let mut bets = of_agency(&owned, number);
            let has_number = bets[0].number.is_some();
            bets.iter_mut().for_each(|bet| bet.number = has_number.then(|| bet.number.unwrap_or(7)));
            let rows = rows(&bets, csv::Terminator::CRLF);
            let [mut copying, mut pushing] = [(); 2].map(|()| agency(dialect.name, number));
            let (done, copied) = copy(&mut *copying, &bets, &rows);
            let pushed = bets.iter().take_while(|bet| pushing.push(bet).unwrap() == Push::Added);
            prop_assert_eq!(done, pushed.count(), "{}", dialect.name);
            prop_assert_eq!(copying.packet(), pushing.packet(), "{}", dialect.name);
            prop_assert!(copied > 0 || done < 20, "{}: no ordinary row was copied", dialect.name);
        });
    }
}

#[test]
fn a_row_is_copied_only_with_its_whole_line_break() {
    for (line_break, length) in [(csv::Terminator::CRLF, 2), (csv::Terminator::Any(b'\n'), 1)] {
        let bytes = rows(&[lorca()], line_break);
        for end in 0..=bytes.len() {
            let rows =
                FileRows { bytes: &bytes[..end], has_number: true, with_number: true, max: 5 };
            let copied = agency("typed", 1).copy_rows(rows);
            let is_whole = end == bytes.len();
            assert_eq!(copied.rows, usize::from(is_whole), "{end} bytes");
            let lengths = if is_whole { (end, end - length + 1) } else { (0, 0) };
            assert_eq!((copied.bytes, copied.end), lengths);
        }
    }
}
