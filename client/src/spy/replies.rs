//! Decoding the replies of a connection. What a reply means depends on its request, so the requests
//! that have no reply yet are kept in their order.

use std::collections::VecDeque;

use lottery::Request;
use lottery::protocol::{
    AgencyCodec, AgencyOptions, Answer, NewAgency, ProtocolError, Receipt, echo,
};

use super::describe;

/// Decodes the replies of a connection.
pub(super) struct Replies {
    /// Creates a codec; `None` in the dialect without bets.
    new_codec: Option<NewAgency>,
    /// Requests without a reply.
    asked: VecDeque<Asked>,
    /// Agency of the last request that names one.
    agency: u16,
}

/// A request without a reply.
struct Asked {
    kind: Kind,
    /// The codec of the agency, with the bets of the request.
    codec: Option<Box<dyn AgencyCodec>>,
}

/// Kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Store,
    Session,
    Results,
    Finish,
    Winners,
    Echo,
    /// Its bytes are no valid request.
    Invalid,
}

/// A reply.
pub(super) enum Reply {
    /// It is complete.
    Decoded {
        /// Its length in bytes.
        consumed: usize,
        /// True if it has the winners of an agency.
        answers_winners: bool,
        description: String,
    },
    /// The bytes are no reply to the request.
    Undecoded {
        /// Why.
        reason: String,
    },
}

/// What a codec makes of bytes that begin with a reply.
type Found = Result<Option<(usize, String)>, ProtocolError>;

impl Replies {
    /// Creates the decoder of a connection.
    pub(super) fn new(new_codec: Option<NewAgency>) -> Self {
        Self { new_codec, asked: VecDeque::new(), agency: 1 }
    }

    /// Records a request.
    pub(super) fn asked(&mut self, request: &Request<'_>) {
        let (kind, agency, bets) = match request {
            Request::Store(bets) => (Kind::Store, bets.first().map(|bet| bet.agency), &bets[..]),
            Request::StoreOnce { key, bets } => (Kind::Store, Some(key.agency), &bets[..]),
            Request::Session { agency, .. } => (Kind::Session, Some(*agency), &[][..]),
            Request::Results => (Kind::Results, None, &[][..]),
            Request::Finish { agency } => (Kind::Finish, Some(*agency), &[][..]),
            Request::Winners { agency, .. } => (Kind::Winners, Some(*agency), &[][..]),
            Request::Echo(_) => (Kind::Echo, None, &[][..]),
            // It has no reply.
            Request::Close => return,
        };
        self.agency = agency.unwrap_or(self.agency).max(1);
        let mut codec = self.codec();
        if let Some(codec) = &mut codec {
            // A batch of more bets than an agency sends in one packet does not fit. Its reply is
            // then shown as bytes if it contains their number.
            let _full = bets.iter().try_for_each(|bet| codec.push(bet).map(drop));
        }
        self.asked.push_back(Asked { kind, codec });
    }

    /// Records bytes that are no valid request.
    pub(super) fn asked_invalid(&mut self) {
        let codec = self.codec();
        self.asked.push_back(Asked { kind: Kind::Invalid, codec });
    }

    fn codec(&self) -> Option<Box<dyn AgencyCodec>> {
        self.new_codec.map(|new| new(&AgencyOptions::new(self.agency, u16::MAX)))
    }

    /// Decodes the reply at the start of `bytes`; `None` while it is incomplete.
    pub(super) fn decode(&mut self, bytes: &[u8]) -> Option<Reply> {
        let Some(asked) = self.asked.front() else {
            let reason = "no request without a reply precedes it".to_owned();
            return Some(Reply::Undecoded { reason });
        };
        let found = asked.decode(bytes);
        if let Ok(None) = found {
            return None;
        }
        let kind = asked.kind;
        self.asked.pop_front();
        Some(match found {
            Ok(Some((consumed, description))) => {
                let answers_winners = kind == Kind::Winners;
                Reply::Decoded { consumed, answers_winners, description }
            }
            Ok(None) => return None,
            Err(error) => Reply::Undecoded { reason: format!("not a valid reply: {error}") },
        })
    }
}

impl Asked {
    fn decode(&self, bytes: &[u8]) -> Found {
        let Some(codec) = &self.codec else {
            let line = echo::decode_reply(bytes);
            return Ok(line.map(|line| (line.len() + 1, describe::echoed(line))));
        };
        let codec = &**codec;
        let denied = |error| match codec.denied(bytes) {
            Some(denied) => Ok(Some((bytes.len(), format!("error: {}", denied.reason)))),
            None => Err(error),
        };
        match self.kind {
            Kind::Store => receipt(codec, bytes),
            Kind::Session => one(bytes, |bytes| codec.next_sequence(bytes)).map(|next| {
                next.map(|(consumed, next)| (consumed, format!("the next batch is {next}")))
            }),
            Kind::Finish => one(bytes, |bytes| codec.acknowledgement(bytes)).map(|noted| {
                noted.map(|(consumed, ())| (consumed, "finish acknowledged".to_owned()))
            }),
            Kind::Results => one(bytes, |bytes| codec.results(bytes)).map(|results| {
                results.map(|(consumed, results)| (consumed, describe::results(results)))
            }),
            Kind::Winners => answer(codec, bytes),
            Kind::Invalid => receipt(codec, bytes).or_else(|error| match answer(codec, bytes) {
                // Any bytes may be the beginning of an answer.
                Ok(None) | Err(_) => Err(error),
                answer => answer,
            }),
            Kind::Echo => Ok(None),
        }
        .or_else(denied)
    }
}

/// Decodes the first reply of `bytes`: codecs expect that nothing follows it.
fn one<T>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<Option<T>, ProtocolError>,
) -> Result<Option<(usize, T)>, ProtocolError> {
    let (end, decoded) = match decode(bytes) {
        Err(ProtocolError::TrailingBytes(extra)) if extra < bytes.len() => {
            let end = bytes.len() - extra;
            (end, decode(&bytes[..end])?)
        }
        decoded => (bytes.len(), decoded?),
    };
    Ok(decoded.map(|decoded| (end, decoded)))
}

fn receipt(codec: &dyn AgencyCodec, bytes: &[u8]) -> Found {
    let Some((consumed, receipt)) = one(bytes, |bytes| codec.receipt(bytes))? else {
        return Ok(None);
    };
    let documents = codec.documents(&bytes[..consumed]);
    let text = match receipt {
        Receipt::Stored { winners: None } => "batch stored".to_owned(),
        Receipt::Stored { winners: Some(count) } => {
            format!("batch stored, {}", describe::winners(count as u64, documents))
        }
        Receipt::Refused => "batch refused".to_owned(),
    };
    Ok(Some((consumed, text)))
}

fn answer(codec: &dyn AgencyCodec, bytes: &[u8]) -> Found {
    let Some((consumed, answer)) = one(bytes, |bytes| codec.answer(bytes))? else {
        return Ok(None);
    };
    let documents = codec.documents(&bytes[..consumed]);
    let text = match answer {
        Answer::Results(results) => describe::results(results),
        Answer::Winners(count) => describe::winners(count, documents),
        Answer::NotYet => "the draw has not been held".to_owned(),
        Answer::Refused(text) => format!("error: {text}"),
    };
    Ok(Some((consumed, text)))
}
