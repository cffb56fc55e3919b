//! The end of a run: reports that all bets are sent and asks for the winners until the answer is
//! final.

use std::time::Duration;

use conventions::log_line::{self, Outcome};
use lottery::protocol::{Answer, ConnectionUse};

use super::Agency;
use crate::central_client::{Request, RequestError, or_denied};
use crate::connection::ConnectionError;
use crate::failure::RunError;
use crate::stop::Wake;

/// Time within which a central that closes after each reply has closed. A connection that ends
/// later ends a query that was waiting for the draw.
const CLOSE_TIME: Duration = Duration::from_secs(2);

impl Agency<'_> {
    /// Asks for the winners, every `loop.period`, until the central gives a final answer.
    pub(super) fn query_winners(&mut self) -> Result<(), RunError> {
        let mut notified = Notified::No;
        loop {
            if self.stop.requested().is_some() {
                return Err(self.stopped());
            }
            let answer = match self.query(&mut notified) {
                Ok(answer) => answer,
                Err(RequestError::Stopped { .. }) => return Err(self.stopped()),
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

    /// Sends the notification if the dialect has one and the central does not know yet, then the
    /// query. After a final answer, sends the dialect's last message.
    fn query(&mut self, notified: &mut Notified) -> Result<Answer, RequestError> {
        let kept = self.config.connection == ConnectionUse::Kept;
        let codec = &*self.codec;
        let (notification, question) = (codec.notification(), codec.question());
        self.central.retry(Request::Query, |central| {
            if let Some(notification) = notification.as_ref().filter(|_| *notified != Notified::Yes)
            {
                central.exchange(Request::Notify, notification, |reply| {
                    or_denied(codec, reply, codec.acknowledgement(reply))
                })?;
            }
            let answer = central.exchange(Request::Query, &question, |reply| {
                or_denied(codec, reply, codec.answer(reply))
            });
            *notified = match &answer {
                Ok(_) => Notified::Yes,
                Err(error) if kept && was_closed(error) && central.waited() <= CLOSE_TIME => {
                    notified.after_close()
                }
                Err(_) => Notified::No,
            };
            if let Ok(Answer::Winners(_)) = answer {
                central.send_final_message(codec.final_message());
            }
            answer
        })
    }
}

/// What the agency knows about its notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notified {
    /// The central does not know that all bets are sent, or may have lost that in a restart.
    No,
    /// The central acknowledged the notification and closed the connection before the query. It may
    /// have restarted and lost the notification.
    ClosedAfter,
    /// The central knows that all bets are sent.
    Yes,
}

impl Notified {
    /// Returns the state after the central has closed the kept connection instead of answering the
    /// query.
    fn after_close(self) -> Self {
        match self {
            // Twice in a row is not a restart: this central closes after each reply.
            Self::ClosedAfter => Self::Yes,
            Self::No | Self::Yes => Self::ClosedAfter,
        }
    }
}

/// Returns true if the central has ended the connection without any byte of an answer. The end may
/// arrive before the query is written (`Stale`), or after it: as the end of the stream, or as a
/// reset because the central never reads the query.
fn was_closed(error: &ConnectionError) -> bool {
    matches!(
        error,
        ConnectionError::Stale(_)
            | ConnectionError::Lost { .. }
            | ConnectionError::Closed { received: 0 }
    )
}

fn log_winners(winners: u64) {
    log_line::info("consulta_ganadores", Outcome::Success).with("cant_ganadores", winners).write();
}
