//! What the tests of the dialects share: the vectors, and both sides of a dialect by its name.

pub(crate) mod bets;
pub(crate) mod conversation;

use lottery::protocol::{
    AgencyCodec, AgencyOptions, CentralCodec, Decoded, Dialect, ProtocolError, Push, Refusal, Then,
};
use lottery::{Bet, Reply, Request};

/// A vector of `vectors.json` as bytes.
pub(crate) fn vector(dialect: &str, name: &str) -> Vec<u8> {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../vectors.json")).unwrap();
    let hex =
        vectors[dialect][name].as_str().unwrap_or_else(|| panic!("no vector {dialect} {name}"));
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
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
    agency_with(name, &AgencyOptions { agency, max_bets, with_count: true })
}

/// The agency's side of a run with these options.
pub(crate) fn agency_with(name: &str, options: &AgencyOptions) -> Box<dyn AgencyCodec> {
    dialect(name).agency.unwrap()(options)
}

/// As many of these bets as one packet takes, and its bytes.
pub(crate) fn filled<'a>(
    codec: &mut dyn AgencyCodec,
    mut bets: Vec<Bet<'a>>,
) -> (Vec<Bet<'a>>, Vec<u8>) {
    codec.clear();
    bets.truncate(bets.iter().take_while(|bet| codec.push(bet).unwrap() == Push::Added).count());
    assert_eq!(codec.bets(), bets.len());
    (bets, codec.packet().to_vec())
}

/// The bytes of one batch of these bets, all of which must fit.
pub(crate) fn packet(codec: &mut dyn AgencyCodec, bets: &[Bet<'_>]) -> Vec<u8> {
    let (added, wire) = filled(codec, bets.to_vec());
    assert_eq!(added.len(), bets.len());
    wire
}

/// The request at the start of `wire`, and its length.
pub(crate) fn request<'w>(codec: &mut dyn CentralCodec, wire: &'w [u8]) -> (Request<'w>, usize) {
    match codec.decode(wire) {
        Ok(Decoded::Complete { request, consumed }) => (request, consumed),
        other => panic!("{other:?}"),
    }
}

/// The request in `wire`, which must be whole and consume everything.
pub(crate) fn whole<'w>(codec: &mut dyn CentralCodec, wire: &'w [u8]) -> Request<'w> {
    let (request, consumed) = request(codec, wire);
    assert_eq!(consumed, wire.len());
    request
}

/// Why `wire` is refused.
pub(crate) fn refusal(codec: &mut dyn CentralCodec, wire: &[u8]) -> Refusal {
    codec.decode(wire).expect_err("must be refused")
}

/// Why `wire` is refused, what is said to it, and what becomes of the connection.
pub(crate) fn refused(codec: &mut dyn CentralCodec, wire: &[u8]) -> (Refusal, Vec<u8>, Then) {
    let refusal = refusal(codec, wire);
    let (said, then) = said_to(codec, Some(&refusal.error));
    (refusal, said, then)
}

/// What is said to an error, or to a request that cannot be carried out, and what becomes of the connection.
pub(crate) fn said_to(
    codec: &mut dyn CentralCodec,
    error: Option<&ProtocolError>,
) -> (Vec<u8>, Then) {
    let mut said = Vec::new();
    let then = codec.refuse(error, &mut said);
    (said, then)
}

/// The bytes of a reply, and what becomes of the connection.
pub(crate) fn encoded(codec: &mut dyn CentralCodec, reply: &Reply<'_>) -> (Vec<u8>, Then) {
    let mut wire = Vec::new();
    let then = codec.encode(reply, &mut wire).unwrap();
    (wire, then)
}
