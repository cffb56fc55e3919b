//! What became of one rule that was tried one way.

/// A line of the report.
#[derive(Debug)]
pub(super) struct Row {
    /// What must be so, as a sentence.
    pub(super) rule: String,
    /// How it was tried.
    pub(super) how: How,
    /// No system the dialect was taken from promises it: ours does.
    pub(super) beyond: bool,
    /// `None`: the server keeps it.
    pub(super) broken: Option<Broken>,
}

/// How a rule was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// Every message in one write.
    Whole,
    /// Every message in the smallest pieces.
    Bytewise,
    /// Over several connections at the same time.
    AtOnce,
    /// By a draw with all the agencies.
    Draw,
}

impl How {
    /// Its name in the report.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Whole => "whole",
            Self::Bytewise => "byte by byte",
            Self::AtOnce => "at once",
            Self::Draw => "draw",
        }
    }
}

/// How a rule was broken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// What had to come.
    pub(super) expected: String,
    /// What came.
    pub(super) came: String,
}

impl Row {
    /// A rule that holds for every server.
    pub(super) fn new(rule: impl Into<String>, how: How, broken: Option<Broken>) -> Self {
        Self { rule: rule.into(), how, beyond: false, broken }
    }

    /// The same as a rule that goes beyond the described systems.
    pub(super) fn beyond(self) -> Self {
        Self { beyond: true, ..self }
    }
}

impl Broken {
    /// A rule that is broken if something else came than expected.
    pub(super) fn unless(expected: impl Into<String>, kept: Result<(), String>) -> Option<Self> {
        kept.err().map(|came| Self { expected: expected.into(), came })
    }
}
