//! Python's `JoinableQueue`, also when processes that hold tasks or join are killed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use multiprocessing::{Exit, JoinableQueue, Plan, Process, QueueError, Segment, Shareable, Task};

use crate::common::{
    LIMIT, apply, assert_less, child, join_all, keeps_time, kill_and_join, segment, sleep_for_ever,
    test, unique_name, wait_until, wait_until_blocked, waits_idly,
};

fn queue(capacity: usize) -> (Segment, JoinableQueue<u64>) {
    let segment = segment(&Plan::new().joinable_queue::<u64>("queue", capacity));
    let queue = segment.joinable_queue("queue").unwrap();
    (segment, queue)
}

fn lost<T>(tasks: u64) -> Result<T, QueueError> {
    Err(QueueError::Lost { tasks })
}

/// Returns the next task, or `None` when the queue is closed.
fn next<T: Shareable>(queue: &JoinableQueue<T>) -> Option<Task<T>> {
    match queue.get() {
        Err(QueueError::Closed) => None,
        task => Some(task.unwrap()),
    }
}

/// Starts a child that holds this many tasks.
fn holder(queue: &JoinableQueue<u64>, tasks: usize) -> Process {
    let before = queue.len();
    let holder = child(|| {
        let _tasks: Vec<_> = (0..tasks).map(|_| queue.get().unwrap()).collect();
        sleep_for_ever();
    });
    wait_until("the child has its tasks", || queue.len() + tasks == before);
    holder
}

/// _TestQueue.test_task_done.
#[apply(test)]
fn a_join_ends_when_every_task_that_was_put_is_done() {
    const TASKS: u64 = 10;
    let segment = segment(&Plan::new().joinable_queue::<u64>("queue", 4).raw_value::<u64>("done"));
    let queue = segment.joinable_queue::<u64>("queue").unwrap();
    let done = segment.raw_value::<u64>("done").unwrap();
    let work = || {
        while let Some(task) = next(&queue) {
            std::thread::sleep(Duration::from_millis(30));
            done.fetch_add(*task);
        }
    };
    let workers = [(); 4].map(|()| child(work));
    for round in 1..=3 {
        (0..TASKS).for_each(|_| queue.put(1).unwrap());
        let joining = [child(|| queue.join().unwrap()), child(|| queue.join().unwrap())];
        queue.join().unwrap();
        assert_eq!((done.load(), queue.unfinished(), queue.lost()), (round * TASKS, 0, 0));
        join_all(joining);
    }
    queue.close().unwrap();
    join_all(workers);
    assert_eq!((queue.join(), queue.join_timeout(LIMIT)), (Ok(()), Ok(true)));
}

/// Joins end by a wake-up: with periodic checks alone, this would take seconds.
#[apply(test)]
fn the_last_completed_task_ends_every_join_at_once() {
    let (_segment, queue) = queue(1);
    let mut waited = Duration::ZERO;
    for _ in 0..60 {
        queue.put(1).unwrap();
        let task = queue.get().unwrap();
        let joining = [child(|| queue.join().unwrap()), child(|| queue.join().unwrap())];
        joining.iter().for_each(|joining| wait_until_blocked(joining.pid()));
        let begun = Instant::now();
        drop(task);
        join_all(joining);
        waited += begun.elapsed();
    }
    assert_less("60 last tasks end all joins", waited, Duration::from_millis(2500));
}

/// Checks the number of unfinished tasks step by step.
#[apply(test)]
fn a_task_is_unfinished_from_its_put_until_it_is_dropped() {
    let (_segment, queue) = queue(2);
    let stands = |length: usize, unfinished: usize, held: &str| {
        assert_eq!((queue.len(), queue.unfinished(), queue.capacity()), (length, unfinished, 2));
        assert_eq!((queue.is_empty(), queue.is_full()), (length == 0, length == 2));
        assert_eq!(format!("{queue:?}"), format!("JoinableQueue({length} of 2 messages{held})"));
        assert_eq!(queue.join_timeout(Duration::ZERO), Ok(unfinished == 0));
    };
    let own = std::process::id();
    stands(0, 0, "");
    (1..=2).for_each(|number| queue.put(number).unwrap());
    stands(2, 2, "");
    let first = queue.get().unwrap();
    stands(1, 2, &format!(", 1 held by {own}"));
    // There is room again although the task is unfinished.
    queue.put(3).unwrap();
    let second = queue.get_timeout(LIMIT).unwrap().unwrap();
    assert_eq!((*first, *second, format!("{second:?}")), (1, 2, "Task(2)".to_owned()));
    stands(1, 3, &format!(", 2 held by {own}"));
    drop(first);
    stands(1, 2, &format!(", 1 held by {own}"));
    let other = holder(&queue, 1);
    stands(0, 2, &format!(", 1 held by {own}, 1 held by {}", other.pid()));
    assert!(queue.try_get().unwrap().is_none());
    // A task can move to another thread.
    std::thread::spawn(move || drop(second)).join().unwrap();
    stands(0, 1, &format!(", 1 held by {}", other.pid()));
    let joining = child(|| assert_eq!(queue.join(), lost(1)));
    wait_until_blocked(joining.pid());
    kill_and_join(other);
    join_all([joining]);
    assert_eq!((queue.join(), queue.lost()), (lost(1), 1));
    stands(0, 0, " (1 lost)");
}

/// Messages are refused as by a plain queue.
#[apply(test)]
fn a_join_does_not_wait_for_a_refused_task() {
    let (_segment, queue) = queue(2);
    (1..=2).for_each(|number| queue.put(number).unwrap());
    let refused = |error| {
        assert_eq!([queue.try_put(9), queue.put_timeout(9, Duration::ZERO)], [Err(error); 2])
    };
    refused(QueueError::Full);
    assert_eq!((queue.len(), queue.unfinished()), (2, 2));
    assert_eq!(*queue.get().unwrap(), 1);
    queue.put(3).unwrap();
    refused(QueueError::Full);
    queue.close().unwrap();
    refused(QueueError::Closed);
    assert_eq!((queue.len(), queue.unfinished()), (2, 2));
    assert_eq!([*queue.get().unwrap(), *queue.get().unwrap()], [2, 3]);
    assert_eq!((queue.join(), queue.lost()), (Ok(()), 0));
}

/// _TestQueue.test_closed_queue_put_get_exceptions, for this kind of queue.
#[apply(test)]
fn a_closed_queue_gives_out_its_remaining_tasks_and_a_join_waits_for_them() {
    let (_segment, queue) = queue(2);
    queue.put(1).unwrap();
    queue.put(2).unwrap();
    let task = queue.get().unwrap();
    let joining = child(|| queue.join().unwrap());
    wait_until_blocked(joining.pid());
    let putting = child(|| {
        queue.put(3).unwrap();
        assert_eq!(queue.put(4), Err(QueueError::Closed));
    });
    wait_until("the child waits for room", || queue.is_full());
    wait_until_blocked(putting.pid());
    assert_eq!([queue.close(), queue.close()], [Ok(()); 2]);
    join_all([putting]);
    assert_eq!((queue.is_closed(), queue.len(), queue.unfinished()), (true, 2, 3));
    assert_eq!(
        queue.to_string(),
        format!("2 of 2 messages, closed, 1 held by {}", std::process::id())
    );
    // A join waits for the remaining tasks, which can still be taken.
    assert_eq!(queue.join_timeout(Duration::from_millis(200)), Ok(false));
    drop(task);
    join_all([child(|| assert_eq!([*queue.get().unwrap(), *queue.get().unwrap()], [2, 3]))]);
    join_all([joining]);
    let ended = || {
        let closed = |outcome: Result<(), QueueError>| assert_eq!(outcome, Err(QueueError::Closed));
        closed(queue.get().map(drop));
        closed(queue.try_get().map(drop));
        closed(queue.get_timeout(LIMIT).map(drop));
        assert_eq!((queue.join(), queue.is_empty(), queue.unfinished()), (Ok(()), true, 0));
    };
    ended();
    join_all([child(ended)]);
}

#[apply(test)]
fn the_tasks_of_a_killed_process_are_lost_and_every_join_reports_them() {
    let segment = segment(&Plan::new().joinable_queue::<u64>("queue", 8).raw_value::<u8>("finish"));
    let queue = segment.joinable_queue::<u64>("queue").unwrap();
    let finish = segment.raw_value::<u8>("finish").unwrap();
    (1..=6).for_each(|number| queue.put(number).unwrap());
    let dying = holder(&queue, 2);
    let living = child(|| {
        let _task = queue.get().unwrap();
        wait_until("the test lets it finish", || finish.load() == 1);
    });
    wait_until("both have their tasks", || queue.len() == 3);
    let joining = [(); 3].map(|()| child(|| assert_eq!(queue.join(), lost(2))));
    joining.iter().for_each(|joining| wait_until_blocked(joining.pid()));
    // A killed joiner does not affect the others.
    let [victim, mut joining @ ..] = joining;
    kill_and_join(victim);
    let killed = Instant::now();
    kill_and_join(dying);
    wait_until("the tasks are counted as lost", || queue.lost() == 2);
    assert_less("the loss is noticed", killed.elapsed(), Duration::from_millis(1500));
    // Only the tasks of the dead process are lost. Joins wait for those of others and those in the
    // queue.
    assert_eq!((queue.len(), queue.unfinished()), (3, 4));
    assert_eq!(queue.to_string(), format!("3 of 8 messages, 1 held by {} (2 lost)", living.pid()));
    (4..=6).for_each(|number| assert_eq!(*queue.get().unwrap(), number));
    assert_eq!(queue.join_timeout(Duration::from_millis(200)), Ok(false));
    assert!(joining.iter_mut().all(|joining| joining.is_alive()));
    finish.store(1);
    join_all(joining.into_iter().chain([living]));
    assert_eq!((queue.join(), queue.join()), (lost(2), Ok(())));

    // A process that dies with the last task ends a join, and also repeated joins without waiting.
    for asks in [false, true] {
        queue.put(7).unwrap();
        let dying = holder(&queue, 1);
        let killed = Instant::now();
        kill_and_join(dying);
        if asks {
            wait_until("a join reports the loss", || queue.join_timeout(Duration::ZERO) == lost(1));
        } else {
            assert_eq!(queue.join(), lost(1));
            assert_less("the join ends", killed.elapsed(), Duration::from_millis(1500));
        }
        assert_eq!((queue.unfinished(), queue.join()), (0, Ok(())));
    }
    // Earlier losses do not affect later tasks.
    queue.put(8).unwrap();
    join_all([child(|| drop(queue.get().unwrap()))]);
    assert_eq!((queue.join(), queue.lost()), (Ok(()), 4));
}

#[apply(test)]
fn one_task_holder_too_many_gets_an_error_and_takes_nothing() {
    let segment = segment(&Plan::new().participants(1).joinable_queue::<u64>("queue", 5));
    let queue = segment.joinable_queue::<u64>("queue").unwrap();
    (1..=5).for_each(|number| queue.put(number).unwrap());
    let only = holder(&queue, 2);
    for get in [queue.try_get(), queue.get_timeout(LIMIT), queue.get().map(Some)] {
        assert_eq!(get.map(drop), Err(QueueError::TooManyHolders));
    }
    assert_eq!((queue.len(), queue.unfinished(), queue.lost()), (3, 5, 0));
    kill_and_join(only);
    // The row of a dead holder is free for the next one.
    let tasks = [queue.get().unwrap(), queue.get().unwrap()];
    assert_eq!((*tasks[0], *tasks[1], queue.unfinished(), queue.lost()), (3, 4, 3, 2));
    join_all([child(|| assert_eq!(queue.get().map(drop), Err(QueueError::TooManyHolders)))]);
    drop(tasks);
    join_all([child(|| assert_eq!(*queue.get().unwrap(), 5))]);
    assert_eq!(queue.join(), lost(2));
}

#[apply(test)]
fn a_forked_child_that_drops_an_inherited_task_does_not_complete_it() {
    let (_segment, queue) = queue(1);
    queue.put(7).unwrap();
    let mut task = Some(queue.get().unwrap());
    let stays = || {
        assert_eq!(
            (queue.unfinished(), queue.lost(), queue.join_timeout(Duration::ZERO)),
            (1, 0, Ok(false))
        )
    };
    join_all([child(|| assert_eq!(task.take().map(|task| *task), Some(7)))]);
    stays();
    let mut panicking = child(|| {
        let _task = task.take();
        panic!("on purpose, with a copy of the task");
    });
    assert_eq!(panicking.join_timeout(LIMIT).unwrap(), Some(Exit::Code(101)));
    stays();
    drop(task);
    assert_eq!((queue.join(), queue.unfinished()), (Ok(()), 0));
}

/// A panic does not complete a task.
#[apply(test)]
fn a_task_that_a_panic_drops_is_lost() {
    let (_segment, queue) = queue(2);
    (1..=2).for_each(|number| queue.put(number).unwrap());
    let mut panicking = child(|| {
        let _task = queue.get().unwrap();
        panic!("on purpose, with a task");
    });
    assert_eq!(panicking.join_timeout(LIMIT).unwrap(), Some(Exit::Code(101)));
    // The loss is known without a check for dead processes, because the panic dropped the task.
    assert_eq!((queue.unfinished(), queue.lost()), (1, 1));
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let _task = queue.get().unwrap();
        panic!("on purpose, with a task, and caught");
    }));
    assert!(caught.is_err());
    assert_eq!((queue.join(), queue.join()), (lost(2), Ok(())));
}

#[apply(test)]
fn waits_time_out_on_time_even_under_a_storm_of_signals() {
    let segment =
        segment(&Plan::new().joinable_queue::<u64>("empty", 1).joinable_queue::<u64>("held", 1));
    let [empty, held] = ["empty", "held"].map(|name| segment.joinable_queue::<u64>(name).unwrap());
    held.put(1).unwrap();
    let task = held.get().unwrap();
    keeps_time(|_, timeout| assert!(empty.get_timeout(timeout).unwrap().is_none()));
    keeps_time(|_, timeout| assert_eq!(held.join_timeout(timeout), Ok(false)));
    drop(task);
    assert_eq!((held.join(), empty.join()), (Ok(()), Ok(())));
}

#[apply(test)]
fn an_idle_waiter_uses_no_processor_time() {
    let (_segment, queue) = queue(20);
    waits_idly(child(|| drop(queue.get().unwrap())));
    (0..20).for_each(|number| queue.put(number).unwrap());
    let holders: Vec<_> = (0..10).map(|_| holder(&queue, 1)).collect();
    waits_idly(child(|| queue.join().unwrap()));
    (10..20).for_each(|number| queue.put(number).unwrap());
    waits_idly(child(|| queue.put(20).unwrap()));
    holders.into_iter().for_each(kill_and_join);
}

#[apply(test)]
fn a_joinable_queue_of_another_type_or_a_plain_queue_is_refused() {
    let plan = Plan::new().joinable_queue::<[u8; 8]>("eight", 6).queue::<[u8; 8]>("plain", 6);
    // With one participant and with many, because the ring lies behind their rows.
    let plan = plan.participants(1).joinable_queue::<[u32; 3]>("three", 2);
    let name = unique_name();
    let segment = Segment::create(&name, &plan).unwrap();
    let here = segment.joinable_queue::<[u32; 3]>("three").unwrap();
    let there = Segment::open(&name).unwrap().joinable_queue::<[u32; 3]>("three").unwrap();
    for round in 0..5 {
        (0..2).for_each(|number| here.try_put([round, u32::MAX, number]).unwrap());
        (0..2).for_each(|number| assert_eq!(*there.get().unwrap(), [round, u32::MAX, number]));
        assert_eq!(here.join_timeout(Duration::from_secs(10)), Ok(true));
    }
    for refused in [
        segment.joinable_queue::<[u8; 7]>("eight").map(drop),
        segment.joinable_queue::<[u8; 16]>("eight").map(drop),
        segment.joinable_queue::<u64>("eight").map(drop),
        segment.joinable_queue::<[u32; 4]>("three").map(drop),
        segment.joinable_queue::<[u8; 8]>("plain").map(drop),
    ] {
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("; expected JoinableQueue of "), "{message}");
    }
    let message = segment.queue::<[u8; 8]>("eight").map(drop).unwrap_err().to_string();
    assert!(message.contains("; expected Queue of "), "{message}");
}
