//! One connection to the server under test. Received bytes are kept until they are consumed, the
//! way the connection ends is recorded, and every wait has a limit.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use conventions::duration::GoDuration;
use lottery::protocol::MAX_REQUEST_BYTES;
use nix::poll::PollFlags;
use socket2::SockRef;

use super::excerpt::excerpt;
use super::row::{Exchange, Surprise, Symptom};
use crate::stop::{Interrupt, Stop, Wake};

/// Largest number of pieces per message. A message of up to this many bytes is sent byte by byte,
/// a longer one in this many pieces. So any message takes only tens of milliseconds.
const MAX_PIECES: usize = 128;
/// Pause after each piece, so that the server can read it alone.
const PIECE_PAUSE: Duration = Duration::from_micros(200);
/// Time after the last expected reply, or after a wrong one, in which further bytes are collected.
const TRAILING_TIME: Duration = Duration::from_millis(20);
/// Size of one read in bytes.
const READ_BYTES: usize = 16 * 1024;

/// A connection to the server under test.
#[derive(Debug)]
pub(super) struct TestConnection {
    /// Non-blocking socket.
    stream: TcpStream,
    /// Does the waiting.
    stop: Arc<Stop>,
    /// Received bytes that have not been consumed.
    received: Vec<u8>,
    /// All bytes in both directions.
    exchange: Exchange,
    /// How the connection ended, once it has.
    end: Option<String>,
}

/// How messages are split into writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pieces {
    /// One write per message.
    Whole,
    /// Up to [`MAX_PIECES`] writes per message, single bytes if possible.
    Bytes,
}

impl TestConnection {
    /// Connects within `limit`.
    pub(super) fn open(address: &SocketAddr, limit: Duration, stop: Arc<Stop>) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(address, limit)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, stop, received: Vec::new(), exchange: Exchange::default(), end: None })
    }

    /// Makes the connection end with a reset when it is dropped. Some original servers take the end
    /// of the stream for another message, and then spin or end; all of them survive a reset.
    pub(super) fn reset_when_dropped(&self) {
        // Fails only on a connection that has already ended.
        let _ended = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    /// Sends a message within `limit`.
    ///
    /// A failure is ignored: the server may close the connection at the first wrong byte, and the
    /// bytes that it sends decide whether the rule holds.
    pub(super) fn send(&mut self, message: &[u8], pieces: Pieces, limit: Duration) {
        let deadline = Instant::now() + limit;
        self.exchange.sent.extend_from_slice(message);
        match pieces {
            Pieces::Whole => self.write(message, deadline),
            Pieces::Bytes => {
                for piece in message.chunks(message.len().div_ceil(MAX_PIECES).max(1)) {
                    self.write(piece, deadline);
                    sleep(PIECE_PAUSE);
                    // A reset discards unread bytes, so read them before the next piece.
                    self.read_available();
                }
            }
        }
    }

    fn write(&mut self, mut bytes: &[u8], deadline: Instant) {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if error.kind() == ErrorKind::WouldBlock
                        && self.wait(PollFlags::POLLOUT, deadline) => {}
                Err(_) => return,
            }
        }
    }

    /// Shuts down the sending side.
    pub(super) fn shut_down_sending(&self) {
        // Fails only on a connection that has already ended.
        let _ended = self.stream.shutdown(Shutdown::Write);
    }

    /// Receives until `judge` returns a result for the unconsumed bytes. The error describes what
    /// arrived instead within `limit`.
    pub(super) fn receive<T>(
        &mut self,
        limit: Duration,
        mut judge: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<T, Surprise> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(result) = judge(&self.received) {
                return Ok(result);
            }
            if self.end.is_none() && self.read(deadline) {
                continue;
            }
            let end =
                self.end.clone().unwrap_or_else(|| format!("nothing within {}", GoDuration(limit)));
            let text = match &self.received[..] {
                [] => end,
                received => format!("{}, then {end}", excerpt(received)),
            };
            let symptom = if self.end.is_some() { Symptom::Ended } else { Symptom::Silence };
            return Err(self.surprise(text, symptom, self.exchange.received.len()));
        }
    }

    /// Returns the position of the first unconsumed byte among all that were received.
    pub(super) fn position(&self) -> usize {
        self.exchange.received.len() - self.received.len()
    }

    /// Returns a surprise with the bytes of this connection. The first wrong byte is the one at
    /// `wrong_at` among all that were received.
    pub(super) fn surprise(
        &self,
        text: impl Into<String>,
        symptom: Symptom,
        wrong_at: usize,
    ) -> Surprise {
        let exchange = Exchange { wrong_at, ..self.exchange.clone() };
        Surprise { text: text.into(), symptom, exchange }
    }

    /// Waits briefly for trailing bytes and consumes everything.
    pub(super) fn take_trailing(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + TRAILING_TIME;
        while self.end.is_none() && self.read(deadline) {}
        self.take_all()
    }

    /// Consumes everything received so far.
    pub(super) fn take_all(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }

    /// Consumes the first `bytes` received bytes.
    pub(super) fn consume(&mut self, bytes: usize) {
        self.received.drain(..bytes);
    }

    /// Returns the unconsumed bytes, including those that have just arrived.
    pub(super) fn peek(&mut self) -> &[u8] {
        self.read_available();
        &self.received
    }

    /// Returns true if another request can be sent: the connection has not ended and there are no
    /// unexpected bytes.
    pub(super) fn is_idle(&mut self) -> bool {
        self.read_available();
        self.end.is_none() && self.received.is_empty()
    }

    /// Returns true if the connection has ended and nothing has arrived on it.
    pub(super) fn has_ended_empty(&self) -> bool {
        self.end.is_some() && self.received.is_empty()
    }

    fn read_available(&mut self) {
        while self.end.is_none() && self.read(Instant::now()) {}
    }

    /// Waits for more bytes or the end of the connection. Returns false if the deadline passes.
    fn read(&mut self, deadline: Instant) -> bool {
        let mut bytes = [0; READ_BYTES];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => self.end = Some("the connection ended".to_owned()),
                Ok(count) => {
                    self.received.extend_from_slice(&bytes[..count]);
                    self.exchange.received.extend_from_slice(&bytes[..count]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.wait(PollFlags::POLLIN, deadline) {
                        continue;
                    }
                    return false;
                }
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    self.end = Some("the connection was reset".to_owned());
                }
                Err(error) => self.end = Some(error.to_string()),
            }
            if self.received.len() > MAX_REQUEST_BYTES {
                self.end = Some("more bytes than any reply has".to_owned());
            }
            return true;
        }
    }

    /// Waits until the socket is ready. Returns false if the deadline passes. A signal need not end
    /// the wait, because another thread ends the program.
    fn wait(&self, events: PollFlags, deadline: Instant) -> bool {
        matches!(
            self.stop.wait(self.stream.as_fd(), events, Interrupt::Never, Some(deadline)),
            Ok(Wake::Ready)
        )
    }
}
