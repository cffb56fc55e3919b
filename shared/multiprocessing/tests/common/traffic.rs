//! Numbered messages that some processes send and others receive while many of both are killed, and the marks that tell what became of
//! each message.

use std::cell::Cell;
use std::collections::HashMap;
use std::time::Duration;

use multiprocessing::{Plan, Process, RawArray, RawValue, Segment};

use super::{child, fact, join_all, kill_at_random, wait_until};

/// Messages that there are marks for; whoever sends waits for the end when all are used.
pub const MARKED: u64 = 1 << 20;
/// The number of a message that says that no more will come.
pub const END: u64 = u64::MAX;

pub struct Traffic {
    next: RawValue<u64>,
    /// Whether the call that sent it has returned, by message.
    pub returned: RawArray<u8>,
    /// How often it was received.
    pub received: RawArray<u8>,
    /// What each survivor has done so far.
    progress: RawArray<u64>,
    /// 0 as long as more is to be sent.
    pub last: RawValue<u8>,
}

/// What came of a round.
pub struct Counts {
    pub received: u64,
    /// Messages that were sent and not received.
    pub lost: u64,
    /// Messages whose senders were killed before they knew that they had sent them.
    pub unreturned: u64,
}

impl Traffic {
    /// What it needs beside that, for so many survivors.
    pub fn planned(plan: Plan, survivors: usize) -> Plan {
        let marks = |plan: Plan, name| plan.raw_array::<u8>(name, MARKED as usize);
        let plan =
            marks(marks(plan, "returned"), "received").raw_array::<u64>("progress", survivors);
        plan.raw_value::<u64>("next").raw_value::<u8>("last")
    }

    pub fn of(segment: &Segment) -> Self {
        Self {
            next: segment.raw_value("next").unwrap(),
            returned: segment.raw_array("returned").unwrap(),
            received: segment.raw_array("received").unwrap(),
            progress: segment.raw_array("progress").unwrap(),
            last: segment.raw_value("last").unwrap(),
        }
    }

    /// Sends, as this process, one message after the other until the end.
    pub fn sends(&self, survivor: Option<usize>, send: impl Fn(u64, u64)) {
        let own = u64::from(std::process::id());
        while self.last.load() == 0 {
            let number = self.next.fetch_add(1);
            if number >= MARKED {
                std::thread::sleep(Duration::from_millis(1));
            } else {
                send(own, number);
                self.returned.store(number as usize, 1);
            }
            self.count(survivor);
        }
    }

    /// Receives, by whom a message is and its number, until there are no more.
    fn receives(&self, survivor: Option<usize>, receive: impl Fn() -> (u64, u64)) {
        let mut latest = HashMap::new();
        loop {
            let (sender, number) = receive();
            if number == END {
                return;
            }
            self.received.fetch_add(number as usize, 1);
            assert!(latest.insert(sender, number) < Some(number), "out of order");
            self.count(survivor);
        }
    }

    /// Counts a step of a survivor.
    pub fn count(&self, survivor: Option<usize>) {
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

    /// Kills so many processes that do these kinds of work, four at a time, of which `victims` tells the kinds. Returns how many of
    /// each kind were started.
    pub fn kill<const KINDS: usize>(
        &self,
        kills: u32,
        work: [&dyn Fn(); KINDS],
        victims: [usize; 4],
    ) -> [u64; KINDS] {
        let started = work.map(|_| Cell::new(0));
        let start = |kind: usize| {
            started[kind].set(started[kind].get() + 1);
            child(work[kind])
        };
        let starts = victims.map(|kind| move || start(kind));
        let starts = starts.each_ref().map(|start| start as &dyn Fn() -> Process);
        kill_at_random(kills, &starts, |kill| {
            if kill % 10 == 0 {
                self.wait_until_all_go_on();
            }
        });
        started.map(Cell::into_inner)
    }

    /// Whoever of those that send (0 in `victims`) and receive (1) is killed, the survivors go on, every message is in order and is
    /// received once, unless the one that had it in hand was killed. Where only those that send are killed, none is lost.
    pub fn survives(
        &self,
        kills: u32,
        victims: [usize; 4],
        send: &dyn Fn(u64, u64),
        receive: &dyn Fn() -> (u64, u64),
    ) -> Counts {
        let sending = [0, 1].map(|number| child(|| self.sends(Some(number), send)));
        let receiving = [2, 3].map(|number| child(|| self.receives(Some(number), receive)));
        let work: [&dyn Fn(); 2] = [&|| self.sends(None, send), &|| self.receives(None, receive)];
        let [senders, receivers] = self.kill(kills, work, victims);
        self.last.store(1);
        join_all(sending);
        receiving.iter().for_each(|_| send(0, END));
        join_all(receiving);

        let begun = self.next.load().min(MARKED) as usize;
        let mut counts = Counts { received: 0, lost: 0, unreturned: 0 };
        for (returned, times) in self.returned.iter().zip(self.received.iter()).take(begun) {
            assert!(times <= 1, "a message was received {times} times");
            counts.received += u64::from(times);
            counts.lost += u64::from(returned == 1 && times == 0);
            counts.unreturned += u64::from(returned == 0);
        }
        let Counts { received, lost, unreturned } = counts;
        assert!(received > 0 && lost <= receivers, "{lost} lost by {receivers} that were killed");
        assert!(unreturned <= senders, "{unreturned} unfinished, by {senders} that were killed");
        fact("received", received);
        fact("lost", format!("{lost} by {receivers} killed"));
        fact("unreturned", format!("{unreturned} by {senders} killed"));
        counts
    }
}
