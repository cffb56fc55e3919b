//! The copy of the result of the draw, which a worker reads from the engine in pieces.

use std::io;
use std::time::{Duration, Instant};

use conventions::log_line::{Outcome, error};
use postgres_link::{Replies, ValueError};

use crate::engine::statements::DRAW_ROWS;
use crate::storage::{Draw, DrawCopy};

/// Time between a failed copy and the next.
const RETRY: Duration = Duration::from_secs(1);

/// The copy, as far as it is read.
#[derive(Debug, Default)]
pub struct DrawCopying {
    copy: Option<DrawCopy>,
    /// The last row that was read.
    pub after: (i32, i64),
    not_before: Option<Instant>,
}

impl DrawCopying {
    /// Returns true if the next piece may be read now.
    pub fn may_continue(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|time| now >= time)
    }

    /// Adds a piece. Returns the result of the draw once it is complete.
    pub fn add(&mut self, replies: &Replies) -> Result<Option<Draw>, ValueError> {
        match self.try_add(replies)? {
            Ok(draw) => Ok(draw),
            Err(reason) => {
                error("sorteo", Outcome::Fail).with("error", reason).write();
                *self = Self { not_before: Some(Instant::now() + RETRY), ..Self::default() };
                Ok(None)
            }
        }
    }

    fn try_add(&mut self, replies: &Replies) -> Result<io::Result<Option<Draw>>, ValueError> {
        let mut copy = match (self.copy.take(), replies.of(1).first()) {
            (Some(copy), _) => copy,
            (None, None) => return Ok(Ok(None)),
            (None, Some(totals)) => {
                let (bets, winners) = (totals.get::<i64>(0)?, totals.get::<i64>(1)?);
                match DrawCopy::new(bets.unsigned_abs(), winners.unsigned_abs()) {
                    Ok(copy) => copy,
                    Err(reason) => return Ok(Err(reason)),
                }
            }
        };
        let rows = replies.of(0);
        for row in rows.rows() {
            self.after = (row.get(0)?, row.get(1)?);
            if let Err(reason) = copy.add(self.after.0, row.get(2)?) {
                return Ok(Err(reason));
            }
        }
        if (rows.len() as i64) < DRAW_ROWS {
            return Ok(copy.finish().map(Some));
        }
        self.copy = Some(copy);
        Ok(Ok(None))
    }
}
