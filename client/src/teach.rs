//! `loteria-agency teach`: a small server of any dialect for exercises, correct except for the
//! faults that the user chooses. It keeps its bets in memory.

mod faults;
mod lottery_state;
mod sessions;

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use clap::Args;
use lottery::protocol::{CentralCodec, Decoded, Dialect, Refusal, Refused, Then};

use self::faults::Fault;
use self::lottery_state::{Arriving, Lottery};
use crate::config;
use crate::stop::{Stop, Wake};

/// Text at the end of the help.
pub(crate) const AFTER_HELP: &str = "\
The server keeps its bets in memory, has one thread per connection, and ends on Ctrl-C. It shows what
a fault looks like from outside: loteria-agency check finds each of them, some only with --beyond.
Exit codes: 0 stopped by a signal, 1 it cannot listen, 2 wrong usage.";

/// Size of one read in bytes.
const READ_BYTES: usize = 16 * 1024;

/// Arguments of `loteria-agency teach`.
#[derive(Args, Debug)]
pub(crate) struct Teach {
    /// Address to listen on, such as 127.0.0.1:12345; port 0 chooses a free one
    #[arg(value_name = "HOST:PORT")]
    listen: String,
    /// Dialect to speak
    #[arg(long, value_name = "DIALECT", value_parser = config::dialect)]
    protocol: &'static Dialect,
    /// Number of agencies that the draw waits for
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=255))]
    agencies: u16,
    /// What the server does wrong; may be repeated
    #[arg(long, value_name = "FAULT", value_enum)]
    fault: Vec<Fault>,
}

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TeachError {
    /// The dialect has nothing that this fault could spoil.
    #[error("--fault {fault} changes nothing in {dialect}, which has {applicable}")]
    Fault {
        /// Name of the fault.
        fault: String,
        /// Name of the dialect.
        dialect: &'static str,
        /// The faults that the dialect can have.
        applicable: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Address as it was given.
        address: String,
        /// The reason.
        source: io::Error,
    },
}

impl Teach {
    /// Fails if a fault does not apply to the dialect.
    pub(crate) fn validate(&self) -> Result<(), TeachError> {
        match self.fault.iter().find(|fault| !fault.applies_to(self.protocol)) {
            None => Ok(()),
            Some(fault) => Err(TeachError::Fault {
                fault: fault.name(),
                dialect: self.protocol.name,
                applicable: Fault::names_of(self.protocol),
            }),
        }
    }

    /// Serves until a signal arrives. Prints the address with `print` once the server listens.
    pub(crate) fn run(&self, stop: &Stop, print: fn(&str)) -> Result<(), TeachError> {
        let failed = |source| TeachError::Listen { address: self.listen.clone(), source };
        let listener = TcpListener::bind(&self.listen).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let dialect = self.protocol;
        let lottery = Arc::new(Lottery::new(self.agencies, self.fault.clone()));
        let accept = move || {
            for stream in listener.incoming() {
                // A failed attempt, such as one without a free descriptor, ends no other.
                let Ok(stream) = stream else { continue };
                let lottery = Arc::clone(&lottery);
                let serve = move || Connection::new(stream, dialect, &lottery).serve();
                // Without a thread the client sees the end of its connection.
                let _started = thread::Builder::new().spawn(serve);
            }
        };
        thread::Builder::new().name("accept".to_owned()).spawn(accept).map_err(failed)?;
        let faults: Vec<_> = self.fault.iter().map(|fault| fault.name()).collect();
        let faults = if faults.is_empty() { "none".to_owned() } else { faults.join(", ") };
        print(&format!("{} at {address}, faults: {faults}\n", dialect.name));
        while stop.sleep(crate::stop::LONG) != Wake::Stopped {}
        Ok(())
    }
}

/// A connection of an agency.
struct Connection<'l> {
    stream: TcpStream,
    codec: Box<dyn CentralCodec>,
    lottery: &'l Lottery,
    /// Bytes that belong to no answered message.
    received: Vec<u8>,
    /// The batch that is arriving, if one is.
    arriving: Option<Arriving<'l>>,
}

impl<'l> Connection<'l> {
    fn new(stream: TcpStream, dialect: &Dialect, lottery: &'l Lottery) -> Self {
        let codec = (dialect.central)();
        Self { stream, codec, lottery, received: Vec::new(), arriving: None }
    }

    /// Answers requests until either side closes the connection. A failure is that of this
    /// connection only, so nothing is done about it.
    fn serve(mut self) {
        let _open = self.lottery.open();
        while let Ok(Then::Continue) = self.step() {}
    }

    /// Reads, or answers one message.
    fn step(&mut self) -> io::Result<Then> {
        let mut reply = Vec::new();
        let (consumed, then) = match self.codec.decode(&self.received) {
            Ok(Decoded::Incomplete)
                if self.received.is_empty() || !self.lottery.has(Fault::ShortRead) =>
            {
                if self.codec.begins_batch(&self.received) && self.arriving.is_none() {
                    self.arriving = Some(self.lottery.arrive());
                }
                return self.read();
            }
            // The server takes what it has read for a message, and it is none.
            Ok(Decoded::Incomplete) => return Ok(Then::Close),
            Ok(Decoded::Skip { consumed }) => (consumed, Then::Continue),
            Ok(Decoded::Complete { request, consumed }) => {
                (consumed, self.lottery.answer(request, &mut *self.codec, &mut reply))
            }
            Err(refusal) => self.refuse(&refusal, &mut reply),
        };
        self.received.drain(..consumed);
        self.arriving = None;
        if !reply.is_empty() && self.lottery.has(Fault::TrailingByte) {
            reply.push(b'\n');
        }
        self.stream.write_all(&reply)?;
        Ok(then)
    }

    fn refuse(&mut self, refusal: &Refusal, reply: &mut Vec<u8>) -> (usize, Then) {
        if self.lottery.has(Fault::TornBatch)
            && let Some(repaired) = faults::repaired(&self.received)
            && let Ok(Decoded::Complete { request, .. }) = self.codec.decode(&repaired)
        {
            self.lottery.store_torn(&request);
        }
        let then = self.codec.refuse(Refused::Message(&refusal.error), reply);
        match refusal.consumed {
            Some(consumed) => (consumed, then),
            None => (self.received.len(), Then::Close),
        }
    }

    fn read(&mut self) -> io::Result<Then> {
        let mut bytes = [0; READ_BYTES];
        let count = self.stream.read(&mut bytes)?;
        self.received.extend_from_slice(&bytes[..count]);
        if count > 0 {
            return Ok(Then::Continue);
        }
        // In some dialects the end of the stream ends the last message.
        if let Ok(Decoded::Complete { request, .. }) = self.codec.decode_last(&self.received) {
            let mut reply = Vec::new();
            self.lottery.answer(request, &mut *self.codec, &mut reply);
            self.stream.write_all(&reply)?;
        }
        Ok(Then::Close)
    }
}
