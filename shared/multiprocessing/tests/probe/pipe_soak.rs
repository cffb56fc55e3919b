//! Pipes whose processes are killed at random: nothing is torn, doubled or out of order, and nobody waits for the dead.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

use multiprocessing::{
    Connection, PipeError, Plan, Process, RawArray, RawValue, ReceiveOnly, Segment, SendOnly, one_way_pipe,
    pipe,
};

use crate::pipe::{descriptors, pattern};
use crate::tools::{LIMIT, child, fact, join_all, kill_at_random, kills, segment, wait_until};

/// So many are killed in a round, or in the short form of a scenario.
const KILLS: u32 = 250;
/// Messages that there are marks for; whoever sends waits for the end when all are used.
const MARKED: u64 = 1 << 18;
/// The number of a message that says that no more will come.
const END: u64 = u64::MAX;

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
    assert!(number == END || received == message(sender, number), "a torn message: {sender} {number}");
    (sender, number)
}

struct Soak {
    receiver: Connection<ReceiveOnly>,
    sender: Connection<SendOnly>,
    next: RawValue<u64>,
    /// Whether the call that sent it has returned, by message.
    returned: RawArray<u8>,
    /// How often it was received.
    received: RawArray<u8>,
    /// What each survivor has done so far: two that send and two that receive.
    progress: RawArray<u64>,
    last: RawValue<u8>,
}

impl Soak {
    fn new(segment: &Segment) -> Self {
        let (receiver, sender) = one_way_pipe().unwrap();
        Self {
            receiver,
            sender,
            next: segment.raw_value("next").unwrap(),
            returned: segment.raw_array("returned").unwrap(),
            received: segment.raw_array("received").unwrap(),
            progress: segment.raw_array("progress").unwrap(),
            last: segment.raw_value("last").unwrap(),
        }
    }

    fn sends(&self, survivor: Option<usize>) {
        let own = u64::from(std::process::id());
        while self.last.load() == 0 {
            let number = self.next.fetch_add(1);
            if number >= MARKED {
                std::thread::sleep(Duration::from_millis(1));
            } else {
                self.sender.send_bytes(&message(own, number)).unwrap();
                self.returned.store(number as usize, 1);
            }
            self.count(survivor);
        }
    }

    fn receives(&self, survivor: Option<usize>) {
        let mut latest = HashMap::new();
        loop {
            let (sender, number) = examined(&self.receiver.recv_bytes().unwrap());
            if number == END {
                return;
            }
            self.received.fetch_add(number as usize, 1);
            assert!(latest.insert(sender, number) < Some(number), "out of order");
            self.count(survivor);
        }
    }

    fn count(&self, survivor: Option<usize>) {
        if let Some(survivor) = survivor {
            self.progress.fetch_add(survivor, 1);
        }
    }

    fn wait_until_all_go_on(&self) {
        // Those that receive need something to be sent, so all of them go on only if all do.
        if self.next.load() < MARKED {
            let before: Vec<_> = self.progress.iter().collect();
            let went_on = || self.progress.iter().zip(&before).all(|(now, &was)| now > was);
            wait_until("the survivors go on", || went_on() || self.next.load() >= MARKED);
        }
    }
}

/// Several have the same ends. Whoever is killed, the others go on, every message is whole and in order, and is received once, unless
/// the one that had it in hand was killed. Where only those that send are killed, none is lost.
pub fn shared() {
    let mut half_way = 0;
    let rounds = [[0, 1, 0, 1], [0; 4], [1; 4]];
    for killed in rounds.into_iter().cycle().take(kills(3 * KILLS).div_ceil(KILLS) as usize) {
        let plan =
            Plan::new().raw_value::<u64>("next").raw_value::<u8>("last").raw_array::<u64>("progress", 4);
        let plan =
            plan.raw_array::<u8>("returned", MARKED as usize).raw_array::<u8>("received", MARKED as usize);
        // Another round needs a segment of its own, and the name.
        let segment = segment(&plan);
        let soak = Soak::new(&segment);
        let sending: Vec<_> = (0..2).map(|number| child(|| soak.sends(Some(number)))).collect();
        let receiving: Vec<_> = (2..4).map(|number| child(|| soak.receives(Some(number)))).collect();
        let victims = [Cell::new(0), Cell::new(0)];
        let start = |victim: usize, work: &dyn Fn()| {
            victims[victim].set(victims[victim].get() + 1);
            child(work)
        };
        let starts: [&dyn Fn() -> _; 2] =
            [&|| start(0, &|| soak.sends(None)), &|| start(1, &|| soak.receives(None))];
        kill_at_random(KILLS, &killed.map(|victim| starts[victim]), |kill| {
            if kill % 10 == 0 {
                soak.wait_until_all_go_on();
            }
        });
        soak.last.store(1);
        join_all(sending);
        for _ in &receiving {
            assert!(soak.sender.send_bytes_timeout(&message(0, END)[..16], LIMIT).unwrap());
        }
        join_all(receiving);
        assert!(!soak.receiver.poll(Duration::ZERO).unwrap());

        let (mut received, mut lost, mut unreturned) = (0, 0, 0);
        for (returned, times) in soak.returned.iter().zip(soak.received.iter()) {
            assert!(times <= 1, "a message was received {times} times");
            received += u64::from(times);
            lost += u64::from(returned == 1 && times == 0);
            unreturned += u64::from(returned == 0 && times == 1);
        }
        let [senders, receivers] = victims.map(|victims| victims.get());
        assert!(received > 0 && lost <= receivers, "{lost} lost by {receivers} that were killed");
        assert!(unreturned <= senders, "{unreturned} more than were sent, by {senders} that were killed");
        fact("received", received);
        fact("lost", format!("{lost} by {receivers} killed"));
        fact("unreturned", format!("{unreturned} by {senders} killed"));
        half_way += lost + unreturned;
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
