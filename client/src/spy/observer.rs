//! The observer of one connection: decodes the bytes of both directions and prints what they say.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

use jiff::Timestamp;
use lottery::protocol::{CentralCodec, Decoded, Refusal};

use super::Settings;
use super::describe::{self, Description};
use super::relay::{Direction, Event, What};
use super::replies::{Replies, Reply};

/// Largest number of bytes of a message that is kept until it is complete. Requests have a smaller
/// limit of their own.
const MAX_KEPT: usize = 16 * 1024 * 1024;

/// The observer of one connection.
pub(super) struct Observer {
    number: u64,
    settings: Settings,
    central: Box<dyn CentralCodec>,
    requests: Side,
    replies: Side,
    /// Decodes the replies.
    decoder: Replies,
}

/// What has arrived in one direction.
#[derive(Default)]
struct Side {
    /// Bytes that belong to no complete message.
    kept: Vec<u8>,
    /// Why nothing can be decoded any more.
    lost: Option<String>,
}

impl Observer {
    /// Creates the observer of connection `number`.
    pub(super) fn new(number: u64, settings: Settings) -> Self {
        let central = (settings.dialect.central)();
        let decoder = Replies::new(settings.dialect.agency);
        let (requests, replies) = (Side::default(), Side::default());
        Self { number, settings, central, requests, replies, decoder }
    }

    /// Prints what happens until the connection has ended.
    pub(super) fn watch(mut self, events: &Receiver<Event>, is_behind: &AtomicBool) {
        for event in events {
            let Event { time, direction, what } = event;
            match (what, direction) {
                (What::Bytes(bytes), Direction::Request) => {
                    self.requests.kept.extend_from_slice(&bytes);
                    self.read_requests(time, false);
                }
                (What::Bytes(bytes), Direction::Reply) => {
                    self.replies.kept.extend_from_slice(&bytes);
                    self.read_replies(time);
                }
                (What::End, _) => {
                    if direction == Direction::Request {
                        self.read_requests(time, true);
                    }
                    self.show_rest(time, direction, "the stream ended within this message");
                    self.print(time, direction, Description::of("end of the stream"));
                }
                (What::Reset, _) => {
                    self.show_rest(time, direction, "the connection was reset within this message");
                    self.print(time, direction, Description::of("reset"));
                }
            }
        }
        if is_behind.load(Ordering::Acquire) {
            let text = "the output is too slow: a part of this connection is not shown";
            self.print(Timestamp::now(), Direction::Request, Description::of(text));
        }
    }

    /// Decodes and prints the requests that are complete. At the end of the stream, `is_last` is
    /// true.
    fn read_requests(&mut self, time: Timestamp, is_last: bool) {
        while !self.requests.kept.is_empty() && self.requests.lost.is_none() {
            let kept = std::mem::take(&mut self.requests.kept);
            let decoded = match is_last {
                true => self.central.decode_last(&kept),
                false => self.central.decode(&kept),
            };
            let (consumed, description) = match decoded {
                Ok(Decoded::Incomplete) => {
                    self.requests.kept = kept;
                    return;
                }
                Ok(Decoded::Skip { consumed }) => {
                    let bytes = &kept[..consumed];
                    let text = format!("greeting {}", describe::excerpt(bytes));
                    (consumed, Description::of(text))
                }
                Ok(Decoded::Complete { request, consumed }) => {
                    self.decoder.asked(&request);
                    (consumed, describe::request(&request, consumed, self.settings.full))
                }
                Err(Refusal { error, consumed, .. }) => {
                    self.decoder.asked_invalid();
                    let text = format!("not a valid message: {error}");
                    if consumed.is_none() {
                        self.requests.lost = Some("the message before it is not valid".to_owned());
                    }
                    let consumed = consumed.unwrap_or(kept.len()).min(kept.len());
                    let bytes = &kept[..consumed];
                    (consumed, Description::undecoded(text, bytes, self.settings.full))
                }
            };
            self.print(time, Direction::Request, description);
            self.requests.kept = kept[consumed..].to_vec();
        }
        if let Some(reason) = self.requests.lost.clone() {
            self.show_rest(time, Direction::Request, &reason);
        }
    }

    /// Decodes and prints the replies that are complete.
    fn read_replies(&mut self, time: Timestamp) {
        while !self.replies.kept.is_empty() && self.replies.lost.is_none() {
            let kept = std::mem::take(&mut self.replies.kept);
            let (consumed, description) = match self.decoder.decode(&kept) {
                None if kept.len() <= MAX_KEPT => {
                    self.replies.kept = kept;
                    return;
                }
                None => {
                    let reason = format!("the reply has more than {MAX_KEPT} bytes");
                    self.replies.lost = Some(reason);
                    self.replies.kept = kept;
                    break;
                }
                Some(Reply::Decoded { consumed, answers_winners, description }) => {
                    if answers_winners {
                        self.central.winners_sent();
                    }
                    let text = format!("{description} ({})", describe::length(consumed));
                    (consumed, Description::of(text))
                }
                Some(Reply::Undecoded { reason }) => {
                    let bytes = &kept[..];
                    (kept.len(), Description::undecoded(reason, bytes, self.settings.full))
                }
            };
            self.print(time, Direction::Reply, description);
            self.replies.kept = kept[consumed..].to_vec();
        }
        if let Some(reason) = self.replies.lost.clone() {
            self.show_rest(time, Direction::Reply, &reason);
        }
    }

    /// Prints the bytes of a direction that belong to no message.
    fn show_rest(&mut self, time: Timestamp, direction: Direction, reason: &str) {
        let side = match direction {
            Direction::Request => &mut self.requests,
            Direction::Reply => &mut self.replies,
        };
        let rest = std::mem::take(&mut side.kept);
        if !rest.is_empty() {
            let description = Description::undecoded(reason.to_owned(), &rest, self.settings.full);
            self.print(time, direction, description);
        }
    }

    /// Prints one message at once, so that those of other connections are not between its lines.
    fn print(&self, time: Timestamp, direction: Direction, description: Description) {
        let arrow = match direction {
            Direction::Request => "-->",
            Direction::Reply => "<--",
        };
        let Description { text, details } = description;
        let mut lines = format!("{} #{} {arrow} {text}\n", describe::at(time), self.number);
        details.iter().for_each(|detail| lines += &format!("    {detail}\n"));
        (self.settings.print)(&lines);
    }
}
