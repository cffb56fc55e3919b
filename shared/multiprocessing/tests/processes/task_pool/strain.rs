//! Task pools under load: many threads, no descriptors, full pipes, and idle ones.

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

/// Threads of the owner use a pool at the same time, each in its own way. Some waits time out.
#[apply(test)]
fn threads_of_the_owner_use_one_pool_at_once() {
    fn is_for_threads<T: Send + Sync>() {}
    is_for_threads::<TaskPool>();
    is_for_threads::<AsyncResult<u8>>();
    let pool = TaskPool::new(3).unwrap();
    let spell = |number: u64| number.to_string().repeat((number % 10_000) as usize);
    let right = |text: String, number: u64| {
        assert!(text == spell(number), "the answer to another question")
    };
    thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (pool, spell, right) = (&pool, &spell, &right);
            let numbers =
                move |count: u64| (0..count).map(move |number| 1_000_003 * thread + 997 * number);
            scope.spawn(move || {
                numbers(300).for_each(|number| right(pool.apply(*spell, number).unwrap(), number))
            });
            scope.spawn(move || {
                let texts: Vec<_> = pool.imap(*spell, numbers(300)).map(Result::unwrap).collect();
                texts.into_iter().zip(numbers(300)).for_each(|(text, number)| right(text, number));
            });
            scope.spawn(move || {
                for round in 0..20 {
                    assert_eq!(pool.map(square, 0..100).unwrap()[99], 99 * 99);
                    let late = pool.apply_async(|_: u64| sleep(Duration::from_millis(30)), round);
                    let begun = Instant::now();
                    // This thread may be the one that receives for the others, or not.
                    if !late.wait_timeout(Duration::from_millis(5)).unwrap() {
                        assert!(begun.elapsed() >= Duration::from_millis(5));
                    }
                }
            });
        }
        // One thread waits all this time.
        let pool = &pool;
        scope.spawn(move || {
            assert_eq!(pool.apply(|()| sleep(Duration::from_millis(300)), ()), Ok(()))
        });
    });
    assert_eq!(pool.map(square, 0..10).unwrap().len(), 10);
}

/// The owner gives tasks and takes no result until both directions are full many times over. Then
/// it takes all.
#[apply(test)]
fn an_owner_that_takes_no_results_can_still_give_tasks() {
    let mut pool = TaskPool::new(2).unwrap();
    let results: Vec<_> =
        (0..2000).map(|number| pool.apply_async(back, text(number, 30_000))).collect();
    for (number, result) in results.into_iter().enumerate().rev() {
        assert!(result.get() == Ok(text(number, 30_000)), "{number}");
    }
    // The owner joins the pool before it takes any result.
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

/// Returns a text of about this length that contains the number.
fn text(number: usize, length: usize) -> String {
    format!("{number:08}").repeat(length.div_ceil(8))
}

/// Opens files until this process can open only this many more.
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

/// A large message needs a descriptor for a moment. A process without one loses that message and
/// nothing else.
#[apply(test)]
fn a_process_without_free_descriptors_loses_a_large_message_and_nothing_else() {
    let pool = TaskPool::new(1).unwrap();
    let large = |length: usize| text(7, length);
    // Both are done before the owner runs out of descriptors.
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

    // A worker without descriptors cannot send a large result, and goes on. If it cannot receive a
    // large argument, it is replaced.
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

/// A task may close descriptors of its worker, which ends the worker.
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
    // Sends a false message on every descriptor.
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
fn tasks_that_print_or_misuse_descriptors_harm_only_themselves() {
    let mut program = Program::start(rough_tasks, &[]);
    program.succeed();
    assert_eq!(program.count("printed=by a task"), 1);
}

/// Checks that an owner and its pool of two use almost no processor time while it waits.
fn waits_idly(wait: impl FnOnce(&TaskPool)) {
    let used = |processes: &[Pid]| processes.iter().map(|pid| cpu_time(*pid)).sum::<Duration>();
    let owner = child(|| wait(&TaskPool::new(2).unwrap()));
    let family = || {
        let dispatchers = children_of(owner.pid());
        let workers: Vec<_> =
            dispatchers.iter().flat_map(|dispatcher| children_of(*dispatcher)).collect();
        [vec![owner.pid()], dispatchers, workers].concat()
    };
    wait_until("all processes are there", || family().len() == 4);
    wait_until("the processes are idle", || {
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

/// A pool is idle while its owner waits, and while its results are not taken.
#[apply(test)]
fn an_idle_pool_uses_no_processor_time() {
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

/// Waits time out on time, and no task is lost under a storm of signals to all processes.
#[apply(test)]
fn waits_time_out_on_time_and_tasks_go_on_under_a_storm_of_signals() {
    // Each of the waiting children has a pool of its own.
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
