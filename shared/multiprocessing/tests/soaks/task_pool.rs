//! A task pool whose workers are killed.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use multiprocessing::{Exit, Plan, RawArray, TaskError, TaskPool};
use nix::sys::signal::{Signal, kill};
use nix::unistd::getpid;

use crate::common::{
    Random, apply, children_of, chunk, descriptors_of, dispatcher, fact, kills, segment, soak,
    wait_until, workers,
};

const WORKERS: usize = 4;
/// Number of tasks that have marks.
const MARKED: u64 = 1 << 24;

/// How often each task was begun.
static BEGUN: OnceLock<RawArray<u8>> = OnceLock::new();

type Task = (u64, String);

/// Marks a task as begun, and returns its argument, which may be large, in another form.
fn work((number, text): Task) -> Task {
    BEGUN.get().unwrap().fetch_add(number as usize, 1);
    (number, text.to_uppercase())
}

/// Returns a task with an argument of up to this many bytes.
fn task(number: u64, bytes: u64) -> Task {
    (number, "abc ".repeat((number * 7919 % (bytes / 4)) as usize))
}

struct Soak {
    pool: TaskPool,
    /// All pids that were killed, added before the kill.
    killed: Arc<Mutex<HashSet<i32>>>,
    next: u64,
    results: u64,
    lost: u64,
}

impl Soak {
    /// Returns the next tasks.
    fn tasks(&mut self, count: u64, bytes: u64) -> Vec<Task> {
        let first = self.next;
        self.next += count;
        assert!(self.next < MARKED, "no more marks");
        (first..self.next).map(|number| task(number, bytes)).collect()
    }

    fn is_result(&mut self, result: &Task, (number, text): &Task) {
        assert!(result.0 == *number && result.1 == text.to_uppercase(), "another task's result");
        assert_eq!(BEGUN.get().unwrap().load(*number as usize), 1, "task {number} has a result");
        self.results += 1;
    }

    fn is_lost(&mut self, error: &TaskError, numbers: impl Iterator<Item = u64>) {
        let TaskError::WorkerDied { pid, exit: Exit::Signal { signal: Signal::SIGKILL, .. } } =
            error
        else {
            panic!("{error:?}")
        };
        assert!(self.killed.lock().unwrap().contains(pid), "{pid} was not killed");
        for number in numbers {
            assert!(
                BEGUN.get().unwrap().load(number as usize) <= 1,
                "task {number} was tried again"
            );
            self.lost += 1;
        }
    }

    fn apply(&mut self, bytes: u64) {
        let tasks = self.tasks(10, bytes);
        let results: Vec<_> =
            tasks.iter().map(|task| self.pool.apply_async(work, task.clone())).collect();
        for (result, task) in results.into_iter().zip(&tasks) {
            match result.get() {
                Ok(result) => self.is_result(&result, task),
                Err(error) => self.is_lost(&error, [task.0].into_iter()),
            }
        }
    }

    /// A map reports one error for all its tasks, some of which may have been done.
    fn map(&mut self, bytes: u64, items: usize) {
        let tasks = self.tasks(40, bytes);
        match self.pool.map_chunked(work, tasks.clone(), chunk(items)) {
            Ok(result) => {
                assert_eq!(result.len(), tasks.len());
                result.iter().zip(&tasks).for_each(|(result, task)| self.is_result(result, task));
            }
            Err(error) => self.is_lost(&error, tasks.into_iter().map(|(number, _)| number)),
        }
    }

    fn imap_unordered(&mut self, bytes: u64, items: usize) {
        let tasks = self.tasks(40, bytes);
        let mut left: HashSet<_> = tasks.iter().map(|(number, _)| *number).collect();
        let mut errors = Vec::new();
        for result in self.pool.imap_unordered_chunked(work, tasks.clone(), chunk(items)) {
            match result {
                Ok(result) => {
                    assert!(left.remove(&result.0), "task {} has two results", result.0);
                    self.is_result(&result, &tasks[(result.0 - tasks[0].0) as usize]);
                }
                Err(error) => errors.push(error),
            }
        }
        assert_eq!(errors.len(), left.len(), "as many errors as there are tasks without a result");
        errors
            .iter()
            .zip(left)
            .for_each(|(error, number)| self.is_lost(error, [number].into_iter()));
    }
}

/// Kills workers, one or several at once, even those that have just started.
fn kill_workers(killed: &Mutex<HashSet<i32>>) {
    let mut random = Random::new();
    let dispatcher = dispatcher();
    let (all, mut struck) = (kills(300), 0);
    while struck < all {
        random.pause(Duration::from_millis(8));
        let mut victims = children_of(dispatcher);
        let several =
            if random.below(4) == 0 { 1 + random.below(WORKERS as u64) as usize } else { 1 };
        while victims.len() > several {
            victims.swap_remove(random.below(victims.len() as u64) as usize);
        }
        for victim in victims {
            // A victim that has ended was not reaped a moment ago, so the pid is not that of
            // another process.
            if killed.lock().unwrap().insert(victim.as_raw())
                && kill(victim, Signal::SIGKILL).is_ok()
            {
                struck += 1;
            }
        }
    }
}

#[apply(soak)]
fn no_task_is_lost_doubled_or_done_twice_when_workers_are_killed_at_random() {
    let segment = segment(&Plan::new().raw_array::<u8>("begun", MARKED as usize));
    BEGUN.set(segment.raw_array("begun").unwrap()).unwrap();
    let held = descriptors_of(getpid());
    let slow = || thread::sleep(Duration::from_millis(u64::from(std::process::id() % 4)));
    let pool =
        TaskPool::builder(WORKERS).max_tasks_per_child(20).initializer(slow).start().unwrap();
    let mut soak = Soak { pool, killed: Arc::default(), next: 0, results: 0, lost: 0 };
    let of_dispatcher = || descriptors_of(dispatcher());
    workers(WORKERS);
    let held_by_dispatcher = of_dispatcher();

    let killed = soak.killed.clone();
    let killer = thread::spawn(move || kill_workers(&killed));
    let mut random = Random::new();
    while !killer.is_finished() {
        let bytes = if random.below(3) == 0 { 400_000 } else { 4_000 };
        match random.below(3) {
            0 => soak.apply(bytes),
            1 => soak.map(bytes, 1 + random.below(6) as usize),
            _ => soak.imap_unordered(bytes, 1 + random.below(6) as usize),
        }
    }
    killer.join().unwrap();
    let lost = soak.lost;
    // The pool may notice the last kill only now.
    workers(WORKERS);
    soak.apply(4_000);
    fact("recoveries", lost);
    wait_until("all workers are back", || {
        children_of(dispatcher()).len() == WORKERS && of_dispatcher() == held_by_dispatcher
    });
    soak.pool.join().unwrap();
    let Soak { pool, results, killed, .. } = soak;
    drop(pool);
    assert_eq!((children_of(getpid()), descriptors_of(getpid())), (vec![], held));
    assert!(results > 0);
    fact("results", results);
    fact("kills", killed.lock().unwrap().len());
}
