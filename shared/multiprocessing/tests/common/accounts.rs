//! Exact accounts of what victims do: each one announces, in cells of its own, every step that it begins and every one that it has
//! done. So of all that a killed one did at most one step is uncertain, and what it changed tells how that one went.

use std::cell::Cell;

use multiprocessing::{Plan, Process, RawArray, RawValue, Segment, SegmentName};

use super::{child, fact, join_all, kill_at_random, kills, name, rest, wait_until};

/// Processes of a [`kill_account_holders`] that are never killed; theirs are the first accounts.
const SURVIVORS: usize = 2;
/// Processes of a [`kill_account_holders`] that are killed and replaced.
const VICTIMS: usize = 4;
/// Accounts of a [`kill_account_holders`].
pub const ACCOUNTS: usize = SURVIVORS + VICTIMS;

/// The cells of so many accounts, in a segment of their own. One process at a time has an account.
pub struct Accounts {
    begun: RawArray<u64>,
    done: RawArray<u64>,
    last: RawValue<u8>,
    _segment: Segment,
}

impl Accounts {
    pub fn new(accounts: usize) -> Self {
        let plan =
            Plan::new().raw_array::<u64>("begun", accounts).raw_array::<u64>("done", accounts);
        let name = SegmentName::new(&format!("{}.accounts", name())).unwrap();
        let segment = Segment::create(&name, &plan.raw_value::<u8>("last")).unwrap();
        Self {
            begun: segment.raw_array("begun").unwrap(),
            done: segment.raw_array("done").unwrap(),
            last: segment.raw_value("last").unwrap(),
            _segment: segment,
        }
    }

    /// Takes a step on an account; `step` is told its number.
    pub fn step(&self, account: usize, step: impl FnOnce(u64)) {
        let number = self.begun.fetch_add(account, 1);
        step(number);
        self.done.fetch_add(account, 1);
        rest(number);
    }

    /// Closes the account of one who has ended: no step that it had done may be missing from what was counted, and but for the one
    /// in progress none may be counted that it had not. The next one goes on from there. Whether there was one in progress.
    pub fn settle(&self, account: usize, counted: u64) -> bool {
        let (begun, done) = (self.begun.load(account), self.done.load(account));
        assert!(begun - done <= 1, "two steps at a time");
        assert!(
            (done..=begun).contains(&counted),
            "account {account}: {counted} of {done} to {begun}"
        );
        self.begun.store(account, counted);
        self.done.store(account, counted);
        begun > done
    }

    /// Waits until each of the first accounts, so many, has one step more.
    pub fn wait_until_they_go_on(&self, accounts: usize) {
        let before: Vec<_> = self.done.iter().take(accounts).collect();
        let all = || self.done.iter().zip(&before).all(|(now, &was)| now > was);
        wait_until("the survivors go on", all);
    }
}

/// Lets processes take steps, each on an account of its own, and kills some of them all the time. `step` takes one, given the
/// account and the number of the step, and `counted` says how many steps on an account have changed what they change. None may be
/// lost, and after each kill the survivors must go on. Returns how many of the killed had a step in progress.
pub fn kill_account_holders(
    short: u32,
    step: impl Fn(usize, u64),
    counted: impl Fn(usize) -> u64,
) -> u64 {
    let accounts = Accounts::new(ACCOUNTS);
    let interrupted = Cell::new(0);
    let survivor = |account: usize| {
        child(|| {
            while accounts.last.load() == 0 {
                accounts.step(account, |number| step(account, number));
            }
        })
    };
    let victim = |account: usize| -> Process {
        let in_progress = accounts.settle(account, counted(account));
        interrupted.set(interrupted.get() + u64::from(in_progress));
        child(|| {
            loop {
                accounts.step(account, |number| step(account, number));
            }
        })
    };
    let survivors: Vec<_> = (0..SURVIVORS).map(survivor).collect();
    let victims: Vec<_> = (SURVIVORS..ACCOUNTS).map(|account| move || victim(account)).collect();
    let victims: Vec<&dyn Fn() -> Process> = victims.iter().map(|start| start as _).collect();
    kill_at_random(kills(short), &victims, |_| accounts.wait_until_they_go_on(SURVIVORS));
    accounts.last.store(1);
    join_all(survivors);
    for account in 0..ACCOUNTS {
        let in_progress = accounts.settle(account, counted(account));
        assert!(!in_progress || account >= SURVIVORS, "a survivor left a step unfinished");
        interrupted.set(interrupted.get() + u64::from(in_progress));
    }
    let interrupted = interrupted.get();
    assert!(interrupted > 0, "nobody was killed at work");
    fact("interrupted", interrupted);
    interrupted
}

/// A total and its parts, by account, that change one after the other: they differ when somebody was killed in between.
pub struct Sums {
    parts: RawArray<u64>,
    total: RawValue<u64>,
}

impl Sums {
    /// Adds what they need to a plan.
    pub fn planned(plan: Plan) -> Plan {
        plan.raw_array::<u64>("parts", ACCOUNTS).raw_value::<u64>("total")
    }

    pub fn new(segment: &Segment) -> Self {
        Self {
            parts: segment.raw_array("parts").unwrap(),
            total: segment.raw_value("total").unwrap(),
        }
    }

    /// Asserts that they agree; for the holder of the lock, when nobody has told it otherwise.
    pub fn check(&self) {
        assert_eq!(
            self.total.load(),
            self.parts.iter().sum::<u64>(),
            "torn and not told, or two at a time"
        );
    }

    /// Makes them agree again; for one who was told.
    pub fn repair(&self) {
        self.total.store(self.parts.iter().sum());
    }

    /// Raises an account's part, then, after `between`, the total.
    pub fn add(&self, account: usize, between: impl FnOnce()) {
        let total = self.total.load();
        self.parts.store(account, self.parts.load(account) + 1);
        between();
        self.total.store(total + 1);
    }

    pub fn part(&self, account: usize) -> u64 {
        self.parts.load(account)
    }
}
