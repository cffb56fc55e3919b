//! What the tests have in common.

pub mod fake;
pub mod real;

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, poll};
use postgres_link::{Event, Primary, Servers, Url};

/// How long a test waits for what has to happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Returns the deadline of a step of a test.
pub fn soon() -> Instant {
    Instant::now() + PATIENCE
}

/// Returns the servers of a URL.
pub fn servers(url: &str) -> Servers {
    url.parse::<Url>().unwrap().resolve().unwrap()
}

/// Drives the connection like an event loop until it reports something.
pub fn next(primary: &mut Primary) -> Event {
    let end = soon();
    loop {
        if let Some(event) = primary.advance(Instant::now()) {
            return event;
        }
        assert!(Instant::now() < end, "no event");
        let wake = primary.wake_at().unwrap_or(end).min(end);
        let left = wake.saturating_duration_since(Instant::now()).as_millis() + 1;
        let interest = primary.interest();
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::POLLIN, interest.read);
        flags.set(PollFlags::POLLOUT, interest.write);
        let timeout = u16::try_from(left).unwrap_or(u16::MAX);
        match primary.fd() {
            Some(fd) => poll(&mut [PollFd::new(fd.as_fd(), flags)], timeout).unwrap(),
            None => poll(&mut [], timeout).unwrap(),
        };
    }
}

/// Waits until the connection is established.
pub fn connect(primary: &mut Primary) {
    match next(primary) {
        Event::Connected(_) => {}
        other => panic!("{other:?}"),
    }
}
