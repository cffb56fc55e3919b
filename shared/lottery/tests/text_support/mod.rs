//! What the tests of the text dialects share: the vectors, bets, and a central that answers everything with nothing won.
#![allow(dead_code, reason = "no test file uses all of it")]

use lottery::protocol::{
    AgencyCodec, AgencyOptions, CentralCodec, Decoded, Dialect, ProtocolError, Push, Refusal, Rule, Step,
    Then,
};
use lottery::{Bet, Birthdate, Reply, Request};
use proptest::prelude::*;
use proptest::sample::Index;

/// A vector of `vectors.json` as bytes.
pub(crate) fn vector(dialect: &Dialect, name: &str) -> Vec<u8> {
    let vectors: serde_json::Value = serde_json::from_str(include_str!("../vectors.json")).unwrap();
    let hex = vectors[dialect.name][name].as_str().unwrap_or_else(|| panic!("no vector {name}"));
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

pub(crate) fn bet<'a>(
    agency: u16,
    [first_name, last_name, document]: [&'a str; 3],
    date: &str,
    number: u32,
) -> Bet<'a> {
    let birthdate = Birthdate::from_iso(date).unwrap();
    Bet { agency, first_name, last_name, document: document.into(), birthdate, number: Some(number) }
}

pub(crate) fn lorca() -> Bet<'static> {
    bet(1, ["Santiago Lionel", "Lorca", "30904465"], "1999-03-17", 7574)
}

pub(crate) fn rivera() -> Bet<'static> {
    bet(1, ["Tiago Nicolás", "Rivera", "34407251"], "2001-08-29", 1033)
}

pub(crate) fn alvarez() -> Bet<'static> {
    bet(5, ["Santiago", "Álvarez", "33936970"], "1986-04-25", 7068)
}

/// An agency of the dialect that fills its batches as far as they go.
pub(crate) fn agency(dialect: &Dialect, options: &AgencyOptions) -> Box<dyn AgencyCodec> {
    dialect.agency.unwrap()(options)
}

/// The bytes of a batch of these bets, which must fit one.
pub(crate) fn packet(agency: &mut dyn AgencyCodec, bets: &[Bet<'_>]) -> Vec<u8> {
    agency.clear();
    for bet in bets {
        assert_eq!(agency.push(bet), Ok(Push::Added));
    }
    agency.packet().to_vec()
}

/// The request at the start of `wire`, and its length.
pub(crate) fn request<'b>(central: &mut dyn CentralCodec, wire: &'b [u8]) -> (Request<'b>, usize) {
    match central.decode(wire) {
        Ok(Decoded::Complete { request, consumed }) => (request, consumed),
        other => panic!("{other:?}"),
    }
}

/// The request in `wire`, which must be all of it.
pub(crate) fn whole<'b>(central: &mut dyn CentralCodec, wire: &'b [u8]) -> Request<'b> {
    let (request, consumed) = request(central, wire);
    assert_eq!(consumed, wire.len());
    request
}

/// The refusal of `wire`, and what is said to it.
pub(crate) fn refused(central: &mut dyn CentralCodec, wire: &[u8]) -> (Refusal, String, Then) {
    let refusal = central.decode(wire).expect_err("must be refused");
    let (said, then) = said_to(central, Some(&refusal.error));
    (refusal, said, then)
}

/// What is said to an error, or to a request that cannot be carried out.
pub(crate) fn said_to(central: &mut dyn CentralCodec, error: Option<&ProtocolError>) -> (String, Then) {
    let mut said = Vec::new();
    let then = central.refuse(error, &mut said);
    (String::from_utf8(said).unwrap(), then)
}

/// A reply as bytes.
pub(crate) fn encoded(central: &mut dyn CentralCodec, reply: &Reply<'_>) -> (Vec<u8>, Then) {
    let mut out = Vec::new();
    let then = central.encode(reply, &mut out).unwrap();
    (out, then)
}

/// A central to talk to. It stores everything and nobody wins.
pub(crate) struct Served {
    central: Box<dyn CentralCodec>,
    /// What arrived and was not consumed.
    arrived: Vec<u8>,
    /// What was said and not heard yet.
    said: Vec<u8>,
    open: bool,
    /// What was understood and refused, in order.
    pub(crate) noted: Vec<String>,
}

impl Served {
    pub(crate) fn new(dialect: &Dialect) -> Self {
        let central = (dialect.central)();
        Self { central, arrived: Vec::new(), said: Vec::new(), open: true, noted: Vec::new() }
    }

    /// Lets bytes arrive, and after the `last` no more.
    pub(crate) fn arrive(&mut self, bytes: &[u8], last: bool) {
        self.arrived.extend_from_slice(bytes);
        while self.open && self.one_message(last) {}
    }

    /// Serves one message; false when there is none.
    fn one_message(&mut self, last: bool) -> bool {
        let begun = self.central.begins_batch(&self.arrived);
        let decoded =
            if last { self.central.decode_last(&self.arrived) } else { self.central.decode(&self.arrived) };
        let (consumed, then) = match decoded {
            Ok(Decoded::Incomplete) => return false,
            Ok(Decoded::Skip { consumed }) => (consumed, Then::Continue),
            Ok(Decoded::Complete { request, consumed }) => {
                assert_eq!(begun, matches!(request, Request::Store(_)), "{request:?}");
                self.noted.push(format!("{consumed}: {request:?}"));
                let reply = match request {
                    Request::Store(bets) => Reply::Stored { bets: bets.len(), winners: Vec::new() },
                    Request::Finish { .. } => Reply::Finished,
                    Request::Winners { .. } => Reply::Winners(Vec::new()),
                    Request::Echo(text) => Reply::Echo(text),
                    other => panic!("{other:?} is of no dialect of text"),
                };
                (consumed, self.central.encode(&reply, &mut self.said).unwrap())
            }
            Err(refusal) => {
                self.noted.push(format!("{refusal:?}"));
                let then = self.central.refuse(Some(&refusal.error), &mut self.said);
                let end = refusal.consumed.unwrap_or(self.arrived.len());
                (end, if refusal.consumed.is_some() { then } else { Then::Close })
            }
        };
        self.arrived.drain(..consumed);
        self.open = then == Then::Continue;
        true
    }
}

/// Everything that is understood, refused and said when `wire` arrives in these pieces and then ends.
pub(crate) fn conversation(dialect: &Dialect, wire: &[u8], cuts: &[Index]) -> (Vec<String>, Vec<u8>, bool) {
    let mut served = Served::new(dialect);
    let mut from = 0;
    for end in ends(wire, cuts) {
        served.arrive(&wire[from..end], false);
        from = end;
    }
    served.arrive(&wire[from..], false);
    served.arrive(&[], true);
    (served.noted, served.said, served.open)
}

/// The places where a message is cut, in order.
fn ends(wire: &[u8], cuts: &[Index]) -> Vec<usize> {
    let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(wire.len().max(1))).collect();
    ends.sort_unstable();
    ends
}

/// What decoding gives when `wire` is shown in growing pieces, of which all but the last must be incomplete.
pub(crate) fn decoded_in_pieces<'b>(
    central: &mut dyn CentralCodec,
    wire: &'b [u8],
    cuts: &[Index],
) -> Result<Decoded<'b>, Refusal> {
    for end in ends(wire, cuts) {
        assert_eq!(central.decode(&wire[..end]), Ok(Decoded::Incomplete), "{end} of {} bytes", wire.len());
    }
    central.decode(wire)
}

/// Holds our own central against a rule of its dialect, byte by byte.
pub(crate) fn assert_rule(dialect: &Dialect, rule: Rule) {
    let name = rule.name;
    let mut served = Served::new(dialect);
    for step in rule.steps {
        let heard = match &step {
            Step::Send(_) | Step::HalfClose | Step::Reconnect => Vec::new(),
            _ => std::mem::take(&mut served.said),
        };
        match step {
            Step::Send(bytes) => bytes.iter().for_each(|&byte| served.arrive(&[byte], false)),
            Step::HalfClose => served.arrive(&[], true),
            Step::Reconnect => served = Served::new(dialect),
            Step::Expect(bytes) => assert_eq!(heard, bytes, "{name}"),
            Step::ExpectOneOf(all) => assert!(all.contains(&heard), "{name}: {heard:?}"),
            Step::ExpectShape(shape, is_right) => assert_eq!(is_right(&heard), Some(true), "{name}: {shape}"),
            Step::ExpectNothing => assert_eq!(heard, b"", "{name}"),
        }
    }
    assert_eq!(served.said, b"", "{name}: said more than the rule expects");
}

/// A bet that owns its texts: the texts, the date, the number.
pub(crate) type OwnedBet = ([String; 3], String, u32);

/// One to forty bets whose texts match the expression.
pub(crate) fn bets(text: &'static str) -> impl Strategy<Value = Vec<OwnedBet>> {
    let date = (1_u16..=9999, 1_u8..=12, 1_u8..=28)
        .prop_map(|(year, month, day)| format!("{year:04}-{month:02}-{day:02}"));
    prop::collection::vec(([text, text, text], date, any::<u32>()), 1..40)
}

/// The bets as the codecs take them.
pub(crate) fn borrowed(agency: u16, owned: &[OwnedBet]) -> Vec<Bet<'_>> {
    owned
        .iter()
        .map(|(texts, date, number)| bet(agency, texts.each_ref().map(String::as_str), date, *number))
        .collect()
}

/// Places to cut a message.
pub(crate) fn cuts() -> impl Strategy<Value = Vec<Index>> {
    prop::collection::vec(any::<Index>(), 0..8)
}

/// Changes to make to a message: a place, and the byte to put there.
pub(crate) fn mutations() -> impl Strategy<Value = Vec<(Index, u8)>> {
    let byte = prop_oneof![any::<u8>(), prop::sample::select(b"\n\r |,]+-019\x00\xff".to_vec())];
    prop::collection::vec((any::<Index>(), byte), 0..6)
}

/// Makes the changes.
pub(crate) fn mutated(mut wire: Vec<u8>, mutations: &[(Index, u8)]) -> Vec<u8> {
    for (place, byte) in mutations {
        let place = place.index(wire.len());
        wire[place] = *byte;
    }
    wire
}
