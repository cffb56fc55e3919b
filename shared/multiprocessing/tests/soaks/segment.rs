//! Processes that contend for segment names and are killed.

use std::time::{Duration, Instant};

use multiprocessing::{Plan, Process, RawArray, RawValue, Segment, SegmentError, SegmentName};
use nix::unistd::getpid;

use crate::common::{
    LIMIT, Random, apply, child, fact, join_all, kill_and_join, kill_at_work, kills, name, reap,
    segment, soak,
};

/// Number of names. One whose segment a victim leaves half-made is unavailable for a second.
const NAMES: usize = 16;

/// What the contending processes share.
struct Contest {
    /// How often a segment was created under each name.
    made: RawArray<u64>,
    /// The generation of the last segment of each name.
    generations: RawArray<u64>,
    opened: RawValue<u64>,
    /// Entries of dead creators that were removed.
    reclaimed: RawValue<u64>,
    plan: Plan,
    _segment: Segment,
}

impl Contest {
    fn new() -> Self {
        let plan = Plan::new().raw_array::<u64>("made", NAMES).raw_value::<u64>("opened");
        let plan = plan.raw_array::<u64>("generations", NAMES).raw_value::<u64>("reclaimed");
        let segment = segment(&plan);
        Self {
            made: segment.raw_array("made").unwrap(),
            generations: segment.raw_array("generations").unwrap(),
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
                let outcome = if number.is_multiple_of(2) {
                    Segment::reclaim(&name).and_then(|was_there| {
                        self.reclaimed.fetch_add(u64::from(was_there));
                        Segment::create(&name, &self.plan)
                    })
                } else {
                    Segment::open_or_create(&name, &self.plan)
                };
                match outcome {
                    Ok(segment) if segment.creator() != getpid() => {
                        std::thread::sleep(Duration::from_millis(1));
                    }
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

    /// Checks that no other process has the name while this process has it, and that its segment is
    /// newer than all before.
    fn owns(&self, number: usize, segment: &Segment) {
        let before = self.generations.load(number);
        assert!(segment.generation() > before, "{before}, then {}", segment.generation());
        self.generations.store(number, segment.generation());
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

    /// Starts a child that opens segments and finds each of them complete.
    fn opener(&self) -> Process {
        child(|| {
            for number in (0..NAMES).cycle() {
                match Segment::open(&Self::name(number)) {
                    Ok(segment) => {
                        assert_eq!(segment.objects().len(), 3);
                        self.opened.fetch_add(1);
                    }
                    Err(SegmentError::NotFound { .. }) => {}
                    // A victim left it, and an opener cannot remove it.
                    Err(SegmentError::Foreign { reason, .. })
                        if reason == "it was never finished" => {}
                    Err(error) => panic!("{error}"),
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        })
    }
}

/// Kills processes that create, open, replace, remove and reclaim segments of the same names. Each
/// name becomes available again, no process takes it from a living one, and in the end nothing is
/// left.
#[apply(soak)]
fn processes_that_contend_for_a_name_never_share_it() {
    let contest = Contest::new();
    let mut openers = [0; 2].map(|_| contest.opener());
    let creators = |number: usize| [0, 1].map(|_| contest.creator(number));
    let mut creators: Vec<_> = (0..NAMES).map(creators).collect();
    // For each name, the count of its segments at the last kill, and the time of that kill.
    let mut then = vec![(0, Instant::now()); NAMES];
    let mut random = Random::new();
    let (kills, mut killed) = (kills(200), 0);
    while killed < kills {
        random.pause(Duration::from_micros(200));
        let number = random.below(NAMES as u64) as usize;
        let (had, since) = then[number];
        if contest.made.load(number) == had {
            assert!(since.elapsed() < LIMIT, "name {number} stays unavailable");
            continue;
        }
        let victims = &mut creators[number][..1 + random.below(2) as usize];
        victims.iter_mut().for_each(kill_at_work);
        victims.iter_mut().for_each(reap);
        then[number] = (contest.made.load(number), Instant::now());
        for victim in victims {
            *victim = contest.creator(number);
            killed += 1;
        }
    }
    for opener in &mut openers {
        assert!(opener.is_alive(), "an opener ended by itself: {:?}", opener.exit());
    }
    creators.into_iter().flatten().chain(openers).for_each(kill_and_join);
    // At the same time, because each half-made segment takes a second.
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
