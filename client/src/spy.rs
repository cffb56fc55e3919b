//! `loteria-agency spy`: a proxy that prints the decoded messages of both directions between any
//! two programs.

mod describe;
mod observer;
mod relay;
mod replies;

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use clap::Args;
use lottery::protocol::Dialect;

use self::relay::relay;
use crate::config;
use crate::stop::{LONG, Stop, Wake};

/// Text at the end of the help.
pub(crate) const AFTER_HELP: &str = "\
Agencies connect to LISTEN instead of the central, and the proxy connects to TARGET for each of
them. It forwards all bytes unchanged and as soon as they arrive, the end of each direction and
resets. Each message that is complete is printed with its time and the number of its connection:
--> from the agency, <-- from the central. What cannot be decoded is shown in hexadecimal, with the
reason. Ends on Ctrl-C.
Exit codes: 0 stopped by a signal, 1 it cannot listen or print, 2 wrong usage.";

/// Arguments of `loteria-agency spy`.
#[derive(Args, Debug)]
pub(crate) struct Spy {
    /// Address to listen on, such as 127.0.0.1:12346; port 0 chooses a free one
    #[arg(value_name = "LISTEN")]
    listen: String,
    /// Address of the central, such as 127.0.0.1:12345
    #[arg(value_name = "TARGET", value_parser = config::one_address)]
    target: String,
    /// Dialect of the messages
    #[arg(long, value_name = "DIALECT", value_parser = config::dialect)]
    protocol: &'static Dialect,
    /// Print all bets, winners and bytes instead of the first ones
    #[arg(long)]
    full: bool,
}

/// Why the proxy did not start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub(crate) struct ListenError {
    /// Address as it was given.
    address: String,
    /// The reason.
    source: io::Error,
}

/// What all connections of the proxy have in common.
#[derive(Clone, Copy, Debug)]
struct Settings {
    dialect: &'static Dialect,
    full: bool,
    /// Prints to standard output.
    print: fn(&str),
}

impl Spy {
    /// Forwards connections until a signal arrives.
    pub(crate) fn run(&self, stop: &Stop, print: fn(&str)) -> Result<(), ListenError> {
        let failed = |source| ListenError { address: self.listen.clone(), source };
        let listener = TcpListener::bind(&self.listen).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let settings = Settings { dialect: self.protocol, full: self.full, print };
        let target: Arc<str> = Arc::from(&*self.target);
        let accept = move || {
            let accepted = listener.incoming().flatten();
            for (number, agency) in (1..).zip(accepted) {
                let target = Arc::clone(&target);
                let forward = move || connect(agency, &target, number, settings);
                // Without a thread the agency sees the end of its connection.
                let _started = thread::Builder::new().spawn(forward);
            }
        };
        print(&format!("{} from {address} to {}\n", self.protocol.name, self.target));
        thread::Builder::new().name("accept".to_owned()).spawn(accept).map_err(failed)?;
        while stop.sleep(LONG) != Wake::Stopped {}
        Ok(())
    }
}

/// Connects to the central and forwards a connection. If there is no central, the agency gets a
/// reset.
fn connect(agency: TcpStream, target: &str, number: u64, settings: Settings) {
    let forwarded =
        TcpStream::connect(target).and_then(|central| relay(&agency, central, number, settings));
    if let Err(error) = forwarded {
        relay::reset_when_dropped(&agency);
        (settings.print)(&format!("{} #{number} {target}: {error}\n", describe::now()));
    }
}
