//! Reasons to end a check early: the rest of the rules cannot be tried on this server.

use std::fmt;

use lottery::protocol::{DIALECTS, Dialect};

use super::bets;
use super::connection::Pieces;
use super::conversation;
use super::target::Target;
use super::test_agency::TestAgency;

/// Why the rest of the rules cannot be tried.
#[derive(Debug)]
pub(super) enum Obstacle {
    /// The server can no longer be reached.
    Gone {
        /// The last rule that was tried, with its method.
        since: String,
        /// Failure of the connection attempt.
        error: String,
    },
    /// The server gives winners and accepts no bets.
    DrawHeld,
    /// The server keeps the first rule of this dialect.
    OtherDialect(&'static Dialect),
}

impl Obstacle {
    /// Returns its name in the JSON object. It is stable, because scripts read it.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Gone { .. } => "gone",
            Self::DrawHeld => "draw held",
            Self::OtherDialect(_) => "other dialect",
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone { since, error } => write!(f, "the server is gone since {since}: {error}"),
            Self::DrawHeld => f.write_str(
                "the server answers queries and accepts no bets, as after its draw: start it again \
                 without the bets of the last lottery",
            ),
            Self::OtherDialect(dialect) => {
                let name = dialect.name;
                write!(f, "the server speaks {name}: check it with --protocol {name}")
            }
        }
    }
}

/// Returns why a server that breaks the first rule of `dialect` breaks it, if the reason is known.
pub(super) fn of_first_rule(dialect: &'static Dialect, target: &Target) -> Option<Obstacle> {
    let target = &target.in_haste();
    if draw_was_held(dialect, target) {
        return Some(Obstacle::DrawHeld);
    }
    let others = DIALECTS.iter().filter(|other| *other != dialect);
    others.into_iter().find(|other| speaks(other, target)).map(Obstacle::OtherDialect)
}

/// Returns true if the server refuses a batch and answers a query. The query also finishes an
/// agency, so it is sent only after a refusal: such a server has held its draw already.
fn draw_was_held(dialect: &Dialect, target: &Target) -> bool {
    let Some(new_codec) = dialect.agency else { return false };
    let mut agency = TestAgency::new(1, target, new_codec);
    agency.is_refused(&bets::losing())
        && if dialect.waits_for_draw { agency.winners().is_ok() } else { agency.has_total() }
}

fn speaks(dialect: &Dialect, target: &Target) -> bool {
    let first = (dialect.rules)().into_iter().next();
    first.zip(target.connect().ok()).is_some_and(|(rule, connection)| {
        conversation::run(&rule, Pieces::Whole, connection, target).is_none()
    })
}
