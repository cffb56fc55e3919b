//! The rules of a dialect as conversations, so that any server of it can be held against them: ours by the tests, others by
//! `client check`.
//!
//! Rules are for a central before its draw. They store no winners and finish no agency, so that a draw afterwards has the result its
//! own bets give it. Bytes of a message may be sent in any pieces; a rule holds however they are cut.

/// One rule and the conversation that shows whether it holds.
#[derive(Debug)]
pub struct Rule {
    /// What must be so, as a sentence: "a batch with an impossible date is refused with 01".
    pub name: &'static str,
    /// What is said and heard, in order, on a new connection.
    pub steps: Vec<Step>,
}

/// One turn of a conversation.
#[derive(Debug)]
pub enum Step {
    /// Say these bytes.
    Send(Vec<u8>),
    /// Hear exactly these bytes.
    Expect(Vec<u8>),
    /// Hear one of these.
    ExpectOneOf(Vec<Vec<u8>>),
    /// Hear bytes of this description: `None` while they are not all there, then whether they are right.
    ExpectShape(&'static str, fn(&[u8]) -> Option<bool>),
    /// Hear nothing: the server ends the connection, or stays silent (several of the originals cannot end it).
    ExpectNothing,
    /// Say nothing more.
    HalfClose,
    /// Leave and come back: the following steps are on a new connection.
    Reconnect,
}
