//! Numbered messages between processes of which many are killed, and marks for the fate of each
//! message.

use std::cell::Cell;
use std::collections::HashMap;
use std::time::Duration;

use multiprocessing::{Plan, Process, RawArray, RawValue, Segment};

use super::{child, fact, join_all, kill_at_random, wait_until};

/// Number of messages that have marks. Senders wait for the end of the round when all are used.
pub const MARKED: u64 = 1 << 20;
/// The number of a message after which no more will come.
pub const END: u64 = u64::MAX;

pub struct Traffic {
    next: RawValue<u64>,
    /// 1 for each message whose sending call has returned.
    pub returned: RawArray<u8>,
    /// How often each message was received.
    pub received: RawArray<u8>,
    /// Steps of each survivor.
    progress: RawArray<u64>,
    /// 0 as long as senders go on.
    pub last: RawValue<u8>,
}

/// The outcome of a round.
pub struct Counts {
    pub received: u64,
    /// Messages whose sending call returned and which were not received.
    pub lost: u64,
    /// Messages whose senders were killed before the sending call returned.
    pub unreturned: u64,
}

impl Traffic {
    /// Adds the objects that it needs for a number of survivors to a plan.
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

    /// Sends one message after the other until the end of the round.
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

    /// Receives messages, each as its sender and its number, until no more come.
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

    /// Counts a step, if this process is a survivor.
    pub fn count(&self, survivor: Option<usize>) {
        if let Some(survivor) = survivor {
            self.progress.fetch_add(survivor, 1);
        }
    }

    fn wait_until_all_go_on(&self) {
        // Receivers depend on senders, so all survivors go on only if each of them does.
        if self.next.load() < MARKED {
            let before: Vec<_> = self.progress.iter().collect();
            let went_on = || self.progress.iter().zip(&before).all(|(now, &was)| now > was);
            wait_until("the survivors go on", || went_on() || self.next.load() >= MARKED);
        }
    }

    /// Keeps four processes at work and kills them at random. `victims` selects the kind of work of
    /// each. Returns how many processes of each kind were started.
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

    /// Kills senders (0 in `victims`) and receivers (1). Checks that the survivors go on, and that
    /// every message arrives in order and once, except those that a killed receiver held. No
    /// message is lost if only senders are killed.
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
        assert!(received > 0 && lost <= receivers, "{lost} lost by {receivers} killed receivers");
        assert!(unreturned <= senders, "{unreturned} unfinished by {senders} killed senders");
        fact("received", received);
        fact("lost", format!("{lost} by {receivers} killed"));
        fact("unreturned", format!("{unreturned} by {senders} killed"));
        counts
    }
}
