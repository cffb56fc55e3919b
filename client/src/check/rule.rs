//! A rule as the report names it: identifier, group and sentence, before it is tried.

use clap::ValueEnum;
use lottery::protocol::{Dialect, Rule, Scope};

/// End of the identifier of a rule whose messages are sent in pieces.
const SPLIT: &str = "-split";

/// One row of a report, before its result is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    /// Identifies the rule among those of its dialect, without the end for the method.
    pub(super) id: &'static str,
    /// The rule as a sentence.
    pub(super) rule: &'static str,
    /// What the rule is about.
    pub(super) group: Group,
    /// True if its messages are invalid.
    pub(super) is_invalid: bool,
    /// How the rule is tried.
    pub(super) method: Method,
    /// True if the rule goes beyond what the original systems of the dialect promise.
    pub(super) beyond: bool,
}

/// What a rule is about. Rules of a group have the same weight by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// Valid messages get the right reply
    Replies,
    /// Invalid messages are not executed
    Refusals,
    /// The same messages in pieces
    Framing,
    /// Several connections at the same time
    Concurrency,
    /// A draw of all agencies
    Draw,
}

impl Group {
    /// Returns its name in reports and in `--weight`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Replies => "replies",
            Self::Refusals => "refusals",
            Self::Framing => "framing",
            Self::Concurrency => "concurrency",
            Self::Draw => "draw",
        }
    }

    /// Returns the points of each of its rules. A rule with several agencies covers what many
    /// rules with one message do.
    pub(super) fn weight(self) -> u32 {
        match self {
            Self::Replies => 3,
            Self::Refusals | Self::Framing => 1,
            Self::Concurrency | Self::Draw => 10,
        }
    }
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

impl Planned {
    /// Returns a rule with a draw of all agencies.
    pub(super) const fn draw(id: &'static str, rule: &'static str) -> Self {
        let (group, method) = (Group::Draw, Method::Draw);
        Self { id, rule, group, is_invalid: false, method, beyond: false }
    }

    /// Returns a rule with several connections.
    pub(super) const fn concurrent(id: &'static str, rule: &'static str) -> Self {
        let (group, method) = (Group::Concurrency, Method::Concurrent);
        Self { id, rule, group, is_invalid: false, method, beyond: false }
    }

    /// Returns the rule as one that goes beyond the original systems.
    pub(super) const fn beyond(self) -> Self {
        Self { beyond: true, ..self }
    }

    /// Returns a rule of the dialect, tried by this method.
    pub(super) fn of(rule: &Rule, method: Method, dialect: &Dialect) -> Self {
        let group = match method {
            Method::Bytewise => Group::Framing,
            _ if rule.is_invalid => Group::Refusals,
            _ => Group::Replies,
        };
        let beyond = rule.scope != Scope::Kept
            || method == Method::Bytewise && !dialect.originals_join_reads;
        let &Rule { id, name, is_invalid, .. } = rule;
        Self { id, rule: name, group, is_invalid, method, beyond }
    }

    /// Returns the whole identifier: that of the dialect, of the rule and of the method.
    pub(super) fn full_id(&self, dialect: &str) -> String {
        let split = if self.method == Method::Bytewise { SPLIT } else { "" };
        format!("{dialect}/{}{split}", self.id)
    }
}
