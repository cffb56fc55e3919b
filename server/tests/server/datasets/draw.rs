//! The main job in the dialects with a draw: five agencies send their datasets at once, in packets
//! of 8 kB, and receive their winners.
//!
//! Runs on the committed dataset, and on the course's own if `LOTTERY_COURSE_DATA` names the
//! directory of its files.

use std::fs;
use std::path::Path;
use std::thread::scope;

use crate::harness::{Participant, Setup, count_draws, course_data, draw_dialects, winners_reply};
use csv::StringRecord;
use lottery::{Bet, Birthdate};

/// A row of a dataset.
struct Row {
    /// The row as the file has it, without its line end.
    text: String,
    /// First name, last name, document, birthdate, number.
    fields: StringRecord,
}

impl Row {
    fn bet(&self) -> Bet<'_> {
        let [first_name, last_name, document, birthdate, number] =
            [0, 1, 2, 3, 4].map(|n| &self.fields[n]);
        let birthdate = Birthdate::from_iso(birthdate).unwrap();
        let number = Some(number.parse().unwrap());
        Bet { agency: 0, first_name, last_name, document: document.into(), birthdate, number }
    }

    /// Returns true if a dialect can express the row: in `line` a comma ends a field.
    fn fits(&self, dialect: &str) -> bool {
        dialect != "line" || !self.fields.iter().any(|field| field.contains(','))
    }
}

/// Returns the rows of the five agencies.
fn dataset(directory: &Path) -> Vec<Vec<Row>> {
    let rows = |agency: u32| {
        let text = fs::read_to_string(directory.join(format!("agency-{agency}.csv"))).unwrap();
        let rows = csv::ReaderBuilder::new()
            .has_headers(false)
            .from_reader(text.as_bytes())
            .into_records();
        let rows = rows
            .zip(text.lines())
            .map(|(fields, text)| Row { text: text.to_owned(), fields: fields.unwrap() });
        rows.collect()
    };
    (1..=5).map(rows).collect()
}

/// Returns the documents of the winning rows, in order.
fn winners(rows: &[&Row]) -> Vec<u32> {
    let rows = rows.iter().filter(|row| &row.fields[4] == "7574");
    rows.map(|row| row.fields[2].parse().unwrap()).collect()
}

/// Runs the job in one dialect and compares the storage with the files. Returns the winners of each
/// agency.
fn run(dialect: &str, agencies: &[Vec<Row>]) -> Vec<Vec<u32>> {
    let mut agencies: Vec<Vec<&Row>> = agencies.iter().map(|rows| rows.iter().collect()).collect();
    agencies.iter_mut().for_each(|rows| rows.retain(|row| row.fits(dialect)));
    let setup = Setup::new().with("SERVER_PROTOCOL", dialect);
    let setup = setup.with("LOGGING_LEVEL", "INFO");
    let central = setup.start();
    let port = central.port;
    scope(|scope| {
        for (number, rows) in (1..).zip(&agencies) {
            scope.spawn(move || {
                let bets: Vec<_> = rows.iter().map(|row| row.bet()).collect();
                let mut agency = Participant::connect(port, dialect, number);
                let packets = agency.store_all(&bets);
                assert!(
                    packets * 100 < rows.len() + 100,
                    "{packets} packets, more than packets of 8 kB would be"
                );
                agency.finish();
                let (count, bytes) = agency.winners();
                assert_eq!(
                    bytes,
                    winners_reply(dialect, &winners(rows)),
                    "{dialect}, agency {number}"
                );
                assert_eq!(count, winners(rows).len() as u64);
            });
        }
    });
    let mut stored = setup.rows();
    stored.sort();
    let sent = (1..)
        .zip(&agencies)
        .flat_map(|(number, rows)| rows.iter().map(move |row| format!("{number},{}", row.text)));
    let mut sent: Vec<_> = sent.collect();
    sent.sort();
    assert!(stored == sent, "{dialect}: {} rows stored, {} sent", stored.len(), sent.len());
    assert_eq!(count_draws(&central.stop_and_read_log()), 1, "{dialect}");
    agencies.iter().map(|rows| winners(rows)).collect()
}

#[test]
fn five_agencies_with_the_committed_dataset_receive_their_winners_in_every_dialect() {
    let agencies = dataset(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.data"));
    for dialect in draw_dialects() {
        let winners = run(dialect, &agencies);
        assert_eq!(winners.iter().flatten().count(), 15, "{dialect}");
    }
}

#[test]
fn the_courses_dataset_gives_each_agency_its_known_winners_in_every_dialect() {
    let Some(directory) = course_data() else { return };
    let agencies = dataset(&directory);
    assert_eq!(agencies.iter().flatten().count(), 78_697);
    for dialect in draw_dialects() {
        let winners = run(dialect, &agencies);
        let known: [&[u32]; 5] = [
            &[30_876_370, 24_807_259],
            &[33_791_469, 31_660_107, 24_813_860],
            &[22_737_492, 23_328_212, 28_188_111],
            &[34_963_649, 35_635_602],
            &[],
        ];
        assert_eq!(winners, known, "{dialect}");
    }
}
