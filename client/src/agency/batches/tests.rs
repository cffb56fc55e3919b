//! Copied rows and rows that are read as CSV yield the same batches and the same errors, in every
//! dialect and for any file.

use std::io::Write;

use lottery::protocol::{
    AgencyOptions, Answer, DIALECTS, Dialect, NewAgency, ProtocolError, Receipt, Unencodable,
};
use lottery::{Bet, CopiedRows, FileRows};
use proptest::prelude::*;
use proptest::sample::select;
use tempfile::NamedTempFile;

use super::*;
use crate::resume::Rules;

/// A codec that leaves every row to the general path.
#[derive(Debug)]
struct General(Box<dyn AgencyCodec>);

impl AgencyCodec for General {
    fn push(&mut self, bet: &Bet<'_>) -> Result<Push, Unencodable> {
        self.0.push(bet)
    }

    fn copy_rows(&mut self, _rows: FileRows<'_>) -> CopiedRows {
        CopiedRows::default()
    }

    fn bets(&self) -> usize {
        self.0.bets()
    }

    fn packet(&mut self) -> &[u8] {
        self.0.packet()
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn receipt(&self, reply: &[u8]) -> Result<Option<Receipt>, ProtocolError> {
        self.0.receipt(reply)
    }

    fn question(&self) -> Vec<u8> {
        self.0.question()
    }

    fn answer(&self, reply: &[u8]) -> Result<Option<Answer>, ProtocolError> {
        self.0.answer(reply)
    }
}

/// What a file becomes: batches with their packets, and the error that ended it.
#[derive(Debug, PartialEq, Eq)]
struct Divided {
    batches: Vec<(String, Vec<u8>)>,
    error: Option<String>,
    /// Number of the last row that was read.
    rows: u64,
}

/// Divides a file to its end or its first error.
fn divide(content: &[u8], plan: &Plan, mut codec: Box<dyn AgencyCodec>) -> Divided {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    let mut batches = Batches::new(Dataset::open(file.path(), 7).unwrap());
    let mut divided = Vec::new();
    let error = loop {
        match batches.fill(plan, &mut *codec) {
            Ok(Some(batch)) => {
                divided.push((format!("{batch:?}"), codec.packet().to_vec()));
                codec.clear();
            }
            Ok(None) => break None,
            Err(error) => break Some(format!("{error:?} {error}")),
        }
    };
    Divided { batches: divided, error, rows: batches.dataset.row() }
}

/// Divides a file in both ways and compares.
fn check(dialect: &Dialect, new: NewAgency, content: &[u8], plan: &Plan) {
    let codec = || new(&AgencyOptions::new(7, u16::MAX));
    let copied = divide(content, plan, codec());
    let general = divide(content, plan, Box::new(General(codec())));
    let text = String::from_utf8_lossy(content);
    assert_eq!(copied, general, "{}, {plan:?}: {text:?}", dialect.name);
}

fn dialects() -> impl Iterator<Item = (&'static Dialect, NewAgency)> {
    DIALECTS.iter().filter_map(|dialect| Some((dialect, dialect.agency?)))
}

/// Generates a row, mostly an ordinary one.
fn some_row() -> impl Strategy<Value = Vec<u8>> {
    let names = select(vec![
        "Ana",
        "Tiago Nicolás",
        "Ñandú",
        "",
        "O'Higgins",
        "María José",
        "a;b",
        "a|b",
        "\"a,b\"",
        "\"a\nb\"",
        "\"x\"\"y\"",
        "x\"y",
        "¡Olé!",
        "ª",
        "🎲",
        "\u{85}",
        "\t",
        "\u{feff}Eva",
        "un nombre de treinta y un bytes",
        "un nombre muy largo, de más de sesenta y cuatro bytes",
    ]);
    let names = prop_oneof![6 => select(vec!["Ana", "Tiago Nicolás", "Lorca"]), 1 => names];
    let documents = prop_oneof![
        6 => (0..100_000_000_u64).prop_map(|number| number.to_string()),
        1 => select(vec!["", "007", "4294967295", "4294967296", "M-5", "0"]).prop_map(str::to_owned),
    ];
    let dates = select(vec![
        "1999-03-17",
        "2000-02-29",
        "1986-04-25",
        "1986-04-25",
        "1986-4-25",
        "2001-02-29",
        "0000-01-01",
        "",
        " 1999-03-17",
    ]);
    let dates = prop_oneof![9 => select(vec!["1999-03-17", "2000-02-29"]), 1 => dates];
    let numbers = prop_oneof![
        9 => (0..10_000_u32).prop_map(|number| format!(",{number}")),
        1 => select(vec!["", ",", ",0007", ",65536", ",4294967296", ",7574,", ",+1"])
            .prop_map(str::to_owned),
    ];
    let breaks = select(vec!["\n", "\r\n", "\r\n", "\r\n", "\n\n", "\r\n\r\n", "\r", ""]);
    let breaks = prop_oneof![9 => select(vec!["\n", "\r\n"]), 1 => breaks];
    let any_bytes = prop::collection::vec(any::<u8>(), 0..20);
    let row = (names.clone(), names, documents, dates, numbers, breaks).prop_map(
        |(first, last, document, date, number, line_break)| {
            format!("{first},{last},{document},{date}{number}{line_break}").into_bytes()
        },
    );
    prop_oneof![40 => row, 1 => any_bytes]
}

/// Generates a plan for a file of some rows.
fn some_plan() -> impl Strategy<Value = Plan> {
    let max_bets = select(vec![1, 2, 5, 100, u16::MAX]);
    let rules = (max_bets, prop::bool::weighted(0.8))
        .prop_map(|(max_bets, with_number)| Rules { max_bets, with_number });
    let ends = prop_oneof![2 => Just(u64::MAX), 1 => 0..2_000_u64];
    prop::collection::vec((ends, rules), 1..4).prop_map(|mut parts| {
        parts.sort_by_key(|(end, _)| *end);
        Plan { parts: parts.into_iter().map(|(end, rules)| Part { end, rules }).collect() }
    })
}

proptest! {
    #[test]
    fn any_file_yields_the_same_batches_and_errors(
        rows in prop::collection::vec(some_row(), 0..40), plan in some_plan(),
    ) {
        for (dialect, new) in dialects() {
            check(dialect, new, &rows.concat(), &plan);
        }
    }
}

#[test]
fn a_file_of_several_reads_yields_the_same_batches() {
    let mut content = Vec::new();
    for row in 0..20_000_u32 {
        // Rows of all lengths, so that the reads end at every place of a row.
        let name = "ñandú".repeat(row as usize % 7);
        write!(
            content,
            "Ana{row},{name},{},19{:02}-0{}-17,{row}\r\n",
            row * 1_000,
            row % 100,
            row % 9 + 1
        )
        .unwrap();
    }
    let plan = Plan::of(u64::MAX, Rules { max_bets: 1_000, with_number: true });
    for (dialect, new) in dialects() {
        check(dialect, new, &content, &plan);
    }
}

#[test]
fn ordinary_rows_are_copied_in_every_dialect() {
    let row = "Santiago Lionel,Lorca,30904465,1999-03-17,7574\r\n";
    for (dialect, new) in dialects() {
        for (has_number, row) in [(true, row), (false, "Ana,Paz,1,2000-01-01\n")] {
            let bytes = row.repeat(10);
            let mut codec = new(&AgencyOptions::new(7, u16::MAX));
            let rows = FileRows { bytes: bytes.as_bytes(), has_number, with_number: true, max: 9 };
            let copied = codec.copy_rows(rows);
            let expected = if has_number || dialect.number_is_optional { 9 } else { 0 };
            assert_eq!((copied.rows, codec.bets()), (expected, expected), "{}", dialect.name);
            assert_eq!(copied.bytes, expected * row.len(), "{}", dialect.name);
        }
    }
}
