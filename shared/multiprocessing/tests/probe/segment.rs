//! Scenarios of segments: other programs, forks, families that are killed, contests for a name.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::{Duration, Instant};

use multiprocessing::{
    Array, Barrier, Exit, Permit, Plan, Process, Queue, RawArray, RawValue, Segment, SegmentError,
    SegmentName, Value,
};
use nix::unistd::{Pid, getppid};

use crate::tools::{
    LIMIT, Random, child, fact, join_all, kill_and_join, kills, name, process_state, reap, segment,
    sleep_for_ever, strike, wait_until,
};

/// An unrelated process: it knows the name and nothing else.
pub fn attach() {
    let segment = Segment::open(&name()).unwrap();
    assert_eq!(segment.creator(), getppid());
    assert!(segment.creator_is_alive());
    let (value, lock) = (segment.value::<u64>("value").unwrap(), segment.lock("lock").unwrap());
    assert_eq!(value.update(|value| *value *= 2).unwrap(), 42);
    assert_eq!(lock.holder(), Some(getppid()));
    assert!(lock.lock_timeout(Duration::from_millis(10)).unwrap().is_none());
    segment.raw_array::<i8>("raw").unwrap().store(1, -1);
}

pub fn share() {
    let segment =
        segment(&Plan::new().lock("lock").value::<u64>("value").raw_array::<i8>("raw", 2));
    segment.value::<u64>("value").unwrap().set(21).unwrap();
    let lock = segment.lock("lock").unwrap();
    let guard = lock.lock().unwrap();
    let mut other = Command::new(std::env::current_exe().unwrap());
    assert!(other.arg("segment-attach").status().unwrap().success());
    drop(guard);
    assert_eq!(segment.value::<u64>("value").unwrap().get(), 42);
    assert_eq!(segment.raw_array::<i8>("raw").unwrap().load(1), -1);
    assert!(name().path().exists(), "the other program took the entry with it");
    drop(segment);
    assert!(!name().path().exists());
}

/// In a `/dev/shm` of 64 kB.
pub fn no_space() {
    let outcome = Segment::create(&name(), &Plan::new().raw_array::<u8>("bytes", 1 << 20));
    assert!(
        matches!(outcome, Err(SegmentError::NoSpace { bytes }) if bytes > 1 << 20),
        "{outcome:?}"
    );
    assert_eq!(std::fs::read_dir("/dev/shm").unwrap().count(), 0);
    drop(segment(&Plan::new().raw_array::<u8>("bytes", 1 << 12)));
    fact("message", outcome.unwrap_err());
}

pub fn drop_in_child() {
    let segment = segment(&Plan::new().value::<u64>("value"));
    let mut copy = Some(segment.clone());
    let dropping = Process::spawn(|| {
        drop(copy.take());
        i32::from(!name().path().exists())
    });
    join_all([dropping.unwrap()]);
    let panicking = Process::spawn(|| {
        let _taken = copy.take();
        panic!("unwinds over the segment");
    });
    assert_eq!(panicking.unwrap().join().unwrap().to_string(), "exit code 101");
    assert!(name().path().exists());
    assert!(Segment::open(&name()).is_ok());
}

/// A creator and children that wait to be killed, one of them inside the lock. Children print their pids; `ready` comes last.
pub fn family(children: usize) {
    let segment = segment(&Plan::new().lock("lock").raw_value::<u64>("ready"));
    let (lock, ready) = (segment.lock("lock").unwrap(), segment.raw_value::<u64>("ready").unwrap());
    let children: Vec<_> = (0..children)
        .map(|number| {
            child(|| {
                ready.fetch_add(1);
                let _guard = (number < 2).then(|| lock.lock());
                sleep_for_ever();
            })
        })
        .collect();
    children.iter().for_each(|child| fact("child", child.pid()));
    wait_until("all children run", || ready.load() == children.len() as u64);
    fact("ready", 1);
    sleep_for_ever();
}

/// Each generation makes a segment and starts the next one. After the first one is killed, each dies of the death before it.
pub fn generations() {
    const GENERATIONS: usize = 24;
    let top = segment(&Plan::new().raw_value::<i32>("ready"));
    let ready = top.raw_value::<i32>("ready").unwrap();
    // As long as names may be.
    let name = |generation: usize| {
        SegmentName::new(&format!("{}.{generation:.<255}", name())[..255]).unwrap()
    };
    fn family(generation: usize, name: &dyn Fn(usize) -> SegmentName, ready: &dyn Fn()) -> ! {
        let _segment = Segment::create(&name(generation), &Plan::new().lock("lock")).unwrap();
        if generation == GENERATIONS {
            ready();
        } else {
            child(|| family(generation + 1, name, ready));
        }
        sleep_for_ever()
    }
    let first = child(|| family(1, &name, &|| ready.store(1)));
    wait_until("all generations run", || ready.load() == 1);
    kill_and_join(first);
    let names: Vec<_> = (1..=GENERATIONS).map(name).collect();
    assert_eq!(left_of(&names), [""; 0]);
}

/// Waits until these segments are removed, and reclaims those that are not. Returns their names.
fn left_of(names: &[SegmentName]) -> Vec<String> {
    let deadline = Instant::now() + LIMIT;
    while names.iter().any(|name| name.path().exists()) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    names.iter().filter(|name| Segment::reclaim(name).unwrap()).map(ToString::to_string).collect()
}

/// However many segments came and went before: who loses its parent removes what that one had, and what it has itself. Not what
/// somebody else has made since under a name of theirs.
pub fn orphan() {
    let top = segment(&Plan::new().raw_value::<i32>("orphan").raw_value::<u64>("step"));
    let (orphan, step) =
        (top.raw_value::<i32>("orphan").unwrap(), top.raw_value::<u64>("step").unwrap());
    let name = |which: &str| SegmentName::new(&format!("{}.{which}", name())).unwrap();
    let make = |which: &str| Segment::create(&name(which), &Plan::new().lock("lock")).unwrap();
    let parent = child(|| {
        (0..40).for_each(|_| drop(make("passing")));
        let (_kept, given_up) = (make("kept"), make("given-up"));
        let started = child(|| {
            let _own = make("own");
            step.store(1);
            sleep_for_ever();
        });
        orphan.store(started.pid().as_raw());
        wait_until("the child has its own", || step.load() == 1);
        drop(given_up);
        step.store(2);
        sleep_for_ever();
    });
    wait_until("a name is given up", || step.load() == 2);
    let _others = make("given-up");
    kill_and_join(parent);
    let orphan = Pid::from_raw(orphan.load());
    wait_until("the orphan ends", || matches!(process_state(orphan), None | Some('Z')));
    assert_eq!(left_of(&["kept", "own"].map(name)), [""; 0]);
    assert!(name("given-up").path().exists(), "the orphan removed what another process made");
}

/// Whatever a program may drop at a bad moment.
struct Everything {
    _permit: Permit,
    _barrier: Barrier,
    _queue: Queue<u64>,
    _value: Value<u64>,
    _array: Array<u16>,
    _segment: Segment,
}

/// Handles, permits and segments are dropped while another process holds the locks, and this one; by a destructor that a panic
/// runs; and in a child that inherited them.
pub fn drop_anywhere() {
    let plan = Plan::new()
        .lock("lock")
        .value::<u64>("value")
        .array::<u16>("array", 3)
        .semaphore("gate", 9);
    let segment =
        segment(&plan.barrier("meet", 1).queue::<u64>("queue", 2).raw_value::<u64>("held"));
    let everything = || {
        let (gate, meet) = (segment.semaphore("gate").unwrap(), segment.barrier("meet").unwrap());
        // From here on it is a party of the barrier, which the last handle's drop takes it off.
        meet.wait().unwrap();
        Everything {
            _permit: gate.acquire().unwrap(),
            _barrier: meet,
            _queue: segment.queue("queue").unwrap(),
            _value: segment.value("value").unwrap(),
            _array: segment.array("array").unwrap(),
            _segment: segment.clone(),
        }
    };
    let held = segment.raw_value::<u64>("held").unwrap();
    let (lock, value) = (segment.lock("lock").unwrap(), segment.value::<u64>("value").unwrap());
    let array = segment.array::<u16>("array").unwrap();
    let holder = child(|| {
        let _guards = (value.lock().unwrap(), array.lock().unwrap());
        held.store(1);
        sleep_for_ever();
    });
    wait_until("the other process holds its locks", || held.load() == 1);
    let guard = lock.lock().unwrap();
    drop(everything());
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _everything = everything();
        panic!("with everything in hand");
    }));
    assert!(panicked.is_err());
    let mut inherited = Some(everything());
    join_all([child(|| drop(inherited.take()))]);
    let mut dying = child(|| {
        let _inherited = inherited.take();
        panic!("with what its parent has in hand");
    });
    assert_eq!(dying.join_timeout(LIMIT).unwrap(), Some(Exit::Code(101)));
    drop((inherited, guard));
    kill_and_join(holder);
    assert!(name().path().exists(), "removed while a handle lives");
    assert_eq!(segment.semaphore("gate").unwrap().get_value(), 9, "a permit is lost");
    drop(segment);
    assert!(!name().path().exists());
}

/// A child that dies must not take the segment of its living parent with it, whatever its own children do.
pub fn grandchild() {
    let segment = segment(&Plan::new().raw_value::<i32>("grandchild"));
    let pid = segment.raw_value::<i32>("grandchild").unwrap();
    let middle = child(|| {
        let grandchild = child(|| sleep_for_ever());
        pid.store(grandchild.pid().as_raw());
        sleep_for_ever();
    });
    wait_until("the grandchild runs", || pid.load() != 0);
    let grandchild = Pid::from_raw(pid.load());
    kill_and_join(middle);
    wait_until("the grandchild ends", || matches!(process_state(grandchild), None | Some('Z')));
    assert!(name().path().exists(), "the grandchild removed its living grandparent's segment");
}

/// Names that are contended for at the same time: one that a victim leaves half-made is not to be had for a second.
const NAMES: usize = 16;

/// What those who contend for names share.
struct Contest {
    /// How often each name was had.
    made: RawArray<u64>,
    opened: RawValue<u64>,
    /// Entries of dead creators that were removed.
    reclaimed: RawValue<u64>,
    plan: Plan,
    _segment: Segment,
}

impl Contest {
    fn new() -> Self {
        let plan = Plan::new().raw_array::<u64>("made", NAMES).raw_value::<u64>("opened");
        let segment = segment(&plan.raw_value::<u64>("reclaimed"));
        Self {
            made: segment.raw_array("made").unwrap(),
            opened: segment.raw_value("opened").unwrap(),
            reclaimed: segment.raw_value("reclaimed").unwrap(),
            plan: Plan::new().lock("lock").value::<u64>("pid").raw_array::<u64>("rest", 100),
            _segment: segment,
        }
    }

    fn name(number: usize) -> SegmentName {
        SegmentName::new(&format!("{}.{number}", name())).unwrap()
    }

    fn creator(&self, number: usize) -> Process {
        child(|| {
            let name = Self::name(number);
            loop {
                let outcome = Segment::reclaim(&name).and_then(|was_there| {
                    self.reclaimed.fetch_add(u64::from(was_there));
                    Segment::create(&name, &self.plan)
                });
                match outcome {
                    Ok(segment) => self.owns(number, &segment),
                    Err(
                        SegmentError::Exists { .. }
                        | SegmentError::InUse { .. }
                        | SegmentError::NotFound { .. },
                    ) => std::thread::sleep(Duration::from_millis(1)),
                    Err(error) => panic!("{error}"),
                }
            }
        })
    }

    /// Nobody else has the name while this process has it.
    fn owns(&self, number: usize, segment: &Segment) {
        let own = u64::from(std::process::id());
        segment.value::<u64>("pid").unwrap().set(own).unwrap();
        std::thread::sleep(Duration::from_micros(600 * (self.made.fetch_add(number, 1) % 8)));
        let found = Segment::open(segment.name()).unwrap();
        assert_eq!(
            found.value::<u64>("pid").unwrap().get(),
            own,
            "two processes believe they made it"
        );
    }

    /// Whoever opens one finds it whole.
    fn opener(&self) -> Process {
        child(|| {
            for number in (0..NAMES).cycle() {
                match Segment::open(&Self::name(number)) {
                    Ok(segment) => {
                        assert_eq!(segment.objects().len(), 3);
                        self.opened.fetch_add(1);
                    }
                    Err(SegmentError::NotFound { .. }) => {}
                    // Left by a victim; who only opens can do nothing about it.
                    Err(SegmentError::Foreign { reason, .. })
                        if reason == "it was never finished" => {}
                    Err(error) => panic!("{error}"),
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        })
    }
}

/// Processes make, open, remove and reclaim segments of the same names, and are killed at it. Each name can be had again, nobody
/// takes it from a living process, and in the end nothing is left.
pub fn soak() {
    let contest = Contest::new();
    let mut openers = [0; 2].map(|_| contest.opener());
    let creators = |number: usize| [0, 1].map(|_| contest.creator(number));
    let mut creators: Vec<_> = (0..NAMES).map(creators).collect();
    // For each name, how often it was had when somebody was last killed, and when that was.
    let mut then = vec![(0, Instant::now()); NAMES];
    let mut random = Random::new();
    let (kills, mut killed) = (kills(200), 0);
    while killed < kills {
        random.pause(Duration::from_micros(200));
        let number = random.below(NAMES as u64) as usize;
        let (had, since) = then[number];
        if contest.made.load(number) == had {
            assert!(since.elapsed() < LIMIT, "nobody can have name {number} any more");
            continue;
        }
        let victims = &mut creators[number][..1 + random.below(2) as usize];
        victims.iter_mut().for_each(strike);
        victims.iter_mut().for_each(reap);
        then[number] = (contest.made.load(number), Instant::now());
        for victim in victims {
            *victim = contest.creator(number);
            killed += 1;
        }
    }
    for opener in &mut openers {
        assert!(opener.is_alive(), "an opener gave up: {:?}", opener.exit());
    }
    creators.into_iter().flatten().chain(openers).for_each(kill_and_join);
    // At the same time, for some may be half-made.
    let reclaim = |number: usize| {
        child(move || {
            let name = Contest::name(number);
            Segment::reclaim(&name).unwrap();
            assert!(!name.path().exists());
            drop(Segment::create(&name, &Plan::new()).unwrap());
        })
    };
    join_all((0..NAMES).map(reclaim).collect::<Vec<_>>());
    let (reclaimed, opened) = (contest.reclaimed.load(), contest.opened.load());
    assert!(reclaimed > 0 && opened > 0);
    fact("recoveries", reclaimed);
    fact("made", contest.made.iter().sum::<u64>());
    fact("opened", opened);
}

/// Something of every kind and type, and two objects that change all the time, until it is killed.
pub fn exhibit() {
    let plan = Plan::new()
        .lock("lock")
        .value::<u64>("value")
        .value::<[i16; 3]>("triple")
        .value::<f64>("float");
    let plan = plan.raw_value::<i64>("raw").array::<f64>("floats", 2).array::<f32>("halves", 1);
    let plan = plan.raw_array::<u8>("bytes", 3).value::<[u8; 5]>("odd").array::<u16>("none", 0);
    let plan = plan.raw_array::<i8>("i8", 1).raw_array::<u16>("u16", 1).raw_array::<u32>("u32", 1);
    let plan = plan.raw_value::<i32>("i32").rlock("rlock").participants(5).semaphore("gate", 2);
    let plan = plan
        .bounded_semaphore("bounded", 2)
        .event("event")
        .condition("changed")
        .barrier("meet", 2)
        .queue::<u64>("letters", 3)
        .joinable_queue::<u64>("tasks", 4);
    let segment = segment(&plan.raw_value::<u64>("flicker").value::<[u64; 64]>("changing"));
    segment.value::<u64>("value").unwrap().set(u64::MAX).unwrap();
    segment.value::<[i16; 3]>("triple").unwrap().set([-1, 0, 1]).unwrap();
    segment.value::<f64>("float").unwrap().set(-1.5).unwrap();
    segment.raw_value::<i64>("raw").unwrap().store(i64::MIN);
    segment.array::<f64>("floats").unwrap().lock().unwrap()[1] = -0.5;
    segment.array::<f32>("halves").unwrap().lock().unwrap()[0] = 0.25;
    segment.raw_array::<u8>("bytes").unwrap().store(2, 255);
    segment.value::<[u8; 5]>("odd").unwrap().update(|bytes| bytes[4] = 4).unwrap();
    segment.raw_array::<i8>("i8").unwrap().store(0, -128);
    segment.raw_array::<u16>("u16").unwrap().store(0, 65_535);
    segment.raw_array::<u32>("u32").unwrap().store(0, 4_294_967_295);
    segment.raw_value::<i32>("i32").unwrap().store(-7);
    let flicker = segment.raw_value::<u64>("flicker").unwrap();
    let changing = segment.value::<[u64; 64]>("changing").unwrap();
    fact("ready", 1);
    loop {
        // Two numbers that have no byte in common.
        flicker.store(!flicker.load());
        changing.update(|words| words.iter_mut().for_each(|word| *word += 1)).unwrap();
    }
}
