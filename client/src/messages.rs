//! A run of the echo exercise: messages that the central echoes, each over a connection of its own.

use conventions::log_line::{self, Outcome};
use lottery::protocol::echo::{decode_reply, message};

use crate::central_client::{CentralClient, Request, RequestError};
use crate::config::Config;
use crate::failure::{Done, RunError};
use crate::progress::Progress;
use crate::stop::{Stop, Wake};

/// Sends `loop.amount` messages, `loop.period` apart, and logs each reply.
pub(crate) fn run(config: &Config, stop: &Stop, progress: &Progress) -> Result<(), RunError> {
    let mut central = CentralClient::new(config, stop, progress, Vec::new());
    for number in 1..=config.loop_amount {
        let stopped =
            || RunError::Stopped { signal: stop.signal_name(), done: Done::Messages(number - 1) };
        if number > 1 && stop.sleep(config.loop_period) == Wake::Stopped {
            return Err(stopped());
        }
        let reply = central.request(Request::Echo, &message(config.id, number), |reply| {
            Ok(decode_reply(reply).map(|text| String::from_utf8_lossy(text).into_owned()))
        });
        let text = match reply {
            Ok(text) => text,
            Err(RequestError::Stopped { .. }) => return Err(stopped()),
            Err(source) => return Err(RunError::Message { number, source }),
        };
        log_line::info("receive_message", Outcome::Success)
            .with("client_id", config.id)
            .with("msg", text)
            .write();
    }
    log_line::info("loop_finished", Outcome::Success).with("client_id", config.id).write();
    Ok(())
}
