//! The batch that every client of a run sends, its numbers, and the expected reply.

use std::io;

use lottery::protocol::{AgencyCodec, AgencyOptions, ConnectionUse, Dialect, Push};
use lottery::{BatchKey, Bet, Birthdate, Reply, WINNING_NUMBER, is_winner};

/// Names with lengths as in the course's data, some with two-byte letters.
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

/// The bytes of a batch and the expected reply.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Bytes that precede the first batch on a connection.
    pub(crate) greeting: Vec<u8>,
    /// Bytes of the first batch of a session.
    pub(crate) request: Vec<u8>,
    /// Number of bets in the batch.
    pub(crate) bets: usize,
    reply: ExpectedReply,
    content: Content,
}

/// What determines the bets of a batch.
#[derive(Clone, Copy, Debug)]
struct Content {
    dialect: &'static Dialect,
    max_bets: u16,
    numbered: bool,
    connection: ConnectionUse,
}

/// The batches that one client sends: the same bets, numbered from 1 where batches have keys.
#[derive(Debug)]
pub(crate) struct Session {
    codec: Box<dyn AgencyCodec>,
    /// Number of the last batch.
    sequence: u64,
}

impl Session {
    /// Returns the bytes of the next batch.
    pub(crate) fn next(&mut self) -> &[u8] {
        self.sequence += 1;
        self.codec.set_sequence(self.sequence);
        self.codec.packet()
    }
}

impl Content {
    /// Returns a new session, and the winners in each of its batches.
    fn session(self, documents: &[String]) -> io::Result<(Session, Vec<Bet<'_>>)> {
        let Self { dialect, max_bets, numbered, connection } = self;
        let agency =
            dialect.agency.ok_or_else(|| io::Error::other("the dialect carries no bets"))?;
        let session = BatchKey::new_session();
        let defaults = AgencyOptions::new(1, max_bets);
        let mut codec = agency(&AgencyOptions { session, connection, ..defaults });
        let mut winners = Vec::new();
        for (index, document) in documents.iter().enumerate() {
            let bet = sample(index, document, numbered)?;
            if codec.push(&bet).map_err(io::Error::other)? == Push::Full {
                break;
            }
            if is_winner(&bet) {
                winners.push(bet);
            }
        }
        Ok((Session { codec, sequence: 0 }, winners))
    }
}

#[derive(Debug)]
enum ExpectedReply {
    /// Exactly these bytes.
    Bytes(Vec<u8>),
    /// Any bytes of this length, for a server that does not implement the protocol.
    AnyOf(usize),
}

impl Batch {
    /// Builds a batch of up to `max_bets` bets and 8192 bytes, for this use of connections. Fails
    /// if the dialect carries no bets.
    ///
    /// No bet with a number wins; in the course's data 10 of 78,697 do. Bets without a number win
    /// by their hash, about one in seventeen.
    pub(crate) fn new(
        dialect: &'static Dialect,
        max_bets: u16,
        numbered: bool,
        connection: ConnectionUse,
    ) -> io::Result<Self> {
        let content = Content { dialect, max_bets, numbered, connection };
        let documents = documents();
        let (mut session, winners) = content.session(&documents)?;
        let request = session.next().to_vec();
        let agency = session.codec;
        // The central's codec must decode the batch first: in some dialects the reply repeats a
        // part of it.
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
            content,
        })
    }

    /// Returns the batches of another client.
    pub(crate) fn session(&self) -> io::Result<Session> {
        self.content.session(&documents()).map(|(session, _)| session)
    }

    /// Makes the batch accept any reply of `bytes` bytes.
    pub(crate) fn expect_any_reply(&mut self, bytes: usize) {
        self.reply = ExpectedReply::AnyOf(bytes);
    }

    /// Returns the length of the reply in bytes. Clients read exactly that many and need not wait
    /// for the server to close.
    pub(crate) fn reply_bytes(&self) -> usize {
        match &self.reply {
            ExpectedReply::Bytes(bytes) => bytes.len(),
            ExpectedReply::AnyOf(bytes) => *bytes,
        }
    }

    /// Returns true if a reply of the right length is correct.
    pub(crate) fn accepts(&self, reply: &[u8]) -> bool {
        match &self.reply {
            ExpectedReply::Bytes(bytes) => reply == bytes,
            ExpectedReply::AnyOf(_) => true,
        }
    }
}

/// Returns more documents than a packet has room for: a record takes over 16 bytes.
fn documents() -> Vec<String> {
    (0..512).map(|index| (20_000_000 + index * 31_337).to_string()).collect()
}

/// Returns bet number `index` of the batch, the same in every run and on every machine.
fn sample(index: usize, document: &str, numbered: bool) -> io::Result<Bet<'_>> {
    let (year, month, day) =
        (1950 + (index % 55) as u16, 1 + (index % 12) as u8, 1 + (index % 28) as u8);
    let birthdate = Birthdate::new(year, month, day)
        .ok_or_else(|| io::Error::other("no such day in the calendar"))?;
    // 9973 numbers; the winning one is replaced.
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
        Batch::new(Dialect::named("typed").unwrap(), max_bets, numbered, ConnectionUse::Kept)
            .unwrap()
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
    fn the_central_codec_decodes_the_batch_in_every_dialect_that_carries_bets() {
        for dialect in DIALECTS.iter().filter(|dialect| dialect.agency.is_some()) {
            let batch = Batch::new(dialect, 10, true, ConnectionUse::PerRequest).unwrap();
            let mut central = (dialect.central)();
            central.decode(&batch.greeting).unwrap();
            let Decoded::Complete {
                request: Request::Store(bets) | Request::StoreOnce { bets, .. },
                ..
            } = central.decode(&batch.request).unwrap()
            else {
                panic!("not a whole batch of {}", dialect.name)
            };
            assert_eq!((bets.len(), batch.bets), (10, 10), "{}", dialect.name);
        }
    }

    #[test]
    fn the_batches_of_a_client_have_one_session_and_its_numbers() {
        let batch =
            Batch::new(Dialect::named("keyed").unwrap(), 10, true, ConnectionUse::Kept).unwrap();
        let mut clients = [batch.session().unwrap(), batch.session().unwrap()];
        let mut central = (Dialect::named("keyed").unwrap().central)();
        let mut key = |bytes: &[u8]| match central.decode(bytes) {
            Ok(Decoded::Complete { request: Request::StoreOnce { key, .. }, .. }) => key,
            other => panic!("{other:?}"),
        };
        let [first, second] = clients.each_mut().map(|client| {
            let keys = [key(client.next()), key(client.next())];
            assert_eq!(keys.map(|key| key.sequence), [1, 2]);
            assert_eq!((keys[0].session, keys[0].content), (keys[1].session, keys[1].content));
            keys[0]
        });
        assert_ne!(first.session, second.session);
    }

    #[test]
    fn numbered_bets_lose_and_some_others_win() {
        let no_winners = [0, 0];
        assert!(typed(u16::MAX, true).accepts(&no_winners));
        assert!(typed(u16::MAX, false).reply_bytes() > no_winners.len());
    }
}
