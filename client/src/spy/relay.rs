//! The forwarding of one connection: two threads copy the bytes, and a third one looks at them.
//!
//! A thread hands over what it has read before it forwards it, so that a request is always looked
//! at before its reply. It never waits for the third thread.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use socket2::SockRef;

use super::Settings;
use super::observer::Observer;

/// Size of one read in bytes.
const READ_BYTES: usize = 16 * 1024;
/// Number of reads that wait to be looked at. With more, the rest of the connection is forwarded
/// and not shown, so that a slow reader of the output costs a limited amount of memory.
const MAX_WAITING: usize = 1024;

/// A direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From the agency to the central.
    Request,
    /// From the central to the agency.
    Reply,
}

/// Something that happened on a connection.
#[derive(Debug)]
pub(super) struct Event {
    /// When it happened.
    pub(super) time: Timestamp,
    pub(super) direction: Direction,
    pub(super) what: What,
}

/// What happened.
#[derive(Debug)]
pub(super) enum What {
    /// These bytes arrived.
    Bytes(Vec<u8>),
    /// The sender ended its direction.
    End,
    /// The connection was aborted, by the sender of this direction or because the bytes could not
    /// be forwarded.
    Reset,
}

/// One direction of a connection.
struct Copier<'r> {
    direction: Direction,
    from: &'r TcpStream,
    to: &'r TcpStream,
    events: SyncSender<Event>,
    /// True once either side has aborted the connection.
    was_reset: &'r AtomicBool,
    /// True once events were lost.
    is_behind: &'r AtomicBool,
}

/// Forwards a connection until both directions have ended.
pub(super) fn relay(
    agency: &TcpStream,
    central: TcpStream,
    number: u64,
    settings: Settings,
) -> io::Result<()> {
    agency.set_nodelay(true)?;
    central.set_nodelay(true)?;
    let (events, received) = sync_channel(MAX_WAITING);
    let (was_reset, is_behind) = (AtomicBool::new(false), AtomicBool::new(false));
    let (was_reset, is_behind) = (&was_reset, &is_behind);
    let copier = |direction, from, to| {
        let events = events.clone();
        Copier { direction, from, to, events, was_reset, is_behind }
    };
    let requests = copier(Direction::Request, agency, &central);
    let replies = copier(Direction::Reply, &central, agency);
    drop(events);
    thread::scope(|scope| {
        thread::Builder::new().spawn_scoped(scope, move || {
            Observer::new(number, settings).watch(&received, is_behind)
        })?;
        thread::Builder::new().spawn_scoped(scope, move || requests.copy())?;
        replies.copy();
        Ok(())
    })
}

/// Makes the connection end with a reset when it is dropped.
pub(super) fn reset_when_dropped(stream: &TcpStream) {
    // Fails only on a connection that has already ended.
    let _ended = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

impl Copier<'_> {
    /// Copies until the sender ends its direction or the connection is aborted.
    fn copy(mut self) {
        let mut bytes = [0; READ_BYTES];
        let copied = loop {
            match self.from.read(&mut bytes) {
                Ok(0) => break Ok(()),
                Ok(count) => {
                    self.report(What::Bytes(bytes[..count].to_vec()));
                    if let Err(error) = self.to.write_all(&bytes[..count]) {
                        break Err(error);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        // After an abort of the other direction, the end is not that of the sender.
        if self.was_reset.load(Ordering::Acquire) {
            return;
        }
        match copied {
            Ok(()) => {
                self.report(What::End);
                // Fails only on a connection that has already ended.
                let _ended = self.to.shutdown(Shutdown::Write);
            }
            Err(_) => {
                self.was_reset.store(true, Ordering::Release);
                self.report(What::Reset);
                for stream in [self.from, self.to] {
                    reset_when_dropped(stream);
                    // Wakes the other direction, which may wait for bytes. Nothing is sent.
                    let _ended = stream.shutdown(Shutdown::Read);
                }
            }
        }
    }

    fn report(&mut self, what: What) {
        let event = Event { time: Timestamp::now(), direction: self.direction, what };
        if self.events.try_send(event).is_err() {
            self.is_behind.store(true, Ordering::Release);
        }
    }
}
