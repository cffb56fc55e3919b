//! Python's `Queue`, also when processes are killed.

use std::fs::read_dir;
use std::time::{Duration, Instant};

use multiprocessing::{Plan, Queue, QueueError, RawValue, Segment, Shareable};

use crate::common::{
    LIMIT, Random, apply, assert_less, child, join_all, keeps_time, kill_and_join, run_beside_idly,
    segment, sleep_for_ever, test, unique_name, wait_until, wait_until_blocked, waits_idly,
};

fn queue(capacity: usize) -> (Segment, Queue<u64>) {
    let segment = segment(&Plan::new().queue::<u64>("queue", capacity));
    let queue = segment.queue("queue").unwrap();
    (segment, queue)
}

/// Checks that a call waits for this many tenths of a second.
fn waits(tenths: u32, outcome: impl FnOnce()) {
    let begun = Instant::now();
    outcome();
    let (waited, least) = (begun.elapsed(), tenths * Duration::from_millis(100));
    assert!(
        (least..least + Duration::from_secs(1)).contains(&waited),
        "waited {waited:?} for {least:?}"
    );
}

/// _TestQueue.test_put.
#[apply(test)]
fn a_full_queue_refuses_a_message_at_once_or_after_the_timeout() {
    let (_segment, queue) = queue(6);
    let tenth = Duration::from_millis(100);
    assert!(queue.is_empty() && !queue.is_full());
    (1..=2).for_each(|number| queue.put(number).unwrap());
    (3..=4).for_each(|number| queue.put_timeout(number, tenth).unwrap());
    (5..=6).for_each(|number| queue.try_put(number).unwrap());
    assert!(!queue.is_empty() && queue.is_full());
    waits(0, || assert_eq!(queue.try_put(7), Err(QueueError::Full)));
    waits(0, || assert_eq!(queue.put_timeout(7, Duration::ZERO), Err(QueueError::Full)));
    waits(1, || assert_eq!(queue.put_timeout(7, tenth), Err(QueueError::Full)));
    join_all([child(|| (1..=6).for_each(|number| assert_eq!(queue.get(), Ok(number))))]);
    assert!(queue.is_empty() && !queue.is_full());

    // A process that waits for room goes on when there is room.
    (1..=6).for_each(|number| queue.put(number).unwrap());
    let waiting = child(|| queue.put(7).unwrap());
    wait_until_blocked(waiting.pid());
    assert_eq!(queue.get(), Ok(1));
    join_all([waiting]);
    (2..=7).for_each(|number| assert_eq!(queue.get(), Ok(number)));
}

/// _TestQueue.test_get.
#[apply(test)]
fn messages_come_out_in_order_and_an_empty_queue_returns_none_at_once_or_after_the_timeout() {
    let (_segment, queue) = queue(8);
    let tenth = Duration::from_millis(100);
    join_all([child(|| (2..=5).for_each(|number| queue.put(number).unwrap()))]);
    assert_eq!(queue.get_timeout(tenth), Ok(Some(2)));
    assert_eq!(queue.get(), Ok(3));
    assert_eq!(queue.try_get(), Ok(Some(4)));
    assert_eq!(queue.get_timeout(Duration::ZERO), Ok(Some(5)));
    assert!(queue.is_empty());
    waits(0, || assert_eq!(queue.try_get(), Ok(None)));
    waits(0, || assert_eq!(queue.get_timeout(Duration::ZERO), Ok(None)));
    waits(1, || assert_eq!(queue.get_timeout(tenth), Ok(None)));

    // A process that waits for a message goes on when there is one.
    let waiting = child(|| assert_eq!(queue.get(), Ok(6)));
    wait_until_blocked(waiting.pid());
    queue.put(6).unwrap();
    join_all([waiting]);
}

/// _TestQueue.test_fork.
#[apply(test)]
fn a_forked_child_puts_into_its_parents_queue_in_order() {
    let (_segment, queue) = queue(20);
    (0..10).for_each(|number| queue.put(number).unwrap());
    join_all([child(|| (10..20).for_each(|number| queue.put(number).unwrap()))]);
    (0..20).for_each(|number| assert_eq!(queue.try_get(), Ok(Some(number))));
    assert_eq!(queue.try_get(), Ok(None));
}

/// _TestQueue.test_qsize and TestSimpleQueue.test_empty.
#[apply(test)]
fn the_length_follows_the_puts_and_gets_of_every_process() {
    let (_segment, queue) = queue(2);
    let seen = |length: usize| {
        let check = || {
            assert_eq!((queue.len(), queue.capacity()), (length, 2));
            assert_eq!((queue.is_empty(), queue.is_full()), (length == 0, length == 2));
            assert_eq!(format!("{queue:?}"), format!("Queue({length} of 2 messages)"));
        };
        check();
        join_all([child(check)]);
    };
    seen(0);
    queue.put(1).unwrap();
    seen(1);
    join_all([child(|| queue.put(5).unwrap())]);
    seen(2);
    queue.get().unwrap();
    seen(1);
    join_all([child(|| _ = queue.get().unwrap())]);
    seen(0);
}

/// _TestQueue.test_queue_feeder_donot_stop_onexc, where an item cannot be written.
#[apply(test)]
fn a_refused_message_is_reported_and_affects_no_later_one() {
    let (_segment, queue) = queue(2);
    let tenth = Duration::from_millis(100);
    (1..=2).for_each(|number| queue.put(number).unwrap());
    let refused = || {
        assert_eq!([queue.try_put(9), queue.put_timeout(9, tenth)], [Err(QueueError::Full); 2]);
    };
    refused();
    join_all([child(refused)]);
    assert_eq!((queue.len(), queue.get()), (2, Ok(1)));
    queue.put(3).unwrap();
    refused();
    assert_eq!((queue.len(), queue.get(), queue.len()), (2, Ok(2), 1));
    queue.close().unwrap();
    assert_eq!([queue.put(9), queue.try_put(9)], [Err(QueueError::Closed); 2]);
    assert_eq!((queue.len(), queue.get(), queue.len()), (1, Ok(3), 0));
}

/// _TestQueue.test_closed_queue_put_get_exceptions and test_closed_queue_empty_exceptions,
/// TestSimpleQueue.test_close and test_empty_exceptions.
#[apply(test)]
fn a_closed_queue_refuses_messages_and_gives_out_the_remaining_ones() {
    let (_segment, queue) = queue(3);
    assert!(!queue.is_closed());
    (1..=2).for_each(|number| queue.put(number).unwrap());
    join_all([child(|| queue.close().unwrap())]);
    let twice = || assert_eq!([queue.close(), queue.close()], [Ok(()); 2]);
    twice();
    let seen = |length: usize| {
        let check = || {
            assert!(queue.is_closed());
            assert_eq!(
                (queue.len(), queue.is_empty(), queue.is_full()),
                (length, length == 0, false)
            );
            assert_eq!(queue.to_string(), format!("{length} of 3 messages, closed"));
        };
        check();
        join_all([child(check)]);
    };
    // The calls return at once although there is room for one message.
    waits(0, || {
        let puts = [queue.put(9), queue.try_put(9), queue.put_timeout(9, LIMIT)];
        assert_eq!(puts, [Err(QueueError::Closed); 3]);
    });
    seen(2);
    assert_eq!(queue.get(), Ok(1));
    join_all([child(|| assert_eq!(queue.get_timeout(LIMIT), Ok(Some(2))))]);
    seen(0);
    let ended = || {
        let closed = Err(QueueError::Closed);
        assert_eq!(
            (queue.get(), queue.try_get(), queue.get_timeout(LIMIT)),
            (closed, Err(QueueError::Closed), Err(QueueError::Closed))
        );
        assert_eq!(queue.put(9), Err(QueueError::Closed));
    };
    waits(0, ended);
    join_all([child(ended)]);
    twice();
    assert!(QueueError::Closed.to_string().ends_with("is closed"));
}

/// A close wakes every waiter: with periodic checks alone, this would take seconds.
#[apply(test)]
fn a_close_ends_every_wait_for_room_and_for_a_message_at_once() {
    const QUEUES: usize = 60;
    let names: Vec<_> = (0..QUEUES).map(|number| format!("queue {number}")).collect();
    let segment = segment(&names.iter().fold(Plan::new(), |plan, name| plan.queue::<u64>(name, 1)));
    let mut waited = Duration::ZERO;
    for (number, name) in names.iter().enumerate() {
        let queue = segment.queue::<u64>(name).unwrap();
        let full = number % 2 == 1;
        if full {
            queue.put(1).unwrap();
        }
        let wait = || match full {
            true => assert_eq!(queue.put(2), Err(QueueError::Closed)),
            false => assert_eq!(queue.get(), Err(QueueError::Closed)),
        };
        let waiters = [child(wait), child(wait)];
        waiters.iter().for_each(|waiter| wait_until_blocked(waiter.pid()));
        let begun = Instant::now();
        queue.close().unwrap();
        join_all(waiters);
        waited += begun.elapsed();
        assert_eq!(queue.len(), usize::from(full));
    }
    assert_less("60 closes end all waits", waited, Duration::from_millis(2500));
}

/// A process killed in `close` has closed the queue for all processes or for none.
#[apply(test)]
fn a_queue_whose_closer_was_killed_is_closed_for_all_processes_or_for_none() {
    const QUEUES: usize = 150;
    let names: Vec<_> = (0..QUEUES).map(|number| format!("queue {number}")).collect();
    let plan = names.iter().fold(Plan::new(), |plan, name| plan.queue::<u64>(name, 2));
    let segment = segment(&plan.raw_value::<u64>("put").raw_value::<u64>("taken"));
    let put = segment.raw_value::<u64>("put").unwrap();
    let taken = segment.raw_value::<u64>("taken").unwrap();
    let mut random = Random::new();
    let (mut closed, mut longest) = (0, Duration::ZERO);
    for (number, name) in names.iter().enumerate() {
        let queue = segment.queue::<u64>(name).unwrap();
        put.store(0);
        taken.store(0);
        let count = |count: &RawValue<u64>, outcome: Result<(), QueueError>| {
            assert!(matches!(outcome, Ok(()) | Err(QueueError::Closed)), "{outcome:?}");
            count.fetch_add(u64::from(outcome.is_ok()));
            outcome.is_ok()
        };
        let going_on = [
            child(|| while count(&put, queue.put(7)) {}),
            child(|| while count(&taken, queue.get().map(drop)) {}),
        ];
        wait_until("messages flow", || taken.load() > 0);
        let closing = child(|| {
            queue.close().unwrap();
            sleep_for_ever();
        });
        if number % 2 == 0 {
            random.pause(Duration::from_micros(600));
        } else {
            // Perhaps before it has woken the waiters.
            wait_until("it is closed", || queue.is_closed());
        }
        kill_and_join(closing);
        if queue.is_closed() {
            closed += 1;
        } else {
            let before = taken.load();
            wait_until("the processes go on", || taken.load() > before + 2);
            queue.close().unwrap();
        }
        let begun = Instant::now();
        join_all(going_on);
        longest = longest.max(begun.elapsed());
        assert_eq!((taken.load(), queue.try_get()), (put.load(), Err(QueueError::Closed)));
    }
    // Every second closer is killed only after the queue is closed.
    assert!((75..150).contains(&closed), "{closed} of 150 queues were closed");
    assert_less("a process goes on after a close", longest, Duration::from_secs(2));
}

/// TestSimpleQueue.test_closed. Queues use no pipes, so a close has no descriptor to close.
#[apply(test)]
fn queues_need_no_descriptor() {
    let segment = segment(&Plan::new().queue::<u64>("queue", 1).joinable_queue::<u64>("tasks", 1));
    let open = || read_dir("/proc/self/fd").unwrap().count();
    let nothing_is_opened = || {
        let before = open();
        let queues: Vec<_> = (0..100).map(|_| segment.queue::<u64>("queue").unwrap()).collect();
        let tasks: Vec<_> =
            (0..100).map(|_| segment.joinable_queue::<u64>("tasks").unwrap()).collect();
        for (queue, tasks) in queues.iter().zip(&tasks) {
            queue.try_put(1).unwrap();
            queue.put_timeout(2, Duration::from_micros(1)).unwrap_err();
            queue.get().unwrap();
            tasks.put(1).unwrap();
            let task = tasks.get().unwrap();
            assert_eq!(tasks.join_timeout(Duration::from_micros(1)), Ok(false));
            drop(task);
            tasks.join().unwrap();
        }
        assert_eq!(open(), before);
        before
    };
    let before = nothing_is_opened();
    join_all([child(|| _ = nothing_is_opened())]);
    segment.queue::<u64>("queue").unwrap().close().unwrap();
    segment.joinable_queue::<u64>("tasks").unwrap().close().unwrap();
    assert_eq!(open(), before);
}

/// With several producers and consumers, every message arrives once and in order.
#[apply(test)]
fn messages_between_several_producers_and_consumers_arrive_once_and_in_the_order_of_each_producer()
{
    const PROCESSES: u64 = 3;
    const EACH: u64 = 5000;
    const END: u64 = u64::MAX;
    let plan = Plan::new().queue::<[u64; 2]>("queue", 7).raw_value::<u64>("sum");
    let segment = segment(&plan.raw_array::<u8>("received", (PROCESSES * EACH) as usize));
    let queue = segment.queue::<[u64; 2]>("queue").unwrap();
    let sum = segment.raw_value::<u64>("sum").unwrap();
    let received = segment.raw_array::<u8>("received").unwrap();
    let putting = |own| child(|| (0..EACH).for_each(|number| queue.put([own, number]).unwrap()));
    let taking = |_| {
        child(|| {
            let mut next = [0; PROCESSES as usize];
            loop {
                let [producer, number] = queue.get().unwrap();
                if producer == END {
                    return;
                }
                assert!(number >= next[producer as usize], "out of order");
                next[producer as usize] = number + 1;
                sum.fetch_add(number);
                received.fetch_add((producer * EACH + number) as usize, 1);
            }
        })
    };
    let takers: Vec<_> = (0..PROCESSES).map(taking).collect();
    let putters: Vec<_> = (0..PROCESSES).map(putting).collect();
    join_all(putters);
    takers.iter().for_each(|_| queue.put([END, 0]).unwrap());
    join_all(takers);
    assert_eq!(sum.load(), PROCESSES * (EACH * (EACH - 1) / 2));
    assert!(received.iter().all(|times| times == 1));
    assert!(queue.is_empty());
}

#[apply(test)]
fn messages_of_dead_processes_stay_and_dead_waiters_block_no_other_waiter() {
    let (_segment, queue) = queue(3);
    // Messages that dead processes have put are there, and those that they have taken are not.
    kill_and_join({
        let putting = child(|| {
            (1..=3).for_each(|number| queue.put(number).unwrap());
            sleep_for_ever();
        });
        wait_until("the child has put all", || queue.is_full());
        putting
    });
    kill_and_join({
        let taking = child(|| {
            queue.get().unwrap();
            sleep_for_ever();
        });
        wait_until("the child has taken one", || queue.len() == 2);
        taking
    });
    assert_eq!(
        [queue.try_get(), queue.try_get(), queue.try_get()],
        [Ok(Some(2)), Ok(Some(3)), Ok(None)]
    );

    // Killed waiters block no other waiter and swallow nothing, neither waiters for a message ...
    let dying = [child(|| _ = queue.get()), child(|| _ = queue.get())];
    dying.iter().for_each(|waiter| wait_until_blocked(waiter.pid()));
    let living = child(|| assert_eq!(queue.get(), Ok(4)));
    wait_until_blocked(living.pid());
    dying.into_iter().for_each(kill_and_join);
    queue.put(4).unwrap();
    join_all([living]);
    // ... nor waiters for room.
    (5..=7).for_each(|number| queue.put(number).unwrap());
    let dying = [child(|| queue.put(0).unwrap()), child(|| queue.put(0).unwrap())];
    dying.iter().for_each(|waiter| wait_until_blocked(waiter.pid()));
    let living = child(|| queue.put(8).unwrap());
    wait_until_blocked(living.pid());
    dying.into_iter().for_each(kill_and_join);
    assert_eq!(queue.get(), Ok(5));
    join_all([living]);
    (6..=8).for_each(|number| assert_eq!(queue.get(), Ok(number)));
    assert!(queue.is_empty());
}

/// A waiter is woken and killed before it runs, so the other waiter gets no wake-up.
#[apply(test)]
fn the_message_of_a_waiter_killed_as_it_wakes_goes_to_another_waiter() {
    let (_segment, queue) = queue(1);
    let mut longest = Duration::ZERO;
    for number in 0..5 {
        let woken = child(|| {
            queue.get().unwrap();
            sleep_for_ever();
        });
        wait_until_blocked(woken.pid());
        // The child runs only when this processor is idle, so not between the next two steps.
        run_beside_idly(woken.pid());
        let mut other = child(|| assert_eq!(queue.get(), Ok(number)));
        wait_until_blocked(other.pid());
        queue.put(number).unwrap();
        kill_and_join(woken);
        let mut begun = Instant::now();
        // If the child did run and died with the message, there is none left.
        while other.join_timeout(Duration::from_millis(500)).unwrap().is_none() && queue.is_empty()
        {
            queue.put(number).unwrap();
            begun = Instant::now();
        }
        longest = longest.max(begun.elapsed());
        join_all([other]);
    }
    assert_less("the other waiter gets the message", longest, Duration::from_secs(1));
}

#[apply(test)]
fn waits_time_out_on_time_even_under_a_storm_of_signals() {
    let plan = Plan::new().queue::<u64>("empty", 1).queue::<u64>("full", 1);
    let segment = segment(&plan);
    let (empty, full) =
        (segment.queue::<u64>("empty").unwrap(), segment.queue::<u64>("full").unwrap());
    full.put(1).unwrap();
    keeps_time(|_, timeout| assert_eq!(empty.get_timeout(timeout), Ok(None)));
    keeps_time(|_, timeout| assert_eq!(full.put_timeout(2, timeout), Err(QueueError::Full)));
    assert_eq!((full.get(), full.try_get()), (Ok(1), Ok(None)));
}

#[apply(test)]
fn an_idle_waiter_uses_no_processor_time() {
    let (_segment, queue) = queue(1);
    waits_idly(child(|| _ = queue.get()));
    queue.put(1).unwrap();
    waits_idly(child(|| queue.put(2).unwrap()));
}

#[derive(Clone, Copy, Debug, PartialEq, Shareable)]
#[repr(C)]
struct Bet {
    agency: u32,
    number: u16,
    name: [u8; 7],
    day: u8,
    rest: u16,
}

/// Sends messages more than twice around the ring, to a handle that was opened by name.
fn goes_around<T: Shareable + PartialEq + std::fmt::Debug>(message: impl Fn(u8) -> T) {
    let name = unique_name();
    let segment = Segment::create(&name, &Plan::new().queue::<T>("queue", 3)).unwrap();
    let (here, there) = (segment.queue::<T>("queue").unwrap(), Segment::open(&name).unwrap());
    let there = there.queue::<T>("queue").unwrap();
    assert_eq!(there.capacity(), 3);
    for round in 0..5 {
        (0..3).for_each(|number| here.try_put(message(3 * round + number)).unwrap());
        assert!(here.try_put(message(99)).is_err());
        (0..3)
            .for_each(|number| assert_eq!(there.try_get(), Ok(Some(message(3 * round + number)))));
        assert_eq!(there.try_get(), Ok(None));
    }
}

#[apply(test)]
fn messages_of_any_size_come_out_as_they_went_in() {
    goes_around(|number| number);
    goes_around(|number| [number; 9]);
    goes_around(|number| f64::from(number) / 4.0);
    goes_around(|number| [u64::from(number); 100]);
    goes_around(|number| Bet {
        agency: u32::MAX - u32::from(number),
        number: 7574,
        name: *b"Lorenzo",
        day: number,
        rest: u16::MAX,
    });
}

#[apply(test)]
fn a_queue_of_another_message_type_is_refused() {
    let plan = Plan::new().queue::<[u8; 8]>("eight", 6).queue::<[u32; 3]>("three", 2);
    let segment = Segment::create(&unique_name(), &plan).unwrap();
    assert!(
        segment.queue::<[u8; 8]>("eight").is_ok() && segment.queue::<[u32; 3]>("three").is_ok()
    );
    // Types of the same size in the ring, of a divisor of that size, or just other types.
    for refused in [
        segment.queue::<u8>("eight").map(drop),
        segment.queue::<[u8; 7]>("eight").map(drop),
        segment.queue::<[u8; 16]>("eight").map(drop),
        segment.queue::<u64>("eight").map(drop),
        segment.queue::<[u32; 4]>("three").map(drop),
        segment.queue::<[u32; 2]>("three").map(drop),
        segment.queue::<[u32; 3]>("eight").map(drop),
    ] {
        let message = refused.unwrap_err().to_string();
        assert!(message.contains("; expected Queue of "), "{message}");
    }
}
