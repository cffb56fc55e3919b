//! The central as the agency sees it: requests go in, replies come out, and what is safe to try again is tried again.
//!
//! A request that stores bets is sent at most once: the dialect carries nothing by which a central could tell a repetition from
//! a new batch. So it is tried again only while it is certain that none of it was carried out; see [`Central::may_repeat`].

use std::fmt::Display;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use conventions::duration::GoDuration;
use conventions::log_line::Outcome;
use log::Level;
use nix::poll::PollFlags;

use crate::backoff::Backoff;
use crate::config::Config;
use crate::connection::{Connection, ConnectionError, OnSignal};
use crate::dialect::Reader;
use crate::progress::Progress;
use crate::stop::{Heed, Stop, Wake};

/// How long one attempt to resolve the name or to connect may take. When it passes, the next address or attempt has its turn:
/// a central that starts in the meantime is found sooner than the system's own minutes would allow.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(5);

/// Why a request got no reply.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    /// Nothing was sent in the end, although it was tried for as long as allowed.
    #[error("{address} cannot be reached (attempts: {attempts}, within {}): {source}", GoDuration(*.limit))]
    Unreachable {
        /// The central's address.
        address: String,
        /// Attempts that failed.
        attempts: u32,
        /// For how long a failure is followed by another attempt.
        limit: Duration,
        /// What went wrong last.
        source: ConnectionError,
    },
    /// The request was sent, at least in part, and what became of it is not known.
    #[error(transparent)]
    Unanswered(ConnectionError),
    /// A signal came; nothing was sent, or nothing that matters.
    #[error("stopped by a signal")]
    Stopped,
}

/// What a request does to the central.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// It stores bets: to send it twice could store them twice.
    Store,
    /// It only asks.
    Ask,
}

/// The way to the central.
pub(crate) struct Central<'a> {
    /// Address, limits, and the agency's number for log lines.
    config: &'a Config,
    /// Ends every wait.
    stop: &'a Stop,
    /// Where log lines go.
    progress: &'a Progress,
    /// What the name stood for when it was last resolved; empty before, and after a failure, for a restarted container comes
    /// back under another address.
    addresses: Vec<SocketAddr>,
    /// Whether any reply has come in this run. Until then the central may be starting still.
    heard: bool,
    /// Room for a reply, used again for each.
    reply: Vec<u8>,
}

impl<'a> Central<'a> {
    /// Nothing is connected before the first request.
    pub(crate) fn new(config: &'a Config, stop: &'a Stop, progress: &'a Progress) -> Self {
        Self { config, stop, progress, addresses: Vec::new(), heard: false, reply: Vec::new() }
    }

    /// Sends a request over a connection of its own and reads the reply, again and again while that is safe and there is time.
    ///
    /// # Errors
    /// [`RequestError`] says whether the request may have been carried out.
    pub(crate) fn request<T>(
        &mut self,
        kind: Request,
        packet: &[u8],
        read: Reader<T>,
    ) -> Result<T, RequestError> {
        let mut backoff = Backoff::new(self.config.connect_timeout);
        loop {
            let error = match self.attempt(kind, packet, read) {
                Ok(reply) => {
                    self.heard = true;
                    return Ok(reply);
                }
                Err(ConnectionError::Stopped) => return Err(RequestError::Stopped),
                Err(error) => error,
            };
            if !self.may_repeat(kind, &error) {
                return Err(RequestError::Unanswered(error));
            }
            self.addresses.clear();
            let Some(pause) = backoff.failed(Instant::now()) else {
                return Err(RequestError::Unreachable {
                    address: self.config.server_address.clone(),
                    attempts: backoff.failures(),
                    limit: self.config.connect_timeout,
                    source: error,
                });
            };
            self.log_retry(&error, backoff.failures(), pause);
            if self.stop.sleep(pause) == Wake::Stopped {
                return Err(RequestError::Stopped);
            }
        }
    }

    /// Connects, sends and reads once. The connection is closed in any case.
    fn attempt<T>(&mut self, kind: Request, packet: &[u8], read: Reader<T>) -> Result<T, ConnectionError> {
        let on_signal = match kind {
            Request::Store => OnSignal::Finish,
            Request::Ask => OnSignal::Abandon,
        };
        let mut connection = self.connect()?;
        let answer = connection.exchange(packet, &mut self.reply, read, self.config.reply_timeout, on_signal);
        drop(connection);
        if self.stop.requested().is_some() {
            let details: [(&str, &dyn Display); 1] = [("client_id", &self.config.id)];
            self.progress.log(Level::Info, "close_connection", Outcome::Success, &details);
        }
        answer
    }

    /// Tries every address of the central once.
    fn connect(&mut self) -> Result<Connection<'a>, ConnectionError> {
        if self.addresses.is_empty() {
            self.addresses = resolve(&self.config.server_address, self.stop)?;
        }
        let nowhere = io::Error::new(io::ErrorKind::NotFound, "it stands for no address");
        let mut failure = ConnectionError::Unresolved(nowhere);
        for &address in &self.addresses {
            match Connection::open(address, ATTEMPT_LIMIT, self.stop) {
                Err(ConnectionError::Stopped) => return Err(ConnectionError::Stopped),
                Err(error) => failure = error,
                connected => return connected,
            }
        }
        Err(failure)
    }

    /// Whether the request can be sent again without the risk of being carried out twice.
    fn may_repeat(&self, kind: Request, error: &ConnectionError) -> bool {
        match error {
            ConnectionError::Unresolved(_)
            | ConnectionError::NotConnected(_)
            | ConnectionError::ConnectTimedOut(_)
            | ConnectionError::Lost { sent: 0, .. } => true,
            // A central resets a connection that it closes before it has read everything, as one that is just starting or
            // a proxy in front of it does; and what it has not read whole it cannot have stored. Later in the run a reset
            // may as well come from a machine that went down after storing.
            ConnectionError::Lost { source, .. } => kind == Request::Ask || (!self.heard && is_reset(source)),
            ConnectionError::Closed { .. } | ConnectionError::ReplyTimedOut { .. } => kind == Request::Ask,
            ConnectionError::ReplyTooLong | ConnectionError::Protocol(_) | ConnectionError::Stopped => false,
        }
    }

    fn log_retry(&self, error: &ConnectionError, attempt: u32, pause: Duration) {
        // Containers start in any order: before the first reply this is nothing to worry about.
        let level = if self.heard { Level::Warn } else { Level::Info };
        let retry_in = GoDuration(Duration::from_millis(pause.as_millis() as u64));
        let details: [(&str, &dyn Display); 5] = [
            ("client_id", &self.config.id),
            ("attempt", &attempt),
            ("retry_in", &retry_in),
            ("server_address", &self.config.server_address),
            ("error", error),
        ];
        self.progress.log(level, "connect", Outcome::InProgress, &details);
    }
}

/// Whether the peer threw the connection away.
fn is_reset(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe)
}

/// The addresses of `host:port`. The system's resolver cannot be interrupted, so it has a thread to itself, which is left
/// behind when a signal or the limit comes first.
fn resolve(address: &str, stop: &Stop) -> Result<Vec<SocketAddr>, ConnectionError> {
    if let Ok(address) = address.parse() {
        return Ok(vec![address]);
    }
    let failed = ConnectionError::Unresolved;
    let (done, waiting) = UnixStream::pair().map_err(failed)?;
    let (sender, receiver) = mpsc::channel();
    let name = address.to_owned();
    let resolver = move || {
        let _receiver_gone = sender.send(name.to_socket_addrs().map(Vec::from_iter));
        // The waiting side wakes up when this end is closed.
        drop(done);
    };
    thread::Builder::new().name("resolver".to_owned()).spawn(resolver).map_err(failed)?;
    let deadline = Instant::now() + ATTEMPT_LIMIT;
    match stop.wait(waiting.as_fd(), PollFlags::POLLIN, Heed::Signals, deadline).map_err(failed)? {
        Wake::Ready => {
            let answer = receiver.recv().unwrap_or_else(|_| Err(io::Error::other("the resolver failed")));
            answer.map_err(failed)
        }
        Wake::TimedOut => Err(failed(io::ErrorKind::TimedOut.into())),
        Wake::Stopped => Err(ConnectionError::Stopped),
    }
}
