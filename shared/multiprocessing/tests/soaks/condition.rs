//! Conditions whose waiters and notifiers are killed.

use std::time::{Duration, Instant};

use multiprocessing::{
    Condition, ConditionError, Inherited, Lock, LockError, LockGuard, Plan, Process, RawArray,
    RawValue, Segment, SegmentName,
};

use crate::common::{
    LIMIT, Random, apply, assert_less, child, fact, is_short_form, kill_and_join, kill_at_work,
    kills, linger, name, reap, sleep_for_ever, soak, wait_until, wait_until_at_work,
};

/// Number of groups that run side by side. A notification of a dead waiter is passed on only after
/// a tenth of a second, during which nothing else happens in its group.
const GROUPS: usize = 8;
/// Consumers of a group. The first ones are never killed.
const CONSUMERS: usize = 4;
const SURVIVORS: usize = 2;
/// Longest pause between a notification and a kill, which may come before any waiter wakes up or
/// after the item is taken.
const PAUSE: Duration = Duration::from_micros(300);

/// A condition and the place that it guards. One numbered item at a time is put there, and a
/// consumer takes it.
struct Place {
    lock: Lock,
    changed: Condition,
    /// The number of the item that is there, or 0.
    item: RawValue<u64>,
    /// The last item that each consumer has taken.
    taken: RawArray<u64>,
    _segment: Segment,
}

impl Place {
    fn new(group: usize) -> Self {
        // There is little room, which rows left by dead waiters would fill.
        let plan = Plan::new().lock("lock").participants(2 * CONSUMERS).condition("changed");
        let plan = plan.raw_value::<u64>("item").raw_array::<u64>("taken", CONSUMERS);
        let name = SegmentName::new(&format!("{}.{group}", name())).unwrap();
        let segment = Segment::create(&name, &plan).unwrap();
        let lock = segment.lock("lock").unwrap();
        let changed = segment.condition("changed", &lock).unwrap();
        let (item, taken) =
            (segment.raw_value("item").unwrap(), segment.raw_array("taken").unwrap());
        Self { lock, changed, item, taken, _segment: segment }
    }

    fn lock(&self) -> LockGuard<'_> {
        match self.lock.lock() {
            Err(LockError::OwnerDied(inherited)) => self.repaired(inherited),
            other => other.unwrap(),
        }
    }

    /// Completes what a dead holder left undone: removes an item that it has taken, or notifies of
    /// an item that is still there.
    fn repaired<'a>(&self, inherited: Inherited<LockGuard<'a>>) -> LockGuard<'a> {
        if self.is_taken(self.item.load()) {
            self.item.store(0);
        }
        let guard = inherited.repaired();
        if self.item.load() > 0 {
            self.changed.notify(&guard, 1).unwrap();
        }
        guard
    }

    fn is_taken(&self, item: u64) -> bool {
        self.taken.iter().any(|taken| taken == item)
    }

    /// Puts an item there and notifies one waiter.
    fn put(&self, item: u64) -> LockGuard<'_> {
        let guard = self.lock();
        assert_eq!(self.item.load(), 0);
        self.item.store(item);
        (0..10).for_each(|_| linger(item));
        self.changed.notify(&guard, 1).unwrap();
        guard
    }

    fn consumer(&self, number: usize) -> Process {
        child(|| {
            let mut guard = self.lock();
            loop {
                guard = match self.changed.wait_for(guard, || self.item.load() > 0) {
                    Ok(guard) => {
                        let item = self.item.load();
                        self.taken.store(number, item);
                        (0..10).for_each(|_| linger(item));
                        self.item.store(0);
                        guard
                    }
                    Err(ConditionError::Lock(LockError::OwnerDied(inherited))) => {
                        self.repaired(inherited)
                    }
                    Err(error) => panic!("{error}"),
                };
            }
        })
    }
}

/// A place and its consumers.
struct Group {
    place: Place,
    consumers: Vec<Process>,
    /// Consumers that were killed and are not replaced yet.
    dead: Vec<usize>,
    /// Number of the last item.
    items: u64,
    /// When the last item was put there.
    since: Instant,
    /// The longest time that an item stayed there.
    longest: Duration,
}

impl Group {
    fn new(number: usize) -> Self {
        let place = Place::new(number);
        let consumers = (0..CONSUMERS).map(|number| place.consumer(number)).collect();
        Self {
            place,
            consumers,
            dead: Vec::new(),
            items: 0,
            since: Instant::now(),
            longest: Duration::ZERO,
        }
    }

    /// Returns true if the last item was taken. Checks that one consumer took it, and in time.
    fn is_last_item_taken(&mut self) -> bool {
        let Self { place, items, .. } = self;
        if place.item.load() > 0 {
            self.longest = self.longest.max(self.since.elapsed());
            assert!(self.longest < LIMIT, "no consumer takes item {items}: {:?}", place.changed);
            return false;
        }
        let takers = place.taken.iter().filter(|taken| taken == items).count();
        assert!(takers == 1 || *items == 0, "item {items} has {takers} takers: {:?}", place.taken);
        true
    }

    /// Puts another item there and kills processes meanwhile. Returns how many.
    fn disturb(&mut self, random: &mut Random) -> u32 {
        // Only after the item was taken: a new consumer would have taken it without a notification.
        for number in self.dead.drain(..) {
            self.consumers[number] = self.place.consumer(number);
        }
        self.items += 1;
        let killed = if random.below(4) == 0 {
            self.kill_notifier(random)
        } else {
            self.kill_consumers(random)
        };
        self.since = Instant::now();
        killed
    }

    /// Kills the notifier before it has the lock, with the lock, or afterwards.
    fn kill_notifier(&mut self, random: &mut Random) -> u32 {
        let (place, item) = (&self.place, self.items);
        let mut notifier = child(|| {
            drop(place.put(item));
            sleep_for_ever();
        });
        wait_until_at_work(&mut notifier);
        random.pause(PAUSE);
        kill_at_work(&mut notifier);
        reap(&mut notifier);
        let guard = place.lock();
        let was_put = place.item.load() == item || place.is_taken(item);
        drop(guard);
        if !was_put {
            drop(place.put(item));
        }
        1
    }

    /// Kills consumers that wait, wake up, wait for the lock, or have it.
    fn kill_consumers(&mut self, random: &mut Random) -> u32 {
        let guard = self.place.put(self.items);
        let kept = random.below(2) == 0;
        let guard = Some(guard).filter(|_| kept);
        random.pause(PAUSE);
        let many = 1 + random.below((CONSUMERS - SURVIVORS) as u64) as usize;
        self.dead.extend(SURVIVORS..SURVIVORS + many);
        for &victim in &self.dead {
            kill_at_work(&mut self.consumers[victim]);
        }
        drop(guard);
        for &victim in &self.dead {
            reap(&mut self.consumers[victim]);
        }
        // A victim may have held the lock, and perhaps no other process asks for it.
        drop(self.place.lock());
        many as u32
    }

    /// Ends all consumers, and checks that the dead leave no trace after the next check of a
    /// waiter. Returns how often a dead lock holder was found, and how often a dead notified
    /// waiter.
    fn end(mut self) -> [u64; 2] {
        let Place { lock, changed, taken, .. } = &self.place;
        for survivor in 0..SURVIVORS {
            assert!(self.consumers[survivor].is_alive(), "a survivor ended");
            assert!(taken.load(survivor) > 0, "a survivor never took anything: {taken:?}");
        }
        let dead = |number: &usize| self.dead.contains(number);
        let living = self.consumers.into_iter().enumerate().filter(|(number, _)| !dead(number));
        living.for_each(|(_, consumer)| kill_and_join(consumer));
        let (guard, notified) =
            changed.wait_timeout(self.place.lock(), Duration::from_millis(200)).unwrap();
        drop(guard);
        let shown = format!("{changed:?}");
        assert!(!notified && shown.starts_with("Condition(0 wait"), "{shown}");
        let passed_on =
            shown.split_once(" (").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        [lock.recoveries(), passed_on.unwrap_or(0)]
    }
}

/// Puts one item down at a time and notifies one waiter, while other waiters or the notifier are
/// killed. Every item is taken once.
#[apply(soak)]
fn every_notification_reaches_a_living_waiter() {
    let mut groups: Vec<_> = (0..GROUPS).map(Group::new).collect();
    let mut random = Random::new();
    let (kills, mut killed) = (kills(400), 0);
    while killed < kills {
        let group = &mut groups[random.below(GROUPS as u64) as usize];
        if group.is_last_item_taken() {
            killed += group.disturb(&mut random);
        } else {
            random.pause(PAUSE);
        }
    }
    groups.iter_mut().for_each(|group| {
        wait_until("the last item is taken", || group.is_last_item_taken());
    });
    let longest = groups.iter().map(|group| group.longest).max().unwrap_or_default();
    fact("longest_ms", longest.as_millis());
    // The long form runs beside other soaks that use the processors too.
    if is_short_form() {
        assert_less("an item is taken", longest, Duration::from_secs(2));
    }
    let found = groups.into_iter().map(Group::end);
    let [locks, passed_on] =
        found.fold([0; 2], |sum, found| [sum[0] + found[0], sum[1] + found[1]]);
    assert!(locks > 0, "no process was killed with the lock");
    assert!(passed_on > 0, "no waiter was killed after its notification");
    fact("recoveries", locks + passed_on);
    fact("passed_on", passed_on);
}
