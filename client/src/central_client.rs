//! The agency's access to the central: sends requests, reads replies, and retries what is safe to
//! retry.
//!
//! The dialects carry no batch id, so the central cannot recognize a batch that is sent twice. A
//! batch is therefore retried only while it is certain that the central has not processed any of
//! it; see [`CentralClient::may_retry`].

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
use crate::connection::{Connection, ConnectionError, ExchangeOptions};
use crate::progress::Progress;
use crate::stop::{Stop, Wake};

/// Time limit for one attempt to resolve the name or to connect. The system's own limit is minutes;
/// a shorter one finds a central that starts in the meantime sooner.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(5);

/// Client side of the central, with at most one open connection.
pub(crate) struct CentralClient<'a> {
    /// Address, time limits, use of connections, and the agency's number for log lines.
    config: &'a Config,
    /// Interrupts every wait when a signal arrives.
    stop: &'a Stop,
    /// Writes the log lines.
    progress: &'a Progress,
    /// Bytes that precede the first request on every connection.
    greeting: Vec<u8>,
    /// The open connection.
    connection: Option<Connection<'a>>,
    /// Addresses from the last name resolution. Empty before the first one and after each failure,
    /// because a restarted container may have another address.
    addresses: Vec<SocketAddr>,
    /// True once any reply has arrived in this run. Until then the central may still be starting.
    has_replied: bool,
    /// Time that the last failed exchange waited for the draw; zero for all other exchanges.
    waited: Duration,
    /// Buffer for the reply, reused for each exchange.
    reply: Vec<u8>,
}

impl<'a> CentralClient<'a> {
    /// Creates a client. It connects with the first request.
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
            has_replied: false,
            waited: Duration::ZERO,
            reply: Vec::new(),
        }
    }

    /// Sends a request and reads its reply. Retries while that is safe and `connect.timeout` has
    /// not passed.
    pub(crate) fn request<T>(
        &mut self,
        request: Request,
        packet: &[u8],
        read: impl Fn(&[u8]) -> Result<Option<T>, ProtocolError>,
    ) -> Result<T, RequestError> {
        self.retry(request, |central| central.exchange(request, packet, &read))
    }

    /// Runs `conversation`, whose last request is `request`. Runs it again from its start while
    /// that is safe and `connect.timeout` has not passed.
    ///
    /// The connection stays open only if the conversation succeeds and the dialect keeps
    /// connections.
    pub(crate) fn retry<T>(
        &mut self,
        request: Request,
        mut conversation: impl FnMut(&mut Self) -> Result<T, ConnectionError>,
    ) -> Result<T, RequestError> {
        let mut backoff = Backoff::new(self.config.connect_timeout);
        loop {
            self.waited = Duration::ZERO;
            let result = conversation(self);
            if result.is_err() || self.config.connection == ConnectionUse::PerRequest {
                self.close();
            }
            let error = match result {
                Ok(value) => return Ok(value),
                Err(ConnectionError::Stopped) => return Err(RequestError::Stopped),
                Err(error) => error,
            };
            if !self.may_retry(request, &error) {
                return Err(RequestError::Unanswered(error));
            }
            self.addresses.clear();
            if self.waited > self.config.connect_timeout {
                // The central was available for longer than the retry limit, so earlier failures
                // no longer count.
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

    /// Sends a request and reads its reply, without a retry. Reuses the open connection or opens a
    /// new one, and leaves it open.
    pub(crate) fn exchange<T>(
        &mut self,
        request: Request,
        packet: &[u8],
        read: impl Fn(&[u8]) -> Result<Option<T>, ProtocolError>,
    ) -> Result<T, ConnectionError> {
        if self.config.connection == ConnectionUse::PerRequest {
            self.close();
        }
        let options = self.options(request);
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
        let start = Instant::now();
        let result = connection.exchange(packet, &mut self.reply, read, options);
        match result {
            Ok(_) => self.has_replied = true,
            // Only time without any byte of the answer counts. A reply that begins and never
            // completes is a failure, not a wait for the draw.
            Err(_) if options.waits_for_draw && self.reply.is_empty() => {
                self.waited = start.elapsed();
            }
            Err(_) => {}
        }
        result
    }

    /// Returns how long the last failed exchange waited for the draw; zero for all other exchanges.
    pub(crate) fn waited(&self) -> Duration {
        self.waited
    }

    /// Sends the last bytes of a conversation, which have no reply. Ignores failures: only the
    /// central uses these bytes.
    pub(crate) fn send_final_message(&self, bytes: &[u8]) {
        if let Some(connection) = &self.connection {
            let _ignored = connection.send_only(bytes, self.options(Request::Notify));
        }
    }

    /// Closes the open connection, if any.
    pub(crate) fn close(&mut self) {
        if self.connection.take().is_some() && self.stop.requested().is_some() {
            let details: [(&str, &dyn Display); 1] = [("client_id", &self.config.id)];
            self.progress.log(Level::Info, "close_connection", Outcome::Success, &details);
        }
    }

    fn options(&self, request: Request) -> ExchangeOptions {
        ExchangeOptions {
            reply_timeout: self.config.reply_timeout,
            waits_for_draw: request == Request::Query && self.config.protocol.waits_for_draw,
            max_reply_bytes: request.max_reply_bytes(),
            on_signal: request.on_signal(),
        }
    }

    /// Tries each address of the central once.
    fn connect(&mut self) -> Result<Connection<'a>, ConnectionError> {
        if self.addresses.is_empty() {
            self.addresses =
                resolver::resolve(&self.config.server_address, ATTEMPT_LIMIT, self.stop)?;
        }
        let no_address = io::Error::new(io::ErrorKind::NotFound, "it has no address");
        let mut failure = ConnectionError::Unresolved(no_address);
        for &address in &self.addresses {
            match Connection::open(address, ATTEMPT_LIMIT, self.stop, self.greeting.clone()) {
                Err(ConnectionError::Stopped) => return Err(ConnectionError::Stopped),
                Err(error) => failure = error,
                connected => return connected,
            }
        }
        Err(failure)
    }

    /// Returns true if a retry cannot make the central process the request twice, or if that
    /// would do no harm.
    fn may_retry(&self, request: Request, error: &ConnectionError) -> bool {
        match error {
            ConnectionError::Unresolved(_)
            | ConnectionError::NotConnected(_)
            | ConnectionError::ConnectTimedOut(_)
            | ConnectionError::Stale(_)
            | ConnectionError::Lost { sent: 0, .. } => true,
            // A reset proves nothing: the central may have read the whole request before it.
            ConnectionError::Lost { .. }
            | ConnectionError::Closed { .. }
            | ConnectionError::ReplyTimedOut { .. } => request.is_idempotent(),
            ConnectionError::ReplyTooLong { .. }
            | ConnectionError::Protocol(_)
            | ConnectionError::Stopped => false,
        }
    }

    fn log_retry(&self, error: &ConnectionError, attempt: u32, pause: Duration) {
        // Containers start in any order, so a failure before the first reply is not a warning.
        let level = if self.has_replied { Level::Warn } else { Level::Info };
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
