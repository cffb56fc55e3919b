//! Exact accounts of what victims do. Each victim announces every step that it begins and
//! completes, in cells of its own. So at most one step of a killed victim is uncertain, and the
//! data it changed shows whether that step took effect.

use std::cell::Cell;

use multiprocessing::{Plan, Process, RawArray, RawValue, Segment, SegmentName};

use super::{child, fact, join_all, kill_at_random, kills, name, rest, wait_until};

/// Processes that [`kill_account_holders`] never kills. They have the first accounts.
const SURVIVORS: usize = 2;
/// Processes that [`kill_account_holders`] kills and replaces.
const VICTIMS: usize = 4;
/// Accounts of [`kill_account_holders`], one per process.
pub const ACCOUNTS: usize = SURVIVORS + VICTIMS;

/// The cells of all accounts, in a segment of their own. One process at a time has an account.
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

    /// Takes a step on an account. `step` gets the number of the step.
    pub fn step(&self, account: usize, step: impl FnOnce(u64)) {
        let number = self.begun.fetch_add(account, 1);
        step(number);
        self.done.fetch_add(account, 1);
        rest(number);
    }

    /// Checks the account of a process that has ended: all its completed steps were counted, and no
    /// others except possibly the one in progress. The next process continues from the counted
    /// steps. Returns true if a step was in progress.
    pub fn close(&self, account: usize, counted: u64) -> bool {
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

    /// Waits until each of the first accounts has at least one more step.
    pub fn wait_until_they_go_on(&self, accounts: usize) {
        let before: Vec<_> = self.done.iter().take(accounts).collect();
        let all = || self.done.iter().zip(&before).all(|(now, &was)| now > was);
        wait_until("the survivors go on", all);
    }
}

/// Lets processes take steps, each on an account of its own, and keeps killing some of them. `step`
/// gets the account and the number of the step. `counted` returns how many steps on an account took
/// effect. No step may be lost, and the survivors must go on after each kill. Returns how many of
/// the killed processes had a step in progress.
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
        let in_progress = accounts.close(account, counted(account));
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
        let in_progress = accounts.close(account, counted(account));
        assert!(!in_progress || account >= SURVIVORS, "a survivor left a step unfinished");
        interrupted.set(interrupted.get() + u64::from(in_progress));
    }
    let interrupted = interrupted.get();
    assert!(interrupted > 0, "no process was killed at work");
    fact("interrupted", interrupted);
    interrupted
}

/// A total and its parts per account. They change one after the other, so they differ after a kill
/// in between.
pub struct Sums {
    parts: RawArray<u64>,
    total: RawValue<u64>,
}

impl Sums {
    /// Adds the objects that they need to a plan.
    pub fn planned(plan: Plan) -> Plan {
        plan.raw_array::<u64>("parts", ACCOUNTS).raw_value::<u64>("total")
    }

    pub fn new(segment: &Segment) -> Self {
        Self {
            parts: segment.raw_array("parts").unwrap(),
            total: segment.raw_value("total").unwrap(),
        }
    }

    /// Asserts that they agree, for a holder of the lock that did not learn of a death.
    pub fn check(&self) {
        assert_eq!(
            self.total.load(),
            self.parts.iter().sum::<u64>(),
            "torn without a dead holder, or two holders"
        );
    }

    /// Makes them agree again, for a holder that learned of a death.
    pub fn repair(&self) {
        self.total.store(self.parts.iter().sum());
    }

    /// Raises the part of an account, calls `between`, and raises the total.
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
