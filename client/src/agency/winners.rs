//! The end of a run: tell the central that all bets are sent, and ask for the winners until the answer is final.

use conventions::log_line::{self, Outcome};
use lottery::protocol::Answer;

use super::Agency;
use crate::central::{Request, RequestError};
use crate::failure::RunError;
use crate::stop::Wake;

impl Agency<'_> {
    /// Asks until there is nothing more to ask.
    pub(super) fn ask_for_winners(&mut self) -> Result<(), RunError> {
        let mut notified = false;
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
    fn ask(&mut self, notified: &mut bool) -> Result<Answer, RequestError> {
        let codec = &self.codec;
        let (notification, question) = (codec.notification(), codec.question());
        self.central.persist(Request::Ask, |central| {
            if let Some(notification) = notification.as_ref().filter(|_| !*notified) {
                central.exchange(Request::Notify, notification, |reply| codec.acknowledgement(reply))?;
            }
            let answered = central.exchange(Request::Ask, &question, |reply| codec.answer(reply));
            // A central that was lost may come back without knowing who had finished.
            *notified = answered.is_ok();
            if let Ok(Answer::Winners(_)) = answered {
                central.take_leave(codec.farewell());
            }
            answered
        })
    }
}

fn log_winners(winners: u64) {
    log_line::info("consulta_ganadores", Outcome::Success).with("cant_ganadores", winners).write();
}
