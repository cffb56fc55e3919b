//! DOC

use std::time::Duration;

use multiprocessing::{
    JoinableQueue, Plan, QueueError, RawArray, RawValue, Segment, Shareable, Task,
};

use crate::common::{MARKED, Traffic, apply, child, fact, join_all, kills, segment, soak};

/// Returns the next task, or `None` when the queue is closed.
fn next<T: Shareable>(queue: &JoinableQueue<T>) -> Option<Task<T>> {
    match queue.get() {
        Err(QueueError::Closed) => None,
        task => Some(task.unwrap()),
    }
}

/// Most tasks that one of the soak has in hand.
const HAND: usize = 3;

struct Soak {
    queue: JoinableQueue<u64>,
    /// Two that put, two that take and one that joins survive.
    traffic: Traffic,
    /// 1 when it is about to be done, 2 when it was.
    done: RawArray<u8>,
    told: RawValue<u64>,
}

impl Soak {
    fn new(segment: &Segment) -> Self {
        Self {
            queue: segment.joinable_queue("queue").unwrap(),
            traffic: Traffic::of(segment),
            done: segment.raw_array("done").unwrap(),
            told: segment.raw_value("told").unwrap(),
        }
    }

    fn puts(&self, survivor: Option<usize>) {
        self.traffic.sends(survivor, |_, number| self.queue.put(number).unwrap());
    }

    fn takes(&self, survivor: Option<usize>) {
        let mut hand = Vec::new();
        while let Some(task) = next(&self.queue) {
            self.traffic.received.fetch_add(*task as usize, 1);
            hand.push(task);
            let number = *hand[0] as usize;
            if hand.len() == HAND || number.is_multiple_of(2) {
                self.done.store(number, 1);
                drop(hand.swap_remove(0));
                self.done.store(number, 2);
            }
            self.traffic.count(survivor);
        }
        for task in hand {
            self.done.store(*task as usize, 1);
            let number = *task as usize;
            drop(task);
            self.done.store(number, 2);
        }
    }

    fn joins(&self, survivor: Option<usize>) {
        let mut on = true;
        while on {
            // Everything is done for ever when the queue is closed and nothing is left.
            on = self.traffic.last.load() < 2;
            match self.queue.join_timeout(Duration::from_millis(5)) {
                Ok(all) => on |= !all,
                Err(QueueError::Lost { tasks }) if survivor.is_some() => {
                    _ = self.told.fetch_add(tasks)
                }
                Err(QueueError::Lost { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            self.traffic.count(survivor);
        }
    }
}

/// Whoever is killed, the survivors go on, every task is taken once at most, and in the end each is done, or lost with one who was
/// killed; whoever joins was told of as many as were.
#[apply(soak)]
fn every_task_is_done_once_or_lost_with_one_killed_and_joins_tell_how_many() {
    let mut lost_in_all = 0;
    let (all, putters, takers) = ([0, 1, 1, 2], [0; 4], [1; 4]);
    let rounds = [(1, all), (64, all), (5, putters), (5, takers)];
    for (capacity, killed) in rounds.into_iter().cycle().take(kills(800).div_ceil(200) as usize) {
        let plan = Plan::new().joinable_queue::<u64>("queue", capacity).raw_value::<u64>("told");
        let plan = Traffic::planned(plan.raw_array::<u8>("done", MARKED as usize), 5);
        // Another round needs a segment of its own, and the name.
        let segment = segment(&plan);
        let soak = Soak::new(&segment);
        let putting = [0, 1].map(|number| child(|| soak.puts(Some(number))));
        let taking = [2, 3].map(|number| child(|| soak.takes(Some(number))));
        let joining = child(|| soak.joins(Some(4)));
        let work: [&dyn Fn(); 3] =
            [&|| soak.puts(None), &|| soak.takes(None), &|| soak.joins(None)];
        let [putters, takers, _] = soak.traffic.kill(200, work, killed);
        soak.traffic.last.store(1);
        join_all(putting);
        soak.queue.close().unwrap();
        join_all(taking);
        soak.traffic.last.store(2);
        join_all([joining]);
        let lost = soak.queue.lost();
        let told = match soak.queue.join() {
            Err(QueueError::Lost { tasks }) => tasks,
            outcome => outcome.map(|()| 0).unwrap(),
        };
        assert_eq!(
            (told, soak.told.load(), soak.queue.unfinished()),
            (lost, lost, 0),
            "{}",
            soak.queue
        );

        let (mut put, mut begun, mut done, mut untold) = (0, 0, 0, 0);
        let Traffic { returned, received, .. } = &soak.traffic;
        let marks = returned.iter().zip(received.iter()).zip(soak.done.iter());
        for ((returned, taken), done_mark) in marks {
            assert!(taken <= 1, "a task was taken {taken} times");
            put += u64::from(returned == 1);
            untold += u64::from(returned == 0 && taken == 1);
            begun += u64::from(done_mark >= 1);
            done += u64::from(done_mark == 2);
        }
        assert!(
            done > 0 && untold <= putters,
            "{untold} more than were put, by {putters} that were killed"
        );
        // Every task is done or lost. One may have been put, or done, by one who was killed before the mark.
        let (least, most) = (put.saturating_sub(begun), (put + putters).saturating_sub(done));
        assert!((least..=most).contains(&lost), "{lost} lost, not {least} to {most}");
        assert!(lost <= takers * HAND as u64, "{lost} lost by {takers} that were killed");
        lost_in_all += lost;
        fact("done", done);
        fact("lost", format!("{lost} by {takers} killed"));
    }
    fact("recoveries", lost_in_all);
    assert!(lost_in_all > 0, "nobody was killed with a task in hand");
}
