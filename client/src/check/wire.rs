//! One connection to the server under examination: what it says is kept, how it ends is noted, and nothing is waited for longer
//! than allowed.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use conventions::duration::GoDuration;
use lottery::protocol::MAX_REQUEST_BYTES;
use nix::poll::PollFlags;

use super::shown::shown;
use crate::stop::{Heed, Stop, Wake};

/// Most pieces of one message. A message of up to so many bytes goes byte by byte, a longer one in so many pieces: tens of
/// milliseconds for any.
const PIECES: usize = 128;
/// Pause between two pieces, for the server to find each alone.
const PIECE_PAUSE: Duration = Duration::from_micros(200);
/// How long after a wrong answer, or after the last right one, more of it may come.
const AFTERTHOUGHT: Duration = Duration::from_millis(20);
/// Bytes asked for with one read.
const READ_BYTES: usize = 16 * 1024;

/// A connection.
#[derive(Debug)]
pub(super) struct Wire {
    /// Never blocks.
    stream: TcpStream,
    /// Does the waiting.
    stop: Arc<Stop>,
    /// What was heard and not taken yet.
    heard: Vec<u8>,
    /// Why nothing more can be heard, once that is so.
    end: Option<String>,
}

/// In which pieces messages go out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pieces {
    /// One write a message.
    Whole,
    /// The smallest.
    Bytes,
}

impl Wire {
    /// Connects within `limit`.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn connect(
        address: &SocketAddr,
        limit: Duration,
        stop: Arc<Stop>,
    ) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(address, limit)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Self { stream, stop, heard: Vec::new(), end: None })
    }

    /// Says something, within `limit`. That the server does not take it (it may have ended the connection at the first wrong byte)
    /// is no failure here: what is heard decides.
    pub(super) fn say(&mut self, message: &[u8], pieces: Pieces, limit: Duration) {
        let deadline = Instant::now() + limit;
        match pieces {
            Pieces::Whole => self.write(message, deadline),
            Pieces::Bytes => {
                for piece in message.chunks(message.len().div_ceil(PIECES).max(1)) {
                    self.write(piece, deadline);
                    sleep(PIECE_PAUSE);
                    // A reset throws away what was not read before it.
                    self.take_in();
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

    /// Says that nothing more will be said.
    pub(super) fn end_saying(&self) {
        // On a connection that has ended already it makes no difference.
        let _ended = self.stream.shutdown(Shutdown::Write);
    }

    /// Listens until `judge` has judged what was heard and not taken.
    ///
    /// # Errors
    /// What came instead within `limit`, in words.
    pub(super) fn hear<T>(
        &mut self,
        limit: Duration,
        mut judge: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<T, String> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(judgement) = judge(&self.heard) {
                return Ok(judgement);
            }
            if self.end.is_none() && self.read(deadline) {
                continue;
            }
            let silence =
                self.end.clone().unwrap_or_else(|| format!("nothing within {}", GoDuration(limit)));
            return Err(match &self.heard[..] {
                [] => silence,
                heard => format!("{}, then {silence}", shown(heard)),
            });
        }
    }

    /// What was heard and not taken, with what comes in the next moment.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + AFTERTHOUGHT;
        while self.end.is_none() && self.read(deadline) {}
        self.take_all()
    }

    /// Takes everything that was heard.
    pub(super) fn take_all(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.heard)
    }

    /// Takes the first bytes that were heard.
    pub(super) fn take(&mut self, bytes: usize) {
        self.heard.drain(..bytes);
    }

    /// What was heard and not taken, with what has come meanwhile.
    pub(super) fn peek(&mut self) -> &[u8] {
        self.take_in();
        &self.heard
    }

    /// Whether another request can go over it: it has not ended, and nothing was said that nobody asked for.
    pub(super) fn is_idle(&mut self) -> bool {
        self.take_in();
        self.end.is_none() && self.heard.is_empty()
    }

    fn take_in(&mut self) {
        while self.end.is_none() && self.read(Instant::now()) {}
    }

    /// Waits for the next bytes or the end; false when neither comes.
    fn read(&mut self, deadline: Instant) -> bool {
        let mut bytes = [0; READ_BYTES];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => self.end = Some("the connection ended".to_owned()),
                Ok(count) => self.heard.extend_from_slice(&bytes[..count]),
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
            if self.heard.len() > MAX_REQUEST_BYTES {
                self.end = Some("more than any reply has".to_owned());
            }
            return true;
        }
    }

    /// Waits until the socket is ready; false when the deadline passes. A signal ends the program meanwhile.
    fn wait(&self, events: PollFlags, deadline: Instant) -> bool {
        matches!(
            self.stop.wait(self.stream.as_fd(), events, Heed::Nothing, Some(deadline)),
            Ok(Wake::Ready)
        )
    }
}
