//! A blocking connection, for programs that have no event loop.

use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::error::{HostFault, Lost, ServerError};
use crate::primary::{Connected, Event, Primary};
use crate::reply::Replies;
use crate::request::Request;
use crate::servers::Servers;

/// Why a session cannot connect.
#[derive(Debug, thiserror::Error)]
#[error("no primary: {}", list(.0))]
pub struct NoPrimary(pub Vec<HostFault>);

fn list(faults: &[HostFault]) -> String {
    faults.iter().map(HostFault::to_string).collect::<Vec<_>>().join("; ")
}

/// Why a request of a session failed.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The server refused it; nothing of it is stored.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The connection was lost, and the outcome is unknown.
    #[error(transparent)]
    Lost(Lost),
    /// The connection was lost by an earlier request, and this one was not sent.
    #[error("the connection was lost by an earlier request")]
    Ended,
}

/// A connection to the primary whose calls block.
///
/// It does not connect again: after [`SessionError::Lost`] every request fails.
pub struct Session {
    primary: Primary,
    server: Connected,
}

impl Session {
    /// Connects to the primary, in as many rounds over the servers as the deadline permits. Returns
    /// after the first round if every server refuses for a reason that stays, like the password.
    pub fn connect(servers: &Servers, deadline: Instant) -> Result<Self, NoPrimary> {
        let begun = Instant::now();
        let mut primary = Primary::new(servers.clone());
        let mut last_round = Vec::new();
        loop {
            match primary.advance(Instant::now()) {
                Some(Event::Connected(server)) => return Ok(Self { primary, server }),
                Some(Event::NoPrimary(round)) => {
                    let is_permanent = round.iter().all(|host| host.fault.is_permanent());
                    if is_permanent {
                        return Err(NoPrimary(round));
                    }
                    last_round = round;
                }
                Some(_) => {}
                None if Instant::now() >= deadline => {
                    let faults = primary.give_up(begun.elapsed());
                    return Err(NoPrimary(if last_round.is_empty() { faults } else { last_round }));
                }
                None => wait(&primary, deadline),
            }
        }
    }

    /// Returns the server.
    pub fn server(&self) -> &Connected {
        &self.server
    }

    /// Executes a request and waits for its reply, at most until the deadline. Notifications are
    /// discarded.
    pub fn execute(
        &mut self,
        request: Request,
        deadline: Instant,
    ) -> Result<Replies, SessionError> {
        // A connection that ended while it was idle is found now, before the request is sent.
        while let Some(event) = self.next_if_connected() {
            if let Event::Lost(lost) = event {
                return Err(SessionError::Lost(lost));
            }
        }
        if !self.primary.is_idle() {
            return Err(SessionError::Ended);
        }
        self.primary.request(request, deadline);
        loop {
            match self.primary.advance(Instant::now()) {
                Some(Event::Done(answer)) => return Ok(answer?),
                Some(Event::Lost(lost)) => return Err(SessionError::Lost(lost)),
                Some(_) => {}
                None => wait(&self.primary, deadline),
            }
        }
    }

    fn next_if_connected(&mut self) -> Option<Event> {
        if self.primary.is_connected() { self.primary.advance(Instant::now()) } else { None }
    }
}

/// Waits until the connection has something to do, at most until the deadline.
fn wait(primary: &Primary, deadline: Instant) {
    let until = primary.wake_at().map_or(deadline, |wake| wake.min(deadline));
    let left = until.saturating_duration_since(Instant::now());
    // Rounded up, so that it does not wake before the time has come.
    let millis = left.as_millis().saturating_add(1).min(60_000) as u16;
    let mut events = PollFlags::empty();
    let interest = primary.interest();
    events.set(PollFlags::POLLIN, interest.read);
    events.set(PollFlags::POLLOUT, interest.write);
    // An error is that of a signal: the caller looks again.
    let _ = match primary.fd() {
        Some(fd) => poll(&mut [PollFd::new(fd, events)], PollTimeout::from(millis)),
        None => poll(&mut [], PollTimeout::from(millis)),
    };
}
