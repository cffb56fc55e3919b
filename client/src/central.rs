//! The central as the agency sees it: requests go in, replies come out, and what is safe to try again is tried again.
//!
//! A request that stores bets is sent at most once: the dialects carry nothing by which a central could tell a repetition from
//! a new batch. So it is tried again only while it is certain that none of it was carried out; see [`Central::may_repeat`].

mod request;
mod resolver;

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use conventions::duration::GoDuration;
use conventions::log_line::Outcome;
use log::Level;
use lottery::protocol::{ConnectionUse, ProtocolError};

pub(crate) use self::request::{Request, RequestError};
use crate::backoff::Backoff;
use crate::config::Config;
use crate::connection::{Connection, ConnectionError, Terms};
use crate::progress::Progress;
use crate::stop::{Stop, Wake};

/// How long one attempt to resolve the name or to connect may take. When it passes, the next address or attempt has its turn:
/// a central that starts in the meantime is found sooner than the system's own minutes would allow.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(5);

/// The way to the central.
pub(crate) struct Central<'a> {
    /// Address, limits, how connections are used, and the agency's number for log lines.
    config: &'a Config,
    /// Ends every wait.
    stop: &'a Stop,
    /// Where log lines go.
    progress: &'a Progress,
    /// What is said first on every connection.
    greeting: Vec<u8>,
    /// The connection that is open.
    connection: Option<Connection<'a>>,
    /// What the name stood for when it was last resolved; empty before, and after a failure, for a restarted container comes
    /// back under another address.
    addresses: Vec<SocketAddr>,
    /// Whether any reply has come in this run. Until then the central may be starting still.
    heard: bool,
    /// For how long the last exchange let itself be waited for before it failed; zero unless it may take any time.
    waited: Duration,
    /// Room for a reply, used again for each.
    reply: Vec<u8>,
}

impl<'a> Central<'a> {
    /// Nothing is connected before the first request.
    pub(crate) fn new(
        config: &'a Config,
        stop: &'a Stop,
        progress: &'a Progress,
        greeting: Vec<u8>,
    ) -> Self {
        Self {
            config,
            stop,
            progress,
            greeting,
            connection: None,
            addresses: Vec::new(),
            heard: false,
            waited: Duration::ZERO,
            reply: Vec::new(),
        }
    }

    /// Sends a request and reads the reply, again and again while that is safe and there is time.
    ///
    /// # Errors
    /// [`RequestError`] says whether the request may have been carried out.
    pub(crate) fn request<T>(
        &mut self,
        request: Request,
        packet: &[u8],
        read: impl Fn(&[u8]) -> Result<Option<T>, ProtocolError>,
    ) -> Result<T, RequestError> {
        self.persist(request, |central| central.exchange(request, packet, &read))
    }

    /// Holds a conversation that ends with a request of this kind, again from its start while that is safe and there is time.
    /// Afterwards the connection is closed, unless all went well and it is to be kept.
    ///
    /// # Errors
    /// As [`request`](Self::request).
    pub(crate) fn persist<T>(
        &mut self,
        request: Request,
        mut conversation: impl FnMut(&mut Self) -> Result<T, ConnectionError>,
    ) -> Result<T, RequestError> {
        let mut backoff = Backoff::new(self.config.connect_timeout);
        loop {
            self.waited = Duration::ZERO;
            let ended = conversation(self);
            if ended.is_err() || self.config.connection == ConnectionUse::PerRequest {
                self.close();
            }
            let error = match ended {
                Ok(value) => return Ok(value),
                Err(ConnectionError::Stopped) => return Err(RequestError::Stopped),
                Err(error) => error,
            };
            if !self.may_repeat(request, &error) {
                return Err(RequestError::Unanswered(error));
            }
            self.addresses.clear();
            if self.waited > self.config.connect_timeout {
                // The central was there for longer than it may be away: what failed before is past.
                backoff = Backoff::new(self.config.connect_timeout);
            }
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

    /// Sends a request and reads the reply, once, over the connection that is kept or a new one, which stays open.
    ///
    /// # Errors
    /// [`ConnectionError`].
    pub(crate) fn exchange<T>(
        &mut self,
        request: Request,
        packet: &[u8],
        read: impl Fn(&[u8]) -> Result<Option<T>, ProtocolError>,
    ) -> Result<T, ConnectionError> {
        if self.config.connection == ConnectionUse::PerRequest {
            self.close();
        }
        let terms = self.terms(request);
        let connection = match &mut self.connection {
            Some(kept) => {
                kept.check()?;
                kept
            }
            None => {
                let new = self.connect()?;
                self.connection.insert(new)
            }
        };
        let began = Instant::now();
        let answered = connection.exchange(packet, &mut self.reply, read, terms);
        match answered {
            Ok(_) => self.heard = true,
            // Time in which nothing of the answer came: one that begins and never ends is no waiting for the draw.
            Err(_) if terms.waits && self.reply.is_empty() => self.waited = began.elapsed(),
            Err(_) => {}
        }
        answered
    }

    /// Sends the last bytes of a conversation, which have no reply. Whether they arrive matters to the central only, so a failure
    /// is passed over.
    pub(crate) fn take_leave(&self, farewell: &[u8]) {
        if let Some(connection) = &self.connection {
            let _sent = connection.tell(farewell, self.terms(Request::Notify));
        }
    }

    /// Closes the connection that is open, if one is.
    pub(crate) fn close(&mut self) {
        if self.connection.take().is_some() && self.stop.requested().is_some() {
            let details: [(&str, &dyn Display); 1] = [("client_id", &self.config.id)];
            self.progress.log(Level::Info, "close_connection", Outcome::Success, &details);
        }
    }

    fn terms(&self, request: Request) -> Terms {
        Terms {
            limit: self.config.reply_timeout,
            waits: request == Request::Ask && self.config.protocol.waits_for_draw,
            reply_bytes: request.reply_bytes(),
            on_signal: request.on_signal(),
        }
    }

    /// Tries every address of the central once.
    fn connect(&mut self) -> Result<Connection<'a>, ConnectionError> {
        if self.addresses.is_empty() {
            self.addresses =
                resolver::resolve(&self.config.server_address, ATTEMPT_LIMIT, self.stop)?;
        }
        let nowhere = io::Error::new(io::ErrorKind::NotFound, "it stands for no address");
        let mut failure = ConnectionError::Unresolved(nowhere);
        for &address in &self.addresses {
            match Connection::open(address, ATTEMPT_LIMIT, self.stop, self.greeting.clone()) {
                Err(ConnectionError::Stopped) => return Err(ConnectionError::Stopped),
                Err(error) => failure = error,
                connected => return connected,
            }
        }
        Err(failure)
    }

    /// Whether the request can be sent again without the risk of being carried out twice.
    fn may_repeat(&self, request: Request, error: &ConnectionError) -> bool {
        match error {
            ConnectionError::Unresolved(_)
            | ConnectionError::NotConnected(_)
            | ConnectionError::ConnectTimedOut(_)
            | ConnectionError::Stale(_)
            | ConnectionError::Lost { sent: 0, .. } => true,
            // A reset does not tell either: a central may have read everything before it.
            ConnectionError::Lost { .. }
            | ConnectionError::Closed { .. }
            | ConnectionError::ReplyTimedOut { .. } => request.is_repeatable(),
            ConnectionError::ReplyTooLong { .. }
            | ConnectionError::Protocol(_)
            | ConnectionError::Stopped => false,
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
