//! What was carried out in a round of the loop and is answered when all of it is published together.

use conventions::log_line::{Outcome, info};
use lottery::protocol::Then;

use super::{Service, WorkerError};

/// A request that was carried out and is not published yet.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) key: usize,
    /// Of the connection, which may be gone by then, and another in its place.
    pub(super) serial: u32,
    /// Its agency counts as in flight until then.
    pub(super) marked: bool,
    /// What is to be done when it is.
    pub(super) next: Next,
}

/// What follows the publishing of a request.
#[derive(Debug)]
pub(super) enum Next {
    /// A batch was stored: log it and send this.
    Stored { reply: Vec<u8>, then: Then, bets: usize, single: Option<Single> },
    /// An agency has finished: send this.
    Answer { reply: Vec<u8>, then: Then },
    /// An agency has finished and wants its winners.
    Winners { agency: u16 },
}

/// What the log says of a batch of one bet.
#[derive(Debug)]
pub(super) struct Single {
    pub(super) document: String,
    pub(super) number: u32,
}

impl Service<'_> {
    /// Publishes what was carried out in this round, then answers it.
    pub(super) fn settle(&mut self) -> Result<(), WorkerError> {
        if self.settled.is_empty() {
            return Ok(());
        }
        let marked = self.settled.iter().filter(|settled| settled.marked).count();
        self.central.publish(self.slot, u16::try_from(marked).unwrap_or(u16::MAX))?;
        let settled = std::mem::take(&mut self.settled);
        for Settled { key, serial, next, .. } in settled {
            let there =
                self.connections.get(key).is_some_and(|connection| connection.serial == serial);
            match next {
                Next::Stored { reply, then, bets, single } => {
                    self.log_stored(bets, single);
                    if there {
                        self.answer(key, reply, then, false)?;
                    }
                }
                Next::Answer { reply, then } if there => self.answer(key, reply, then, false)?,
                Next::Winners { agency } if there => self.answer_or_wait(key, agency)?,
                Next::Answer { .. } | Next::Winners { .. } => {}
            }
        }
        Ok(())
    }

    fn log_stored(&self, bets: usize, single: Option<Single>) {
        self.central.shared().worker_batches.fetch_add(self.slot, 1);
        self.central.shared().worker_bets.fetch_add(self.slot, bets as u64);
        if let Some(Single { document, number }) = single {
            info("apuesta_almacenada", Outcome::Success)
                .with("dni", document)
                .with("numero", number)
                .write();
        }
        info("apuesta_recibida", Outcome::Success).with("cantidad", bets).write();
    }
}
