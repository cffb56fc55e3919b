//! The rules that every server of `typed` must keep.

use super::{QUERY, decode_results};
use crate::protocol::{Rule, Step};

/// Bet T of the test vectors, with four fields. Servers may differ on whether it wins.
const RIVERA: &[u8] = "Tiago Nicolás;Rivera;34407251;2001-08-29".as_bytes();

/// Returns the rules, in the order in which they are checked.
pub fn rules() -> Vec<Rule> {
    let refused =
        |name, bytes: Vec<u8>| Rule::invalid(name, vec![Step::Send(bytes), Step::ExpectNothing]);
    let mut dateless = batch(&[RIVERA]);
    dateless.truncate(dateless.len() - 3);
    vec![
        Rule::new(
            ("batch", "a batch is answered with its winning records"),
            vec![
                Step::Send(batch(&[RIVERA])),
                Step::ExpectOneOf(vec![vec![0, 0], [&[0, 1][..], &record(RIVERA)].concat()]),
            ],
        ),
        Rule::new(
            ("query", "a query is answered with a total or a partial result"),
            vec![
                Step::Send(QUERY.to_vec()),
                Step::ExpectShape("01 and u32, or 00, u16 and u32", |reply| {
                    decode_results(reply).map_or(Some(false), |whole| whole.map(|_| true))
                }),
            ],
        ),
        refused(("empty-batch", "a batch of 0 records gets no reply"), vec![0, 0, 0]),
        refused(("unknown-type", "an unknown request type gets no reply"), vec![2]),
        refused(("three-fields", "a record of 3 fields gets no reply"), batch(&[b"Ana;Lorca;1"])),
        refused(
            ("six-fields", "a record of 6 fields gets no reply"),
            batch(&[b"Ana;Lorca;1;1999-03-17;1;1"]),
        ),
        refused(
            ("impossible-date", "an impossible date gets no reply"),
            batch(&[b"Ana;Lorca;1;1999-13-17"]),
        ),
        refused(
            ("blanks-in-date", "blanks around a date get no reply"),
            batch(&[b"Ana;Lorca;1; 1999-03-17"]),
        ),
        refused(
            ("not-utf8", "a record that is not UTF-8 gets no reply"),
            batch(&[b"\xFF;Lorca;1;1999-03-17"]),
        ),
        Rule::invalid(
            ("cut-request", "a request that ends too early gets no reply"),
            vec![Step::Send(dateless), Step::HalfClose, Step::ExpectNothing],
        ),
    ]
}

fn batch(records: &[&[u8]]) -> Vec<u8> {
    let count = records.len() as u16;
    let records: Vec<_> = records.iter().map(|text| record(text)).collect();
    [&[0][..], &count.to_be_bytes(), &records.concat()].concat()
}

fn record(text: &[u8]) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text].concat()
}
