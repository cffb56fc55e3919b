//! Talking to a codec: messages cut anywhere, bytes that are none, and a central behind it that is held against rules.

use std::fmt::Debug;

use lottery::protocol::{CentralCodec, Decoded, Dialect, ProtocolError, Refusal, Step, Then};
use lottery::{Reply, Request, Results};
use proptest::prelude::*;
use proptest::sample::Index;

use super::central;

/// Where the network cuts a message.
pub(crate) fn cuts() -> impl Strategy<Value = Vec<Index>> {
    prop::collection::vec(any::<Index>(), 0..8)
}

/// The places where a message is cut, in order.
fn ends(wire: &[u8], cuts: &[Index]) -> Vec<usize> {
    let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(wire.len().max(1))).collect();
    ends.sort_unstable();
    ends
}

/// Shows `wire`, a greeting or none and then one message, as it arrives when the network cuts it so: nothing may be understood
/// before the last byte.
pub(crate) fn arrived<'w>(
    codec: &mut dyn CentralCodec,
    wire: &'w [u8],
    cuts: &[Index],
) -> Result<Decoded<'w>, Refusal> {
    let mut start = 0;
    let mut shown = |end| match codec.decode(&wire[start..end]) {
        Ok(Decoded::Skip { consumed }) => {
            start += consumed;
            codec.decode(&wire[start..end])
        }
        other => other,
    };
    for end in ends(wire, cuts) {
        assert_eq!(shown(end), Ok(Decoded::Incomplete), "{end} of {} bytes", wire.len());
    }
    shown(wire.len())
}

/// Shows a reply as it arrives when the network cuts it so: nothing may be read before the last byte.
pub(crate) fn heard<T: Debug + PartialEq>(
    read: impl Fn(&[u8]) -> Result<Option<T>, ProtocolError>,
    reply: &[u8],
    cuts: &[Index],
) -> Result<Option<T>, ProtocolError> {
    for end in ends(reply, cuts) {
        assert_eq!(read(&reply[..end]), Ok(None), "{end} of {} bytes", reply.len());
    }
    read(reply)
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

/// Changes to make to a message of text: a place, and the byte to put there.
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

/// Everything that is understood, refused and said when `wire` arrives in these pieces and then ends, and whether the connection
/// is still open.
pub(crate) fn conversation(
    name: &str,
    wire: &[u8],
    cuts: &[Index],
) -> (Vec<String>, Vec<u8>, bool) {
    let mut served = Served::new(name, true);
    let mut from = 0;
    for end in ends(wire, cuts) {
        served.arrive(&wire[from..end], false);
        from = end;
    }
    served.arrive(&wire[from..], false);
    served.arrive(&[], true);
    (served.noted, served.said, served.open)
}

/// Holds the central's side of a dialect against the dialect's own rules. The bytes arrive one by one.
pub(crate) fn keeps_its_rules(dialect: &Dialect) {
    let name = dialect.name;
    let rules = (dialect.rules)();
    assert!(!rules.is_empty());
    for rule in rules {
        let mut served = Served::new(name, false);
        for (index, step) in rule.steps.into_iter().enumerate() {
            let place = format!("{name}, {:?}, step {index}", rule.name);
            match step {
                Step::Send(bytes) => bytes.iter().for_each(|&byte| served.arrive(&[byte], false)),
                Step::HalfClose => {
                    let at_end = served.codec.decode_last(&served.unread);
                    assert_eq!(at_end, Ok(Decoded::Incomplete), "{place}");
                }
                Step::Reconnect => served = Served::new(name, false),
                Step::Expect(bytes) => assert_eq!(served.said(), bytes, "{place}"),
                Step::ExpectOneOf(any) => {
                    let said = served.said();
                    assert!(any.contains(&said), "{place}: {said:?}");
                }
                Step::ExpectShape(shape, holds) => {
                    let said = served.said();
                    assert_eq!(holds(&said), Some(true), "{place}: {said:?} is no {shape}");
                }
                Step::ExpectNothing => assert_eq!(served.said(), b"", "{place}"),
            }
        }
        assert_eq!(served.said, b"", "{name}, {:?}: said more than the rule expects", rule.name);
    }
}

/// A central's connection. It stores everything and nobody wins.
struct Served {
    codec: Box<dyn CentralCodec>,
    /// Whether agencies may finish and ask for their winners. No rule may.
    draws: bool,
    open: bool,
    /// What arrived and was not consumed.
    unread: Vec<u8>,
    /// What was said and not heard yet.
    said: Vec<u8>,
    /// What was understood and refused, in order.
    noted: Vec<String>,
}

impl Served {
    fn new(name: &str, draws: bool) -> Self {
        let codec = central(name);
        Self { codec, draws, open: true, unread: Vec::new(), said: Vec::new(), noted: Vec::new() }
    }

    fn said(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.said)
    }

    /// Lets bytes arrive, and after the `last` no more.
    fn arrive(&mut self, bytes: &[u8], last: bool) {
        self.unread.extend_from_slice(bytes);
        while self.open && self.one_message(last) {}
    }

    /// Serves one message; false when there is none.
    fn one_message(&mut self, last: bool) -> bool {
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
                assert_eq!(begun, matches!(request, Request::Store(_)), "{request:?}");
                self.noted.push(format!("{consumed}: {request:?}"));
                let reply = match request {
                    Request::Store(bets) => Reply::Stored { bets: bets.len(), winners: Vec::new() },
                    Request::Results => Reply::Results(Results { winners: 0, in_flight: 0 }),
                    Request::Echo(text) => Reply::Echo(text),
                    Request::Finish { .. } if self.draws => Reply::Finished,
                    Request::Winners { .. } if self.draws => Reply::Winners(Vec::new()),
                    other => panic!("{other:?} must not be asked for here"),
                };
                (consumed, self.codec.encode(&reply, &mut self.said).unwrap())
            }
            Err(refusal) => {
                self.noted.push(format!("{refusal:?}"));
                let then = self.codec.refuse(Some(&refusal.error), &mut self.said);
                let end = refusal.consumed.unwrap_or(self.unread.len());
                (end, if refusal.consumed.is_some() { then } else { Then::Close })
            }
        };
        self.unread.drain(..consumed);
        self.open = then == Then::Continue;
        true
    }
}
