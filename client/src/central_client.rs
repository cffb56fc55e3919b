//! The agency's access to the central: sends requests, reads replies, and retries what is safe to
//! retry.
//!
//! A batch without a key is retried only while it is certain that the central has not processed any
//! of it, because the central cannot recognize a batch that is sent twice. A batch with a key is
//! retried after any lost connection; see [`CentralClient::may_retry`].
//!
//! After a failure, the next address of the list is tried.

mod request;
mod resolver;

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use conventions::duration::GoDuration;
use conventions::log_line::Outcome;
use log::Level;
use lottery::protocol::{Advice, AgencyCodec, ConnectionUse, ProtocolError};

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
    /// Index of the address in use, in `server_addresses`.
    current: usize,
    /// The addresses that its name resolved to last. Empty at first and after each failure, because
    /// a restarted container may have another address.
    resolved: Vec<SocketAddr>,
    /// Index of the address from which the last reply arrived. Until the first reply, the central
    /// may still be starting.
    replied: Option<usize>,
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
            current: 0,
            resolved: Vec::new(),
            replied: None,
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
        read: impl Fn(&[u8]) -> Result<Option<T>, ConnectionError>,
    ) -> Result<T, RequestError> {
        self.request_while(request, packet, || {}, read)
    }

    /// Sends a request and reads its reply, as [`request`](Self::request) does. Calls `meanwhile`
    /// each time that the request was sent and its reply is awaited.
    pub(crate) fn request_while<T>(
        &mut self,
        request: Request,
        packet: &[u8],
        mut meanwhile: impl FnMut(),
        read: impl Fn(&[u8]) -> Result<Option<T>, ConnectionError>,
    ) -> Result<T, RequestError> {
        self.retry(request, |central| {
            central.exchange_while(request, packet, &mut meanwhile, &read)
        })
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
        let mut in_doubt = false;
        // Addresses that have failed since the last pause.
        let mut failed = 0;
        loop {
            self.waited = Duration::ZERO;
            let result = conversation(self);
            if result.is_err() || self.config.connection == ConnectionUse::PerRequest {
                self.close();
            }
            let error = match result {
                Ok(value) => return Ok(value),
                Err(ConnectionError::Stopped) => return Err(RequestError::Stopped { in_doubt }),
                Err(error) => error,
            };
            if !self.may_retry(request, &error) {
                return Err(match error {
                    ConnectionError::Denied(denied) => RequestError::Denied(denied),
                    error => RequestError::Unanswered(error),
                });
            }
            in_doubt |= may_be_processed(&error);
            if self.waited > self.config.connect_timeout {
                // The central was available for longer than the retry limit, so earlier failures
                // no longer count.
                backoff = Backoff::new(self.config.connect_timeout);
            }
            failed += 1;
            let has_next = failed < self.config.server_addresses.len();
            let pause =
                if has_next { Some(Duration::ZERO) } else { backoff.failed(Instant::now()) };
            let Some(pause) = pause else {
                return Err(RequestError::Unreachable {
                    addresses: self.config.server_addresses.join(","),
                    attempts: backoff.failures(),
                    limit: self.config.connect_timeout,
                    source: error,
                    in_doubt,
                });
            };
            self.log_retry(&error, backoff.failures() + u32::from(has_next), pause);
            self.select_next();
            if !has_next {
                failed = 0;
            }
            if self.stop.sleep(pause) == Wake::Stopped {
                return Err(RequestError::Stopped { in_doubt });
            }
        }
    }

    /// Selects the next address of the list, whose name is resolved again.
    fn select_next(&mut self) {
        self.resolved.clear();
        self.current = (self.current + 1) % self.config.server_addresses.len();
    }

    fn address(&self) -> &'a str {
        &self.config.server_addresses[self.current]
    }

    /// Sends a request and reads its reply, without a retry. Reuses the open connection or opens a
    /// new one, and leaves it open.
    pub(crate) fn exchange<T>(
        &mut self,
        request: Request,
        packet: &[u8],
        read: impl Fn(&[u8]) -> Result<Option<T>, ConnectionError>,
    ) -> Result<T, ConnectionError> {
        self.exchange_while(request, packet, || {}, read)
    }

    fn exchange_while<T>(
        &mut self,
        request: Request,
        packet: &[u8],
        meanwhile: impl FnOnce(),
        read: impl Fn(&[u8]) -> Result<Option<T>, ConnectionError>,
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
        let result = connection.exchange(packet, &mut self.reply, meanwhile, read, options);
        match result {
            Ok(_) => self.note_reply(),
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
        if self.resolved.is_empty() {
            self.resolved = resolver::resolve(self.address(), ATTEMPT_LIMIT, self.stop)?;
        }
        let no_address = io::Error::new(io::ErrorKind::NotFound, "it has no address");
        let mut failure = ConnectionError::Unresolved(no_address);
        for &address in &self.resolved {
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
            ConnectionError::ReplyTooLong { .. }
            | ConnectionError::Protocol(_)
            | ConnectionError::Stopped => false,
            ConnectionError::Denied(denied) => denied.advice == Advice::Retry,
            error => !may_be_processed(error) || request.is_idempotent(),
        }
    }

    /// Records a reply, and logs the address if another one replied before.
    fn note_reply(&mut self) {
        let before = self.replied.replace(self.current);
        if before != self.replied && self.config.server_addresses.len() > 1 {
            let details: [(&str, &dyn Display); 2] =
                [("client_id", &self.config.id), ("server_address", &self.address())];
            self.progress.log(Level::Info, "connect", Outcome::Success, &details);
        }
    }

    fn log_retry(&self, error: &ConnectionError, attempt: u32, pause: Duration) {
        // Containers start in any order, so a failure before the first reply is not a warning.
        let level = if self.replied.is_some() { Level::Warn } else { Level::Info };
        let retry_in = GoDuration(Duration::from_millis(pause.as_millis() as u64));
        let details: [(&str, &dyn Display); 5] = [
            ("client_id", &self.config.id),
            ("attempt", &attempt),
            ("retry_in", &retry_in),
            ("server_address", &self.address()),
            ("error", error),
        ];
        self.progress.log(level, "connect", Outcome::InProgress, &details);
    }
}

/// Returns true unless it is certain that the central has not processed the request.
fn may_be_processed(error: &ConnectionError) -> bool {
    match error {
        ConnectionError::Unresolved(_)
        | ConnectionError::NotConnected(_)
        | ConnectionError::ConnectTimedOut(_)
        | ConnectionError::Stale(_)
        | ConnectionError::Lost { sent: 0, .. }
        | ConnectionError::Denied(_)
        | ConnectionError::Stopped => false,
        // A reset proves nothing: the central may have read the whole request before it.
        ConnectionError::Lost { .. }
        | ConnectionError::Closed { .. }
        | ConnectionError::ReplyTimedOut { .. }
        | ConnectionError::ReplyTooLong { .. }
        | ConnectionError::Protocol(_) => true,
    }
}

/// Returns a decoded reply. An error reply of the dialect, which no other decoder accepts, becomes
/// [`ConnectionError::Denied`].
pub(crate) fn or_denied<T>(
    codec: &dyn AgencyCodec,
    reply: &[u8],
    decoded: Result<Option<T>, ProtocolError>,
) -> Result<Option<T>, ConnectionError> {
    decoded.map_err(|error| match codec.denied(reply) {
        Some(denied) => ConnectionError::Denied(denied),
        None => error.into(),
    })
}
