//! Helpers that feed a codec: messages split anywhere, arbitrary bytes, and the rules of a dialect.

use std::fmt::Debug;

use lottery::protocol::{
    CentralCodec, Decoded, Dialect, ProtocolError, Refusal, Refused, Step, Then,
};
use lottery::{Bet, Reply, Request, Results};
use proptest::prelude::*;
use proptest::sample::Index;

use super::central;
use super::sessions::{Arrival, Sessions};

/// Generates the places where the network splits a message.
pub(crate) fn splits() -> impl Strategy<Value = Vec<Index>> {
    prop::collection::vec(any::<Index>(), 0..8)
}

/// Returns the lengths of the prefixes that have arrived at each split, in order.
fn ends(wire: &[u8], splits: &[Index]) -> Vec<usize> {
    let mut ends: Vec<_> = splits.iter().map(|split| split.index(wire.len().max(1))).collect();
    ends.sort_unstable();
    ends
}

/// Decodes `wire`, an optional greeting and one message, as it arrives with these splits. The
/// message must be incomplete before its last byte.
pub(crate) fn decode_split<'w>(
    codec: &mut dyn CentralCodec,
    wire: &'w [u8],
    splits: &[Index],
) -> Result<Decoded<'w>, Refusal> {
    let mut start = 0;
    let mut decode = |end| match codec.decode(&wire[start..end]) {
        Ok(Decoded::Skip { consumed }) => {
            start += consumed;
            codec.decode(&wire[start..end])
        }
        other => other,
    };
    for end in ends(wire, splits) {
        assert_eq!(decode(end), Ok(Decoded::Incomplete), "{end} of {} bytes", wire.len());
    }
    decode(wire.len())
}

/// Decodes a reply as it arrives with these splits. The reply must be incomplete before its last
/// byte.
pub(crate) fn decode_reply_split<T: Debug + PartialEq>(
    decode: impl Fn(&[u8]) -> Result<Option<T>, ProtocolError>,
    reply: &[u8],
    splits: &[Index],
) -> Result<Option<T>, ProtocolError> {
    for end in ends(reply, splits) {
        assert_eq!(decode(&reply[..end]), Ok(None), "{end} of {} bytes", reply.len());
    }
    decode(reply)
}

/// Generates arbitrary bytes in which small numbers are frequent.
pub(crate) fn arbitrary_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![0_u8..4, any::<u8>()], 0..300)
}

/// Decodes `bytes` as they arrive one by one, until a message is complete or refused.
pub(crate) fn decode_bytewise(codec: &mut dyn CentralCodec, bytes: &[u8]) {
    for end in 0..=bytes.len() {
        codec.begins_batch(&bytes[..end]);
        if codec.decode(&bytes[..end]) != Ok(Decoded::Incomplete) {
            return;
        }
    }
    let _ = codec.decode_last(bytes);
}

/// Generates changes to a text message: positions and the bytes to write there.
pub(crate) fn mutations() -> impl Strategy<Value = Vec<(Index, u8)>> {
    let byte = prop_oneof![any::<u8>(), prop::sample::select(b"\n\r |,]+-019\x00\xff".to_vec())];
    prop::collection::vec((any::<Index>(), byte), 0..6)
}

/// Applies the changes.
pub(crate) fn mutated(mut wire: Vec<u8>, mutations: &[(Index, u8)]) -> Vec<u8> {
    for (position, byte) in mutations {
        let position = position.index(wire.len());
        wire[position] = *byte;
    }
    wire
}

/// Serves `wire` as it arrives with these splits, then the end of the stream. Returns the requests
/// and refusals, the bytes sent, and true if the connection is still open.
pub(crate) fn conversation(
    name: &str,
    wire: &[u8],
    splits: &[Index],
) -> (Vec<String>, Vec<u8>, bool) {
    serve(name, wire, ends(wire, splits))
}

/// Serves `wire` as [`conversation`] does, in pieces of the same size.
pub(crate) fn conversation_in_pieces(
    name: &str,
    wire: &[u8],
    piece: usize,
) -> (Vec<String>, Vec<u8>, bool) {
    serve(name, wire, (piece..wire.len()).step_by(piece))
}

fn serve(
    name: &str,
    wire: &[u8],
    ends: impl IntoIterator<Item = usize>,
) -> (Vec<String>, Vec<u8>, bool) {
    let mut connection = Connection::new(name, true);
    let mut from = 0;
    for end in ends {
        connection.receive(&wire[from..end], false);
        from = end;
    }
    connection.receive(&wire[from..], false);
    connection.receive(&[], true);
    (connection.events, connection.sent, connection.open)
}

/// Checks the central's codec of a dialect against the dialect's rules, with bytes that arrive one
/// by one.
pub(crate) fn check_rules(dialect: &Dialect) {
    let name = dialect.name;
    let rules = (dialect.rules)();
    assert!(!rules.is_empty());
    for rule in rules {
        let mut connection = Connection::new(name, false);
        for (index, step) in rule.steps.into_iter().enumerate() {
            let context = format!("{name}, {:?}, step {index}", rule.name);
            match step {
                Step::Send(bytes) => {
                    bytes.iter().for_each(|&byte| connection.receive(&[byte], false));
                }
                Step::HalfClose => {
                    let at_end = connection.codec.decode_last(&connection.unread);
                    assert_eq!(at_end, Ok(Decoded::Incomplete), "{context}");
                }
                Step::Reconnect => connection.reconnect(name),
                Step::Expect(bytes) => assert_eq!(connection.take_sent(), bytes, "{context}"),
                Step::ExpectOneOf(any) => {
                    let reply = connection.take_sent();
                    assert!(any.contains(&reply), "{context}: {reply:?}");
                }
                Step::ExpectShape(shape, holds) => {
                    let reply = connection.take_sent();
                    assert_eq!(holds(&reply), Some(true), "{context}: {reply:?} is not {shape}");
                }
                Step::ExpectNothing => assert_eq!(connection.take_sent(), b"", "{context}"),
                Step::ExpectEnd => {
                    assert_eq!(
                        (connection.take_sent(), connection.open),
                        (vec![], false),
                        "{context}"
                    )
                }
            }
        }
        assert_eq!(connection.sent, b"", "{name}, {:?}: more bytes than expected", rule.name);
    }
}

/// A connection of a central that stores every batch and reports no winners.
struct Connection {
    codec: Box<dyn CentralCodec>,
    /// True if agencies may finish and ask for their winners. Rules must not.
    draws: bool,
    open: bool,
    /// Bytes received and not consumed.
    unread: Vec<u8>,
    /// Bytes sent and not yet checked.
    sent: Vec<u8>,
    /// Requests and refusals, in order.
    events: Vec<String>,
    /// The sessions, which outlive the connection.
    sessions: Sessions,
}

impl Connection {
    fn new(name: &str, draws: bool) -> Self {
        let codec = central(name);
        let (unread, sent, events) = (Vec::new(), Vec::new(), Vec::new());
        Self { codec, draws, open: true, unread, sent, events, sessions: Sessions::default() }
    }

    /// Continues on a new connection.
    fn reconnect(&mut self, name: &str) {
        let sessions = std::mem::take(&mut self.sessions);
        *self = Self { sessions, ..Self::new(name, self.draws) };
    }

    /// Returns the bytes sent since the last call.
    fn take_sent(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.sent)
    }

    /// Receives bytes and serves all complete messages. No more bytes follow if `last` is true.
    fn receive(&mut self, bytes: &[u8], last: bool) {
        self.unread.extend_from_slice(bytes);
        while self.open && self.serve_message(last) {}
    }

    /// Serves one message. Returns false if none is complete.
    fn serve_message(&mut self, last: bool) -> bool {
        let begun = self.codec.begins_batch(&self.unread);
        let decoded = if last {
            self.codec.decode_last(&self.unread)
        } else {
            self.codec.decode(&self.unread)
        };
        let (consumed, then) = match decoded {
            Ok(Decoded::Incomplete) => return false,
            Ok(Decoded::Skip { consumed }) => (consumed, Then::Continue),
            Ok(Decoded::Complete { request, consumed }) => {
                assert_eq!(
                    begun,
                    matches!(request, Request::Store(_) | Request::StoreOnce { .. }),
                    "{request:?}"
                );
                self.events.push(format!("{consumed}: {request:?}"));
                let stored =
                    |bets: &[Bet<'_>]| Reply::Stored { bets: bets.len(), winners: Vec::new() };
                let reply = match request {
                    Request::Close if self.draws => {
                        self.open = false;
                        return false;
                    }
                    Request::Store(bets) => Ok(stored(&bets)),
                    Request::StoreOnce { key, bets } => {
                        let judged = self.sessions.judge(key);
                        if judged == Ok(Arrival::Next) {
                            self.sessions.accept(key);
                        }
                        judged.map(|_| stored(&bets))
                    }
                    Request::Session { session, agency } => {
                        self.sessions.next(session, agency).map(Reply::Next)
                    }
                    Request::Results => Ok(Reply::Results(Results { winners: 0, in_flight: 0 })),
                    Request::Echo(text) => Ok(Reply::Echo(text)),
                    Request::Finish { .. } if self.draws => Ok(Reply::Finished),
                    Request::Winners { .. } if self.draws => Ok(Reply::Winners(Vec::new())),
                    other => panic!("{other:?} is not expected here"),
                };
                let then = match reply {
                    Ok(reply) => self.codec.encode(&reply, &mut self.sent).unwrap(),
                    Err(denial) => self.codec.refuse(Refused::Request(denial), &mut self.sent),
                };
                (consumed, then)
            }
            Err(refusal) => {
                self.events.push(format!("{refusal:?}"));
                let then = self.codec.refuse(Refused::Message(&refusal.error), &mut self.sent);
                let end = refusal.consumed.unwrap_or(self.unread.len());
                (end, if refusal.consumed.is_some() { then } else { Then::Close })
            }
        };
        self.unread.drain(..consumed);
        self.open = then == Then::Continue;
        true
    }
}
