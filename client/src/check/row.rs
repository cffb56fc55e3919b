//! The result of one rule, tried in one way, and the bytes that show why it is broken.

use super::rule::Planned;

/// A row of the report.
#[derive(Debug)]
pub(super) struct Row {
    /// The rule.
    pub(super) planned: Planned,
    /// How the rule was broken; `None` if it holds.
    pub(super) violation: Option<Violation>,
}

/// How a rule was broken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// What the rule requires.
    pub(super) expected: String,
    /// What was received instead.
    pub(super) received: Surprise,
}

/// What was received instead of the expected reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Surprise {
    /// The surprise as one line.
    pub(super) text: String,
    /// Its kind.
    pub(super) symptom: Symptom,
    /// What was sent and received on the connection.
    pub(super) exchange: Exchange,
}

/// What a rule that is broken looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Symptom {
    /// Nothing, or only a part of a reply, until the time limit.
    Silence,
    /// The connection ended before the reply was complete.
    Ended,
    /// Another reply.
    WrongReply,
    /// A reply where none is expected.
    Unwanted,
    /// More bytes after a correct reply.
    Trailing,
    /// The connection did not end.
    StillOpen,
    /// No connection.
    Unreachable,
    /// A reply before its time.
    Early,
    /// A smaller number of winners than expected.
    FewerWinners,
    /// A larger number of winners than expected.
    MoreWinners,
    /// As many winners, but others.
    OtherWinners,
    /// An acknowledgement of what should be refused.
    Acknowledged,
    /// No draw was held, so the rule could not be tried.
    NoDraw,
}

/// The bytes of a connection in both directions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Exchange {
    /// All bytes that were sent.
    pub(super) sent: Vec<u8>,
    /// All bytes that were received.
    pub(super) received: Vec<u8>,
    /// Position of the first wrong byte in `received`; its length if a byte is missing there.
    pub(super) wrong_at: usize,
}

impl Row {
    /// Creates a row.
    pub(super) fn new(planned: Planned, violation: Option<Violation>) -> Self {
        Self { planned, violation }
    }
}

impl Violation {
    /// Returns a violation if `result` is an error, which holds what was received.
    pub(super) fn of(expected: impl Into<String>, result: Result<(), Surprise>) -> Option<Self> {
        result.err().map(|received| Self { expected: expected.into(), received })
    }
}

impl Surprise {
    /// Returns a surprise of which no bytes are known.
    pub(super) fn new(text: impl Into<String>, symptom: Symptom) -> Self {
        Self { text: text.into(), symptom, exchange: Exchange::default() }
    }

    /// Returns the surprise of a part: `part` before its text.
    pub(super) fn of_part(self, part: impl std::fmt::Display) -> Self {
        Self { text: format!("{part}: {}", self.text), ..self }
    }
}
