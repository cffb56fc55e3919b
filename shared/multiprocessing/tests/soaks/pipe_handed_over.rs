//! Pipes whose ends belong to one process each, which is killed.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use multiprocessing::{Connection, PipeError, Process, pipe};

use crate::common::{apply, descriptors, fact, kill_at_random, kills, soak, wait_until};
use crate::pipe::{ROUND, examined, message};

/// What the parent knows of one victim.
struct Link {
    end: Connection,
    /// Requests that were sent to the victim, if it answers requests.
    asked: Option<u64>,
    /// Messages that came from the victim.
    received: u64,
}

impl Link {
    /// Sends requests and receives for a while. Returns false if the pipe reports its end.
    fn goes_on(&mut self) -> bool {
        for _ in 0..20 {
            if let Some(asked) = &mut self.asked {
                match self.end.send_bytes_timeout(&message(0, *asked), Duration::ZERO) {
                    Ok(sent) => *asked += u64::from(sent),
                    // Its earlier answers are still to come.
                    Err(PipeError::Closed) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            match self.end.recv_bytes_timeout(Duration::ZERO) {
                Ok(Some(received)) => {
                    assert_eq!(examined(&received), (0, self.received));
                    self.received += 1;
                }
                Ok(None) => return true,
                Err(PipeError::Closed) => return false,
                Err(error) => panic!("{error}"),
            }
        }
        true
    }
}

/// Each process has an end of its own. The parent notices every kill, and gets what the victim sent
/// before, whole and in order.
#[apply(soak)]
fn the_other_end_notices_every_kill_and_gets_what_was_sent_before() {
    let before = descriptors();
    let links = RefCell::new(Vec::new());
    let (received, large, ended) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let start = |asked: Option<u64>, body: &dyn Fn(Connection)| {
        let (here, there) = pipe().unwrap();
        let started = Process::fork_with(there, |there| {
            body(there);
            0
        });
        links.borrow_mut().push(Link { end: here, asked, received: 0 });
        started.unwrap()
    };
    let sends = || {
        start(None, &|end| {
            for number in 0.. {
                end.send_bytes(&message(0, number)).unwrap();
            }
        })
    };
    let answers = || {
        start(Some(0), &|end| {
            for number in 0.. {
                let request = end.recv_bytes().unwrap();
                assert_eq!(examined(&request), (0, number));
                end.send_bytes(&request).unwrap();
            }
        })
    };
    let victims: [&dyn Fn() -> _; 4] = [&sends, &answers, &sends, &answers];
    let count_living = || {
        links.borrow_mut().retain_mut(|link| {
            let lives = link.goes_on();
            if !lives {
                ended.set(ended.get() + 1);
                received.set(received.get() + link.received);
                large.set(large.get() + link.received.div_ceil(8));
            }
            lives
        });
        links.borrow().len()
    };
    kill_at_random(kills(ROUND), &victims, |_| {
        wait_until("the parent notices the kill", || count_living() == victims.len());
    });
    wait_until("the parent notices all kills", || count_living() == 0);
    assert_eq!(descriptors(), before);
    fact("received", received.get());
    fact("large", large.get());
    fact("recoveries", ended.get());
    assert!(large.get() > 0);
}
