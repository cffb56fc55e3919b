//! Joinable queues whose producers, task holders and joiners are killed.

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

/// Most tasks that one process holds.
const HAND: usize = 3;

struct Soak {
    queue: JoinableQueue<u64>,
    /// Two producers, two task holders and one joiner survive.
    traffic: Traffic,
    /// 1 for a task that is about to be done, 2 for one that is done.
    done: RawArray<u8>,
    reported: RawValue<u64>,
}

impl Soak {
    fn new(segment: &Segment) -> Self {
        Self {
            queue: segment.joinable_queue("queue").unwrap(),
            traffic: Traffic::of(segment),
            done: segment.raw_array("done").unwrap(),
            reported: segment.raw_value("reported").unwrap(),
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
            // No more tasks can come when the queue is closed and empty.
            on = self.traffic.last.load() < 2;
            match self.queue.join_timeout(Duration::from_millis(5)) {
                Ok(all) => on |= !all,
                Err(QueueError::Lost { tasks }) if survivor.is_some() => {
                    _ = self.reported.fetch_add(tasks)
                }
                Err(QueueError::Lost { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            self.traffic.count(survivor);
        }
    }
}

/// Kills producers, task holders and joiners. The survivors go on, and every task is taken at most
/// once. In the end each task is done, or lost with a killed process, and the joins have reported
/// as many losses as there were.
#[apply(soak)]
fn every_task_is_done_once_or_lost_with_a_killed_process_and_joins_count_the_lost_ones() {
    let mut lost_in_all = 0;
    let (all, putters, takers) = ([0, 1, 1, 2], [0; 4], [1; 4]);
    let rounds = [(1, all), (64, all), (5, putters), (5, takers)];
    for (capacity, killed) in rounds.into_iter().cycle().take(kills(800).div_ceil(200) as usize) {
        let plan =
            Plan::new().joinable_queue::<u64>("queue", capacity).raw_value::<u64>("reported");
        let plan = Traffic::planned(plan.raw_array::<u8>("done", MARKED as usize), 5);
        // Each round needs a segment of its own, under the same name.
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
        let reported = match soak.queue.join() {
            Err(QueueError::Lost { tasks }) => tasks,
            outcome => outcome.map(|()| 0).unwrap(),
        };
        assert_eq!(
            (reported, soak.reported.load(), soak.queue.unfinished()),
            (lost, lost, 0),
            "{}",
            soak.queue
        );

        let (mut put, mut begun, mut done, mut unmarked) = (0, 0, 0, 0);
        let Traffic { returned, received, .. } = &soak.traffic;
        let marks = returned.iter().zip(received.iter()).zip(soak.done.iter());
        for ((returned, taken), done_mark) in marks {
            assert!(taken <= 1, "a task was taken {taken} times");
            put += u64::from(returned == 1);
            unmarked += u64::from(returned == 0 && taken == 1);
            begun += u64::from(done_mark >= 1);
            done += u64::from(done_mark == 2);
        }
        assert!(
            done > 0 && unmarked <= putters,
            "{unmarked} unmarked tasks of {putters} killed producers"
        );
        // Every task is done or lost. A killed process may have put or done one without its mark.
        let (least, most) = (put.saturating_sub(begun), (put + putters).saturating_sub(done));
        assert!((least..=most).contains(&lost), "{lost} lost, not {least} to {most}");
        assert!(lost <= takers * HAND as u64, "{lost} lost by {takers} killed holders");
        lost_in_all += lost;
        fact("done", done);
        fact("lost", format!("{lost} by {takers} killed"));
    }
    fact("recoveries", lost_in_all);
    assert!(lost_in_all > 0, "no process was killed with a task");
}
