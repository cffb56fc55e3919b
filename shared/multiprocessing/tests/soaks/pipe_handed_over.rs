//! DOC

use std::cell::{Cell, RefCell};
use std::time::Duration;

use multiprocessing::{Connection, PipeError, Process, pipe};

use crate::common::{apply, descriptors, fact, kill_at_random, kills, soak, wait_until};
use crate::pipe::{ROUND, examined, message};

/// What the parent has of one victim.
struct Link {
    end: Connection,
    /// Requests that were sent to it, where it answers any.
    asked: Option<u64>,
    /// Messages that came from it.
    received: u64,
}

impl Link {
    /// Asks and receives a while. Whether its process lives, as far as the pipe tells.
    fn goes_on(&mut self) -> bool {
        for _ in 0..20 {
            if let Some(asked) = &mut self.asked {
                match self.end.send_bytes_timeout(&message(0, *asked), Duration::ZERO) {
                    Ok(sent) => *asked += u64::from(sent),
                    // What it answered before is still to come.
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

/// Each has an end of its own. Whenever one is killed, the parent is told, and has what it sent before, whole and in order.
#[apply(soak)]
fn whoever_is_killed_the_other_end_is_told_and_has_what_was_sent_before() {
    let before = descriptors();
    let links = RefCell::new(Vec::new());
    let (received, large, told) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let start = |asked: Option<u64>, body: &dyn Fn(Connection)| {
        let (here, there) = pipe().unwrap();
        let started = Process::spawn_with(there, |there| {
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
                told.set(told.get() + 1);
                received.set(received.get() + link.received);
                large.set(large.get() + link.received.div_ceil(8));
            }
            lives
        });
        links.borrow().len()
    };
    kill_at_random(kills(ROUND), &victims, |_| {
        wait_until("the parent is told", || count_living() == victims.len());
    });
    wait_until("the parent is told of all", || count_living() == 0);
    assert_eq!(descriptors(), before);
    fact("received", received.get());
    fact("large", large.get());
    fact("recoveries", told.get());
    assert!(large.get() > 0);
}
