//! DOC

use std::cell::{OnceCell, RefCell};
use std::fs::File;
use std::io::Write;
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use multiprocessing::{AsyncResult, TaskError, TaskPool};
use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::{Pid, getpid};

use super::workers::hang;
use crate::common::{
    Program, apply, child, children_of, chunk, cpu_time, dispatcher, fact, join_all, keeps_time,
    kill_and_join, process_state, program, sleep_for_ever, square, storm, test, wait_until,
    workers,
};

/// Threads of the owner use a pool at once, each in its own way; some give up waiting.
#[apply(test)]
fn threads_of_the_owner_use_one_pool_at_once() {
    fn is_for_threads<T: Send + Sync>() {}
    is_for_threads::<TaskPool>();
    is_for_threads::<AsyncResult<u8>>();
    let pool = TaskPool::new(3).unwrap();
    let tell = |number: u64| number.to_string().repeat((number % 10_000) as usize);
    let right =
        |told: String, number: u64| assert!(told == tell(number), "the answer to another question");
    thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (pool, tell, right) = (&pool, &tell, &right);
            let numbers =
                move |count: u64| (0..count).map(move |number| 1_000_003 * thread + 997 * number);
            scope.spawn(move || {
                numbers(300).for_each(|number| right(pool.apply(*tell, number).unwrap(), number))
            });
            scope.spawn(move || {
                let told: Vec<_> = pool.imap(*tell, numbers(300)).map(Result::unwrap).collect();
                told.into_iter().zip(numbers(300)).for_each(|(told, number)| right(told, number));
            });
            scope.spawn(move || {
                for round in 0..20 {
                    assert_eq!(pool.map(square, 0..100).unwrap()[99], 99 * 99);
                    let late = pool.apply_async(|_: u64| sleep(Duration::from_millis(30)), round);
                    let begun = Instant::now();
                    // Whether or not it is the one that receives for the others.
                    if !late.wait_timeout(Duration::from_millis(5)).unwrap() {
                        assert!(begun.elapsed() >= Duration::from_millis(5));
                    }
                }
            });
        }
        // Somebody waits for all of this time.
        let pool = &pool;
        scope.spawn(move || {
            assert_eq!(pool.apply(|()| sleep(Duration::from_millis(300)), ()), Ok(()))
        });
    });
    assert_eq!(pool.map(square, 0..10).unwrap().len(), 10);
}

/// The owner gives and gives and takes nothing, until both directions are full many times over; then it takes all.
#[apply(test)]
fn an_owner_that_gives_and_does_not_take_is_not_in_its_own_way() {
    let mut pool = TaskPool::new(2).unwrap();
    let results: Vec<_> =
        (0..2000).map(|number| pool.apply_async(back, text(number, 30_000))).collect();
    for (number, result) in results.into_iter().enumerate().rev() {
        assert!(result.get() == Ok(text(number, 30_000)), "{number}");
    }
    // And it is joined before it takes anything.
    let results: Vec<_> =
        (0..50).map(|number| pool.apply_async(back, text(number, 200_000))).collect();
    pool.join().unwrap();
    assert!(
        results
            .into_iter()
            .zip(0..)
            .all(|(result, number)| result.get() == Ok(text(number, 200_000)))
    );
}

fn back(text: String) -> String {
    text
}

/// A text of this length, or nearly so, that tells the number.
fn text(number: usize, length: usize) -> String {
    format!("{number:08}").repeat(length.div_ceil(8))
}

/// Leaves this process so many descriptors that it can open.
fn leave_descriptors(count: usize) -> Vec<File> {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most.min(256), most).unwrap();
    let mut taken: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    taken.truncate(taken.len() - count);
    taken
}

fn take_all_descriptors(_: ()) {
    std::mem::forget(leave_descriptors(0));
}

/// What goes through a file costs a descriptor for a moment. Who has none loses that, and nothing else.
#[apply(test)]
fn who_has_no_descriptor_left_loses_a_large_message_and_nothing_else() {
    let pool = TaskPool::new(1).unwrap();
    let large = |length: usize| text(7, length);
    // Both are done before the owner runs out.
    let (small_before, large_before) =
        (pool.apply_async(large, 10), pool.apply_async(large, 1 << 20));
    pool.apply(square, 1).unwrap();
    let taken = leave_descriptors(0);
    let later = [
        pool.apply_async(large, 1 << 20),
        pool.apply_async(large, 20),
        pool.apply_async(large, 1 << 17),
    ];
    let lost = Err(TaskError::System(Errno::EMFILE as i32));
    assert_eq!(later.map(AsyncResult::get), [lost.clone(), Ok(text(7, 20)), lost.clone()]);
    assert!(small_before.get() == Ok(text(7, 10)) && large_before.get() == Ok(text(7, 1 << 20)));
    assert_eq!(pool.apply(back, text(7, 1 << 20)), lost);
    assert_eq!(pool.map(square, 0..10).unwrap().len(), 10);
    drop(taken);
    assert!(pool.apply(back, text(7, 1 << 20)) == Ok(text(7, 1 << 20)));

    // A worker without descriptors cannot send a large result, and goes on; or receive a large argument, and is replaced.
    let before = workers(1);
    pool.apply(take_all_descriptors, ()).unwrap();
    assert_eq!(pool.apply(large, 1 << 20), lost);
    assert_eq!((pool.apply(large, 20), workers(1)), (Ok(text(7, 20)), before.clone()));
    let died = pool.apply(back, text(7, 1 << 20)).unwrap_err();
    assert!(
        matches!(died, TaskError::WorkerDied { pid, .. } if pid == before[0].as_raw()),
        "{died:?}"
    );
    assert!(pool.apply(back, text(7, 1 << 20)) == Ok(text(7, 1 << 20)));
}

/// A task may close what is not its own, and end the process that it is in.
#[apply(program)]
fn rough_tasks(_: &[&str]) {
    let pool = TaskPool::new(2).unwrap();
    let print = |text: String| {
        println!("printed={text}");
        print!("not ended");
        std::io::stderr().write_all(b"to standard error\n").is_ok()
    };
    assert_eq!(pool.apply(print, "by a task".to_owned()), Ok(true));
    let close_all =
        |_: u64| (3..100).filter(|&number| nix::unistd::close(number).is_ok()).count() > 0;
    for _ in 0..3 {
        let closed = pool.apply(close_all, 0);
        assert!(matches!(closed, Err(TaskError::WorkerDied { .. })), "{closed:?}");
    }
    // A message of its own making, on every descriptor that it has.
    let scribble = |_: u64| {
        for number in 3..30 {
            let _ = nix::sys::socket::send(
                number,
                b"\x01scribbled",
                nix::sys::socket::MsgFlags::MSG_DONTWAIT,
            );
        }
        7
    };
    assert_eq!(pool.map_chunked(scribble, 0..20, chunk(1)), Ok(vec![7; 20]));
    assert_eq!(pool.map(square, 0..10).unwrap().len(), 10);
    workers(2);
}

#[apply(test)]
fn tasks_that_print_close_or_write_where_they_should_not_harm_only_themselves() {
    let mut program = Program::start(rough_tasks, &[]);
    program.succeed();
    assert_eq!(program.count("printed=by a task"), 1);
}

/// Checks that an owner and its pool of two use next to no processor time while it does this, which shall be nothing.
fn waits_idly(wait: impl FnOnce(&TaskPool)) {
    let used = |processes: &[Pid]| processes.iter().map(|pid| cpu_time(*pid)).sum::<Duration>();
    let owner = child(|| wait(&TaskPool::new(2).unwrap()));
    let family = || {
        let dispatchers = children_of(owner.pid());
        let workers: Vec<_> =
            dispatchers.iter().flat_map(|dispatcher| children_of(*dispatcher)).collect();
        [vec![owner.pid()], dispatchers, workers].concat()
    };
    wait_until("all are there", || family().len() == 4);
    wait_until("they have done what there is to do", || {
        let before = used(&family());
        sleep(Duration::from_millis(200));
        let is_asleep = |process: Pid| process_state(process) == Some('S');
        used(&family()) == before && family().into_iter().all(is_asleep)
    });
    let before = used(&family());
    sleep(Duration::from_secs(1));
    let used = used(&family()) - before;
    kill_and_join(owner);
    fact("idle_us_per_second", used.as_micros());
    assert!(used < Duration::from_millis(20), "{used:?} in a second of waiting");
}

/// A pool that is waited for does nothing, and neither does one with results that nobody takes.
#[apply(test)]
fn a_pool_with_nothing_to_do_uses_no_processor() {
    waits_idly(|pool| _ = pool.apply(hang, ()));
    waits_idly(|pool| {
        let _untaken: Vec<_> =
            (0..1000).map(|number| pool.apply_async(text_of_thousand, number)).collect();
        sleep_for_ever();
    });
}

fn text_of_thousand(number: usize) -> String {
    text(number, 1000)
}

/// Waits keep their time, and under a storm of signals to everybody nothing is lost.
#[apply(test)]
fn waits_keep_their_time_and_tasks_go_on_under_a_storm_of_signals() {
    // A pool of its own for each of the children that wait.
    let start = || {
        let pool = TaskPool::new(1).unwrap();
        (pool.apply_async(hang, ()), RefCell::new(pool))
    };
    let pool = OnceCell::new();
    keeps_time(|_, timeout| {
        let (result, _) = pool.get_or_init(start);
        assert_eq!(result.wait_timeout(timeout), Ok(false));
    });
    keeps_time(|_, timeout| {
        let (_, pool) = pool.get_or_init(start);
        assert_eq!(pool.borrow_mut().join_timeout(timeout), Ok(false));
    });

    let working = child(|| {
        let pool = TaskPool::builder(2).max_tasks_per_child(50).start().unwrap();
        let storms: Vec<_> =
            [vec![getpid(), dispatcher()], workers(2)].concat().into_iter().map(storm).collect();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(1) {
            assert_eq!(pool.map_chunked(square, 0..100, chunk(3)).unwrap()[99], 99 * 99);
            assert!(pool.apply(back, text(7, 1 << 18)) == Ok(text(7, 1 << 18)));
        }
        storms.into_iter().for_each(kill_and_join);
    });
    join_all([working]);
}
