//! What the tests of the dialects share: the vectors, three bets, any bets, and both sides of a dialect by its name.
#![allow(dead_code, reason = "no test file uses all of it")]

use lottery::protocol::{
    AgencyCodec, AgencyOptions, CentralCodec, Decoded, Dialect, ProtocolError, Push, Refusal, Rule, Step,
    Then,
};
use lottery::{Bet, Birthdate, Reply, Request, Results};
use proptest::prelude::*;
use proptest::sample::Index;

/// A vector of `vectors.json` as bytes.
pub(crate) fn vector(dialect: &str, name: &str) -> Vec<u8> {
    let vectors: serde_json::Value = serde_json::from_str(include_str!("../vectors.json")).unwrap();
    let hex = vectors[dialect][name].as_str().unwrap_or_else(|| panic!("no vector {dialect} {name}"));
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

/// Bet L of the vectors: agency 1, the winning number.
pub(crate) fn lorca() -> Bet<'static> {
    bet(1, "Santiago Lionel", "Lorca", "30904465", "1999-03-17", Some(7574))
}

/// Bet T of the vectors: agency 1, a letter of two bytes in the first name.
pub(crate) fn rivera() -> Bet<'static> {
    bet(1, "Tiago Nicolás", "Rivera", "34407251", "2001-08-29", Some(1033))
}

/// Bet A of the vectors: agency 5, a letter of two bytes in the last name.
pub(crate) fn alvarez() -> Bet<'static> {
    bet(5, "Santiago", "Álvarez", "33936970", "1986-04-25", Some(7068))
}

pub(crate) fn bet<'a>(
    agency: u16,
    first_name: &'a str,
    last_name: &'a str,
    document: &'a str,
    date: &str,
    number: Option<u32>,
) -> Bet<'a> {
    let birthdate = Birthdate::from_unpadded(date).unwrap();
    Bet { agency, first_name, last_name, document: document.into(), birthdate, number }
}

pub(crate) fn dialect(name: &str) -> &'static Dialect {
    Dialect::named(name).unwrap_or_else(|| panic!("no dialect {name}"))
}

/// The central's side of a new connection.
pub(crate) fn central(name: &str) -> Box<dyn CentralCodec> {
    (dialect(name).central)()
}

/// The agency's side of a run, with a batch that only its bytes can fill.
pub(crate) fn agency(name: &str, agency: u16) -> Box<dyn AgencyCodec> {
    agency_of_batches(name, agency, u16::MAX)
}

/// The agency's side of a run with at most `max_bets` bets in a batch.
pub(crate) fn agency_of_batches(name: &str, agency: u16, max_bets: u16) -> Box<dyn AgencyCodec> {
    dialect(name).agency.unwrap()(&AgencyOptions { agency, max_bets, with_count: true })
}

/// The bytes of one batch of these bets, all of which must fit.
pub(crate) fn packet(codec: &mut dyn AgencyCodec, bets: &[Bet<'_>]) -> Vec<u8> {
    codec.clear();
    for bet in bets {
        assert_eq!(codec.push(bet), Ok(Push::Added));
    }
    assert_eq!(codec.bets(), bets.len());
    codec.packet().to_vec()
}

/// The request in `wire`, which must be whole and consume everything.
pub(crate) fn whole<'w>(codec: &mut dyn CentralCodec, wire: &'w [u8]) -> Request<'w> {
    match codec.decode(wire).unwrap() {
        Decoded::Complete { request, consumed } => {
            assert_eq!(consumed, wire.len());
            request
        }
        other => panic!("{other:?}"),
    }
}

/// Why `wire` is refused.
pub(crate) fn refusal(codec: &mut dyn CentralCodec, wire: &[u8]) -> Refusal {
    codec.decode(wire).expect_err("must be refused")
}

/// The bytes of a reply, and what becomes of the connection.
pub(crate) fn encoded(codec: &mut dyn CentralCodec, reply: &Reply<'_>) -> (Vec<u8>, Then) {
    let mut wire = Vec::new();
    let then = codec.encode(reply, &mut wire).unwrap();
    (wire, then)
}

/// The bytes of the error reply, and what becomes of the connection.
pub(crate) fn refused(codec: &mut dyn CentralCodec, error: Option<&ProtocolError>) -> (Vec<u8>, Then) {
    let mut wire = Vec::new();
    let then = codec.refuse(error, &mut wire);
    (wire, then)
}

/// Shows `wire` as it arrives when the network cuts it so: nothing may be understood before the last byte.
pub(crate) fn arrived<'w>(
    codec: &mut dyn CentralCodec,
    wire: &'w [u8],
    cuts: &[Index],
) -> Result<Decoded<'w>, Refusal> {
    let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(wire.len())).collect();
    ends.sort_unstable();
    for end in ends {
        assert_eq!(codec.decode(&wire[..end]), Ok(Decoded::Incomplete));
    }
    codec.decode(wire)
}

/// Where the network cuts a message.
pub(crate) fn cuts() -> impl Strategy<Value = Vec<Index>> {
    prop::collection::vec(any::<Index>(), 0..8)
}

/// Any bytes, few enough of them that small numbers occur often.
pub(crate) fn noise() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![0_u8..4, any::<u8>()], 0..300)
}

/// Shows all beginnings of `bytes`, as they would arrive one by one, until the first that is understood or refused.
pub(crate) fn trickle(codec: &mut dyn CentralCodec, bytes: &[u8]) {
    for end in 0..=bytes.len() {
        codec.begins_batch(&bytes[..end]);
        if codec.decode(&bytes[..end]) != Ok(Decoded::Incomplete) {
            return;
        }
    }
    let _ = codec.decode_last(bytes);
}

/// A bet that owns its texts.
#[derive(Clone, Debug)]
pub(crate) struct OwnedBet {
    first_name: String,
    last_name: String,
    document: String,
    birthdate: Birthdate,
    number: Option<u32>,
}

impl OwnedBet {
    pub(crate) fn of(&self, agency: u16) -> Bet<'_> {
        Bet {
            agency,
            first_name: &self.first_name,
            last_name: &self.last_name,
            document: self.document.as_str().into(),
            birthdate: self.birthdate,
            number: self.number,
        }
    }
}

/// These bets, as those of one agency.
pub(crate) fn of_agency(bets: &[OwnedBet], agency: u16) -> Vec<Bet<'_>> {
    bets.iter().map(|bet| bet.of(agency)).collect()
}

/// Any bets, as many as always fit a packet, with names that match `names`.
pub(crate) fn bets(
    names: &'static str,
    documents: impl Strategy<Value = String>,
    numbers: impl Strategy<Value = Option<u32>>,
) -> impl Strategy<Value = Vec<OwnedBet>> {
    let dates = (1_u16..=9999, 1_u8..=12, 1_u8..=28);
    let bet = (names, names, documents, dates, numbers).prop_map(
        |(first_name, last_name, document, (year, month, day), number)| {
            let birthdate = Birthdate::new(year, month, day).unwrap();
            OwnedBet { first_name, last_name, document, birthdate, number }
        },
    );
    prop::collection::vec(bet, 1..30)
}

/// Holds a dialect's own rules against its central's side, with a central behind it that stores every batch and finds no winners.
/// The bytes arrive one by one.
pub(crate) fn keeps_its_rules(dialect: &Dialect) {
    let rules = (dialect.rules)();
    assert!(!rules.is_empty());
    for rule in &rules {
        keeps(dialect, rule);
    }
}

fn keeps(dialect: &Dialect, rule: &Rule) {
    let mut connection = Connection::new(dialect);
    for (index, step) in rule.steps.iter().enumerate() {
        let place = format!("{}, {:?}, step {index}", dialect.name, rule.name);
        match step {
            Step::Send(bytes) => bytes.iter().for_each(|byte| connection.hear(*byte)),
            Step::HalfClose => {
                assert_eq!(
                    connection.codec.decode_last(&connection.unread),
                    Ok(Decoded::Incomplete),
                    "{place}"
                );
            }
            Step::Reconnect => connection = Connection::new(dialect),
            Step::Expect(bytes) => assert_eq!(connection.said(), *bytes, "{place}"),
            Step::ExpectOneOf(any) => {
                let said = connection.said();
                assert!(any.contains(&said), "{place}: {said:?}");
            }
            Step::ExpectShape(shape, holds) => {
                let said = connection.said();
                assert_eq!(holds(&said), Some(true), "{place}: {said:?} is no {shape}");
            }
            Step::ExpectNothing => assert!(connection.said().is_empty(), "{place}"),
        }
    }
}

/// A connection of the central that holds the rules.
struct Connection {
    codec: Box<dyn CentralCodec>,
    open: bool,
    unread: Vec<u8>,
    said: Vec<u8>,
}

impl Connection {
    fn new(dialect: &Dialect) -> Self {
        Self { codec: (dialect.central)(), open: true, unread: Vec::new(), said: Vec::new() }
    }

    fn said(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.said)
    }

    fn hear(&mut self, byte: u8) {
        if !self.open {
            return;
        }
        self.unread.push(byte);
        let (consumed, then) = match self.codec.decode(&self.unread) {
            Ok(Decoded::Incomplete) => return,
            Ok(Decoded::Skip { consumed }) => (consumed, Then::Continue),
            Ok(Decoded::Complete { request, consumed }) => {
                let reply = match request {
                    Request::Store(bets) => Reply::Stored { bets: bets.len(), winners: Vec::new() },
                    Request::Results => Reply::Results(Results { winners: 0, in_flight: 0 }),
                    Request::Echo(line) => Reply::Echo(line),
                    other => panic!("a rule must not ask for {other:?}"),
                };
                (consumed, self.codec.encode(&reply, &mut self.said).unwrap())
            }
            Err(Refusal { error, consumed, .. }) => {
                (consumed.unwrap_or_default(), self.codec.refuse(Some(&error), &mut self.said))
            }
        };
        self.unread.drain(..consumed);
        self.open = then == Then::Continue;
    }
}
