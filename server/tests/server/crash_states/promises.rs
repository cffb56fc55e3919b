//! What the central has promised at a moment of a recording, by its replies.

use std::collections::BTreeSet;

use super::operations::{Action, Operation};
use super::recording::Recording;

/// What must survive a power loss.
#[derive(Clone, Debug, Default)]
pub struct Promises {
    /// Batches that must be stored.
    pub batches: BTreeSet<usize>,
    /// Agencies that must have finished.
    pub finished: u32,
    /// True if the draw must have been held.
    pub drawn: bool,
    /// True while the central runs with durability `process`: a power loss may then leave files
    /// that no start accepts.
    pub may_refuse: bool,
    /// Acknowledged finish marks of the current run. Every run begins with the same agency.
    acknowledged: u32,
    /// Batches that the running central has acknowledged without promising that they survive.
    volatile: BTreeSet<usize>,
}

impl Promises {
    /// Takes the operation at this position of a recording into account.
    pub fn observe(&mut self, position: usize, recording: &Recording) {
        let run = recording.runs.iter().rev().find(|run| run.first <= position);
        let run = run.expect("operations belong to runs");
        if position == run.first {
            self.may_refuse |= !run.durable;
            self.acknowledged = 0;
        }
        if position >= run.ready && run.durable {
            // A ready central with durability `disk` has made everything durable that it counts.
            self.may_refuse = false;
            self.batches.append(&mut self.volatile);
        }
        let Operation { action: Action::Reply(reply), .. } = &recording.operations[position] else {
            return;
        };
        let named = recording.sessions.before(next_in(reply).unwrap_or_default());
        let kept = if run.durable { &mut self.batches } else { &mut self.volatile };
        kept.extend(batch_of(reply).into_iter().chain(named));
        if run.durable && reply == b"ACK\n" {
            self.acknowledged += 1;
            self.finished = self.finished.max(self.acknowledged);
        } else if run.durable && reply.starts_with(b"WINNERS|") {
            self.drawn = true;
        }
    }
}

/// Returns the number of the next batch of a session that a reply of `keyed` names: the answer to
/// the question for it, or the error after a gap.
fn next_in(reply: &[u8]) -> Option<u64> {
    let number = match reply {
        [0x81, 0x85, _, _, _, _, number @ ..] | [0x81, 0xFF, _, _, _, _, 0x20, number @ ..] => {
            number
        }
        _ => return None,
    };
    Some(u64::from_be_bytes(*number.first_chunk()?))
}

/// Returns the batch whose winners a reply lists. Every batch has a winner.
fn batch_of(reply: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(reply);
    let (_, rest) = text.split_once("Santiago Lionel;Lorca;")?;
    rest.split_once('-')?.0.parse().ok()
}
