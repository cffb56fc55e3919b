//! The rules of a dialect, written as conversations with a server. The tests check this project's
//! central against them, and `loteria-agency check` checks any server.
//!
//! Rules apply to a central before its draw. They store no winner and finish no agency, so they do
//! not change the result of a later draw. A rule holds regardless of how the network splits the
//! messages.

/// A rule and the conversation that verifies it.
#[derive(Debug)]
pub struct Rule {
    /// Identifies the rule among those of its dialect, in lower case with hyphens. It is stable,
    /// because scripts and grades refer to it.
    pub id: &'static str,
    /// The rule as a sentence: "a batch with an impossible date is refused with 01".
    pub name: &'static str,
    /// The steps of the conversation, in order, on a new connection.
    pub steps: Vec<Step>,
    /// True if it is about an invalid message, which the server must not execute.
    pub is_invalid: bool,
    /// What the original systems do.
    pub scope: Scope,
}

/// Identifier and sentence of a rule.
pub type Title = (&'static str, &'static str);

/// What the original systems of the dialect do when a rule is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// They keep the rule.
    Kept,
    /// At least one breaks it.
    Broken,
    /// At least one ends, or serves no further connection.
    Fatal,
}

impl Rule {
    /// Creates a rule about valid messages that the original systems keep. Its title is its
    /// identifier and its sentence.
    pub fn new((id, name): Title, steps: Vec<Step>) -> Self {
        Self { id, name, steps, is_invalid: false, scope: Scope::Kept }
    }

    /// Creates a rule about an invalid message that the original systems keep.
    pub fn invalid(title: Title, steps: Vec<Step>) -> Self {
        Self { is_invalid: true, ..Self::new(title, steps) }
    }

    /// Marks the rule as one that an original system breaks.
    #[must_use]
    pub fn broken_by_an_original(self) -> Self {
        Self { scope: Scope::Broken, ..self }
    }

    /// Marks the rule as one that ends an original system.
    #[must_use]
    pub fn fatal_to_an_original(self) -> Self {
        Self { scope: Scope::Fatal, ..self }
    }
}

/// A step of a conversation, from the client's point of view.
#[derive(Debug)]
pub enum Step {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Expects exactly these bytes.
    Expect(Vec<u8>),
    /// Expects one of these replies.
    ExpectOneOf(Vec<Vec<u8>>),
    /// Expects bytes of the described form. The function returns `None` while bytes are missing,
    /// then true if they have this form.
    ExpectShape(&'static str, fn(&[u8]) -> Option<bool>),
    /// Expects no bytes: the server closes the connection or stays silent, because several of the
    /// original servers do not close it.
    ExpectNothing,
    /// Expects that the server ends the connection, without further bytes.
    ExpectEnd,
    /// Ends the sending side of the connection.
    HalfClose,
    /// Opens a new connection for the following steps.
    Reconnect,
}
