//! Semaphores whose holders and waiters are killed.

use multiprocessing::{Plan, Process, RawArray, RawValue, Segment, Semaphore};

use crate::common::{
    LIMIT, apply, child, fact, join_all, kill_at_random, kills, linger, rest, segment, soak,
    wait_until,
};

/// Returns the free and held units, and the number of holders, as the semaphore shows them at one
/// moment.
pub fn shown(gate: &Semaphore) -> [u64; 3] {
    let text = gate.to_string();
    let text = text.split(" (").next().unwrap();
    let number = |part: &str| part.split(' ').next().unwrap().parse::<u64>().unwrap();
    let mut parts = text.split(", ").map(number);
    [parts.next().unwrap(), parts.clone().sum(), parts.count() as u64]
}

/// A semaphore between processes of which some are killed.
pub struct Soak<'a> {
    gate: &'a Semaphore,
    units: u64,
    /// The holder, if there is one unit only.
    owner: RawValue<u64>,
    /// How often each survivor acquired a unit.
    taken: RawArray<u64>,
    /// Units of dead holders that permits of survivors reported.
    reported: RawValue<u64>,
    last: RawValue<u8>,
}

impl<'a> Soak<'a> {
    /// Adds the objects that it needs to a plan. There is little room for holders, which rows left
    /// by the dead would fill.
    pub fn planned(plan: Plan) -> Plan {
        let plan = plan.raw_value::<u64>("owner").raw_array::<u64>("taken", 2);
        plan.raw_value::<u64>("reported").raw_value::<u8>("last").participants(16)
    }

    pub fn new(segment: &Segment, gate: &'a Semaphore) -> Self {
        Self {
            gate,
            units: gate.get_value(),
            owner: segment.raw_value("owner").unwrap(),
            taken: segment.raw_array("taken").unwrap(),
            reported: segment.raw_value("reported").unwrap(),
            last: segment.raw_value("last").unwrap(),
        }
    }

    /// Acquires a unit for a moment, and checks that no other process has it if there is only one.
    /// Returns how many units of dead holders the permit reported.
    fn take(&self, step: u64) -> u64 {
        let own = u64::from(std::process::id());
        let permit = self.gate.acquire().unwrap();
        if self.units == 1 {
            self.owner.store(own);
            linger(step);
            assert_eq!(self.owner.load(), own, "two hold the only unit");
        }
        linger(step);
        let recovered = permit.recovered();
        drop(permit);
        rest(step);
        recovered
    }

    fn survivor(&self, number: usize) -> Process {
        child(|| {
            while self.last.load() == 0 {
                self.reported.fetch_add(self.take(self.taken.fetch_add(number, 1)));
            }
        })
    }

    pub fn victim(&self) -> Process {
        child(|| {
            for step in 0.. {
                self.take(step);
            }
        })
    }

    /// Starts a child that acquires a unit, and all others that are free.
    pub fn hoarder(&self) -> Process {
        child(|| {
            for step in 0.. {
                let mut permits = vec![self.gate.acquire().unwrap()];
                permits.extend(std::iter::from_fn(|| self.gate.try_acquire().unwrap()));
                linger(step);
                drop(permits);
                rest(step);
            }
        })
    }

    /// Kills victims, and checks that the survivors go on.
    pub fn run(&self, kills: u32, victims: &[&dyn Fn() -> Process], mut check: impl FnMut()) {
        let survivors = [0, 1].map(|number| self.survivor(number));
        kill_at_random(kills, victims, |_| {
            check();
            let before: Vec<_> = self.taken.iter().collect();
            let all = || self.taken.iter().zip(&before).all(|(now, &was)| now > was);
            wait_until("the survivors go on", all);
        });
        self.last.store(1);
        join_all(survivors);
    }

    /// Acquires all units, which recovers those of dead holders, and checks that no trace of the
    /// dead is left. Returns how many units were recovered in all, and how many of them permits
    /// reported.
    pub fn recover_all(&self) -> [u64; 2] {
        let take = || self.gate.acquire_timeout(LIMIT).unwrap().expect("a unit is missing");
        let permits: Vec<_> = (0..self.units).map(|_| take()).collect();
        self.reported.fetch_add(permits.iter().map(|permit| permit.recovered()).sum());
        assert!(
            self.gate.try_acquire().unwrap().is_none(),
            "more than {} units: {}",
            self.units,
            self.gate
        );
        assert_eq!(shown(self.gate), [0, self.units, 1], "{}", self.gate);
        drop(permits);
        assert_eq!(shown(self.gate), [self.units, 0, 0], "{}", self.gate);
        [self.gate.recovered(), self.reported.load()]
    }
}

/// Checks that units of dead holders were recovered and reported. Permits of victims may have
/// reported some, too.
pub fn check_reports([recovered, reported]: [u64; 2]) {
    assert!(
        recovered > 0 && (1..=recovered).contains(&reported),
        "{reported} of {recovered} were reported"
    );
    fact("recoveries", recovered);
    fact("reported", reported);
}

/// The number of units is the same at every moment, and each can be acquired again.
#[apply(soak)]
fn no_unit_is_lost_or_held_twice() {
    let kills = kills(300);
    let mut sum = [0; 2];
    for (units, kills) in [(1, kills / 4), (3, kills - kills / 4)] {
        // The second round needs a segment of its own, under the same name.
        let segment = segment(&Soak::planned(Plan::new()).semaphore("gate", units));
        let gate = segment.semaphore("gate").unwrap();
        let soak = Soak::new(&segment, &gate);
        let (victim, hoarder) = (|| soak.victim(), || soak.hoarder());
        soak.run(kills, &[&victim, &hoarder, &victim, &victim, &victim, &victim], || {
            let [free, held, _] = shown(&gate);
            assert_eq!(free + held, units, "{gate}");
        });
        let found = soak.recover_all();
        sum = [sum[0] + found[0], sum[1] + found[1]];
    }
    check_reports(sum);
}
