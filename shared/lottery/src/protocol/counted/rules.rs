//! The rules that every server of either edition of `counted` must keep.
//!
//! Each batch has its own connection: the original server handles one message per connection.

use super::{Edition, REFUSED, STORED};
use crate::protocol::{Rule, Step};

const AGENCY: u8 = 1;
const DATE: &[u8; 10] = b"2001-08-29";

/// Returns the rules, in the order in which they are checked.
pub fn rules(edition: Edition) -> Vec<Rule> {
    let bet = |first_name: &[u8], last_name: &[u8], date| {
        LosingBet { first_name, last_name, date }.bytes(edition)
    };
    let good = || bet("Tiago Nicolás".as_bytes(), b"Rivera", DATE);
    let stored = |bets: &[Vec<u8>]| vec![Step::Send(batch(bets)), Step::Expect(vec![STORED])];
    let refused = |name, bad: Vec<u8>| {
        // The invalid bet is the last one. A server that closes with unread bytes resets the
        // connection, which may destroy its own reply.
        Rule::invalid(name, vec![Step::Send(batch(&[good(), bad])), Step::Expect(vec![REFUSED])])
    };
    let unanswered = |name, bytes| {
        Rule::invalid(name, vec![Step::Send(bytes), Step::HalfClose, Step::ExpectNothing])
    };
    let mut cut = batch(&[good(), good()]);
    cut.truncate(cut.len() - 3);
    let longest = [b'x'; 255];
    vec![
        Rule::new(("batch", "a batch is stored and answered with 00"), stored(&[good(), good()])),
        Rule::new(
            ("name-lengths", "names may be empty and may have 255 bytes"),
            stored(&[bet(b"", b"", DATE), bet(&longest, &longest, DATE)]),
        ),
        Rule::new(
            ("several-connections", "an agency may send its batches over several connections"),
            stored(&[good()])
                .into_iter()
                .chain([Step::Reconnect])
                .chain(stored(&[good()]))
                .collect(),
        ),
        refused(
            ("impossible-date", "a batch with an impossible date is refused with 01"),
            bet(b"Ana", b"Lorca", b"1999-13-17"),
        ),
        refused(
            ("date-form", "a date in another form than YYYY-MM-DD is refused with 01"),
            bet(b"Ana", b"Lorca", b"17/03/1999"),
        ),
        refused(
            ("first-name-utf8", "a first name that is not UTF-8 is refused with 01"),
            bet(b"\xFF", b"Lorca", DATE),
        ),
        refused(
            ("last-name-utf8", "a last name that is not UTF-8 is refused with 01"),
            bet(b"Ana", b"\xC3", DATE),
        ),
        unanswered(("cut-batch", "a batch that ends too early gets no reply"), cut),
        unanswered(("cut-end", "an end message without its agency gets no reply"), vec![0, 0]),
    ]
}

/// A bet that does not win.
struct LosingBet<'a> {
    first_name: &'a [u8],
    last_name: &'a [u8],
    date: &'a [u8; 10],
}

impl LosingBet<'_> {
    fn bytes(&self, edition: Edition) -> Vec<u8> {
        let mut bytes = vec![AGENCY];
        for name in [self.first_name, self.last_name] {
            edition.put(name.len(), &mut bytes);
            bytes.extend_from_slice(name);
        }
        bytes.extend_from_slice(&34_407_251_u32.to_be_bytes());
        bytes.extend_from_slice(self.date);
        bytes.extend_from_slice(&1033_u16.to_be_bytes());
        bytes
    }
}

fn batch(bets: &[Vec<u8>]) -> Vec<u8> {
    [&(bets.len() as u16).to_be_bytes()[..], &bets.concat()].concat()
}
