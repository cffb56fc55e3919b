//! The batch that every client of a run sends, built once, with the reply it must get.

use std::io;

use lottery::protocol::{AgencyOptions, Dialect, Push};
use lottery::{Bet, Birthdate, Reply, WINNING_NUMBER, is_winner};

/// Names of the lengths that occur in the course's data, some with letters of two bytes.
const FIRST_NAMES: [&str; 8] = [
    "Santiago Lionel",
    "Tiago Nicolás",
    "María José",
    "Joaquín",
    "Milagros de los Ángeles",
    "Ana",
    "Valentina Belén",
    "Juan Ignacio",
];
const LAST_NAMES: [&str; 7] =
    ["Lorca", "Rivera", "Álvarez", "Núñez", "Gutiérrez", "Paz", "Fernández"];

/// A batch on the wire and what comes back for it.
#[derive(Debug)]
pub(crate) struct Batch {
    /// The bytes to send first on a connection.
    pub(crate) greeting: Vec<u8>,
    /// The bytes to send.
    pub(crate) request: Vec<u8>,
    /// Bets in the request.
    pub(crate) bets: usize,
    reply: ExpectedReply,
}

#[derive(Debug)]
enum ExpectedReply {
    /// Exactly these bytes.
    Bytes(Vec<u8>),
    /// Anything of this length: the reply of a server that does not speak the protocol.
    AnyOf(usize),
}

impl Batch {
    /// A batch of up to `max_bets` bets and 8192 bytes in a dialect that carries bets.
    ///
    /// Bets with a number all lose, as nearly all do in the course's data (10 of 78,697 win). Bets without one win by their
    /// hash, about one in seventeen.
    pub(crate) fn new(dialect: &Dialect, max_bets: u16, numbered: bool) -> io::Result<Self> {
        let agency =
            dialect.agency.ok_or_else(|| io::Error::other("the dialect carries no bets"))?;
        let mut agency = agency(&AgencyOptions { agency: 1, max_bets, with_count: true });
        let mut winners = Vec::new();
        let documents = documents();
        for (index, document) in documents.iter().enumerate() {
            let bet = sample(index, document, numbered)?;
            if agency.push(&bet).map_err(io::Error::other)? == Push::Full {
                break;
            }
            if is_winner(&bet) {
                winners.push(bet);
            }
        }
        let request = agency.packet().to_vec();
        // The central's side has to have read the batch: in some dialects the reply repeats a part of it.
        let mut central = (dialect.central)();
        for message in [&agency.greeting(), &request] {
            central.decode(message).map_err(|refusal| io::Error::other(refusal.error))?;
        }
        let mut reply = Vec::new();
        let stored = Reply::Stored { bets: agency.bets(), winners };
        central.encode(&stored, &mut reply).map_err(io::Error::other)?;
        Ok(Self {
            greeting: agency.greeting(),
            bets: agency.bets(),
            request,
            reply: ExpectedReply::Bytes(reply),
        })
    }

    /// Takes any `bytes` bytes as the reply from now on.
    pub(crate) fn expect_any_reply(&mut self, bytes: usize) {
        self.reply = ExpectedReply::AnyOf(bytes);
    }

    /// Bytes of the reply. It is known beforehand, so a client need not wait for the server to close.
    pub(crate) fn reply_bytes(&self) -> usize {
        match &self.reply {
            ExpectedReply::Bytes(bytes) => bytes.len(),
            ExpectedReply::AnyOf(bytes) => *bytes,
        }
    }

    /// Whether a reply of the right length is the right one.
    pub(crate) fn accepts(&self, reply: &[u8]) -> bool {
        match &self.reply {
            ExpectedReply::Bytes(bytes) => reply == bytes,
            ExpectedReply::AnyOf(_) => true,
        }
    }
}

/// More documents than bets fit into a packet: a record takes over 16 bytes.
fn documents() -> Vec<String> {
    (0..512).map(|index| (20_000_000 + index * 31_337).to_string()).collect()
}

/// The bet number `index` of the batch: the same on every run and machine.
fn sample(index: usize, document: &str, numbered: bool) -> io::Result<Bet<'_>> {
    let (year, month, day) =
        (1950 + (index % 55) as u16, 1 + (index % 12) as u8, 1 + (index % 28) as u8);
    let birthdate = Birthdate::new(year, month, day)
        .ok_or_else(|| io::Error::other("no such day in the calendar"))?;
    // 9973 numbers, with the winning one moved out of the way.
    let number = (index as u32).wrapping_mul(7919) % 9973;
    let losing = if number == WINNING_NUMBER { number + 1 } else { number };
    Ok(Bet {
        agency: 0,
        first_name: FIRST_NAMES[index % FIRST_NAMES.len()],
        last_name: LAST_NAMES[index % LAST_NAMES.len()],
        document: document.into(),
        birthdate,
        number: numbered.then_some(losing),
    })
}

#[cfg(test)]
mod tests {
    use lottery::Request;
    use lottery::protocol::{DIALECTS, Decoded, MAX_PACKET_BYTES};

    use super::*;

    fn typed(max_bets: u16, numbered: bool) -> Batch {
        Batch::new(Dialect::named("typed").unwrap(), max_bets, numbered).unwrap()
    }

    #[test]
    fn a_full_batch_leaves_no_room_for_another_bet() {
        for numbered in [true, false] {
            let batch = typed(u16::MAX, numbered);
            assert!(batch.request.len() <= MAX_PACKET_BYTES);
            assert!(batch.request.len() > MAX_PACKET_BYTES - 64, "{} bytes", batch.request.len());
        }
    }

    #[test]
    fn a_central_reads_the_batch_whole_in_every_dialect_that_carries_bets() {
        for dialect in DIALECTS.iter().filter(|dialect| dialect.agency.is_some()) {
            let batch = Batch::new(dialect, 10, true).unwrap();
            let mut central = (dialect.central)();
            central.decode(&batch.greeting).unwrap();
            let Decoded::Complete { request: Request::Store(bets), .. } =
                central.decode(&batch.request).unwrap()
            else {
                panic!("not a whole batch of {}", dialect.name)
            };
            assert_eq!((bets.len(), batch.bets), (10, 10), "{}", dialect.name);
        }
    }

    #[test]
    fn numbered_bets_lose_and_some_others_win() {
        let no_winners = [0, 0];
        assert!(typed(u16::MAX, true).accepts(&no_winners));
        assert!(typed(u16::MAX, false).reply_bytes() > no_winners.len());
    }
}
