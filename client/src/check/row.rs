//! The result of one rule, tried in one way.

/// A row of the report.
#[derive(Debug)]
pub(super) struct Row {
    /// The rule as a sentence.
    pub(super) rule: String,
    /// How the rule was tried.
    pub(super) method: Method,
    /// True if the rule goes beyond what the original systems of the dialect promise.
    pub(super) beyond: bool,
    /// How the rule was broken; `None` if it holds.
    pub(super) violation: Option<Violation>,
}

/// How a rule is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    /// Each message in one write.
    Whole,
    /// Each message in the smallest pieces.
    Bytewise,
    /// On several connections at the same time.
    Concurrent,
    /// With a draw of all agencies.
    Draw,
}

impl Method {
    /// Returns its name in the report.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Bytewise => "byte by byte",
            Self::Concurrent => "concurrent",
            Self::Draw => "draw",
        }
    }
}

/// How a rule was broken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation {
    /// What the rule requires.
    pub(super) expected: String,
    /// What was received instead.
    pub(super) received: String,
}

impl Row {
    /// Creates a row for a rule that every server must keep.
    pub(super) fn new(
        rule: impl Into<String>,
        method: Method,
        violation: Option<Violation>,
    ) -> Self {
        Self { rule: rule.into(), method, beyond: false, violation }
    }

    /// Marks the rule as one that goes beyond the original systems.
    pub(super) fn beyond(self) -> Self {
        Self { beyond: true, ..self }
    }
}

impl Violation {
    /// Returns a violation if `result` is an error, which holds what was received.
    pub(super) fn of(expected: impl Into<String>, result: Result<(), String>) -> Option<Self> {
        result.err().map(|received| Self { expected: expected.into(), received })
    }
}
