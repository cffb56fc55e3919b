//! A run that sends only the bet from the environment.

use conventions::log_line::{self, Outcome};
use lottery::BatchKey;
use lottery::protocol::{NewAgency, Receipt};

use crate::central_client::{CentralClient, Request, RequestError, or_denied};
use crate::config::{Config, SingleBet};
use crate::failure::{Done, RunError, SingleBetFailure};
use crate::progress::Progress;
use crate::stop::Stop;

/// Sends the bet and waits for its acknowledgement.
///
/// Where batches have keys, the bet is a session of its own, which no later run continues: two runs
/// with the same bet store two bets.
pub(crate) fn run(
    config: &Config,
    single: &SingleBet,
    new_codec: NewAgency,
    stop: &Stop,
    progress: &Progress,
) -> Result<(), RunError> {
    let mut codec = config.codec(new_codec, BatchKey::new_session());
    codec.set_sequence(1);
    // The result need not be checked: an empty batch has room for any encodable bet.
    let mut bet = single.bet(config.id);
    bet.number = bet.number.filter(|_| config.with_number);
    codec.push(&bet).map_err(SingleBetFailure::from)?;
    let packet = codec.packet().to_vec();
    let mut central = CentralClient::new(config, stop, progress, codec.greeting());
    let receipt = central.request(Request::store(config.protocol), &packet, |reply| {
        or_denied(&*codec, reply, codec.receipt(reply))
    });
    central.close();
    match receipt {
        Ok(Receipt::Stored { .. }) => {}
        Ok(Receipt::Refused) => return Err(SingleBetFailure::Refused(None).into()),
        Err(RequestError::Denied(denied)) => {
            return Err(SingleBetFailure::Refused(Some(denied.reason)).into());
        }
        Err(RequestError::Stopped { in_doubt: false }) => {
            let done = Done::Bets { bets: 0, batches: 0, has_next: false };
            return Err(RunError::Stopped { signal: stop.signal_name(), done });
        }
        Err(error @ RequestError::Unreachable { in_doubt: false, .. }) => {
            return Err(SingleBetFailure::Unsent(error).into());
        }
        Err(error) => return Err(SingleBetFailure::InDoubt(error).into()),
    }
    log_line::info("apuesta_enviada", Outcome::Success)
        .with("dni", &single.document)
        .with("numero", single.number)
        .write();
    log_line::info("loop_finished", Outcome::Success).with("client_id", config.id).write();
    Ok(())
}
