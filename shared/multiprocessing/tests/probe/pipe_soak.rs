//! Pipes whose processes are killed at random: nothing is torn, doubled or out of order, and nobody waits for the dead.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use multiprocessing::{Connection, PipeError, Plan, Process, one_way_pipe, pipe};

use crate::pipe::{descriptors, pattern};
use crate::tools::{fact, kill_at_random, kills, segment, wait_until};
use crate::traffic::Traffic;

/// So many are killed in a round, or in the short form of a scenario.
const KILLS: u32 = 250;
/// A message that follows from its number and the process that sends it: one of eight is too large for a packet.
fn message(sender: u64, number: u64) -> Vec<u8> {
    let length = if number.is_multiple_of(8) {
        60_000 + number.wrapping_mul(31) % 30_000
    } else {
        number.wrapping_mul(7) % 2000
    };
    let head = [sender, number].map(u64::to_le_bytes);
    [&head[0][..], &head[1], &pattern(sender ^ number, length as usize)].concat()
}

/// Whose it is, and its number, if it is whole.
fn examined(received: &[u8]) -> (u64, u64) {
    let (head, _) = received.as_chunks();
    let [sender, number] = [head[0], head[1]].map(u64::from_le_bytes);
    assert!(received == message(sender, number), "a torn message: {sender} {number}");
    (sender, number)
}

/// Several have the same ends, and every message is whole.
pub fn shared() {
    let mut half_way = 0;
    let rounds = [[0, 1, 0, 1], [0; 4], [1; 4]];
    for killed in rounds.into_iter().cycle().take(kills(3 * KILLS).div_ceil(KILLS) as usize) {
        // Another round needs a segment of its own, and the name.
        let segment = segment(&Traffic::planned(Plan::new(), 4));
        let (receiver, sender) = one_way_pipe().unwrap();
        let send = |own, number| sender.send_bytes(&message(own, number)).unwrap();
        let receive = || examined(&receiver.recv_bytes().unwrap());
        let counts = Traffic::of(&segment).survives(KILLS, killed, &send, &receive);
        assert!(!receiver.poll(Duration::ZERO).unwrap());
        half_way += counts.lost + counts.unreturned;
    }
    fact("recoveries", half_way);
}

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
pub fn handed_over() {
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
    kill_at_random(kills(KILLS), &victims, |_| {
        wait_until("the parent is told", || count_living() == victims.len());
    });
    wait_until("the parent is told of all", || count_living() == 0);
    assert_eq!(descriptors(), before);
    fact("received", received.get());
    fact("large", large.get());
    fact("recoveries", told.get());
    assert!(large.get() > 0);
}
