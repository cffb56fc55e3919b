//! Helpers for the tests of the dialects: the test vectors and the codecs of a dialect by its name.

pub(crate) mod bets;
pub(crate) mod conversation;
pub(crate) mod prepared;
pub(crate) mod sessions;

use lottery::protocol::{
    AgencyCodec, AgencyOptions, CentralCodec, Decoded, Dialect, Push, Refusal, Refused, Then,
};
use lottery::{Bet, Reply, Request};

/// Returns a vector of `vectors.json` as bytes.
pub(crate) fn vector(dialect: &str, name: &str) -> Vec<u8> {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../vectors.json")).unwrap();
    let hex =
        vectors[dialect][name].as_str().unwrap_or_else(|| panic!("no vector {dialect} {name}"));
    (0..hex.len()).step_by(2).map(|i| u8::from_str_radix(&hex[i..i + 2], 16).unwrap()).collect()
}

/// Returns the dialect with this name.
pub(crate) fn dialect(name: &str) -> &'static Dialect {
    Dialect::named(name).unwrap_or_else(|| panic!("no dialect {name}"))
}

/// Returns the central's codec for a new connection.
pub(crate) fn central(name: &str) -> Box<dyn CentralCodec> {
    (dialect(name).central)()
}

/// Returns an agency's codec whose batch is limited in bytes only.
pub(crate) fn agency(name: &str, agency: u16) -> Box<dyn AgencyCodec> {
    agency_of_batches(name, agency, u16::MAX)
}

/// Returns an agency's codec with at most `max_bets` bets per batch.
pub(crate) fn agency_of_batches(name: &str, agency: u16, max_bets: u16) -> Box<dyn AgencyCodec> {
    agency_with(name, &AgencyOptions::new(agency, max_bets))
}

/// Returns an agency's codec with these options.
pub(crate) fn agency_with(name: &str, options: &AgencyOptions) -> Box<dyn AgencyCodec> {
    dialect(name).agency.unwrap()(options)
}

/// Fills one packet with as many of these bets as fit. Returns those bets and the packet.
pub(crate) fn filled<'a>(
    codec: &mut dyn AgencyCodec,
    mut bets: Vec<Bet<'a>>,
) -> (Vec<Bet<'a>>, Vec<u8>) {
    codec.clear();
    bets.truncate(bets.iter().take_while(|bet| codec.push(bet).unwrap() == Push::Added).count());
    assert_eq!(codec.bets(), bets.len());
    (bets, codec.packet().to_vec())
}

/// Returns the packet of these bets, which must all fit.
pub(crate) fn packet(codec: &mut dyn AgencyCodec, bets: &[Bet<'_>]) -> Vec<u8> {
    let (added, wire) = filled(codec, bets.to_vec());
    assert_eq!(added.len(), bets.len());
    wire
}

/// Returns the request at the start of `wire` and its length.
pub(crate) fn request<'w>(codec: &mut dyn CentralCodec, wire: &'w [u8]) -> (Request<'w>, usize) {
    match codec.decode(wire) {
        Ok(Decoded::Complete { request, consumed }) => (request, consumed),
        other => panic!("{other:?}"),
    }
}

/// Returns the request in `wire`, which must consist of this one message.
pub(crate) fn whole<'w>(codec: &mut dyn CentralCodec, wire: &'w [u8]) -> Request<'w> {
    let (request, consumed) = request(codec, wire);
    assert_eq!(consumed, wire.len());
    request
}

/// Returns the refusal of `wire`.
pub(crate) fn refusal(codec: &mut dyn CentralCodec, wire: &[u8]) -> Refusal {
    codec.decode(wire).expect_err("the message must be refused")
}

/// Returns the refusal of `wire`, the error reply, and what happens to the connection.
pub(crate) fn refused(codec: &mut dyn CentralCodec, wire: &[u8]) -> (Refusal, Vec<u8>, Then) {
    let refusal = refusal(codec, wire);
    let (reply, then) = error_reply(codec, Refused::Message(&refusal.error));
    (refusal, reply, then)
}

/// Returns the reply to an error, or to a valid request that failed, and what happens to the
/// connection.
pub(crate) fn error_reply(codec: &mut dyn CentralCodec, refused: Refused<'_>) -> (Vec<u8>, Then) {
    let mut reply = Vec::new();
    let then = codec.refuse(refused, &mut reply);
    (reply, then)
}

/// Returns the bytes of a reply and what happens to the connection.
pub(crate) fn encoded(codec: &mut dyn CentralCodec, reply: &Reply<'_>) -> (Vec<u8>, Then) {
    let mut wire = Vec::new();
    let then = codec.encode(reply, &mut wire).unwrap();
    (wire, then)
}
