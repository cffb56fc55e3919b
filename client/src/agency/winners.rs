//! The end of a run: tell the central that all bets are sent, and ask for the winners until the answer is final.

use conventions::log_line::{self, Outcome};
use lottery::protocol::Answer;

use super::Agency;
use crate::central::{Request, RequestError};
use crate::connection::ConnectionError;
use crate::failure::RunError;
use crate::stop::Wake;

impl Agency<'_> {
    /// Asks until there is nothing more to ask.
    pub(super) fn ask_for_winners(&mut self) -> Result<(), RunError> {
        let mut notified = Notified::No;
        loop {
            if self.stop.requested().is_some() {
                return Err(self.stopped());
            }
            let answer = match self.ask(&mut notified) {
                Ok(answer) => answer,
                Err(RequestError::Stopped) => return Err(self.stopped()),
                Err(source) => return Err(RunError::Query { source }),
            };
            let line = log_line::info("consulta_ganadores", Outcome::InProgress);
            match answer {
                Answer::Results(results) if results.in_flight > 0 => line
                    .with("agencias_en_proceso", results.in_flight)
                    .with("cant_ganadores", results.winners)
                    .write(),
                Answer::NotYet => line.write(),
                Answer::Results(results) => {
                    log_winners(results.winners);
                    return Ok(());
                }
                Answer::Winners(winners) => {
                    self.totals.winners = winners;
                    log_winners(winners);
                    return Ok(());
                }
                Answer::Refused(reason) => return Err(RunError::NoAnswer { reason }),
            }
            if self.stop.sleep(self.config.loop_period) == Wake::Stopped {
                return Err(self.stopped());
            }
        }
    }

    /// Notifies unless that was done, asks, and takes leave of a central that has answered for good.
    fn ask(&mut self, notified: &mut Notified) -> Result<Answer, RequestError> {
        let codec = &self.codec;
        let (notification, question) = (codec.notification(), codec.question());
        self.central.persist(Request::Ask, |central| {
            if let Some(notification) = notification.as_ref().filter(|_| *notified != Notified::Yes)
            {
                central.exchange(Request::Notify, notification, |reply| {
                    codec.acknowledgement(reply)
                })?;
            }
            let answered = central.exchange(Request::Ask, &question, |reply| codec.answer(reply));
            *notified = notified.after(&answered);
            if let Ok(Answer::Winners(_)) = answered {
                central.take_leave(codec.final_message());
            }
            answered
        })
    }
}

/// Whether the central knows that all bets are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notified {
    /// It does not, or may have forgotten.
    No,
    /// It acknowledged that and closed before the question. Once, it may have been lost and come back without knowing.
    ClosedAfter,
    /// It does.
    Yes,
}

impl Notified {
    /// What holds after a notification that was acknowledged, where it was needed, and this end of the question.
    fn after(self, answered: &Result<Answer, ConnectionError>) -> Self {
        match answered {
            Ok(_) => Self::Yes,
            // Twice in a row: it is one that closes after each reply.
            Err(ConnectionError::Stale(_)) if self == Self::ClosedAfter => Self::Yes,
            Err(ConnectionError::Stale(_)) => Self::ClosedAfter,
            Err(_) => Self::No,
        }
    }
}

fn log_winners(winners: u64) {
    log_line::info("consulta_ganadores", Outcome::Success).with("cant_ganadores", winners).write();
}
