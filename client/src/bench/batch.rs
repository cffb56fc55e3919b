//! The batches that the clients send.

use std::sync::Arc;

use load::Conversation;
use lottery::protocol::{
    AgencyCodec, AgencyOptions, ConnectionUse, Dialect, MAX_PACKET_BYTES, NewAgency, ProtocolError,
    Push, Receipt, Unencodable, echo,
};
use lottery::{BatchKey, sample};

/// Agency of all batches.
const AGENCY: u16 = 1;

/// Size of a batch, as the user gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    /// At most this many bets.
    Bets(u16),
    /// As many bets as fit into this many bytes.
    Bytes(usize),
}

/// Why no batch can be built.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BatchError {
    /// The dialect has no bets.
    #[error("--batch counts bets, and {dialect} has none: give a size in bytes, such as 1kB")]
    NoBets {
        /// Name of the dialect.
        dialect: &'static str,
    },
    /// Not even one bet fits.
    #[error("--batch {bytes}B has no room for a bet of {dialect}, which needs {needed} bytes")]
    TooSmall {
        /// Size that was given.
        bytes: usize,
        /// Name of the dialect.
        dialect: &'static str,
        /// Size of a batch of one bet.
        needed: usize,
    },
    /// The dialect cannot encode the bets.
    #[error("{dialect} cannot carry the bets of the load: {source}")]
    Unencodable {
        /// Name of the dialect.
        dialect: &'static str,
        /// The dialect's reason.
        source: Unencodable,
    },
}

/// A batch of which every client sends copies.
#[derive(Debug)]
pub(crate) struct Batch {
    dialect: &'static Dialect,
    /// Number of bets; 0 in a dialect without bets.
    pub(crate) bets: u16,
    /// Length of the first batch of a client in bytes.
    pub(crate) bytes: usize,
    numbered: bool,
    /// Use of the clients' connections.
    connection: ConnectionUse,
    /// The bytes before the first batch of a connection, and the batch, where all batches are the
    /// same.
    shared: Option<Shared>,
}

type Shared = (Arc<[u8]>, Arc<[u8]>);

impl Batch {
    /// Builds the batch. `numbered` is false for bets without a number.
    pub(crate) fn new(
        dialect: &'static Dialect,
        size: Size,
        numbered: bool,
        connection: ConnectionUse,
    ) -> Result<Self, BatchError> {
        let Some(new_codec) = dialect.agency else { return Self::message(dialect, size) };
        let fill = |max_bets| {
            fill(new_codec, connection, max_bets, numbered)
                .map_err(|source| BatchError::Unencodable { dialect: dialect.name, source })
        };
        let mut codec = match size {
            Size::Bets(bets) => fill(bets)?,
            Size::Bytes(bytes) => {
                let mut codec = fill(u16::MAX)?;
                // The size grows with the bets, so the search goes down from a full packet.
                while codec.packet().len() > bytes {
                    let (bets, needed) = (codec.bets(), codec.packet().len());
                    if bets == 1 {
                        let dialect = dialect.name;
                        return Err(BatchError::TooSmall { bytes, dialect, needed });
                    }
                    codec = fill(bets as u16 - 1)?;
                }
                codec
            }
        };
        let (greeting, bets) = (codec.greeting(), codec.bets() as u16);
        let packet = codec.packet();
        let shared = (!dialect.has_keys).then(|| (greeting.into(), packet.into()));
        Ok(Self { dialect, bets, bytes: packet.len(), numbered, connection, shared })
    }

    /// Builds the message of a dialect without bets.
    fn message(dialect: &'static Dialect, size: Size) -> Result<Self, BatchError> {
        let Size::Bytes(bytes) = size else {
            return Err(BatchError::NoBets { dialect: dialect.name });
        };
        let mut message = echo::message(AGENCY, 1);
        if bytes > message.len() {
            message.pop();
            message.resize(bytes - 1, b'.');
            message.push(b'\n');
        }
        let bytes = message.len();
        let shared = Some(([].into(), message.into()));
        Ok(Self {
            dialect,
            bets: 0,
            bytes,
            numbered: false,
            connection: ConnectionUse::Kept,
            shared,
        })
    }

    /// Returns the batches of one client. Where batches have keys, each client has a session.
    pub(crate) fn client(&self) -> Result<Client, BatchError> {
        let codec = self.dialect.agency.map(|new_codec| {
            // Where batches are the same, the codec only decodes replies. It still needs the bets,
            // because a reply may repeat their number.
            fill(new_codec, self.connection, self.bets, self.numbered)
                .map_err(|source| BatchError::Unencodable { dialect: self.dialect.name, source })
        });
        let codec = codec.transpose()?;
        let (greeting, packet) = match &self.shared {
            Some((greeting, packet)) => (Arc::clone(greeting), Some(Arc::clone(packet))),
            None => (codec.as_ref().map(|codec| codec.greeting()).unwrap_or_default().into(), None),
        };
        let mut client = Client { codec, greeting, packet, sequence: 0, accepted: Vec::new() };
        client.advance();
        Ok(client)
    }
}

/// Returns a codec of a new session with a batch of up to `max_bets` bets.
fn fill(
    new_codec: NewAgency,
    connection: ConnectionUse,
    max_bets: u16,
    numbered: bool,
) -> Result<Box<dyn AgencyCodec>, Unencodable> {
    let session = BatchKey::new_session();
    let defaults = AgencyOptions::new(AGENCY, max_bets);
    let mut codec = new_codec(&AgencyOptions { session, connection, ..defaults });
    for bet in sample::bets(numbered) {
        if codec.push(&bet)? == Push::Full {
            break;
        }
    }
    Ok(codec)
}

/// The batches of one client: the same bets, numbered from 1 where batches have keys.
#[derive(Debug)]
pub(crate) struct Client {
    /// `None` in a dialect without bets.
    codec: Option<Box<dyn AgencyCodec>>,
    greeting: Arc<[u8]>,
    /// The batch, where all are the same.
    packet: Option<Arc<[u8]>>,
    /// Number of the current batch.
    sequence: u64,
    /// The last reply that the codec has accepted. The next ones are mostly the same.
    accepted: Vec<u8>,
}

impl Conversation for Client {
    fn message(&mut self) -> [&[u8]; 2] {
        let packet: &[u8] = match (&self.packet, &mut self.codec) {
            (Some(packet), _) => packet,
            (None, Some(codec)) => codec.packet(),
            (None, None) => &[],
        };
        [&self.greeting, packet]
    }

    fn judge(&mut self, reply: &[u8], _first: bool) -> Result<bool, String> {
        if !self.accepted.is_empty() && reply == self.accepted {
            return Ok(true);
        }
        let is_complete = match (&self.codec, &self.packet) {
            (Some(codec), _) => match codec.receipt(reply) {
                Ok(Some(Receipt::Stored { .. })) => true,
                Ok(Some(Receipt::Refused)) => return Err("the server refused a batch".to_owned()),
                Ok(None) => false,
                Err(error) => return Err(refusal(codec.as_ref(), reply, &error)),
            },
            (None, Some(message)) => match echo::decode_reply(reply) {
                Some(text) if message.strip_suffix(b"\n") == Some(text) => true,
                Some(_) => return Err("the reply is not the message".to_owned()),
                None => false,
            },
            (None, None) => false,
        };
        if is_complete {
            reply.clone_into(&mut self.accepted);
        }
        Ok(is_complete)
    }

    fn advance(&mut self) {
        self.sequence += 1;
        if let Some(codec) = &mut self.codec {
            codec.set_sequence(self.sequence);
        }
    }
}

/// Returns why a batch was refused, for a reply that is not a receipt.
fn refusal(codec: &dyn AgencyCodec, reply: &[u8], error: &ProtocolError) -> String {
    match codec.denied(reply) {
        Some(denied) => format!("the server refused a batch: {}", denied.reason),
        None => format!("the reply is not that of a batch: {error}"),
    }
}

/// Reads `--batch`: a number of bets, or a size such as 8kB or 512B.
pub(crate) fn size(text: &str) -> Result<Size, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: Option<usize> = plain.then(|| digits.parse().ok()).flatten();
    let size = number.and_then(|number| match &text[digits.len()..] {
        "" => u16::try_from(number).ok().map(Size::Bets),
        "B" => Some(Size::Bytes(number)),
        "kB" => number.checked_mul(1024).map(Size::Bytes),
        _ => None,
    });
    match size {
        Some(Size::Bytes(bytes)) if bytes > MAX_PACKET_BYTES => {
            Err(format!("a packet has at most {MAX_PACKET_BYTES} bytes"))
        }
        Some(Size::Bets(0) | Size::Bytes(0)) | None => {
            Err("expected a number of bets from 1 to 65535, or a size such as 8kB or 512B"
                .to_owned())
        }
        Some(size) => Ok(size),
    }
}

#[cfg(test)]
mod tests {
    use lottery::Request;
    use lottery::protocol::{DIALECTS, Decoded};

    use super::*;

    const FULL: Size = Size::Bytes(MAX_PACKET_BYTES);

    fn named(name: &str) -> &'static Dialect {
        Dialect::named(name).unwrap()
    }

    fn with_bets() -> impl Iterator<Item = &'static Dialect> {
        DIALECTS.iter().filter(|dialect| dialect.agency.is_some())
    }

    #[test]
    fn a_full_batch_leaves_no_room_for_another_bet() {
        for dialect in with_bets() {
            let full = Batch::new(dialect, FULL, true, ConnectionUse::Kept).unwrap();
            assert!(full.bytes <= MAX_PACKET_BYTES, "{}", dialect.name);
            assert!(full.bytes > MAX_PACKET_BYTES - 128, "{}: {}", dialect.name, full.bytes);
        }
    }

    #[test]
    fn a_size_in_bytes_is_reached_and_not_exceeded() {
        for dialect in with_bets() {
            let largest =
                Batch::new(dialect, Size::Bytes(1000), true, ConnectionUse::Kept).unwrap();
            let next = Batch::new(dialect, Size::Bets(largest.bets + 1), true, ConnectionUse::Kept)
                .unwrap();
            assert!(largest.bytes <= 1000 && next.bytes > 1000, "{}", dialect.name);
        }
        let needed =
            Batch::new(named("typed"), Size::Bets(1), true, ConnectionUse::Kept).unwrap().bytes;
        let error = Batch::new(named("typed"), Size::Bytes(needed - 1), true, ConnectionUse::Kept)
            .unwrap_err();
        assert!(matches!(error, BatchError::TooSmall { needed: found, .. } if found == needed));
    }

    #[test]
    fn the_central_codec_decodes_the_batch_in_every_dialect_that_carries_bets() {
        for dialect in with_bets() {
            let mut client = Batch::new(dialect, Size::Bets(10), true, ConnectionUse::Kept)
                .unwrap()
                .client()
                .unwrap();
            let [greeting, packet] = client.message();
            let mut central = (dialect.central)();
            central.decode(greeting).unwrap();
            let Decoded::Complete {
                request: Request::Store(bets) | Request::StoreOnce { bets, .. },
                ..
            } = central.decode(packet).unwrap()
            else {
                panic!("not a whole batch of {}", dialect.name)
            };
            assert_eq!(bets.len(), 10, "{}", dialect.name);
        }
    }

    #[test]
    fn the_batches_of_a_client_have_one_session_and_its_numbers() {
        let batch = Batch::new(named("keyed"), Size::Bets(10), true, ConnectionUse::Kept).unwrap();
        let mut clients = [batch.client().unwrap(), batch.client().unwrap()];
        let mut central = (named("keyed").central)();
        let mut key = |bytes: &[u8]| match central.decode(bytes) {
            Ok(Decoded::Complete { request: Request::StoreOnce { key, .. }, .. }) => key,
            other => panic!("{other:?}"),
        };
        let [first, second] = clients.each_mut().map(|client| {
            let before = key(client.message()[1]);
            // A failed batch is sent again.
            assert_eq!(key(client.message()[1]), before);
            client.advance();
            let keys = [before, key(client.message()[1])];
            assert_eq!(keys.map(|key| key.sequence), [1, 2]);
            assert_eq!((keys[0].session, keys[0].content), (keys[1].session, keys[1].content));
            keys[0]
        });
        assert_ne!(first.session, second.session);
    }

    #[test]
    fn the_reply_of_the_central_codec_is_accepted_in_every_dialect_that_carries_bets() {
        for dialect in with_bets() {
            let mut client =
                Batch::new(dialect, FULL, true, ConnectionUse::Kept).unwrap().client().unwrap();
            let [greeting, packet] = client.message();
            let mut central = (dialect.central)();
            central.decode(greeting).unwrap();
            let Ok(Decoded::Complete {
                request: Request::Store(bets) | Request::StoreOnce { bets, .. },
                ..
            }) = central.decode(packet)
            else {
                panic!("not a whole batch of {}", dialect.name)
            };
            let stored = lottery::Reply::Stored { bets: bets.len(), winners: Vec::new() };
            let mut reply = Vec::new();
            central.encode(&stored, &mut reply).unwrap();
            for length in 0..reply.len() {
                assert_ne!(client.judge(&reply[..length], true), Ok(true), "{}", dialect.name);
            }
            assert_eq!(client.judge(&reply, true), Ok(true), "{}", dialect.name);
        }
    }

    #[test]
    fn the_first_reply_is_understood_and_another_one_is_refused() {
        let mut client = Batch::new(named("counted"), Size::Bets(3), true, ConnectionUse::Kept)
            .unwrap()
            .client()
            .unwrap();
        assert_eq!(client.judge(&[0], true), Ok(true));
        assert_eq!(client.judge(&[0], true), Ok(true));
        assert!(client.judge(&[1], true).is_err());
    }

    #[test]
    fn a_message_has_the_size_that_was_asked_for() {
        let echo = named("echo");
        for bytes in [100, MAX_PACKET_BYTES] {
            assert_eq!(
                Batch::new(echo, Size::Bytes(bytes), true, ConnectionUse::Kept).unwrap().bytes,
                bytes
            );
        }
        let error = Batch::new(echo, Size::Bets(10), true, ConnectionUse::Kept).unwrap_err();
        assert!(matches!(error, BatchError::NoBets { dialect: "echo" }));
    }

    #[test]
    fn sizes_are_bets_or_bytes() {
        assert_eq!(size("10"), Ok(Size::Bets(10)));
        assert_eq!(size("8kB"), Ok(FULL));
        assert_eq!(size("512B"), Ok(Size::Bytes(512)));
        for text in
            ["", "0", "0B", "65536", "-1", "1.5kB", "8 kB", "8KB", "kB", "9kB", "8193B", "é"]
        {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
