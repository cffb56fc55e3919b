//! The calls of a task pool and their results.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use multiprocessing::{TaskError, TaskPool};
use nix::unistd::{Pid, getpid};
use serde::de::{Deserializer, Error as _};
use serde::ser::{Error as _, Serializer};
use serde::{Deserialize, Serialize};

use crate::common::{LIMIT, Program, apply, chunk, fact, program, square, test, workers};

fn multiply(one: u64, other: u64) -> u64 {
    one * other
}

fn squares(count: u64) -> Vec<u64> {
    (0..count).map(square).collect()
}

fn pid(_: ()) -> i32 {
    getpid().as_raw()
}

/// Returns all results, or the first error.
fn all(results: impl Iterator<Item = Result<u64, TaskError>>) -> Result<Vec<u64>, TaskError> {
    results.collect()
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Bet {
    name: String,
    number: Option<u16>,
}

#[apply(test)]
fn a_worker_calls_a_function_with_an_argument_of_any_size_and_returns_its_result() {
    let pool = TaskPool::new(4).unwrap();
    let worker = Pid::from_raw(pool.apply(pid, ()).unwrap());
    assert!(workers(4).contains(&worker));
    assert_eq!(pool.apply(square, 5), Ok(25));
    let bet = Bet { name: "Lorenzo".to_owned(), number: Some(7574) };
    let renamed = |bet: Bet| Bet { name: bet.name.to_uppercase(), ..bet };
    assert_eq!(pool.apply(renamed, bet.clone()), Ok(Bet { name: "LORENZO".to_owned(), ..bet }));
    // Up to more bytes than any socket takes.
    for length in [0, 1, 1 << 15, (1 << 16) - 30, 1 << 16, 10_000_000] {
        let text = "Quiniela".chars().cycle().take(length).collect::<String>();
        assert!(
            pool.apply(|text: String| text.to_uppercase(), text.clone()) == Ok(text.to_uppercase()),
            "{length}"
        );
    }
}

#[apply(test)]
fn many_results_come_in_the_order_of_the_arguments_in_chunks_of_any_size() {
    let pool = TaskPool::new(4).unwrap();
    assert_eq!(pool.map(square, 0..10), Ok(squares(10)));
    assert_eq!(pool.map(square, 0..1000), Ok(squares(1000)));
    for items in [1, 7, 20, 100, 1000] {
        assert_eq!(pool.map_chunked(square, 0..100, chunk(items)), Ok(squares(100)));
    }
    assert_eq!(pool.map_async(square, 0..10).get(), Ok(squares(10)));

    let pairs = || (0..100).zip((0..100).rev());
    let products: Vec<_> = pairs().map(|(one, other)| multiply(one, other)).collect();
    assert_eq!(pool.starmap(multiply, pairs()), Ok(products.clone()));
    assert_eq!(pool.starmap_async(multiply, pairs()).get(), Ok(products.clone()));
    assert_eq!(
        pool.map_chunked(|(one, other)| multiply(one, other), pairs(), chunk(20)),
        Ok(products)
    );
}

#[apply(test)]
fn every_call_returns_at_once_without_arguments() {
    let mut pool = TaskPool::new(1).unwrap();
    assert_eq!(pool.map(square, []), Ok(vec![]));
    assert_eq!(pool.map_chunked(square, [], chunk(1)), Ok(vec![]));
    assert_eq!(pool.starmap(multiply, []), Ok(vec![]));
    assert_eq!(pool.imap(square, []).count(), 0);
    assert_eq!(pool.imap_unordered_chunked(square, [], chunk(3)).count(), 0);
    let later = pool.map_async(square, []);
    assert_eq!(later.wait_timeout(Duration::ZERO), Ok(true));
    assert_eq!(later.get(), Ok(vec![]));
    pool.join().unwrap();
}

fn slow_square(number: u64) -> u64 {
    sleep(Duration::from_millis(300));
    square(number)
}

/// Each result is returned once, as a success or as an error.
#[apply(test)]
fn an_asynchronous_result_is_waited_for_returned_once_or_dropped() {
    let pool = TaskPool::new(3).unwrap();
    let begun = Instant::now();
    let result = pool.apply_async(slow_square, 7);
    assert_eq!(result.wait_timeout(Duration::ZERO), Ok(false));
    assert_eq!(result.wait_timeout(Duration::from_millis(100)), Ok(false));
    assert!(begun.elapsed() >= Duration::from_millis(100));
    assert_eq!(result.wait(), Ok(()));
    assert_eq!(result.wait_timeout(Duration::ZERO), Ok(true));
    assert_eq!(result.get(), Ok(49));
    assert!(begun.elapsed() >= Duration::from_millis(300));

    assert_eq!(
        pool.map_async(|text: String| text.parse::<u8>().ok(), ["1".to_owned()]).get(),
        Ok(vec![Some(1)])
    );
    let failed = pool.map_async(|text: String| text.parse::<u8>().unwrap(), ["a".to_owned()]);
    assert_eq!(failed.wait(), Ok(()));
    let error = failed.get().unwrap_err();
    assert!(
        matches!(&error, TaskError::Panicked { message, .. } if message.contains("InvalidDigit")),
        "{error:?}"
    );

    // Dropped results and results that are never taken block nothing.
    drop(pool.apply_async(slow_square, 1));
    let _unasked = pool.apply_async(square, 1);
    assert_eq!(pool.apply(square, 2), Ok(4));
    let begun = Instant::now();
    let long = pool.apply_async(|()| sleep(Duration::from_secs(3600)), ());
    assert_eq!(long.wait_timeout(Duration::from_millis(200)), Ok(false));
    assert!(begun.elapsed() >= Duration::from_millis(200));
    drop(pool);
    assert!(begun.elapsed() < LIMIT, "{:?}", begun.elapsed());
    assert_eq!(long.get(), Err(TaskError::PoolEnded));
}

#[apply(test)]
fn results_come_one_by_one_in_order_while_arguments_are_still_produced() {
    let pool = TaskPool::new(2).unwrap();
    assert_eq!(all(pool.imap(square, 0..10)), Ok(squares(10)));
    let mut results = pool.imap(square, 0..10);
    (0..10).for_each(|number| assert_eq!(results.next(), Some(Ok(square(number)))));
    assert_eq!((results.next(), results.next()), (None, None));
    assert_eq!(all(pool.imap_chunked(square, 0..1000, chunk(100))), Ok(squares(1000)));

    // Arguments are taken as they are needed, so the iterator may be endless.
    let taken = Cell::new(0);
    let counted = (0..).inspect(|_| taken.set(taken.get() + 1));
    assert_eq!(all(pool.imap(square, counted).take(100)), Ok(squares(100)));
    assert!((100..=100 + 2 * 16).contains(&taken.get()), "{} were taken", taken.get());

    let mut results = pool.imap(slow_square, [3]);
    assert_eq!(results.wait_timeout(Duration::ZERO), Ok(false));
    assert_eq!(results.wait_timeout(LIMIT), Ok(true));
    assert_eq!((results.next(), results.wait_timeout(Duration::ZERO)), (Some(Ok(9)), Ok(true)));
    assert_eq!(results.next(), None);

    // After an error the other results still come, even those of the same chunk.
    for items in [1, 3] {
        let divided: Vec<_> =
            pool.imap_chunked(|number: u32| 100 / number, [5, 0, 4], chunk(items)).collect();
        assert_eq!((&divided[0], &divided[2]), (&Ok(20), &Ok(25)));
        assert!(matches!(&divided[1], Err(TaskError::Panicked { .. })), "{divided:?}");
    }
}

#[apply(test)]
fn unordered_results_come_as_soon_as_they_are_ready() {
    let pool = TaskPool::new(2).unwrap();
    let sorted = |results: Result<Vec<u64>, TaskError>| {
        let mut results = results.unwrap();
        results.sort_unstable();
        results
    };
    assert_eq!(sorted(pool.imap_unordered(square, 0..10).collect()), squares(10));
    assert_eq!(
        sorted(pool.imap_unordered_chunked(square, 0..1000, chunk(100)).collect()),
        squares(1000)
    );
    // The other results overtake the first one.
    let slow_at_first =
        |number: u64| if number == 0 { slow_square(number) } else { square(number) };
    let mut results: Vec<_> =
        pool.imap_unordered(slow_at_first, 0..5).map(Result::unwrap).collect();
    assert_eq!(results.pop(), Some(0), "{results:?}");
    assert_eq!(results.len(), 4);
}

/// Returns an iterator over numbers that panics at one of them.
fn panics_at(last: u64) -> impl Iterator<Item = u64> {
    (0..10).inspect(move |&number| assert!(number != last, "the iterator stops here"))
}

#[apply(test)]
fn an_argument_iterator_that_panics_harms_neither_the_pool_nor_earlier_results() {
    let pool = TaskPool::new(2).unwrap();
    let panics = |work: &mut dyn FnMut()| catch_unwind(AssertUnwindSafe(work)).is_err();
    for _ in 0..2 {
        assert!(panics(&mut || _ = pool.map(square, panics_at(0))));
        assert!(panics(&mut || _ = pool.map_chunked(square, panics_at(3), chunk(1))));
        assert!(panics(&mut || _ = pool.imap(square, panics_at(0)).next()));
        assert!(panics(&mut || _ = pool.imap_unordered(square, panics_at(0)).next()));
    }
    let mut results = pool.imap(square, panics_at(3));
    assert!(panics(&mut || _ = results.next()));
    // Earlier arguments were given to the workers, and the results of later ones still come.
    assert_eq!(all(results), Ok([0, 1, 2, 4, 5, 6, 7, 8, 9].map(square).to_vec()));
    let mut results = pool.imap_unordered_chunked(square, panics_at(3), chunk(2));
    assert!(panics(&mut || _ = results.next()));
    // The panic also lost the earlier arguments of its chunk.
    let mut results: Vec<_> = results.map(Result::unwrap).collect();
    results.sort_unstable();
    assert_eq!(results, [0, 1, 4, 5, 6, 7, 8, 9].map(square));
    assert_eq!(pool.map(square, 0..10), Ok(squares(10)));
}

/// The process that owns the pool.
static OWNER: OnceLock<u32> = OnceLock::new();

/// Numbers that select how their encoding, decoding or drop fails.
#[derive(Clone, Debug, PartialEq)]
struct Awkward(u8);

impl Serialize for Awkward {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            1 => Err(S::Error::custom("this one cannot be sent")),
            2 => panic!("a panic while it was encoded"),
            number => serializer.serialize_u8(number),
        }
    }
}

impl<'a> Deserialize<'a> for Awkward {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        match u8::deserialize(deserializer)? {
            3 => Err(D::Error::custom("this one cannot be received")),
            4 => panic!("a panic while it was decoded"),
            number => Ok(Self(number)),
        }
    }
}

impl Drop for Awkward {
    fn drop(&mut self) {
        let in_worker = OWNER.get().is_some_and(|owner| *owner != std::process::id());
        assert!(self.0 != 5 || !in_worker, "a panic while it was dropped");
    }
}

/// A value that cannot be sent or received fails its own task and costs no worker.
#[apply(test)]
fn a_value_that_cannot_be_sent_or_received_fails_its_task_only_and_costs_no_worker() {
    OWNER.set(std::process::id()).unwrap();
    let pool = TaskPool::new(2).unwrap();
    let before = workers(2);
    let owned = |awkward: Awkward| awkward.0;
    for _ in 0..20 {
        assert!(matches!(pool.apply(Awkward, 1), Err(TaskError::Encode(_))));
        assert!(matches!(pool.apply(owned, Awkward(3)), Err(TaskError::Decode(_))));
        for (given, text) in [(2, "while it was encoded"), (5, "while it was dropped")] {
            let error = pool.apply(Awkward, given).unwrap_err();
            assert!(
                matches!(&error, TaskError::Panicked { message, .. } if message.contains(text)),
                "{error:?}"
            );
        }
        for (given, text) in [(4, "while it was decoded"), (5, "while it was dropped")] {
            let error = pool.apply(owned, Awkward(given)).unwrap_err();
            assert!(
                matches!(&error, TaskError::Panicked { message, .. } if message.contains(text)),
                "{error:?}"
            );
        }
    }
    // The failure is in the caller if the caller encodes or decodes.
    let runs = |work: &dyn Fn()| catch_unwind(AssertUnwindSafe(work)).is_ok();
    assert!(!runs(&|| _ = pool.apply(owned, Awkward(2))));
    assert!(!runs(&|| _ = pool.apply(Awkward, 4)));
    assert!(matches!(pool.apply(Awkward, 3), Err(TaskError::Decode(_))));
    // A map notices it before any task is done.
    assert!(matches!(pool.map(owned, vec![Awkward(0), Awkward(1)]), Err(TaskError::Encode(_))));
    let results: Vec<_> = pool.imap(Awkward, [0, 1, 7]).collect();
    assert!(
        matches!(&results[..], [Ok(Awkward(0)), Err(TaskError::Encode(_)), Ok(Awkward(7))]),
        "{results:?}"
    );
    // The workers are still the same.
    assert_eq!((workers(2), pool.map(square, 0..10)), (before, Ok(squares(10))));
}

/// The number of these values in this process.
static COUNTED: AtomicI64 = AtomicI64::new(0);

#[derive(Serialize)]
struct Counted(String);

impl Counted {
    fn new(text: String) -> Self {
        COUNTED.fetch_add(1, Ordering::Relaxed);
        Self(text)
    }
}

impl<'a> Deserialize<'a> for Counted {
    fn deserialize<D: Deserializer<'a>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        COUNTED.fetch_sub(1, Ordering::Relaxed);
    }
}

#[apply(test)]
fn arguments_and_results_are_dropped_in_owner_and_worker() {
    let pool = TaskPool::new(1).unwrap();
    let counted = || COUNTED.load(Ordering::Relaxed);
    let arguments: Vec<_> = (0..10).map(|_| Counted::new("x".repeat(100_000))).collect();
    let results = pool.map(|counted: Counted| counted, arguments).unwrap();
    assert_eq!(
        (counted(), results.len()),
        (10, 10),
        "the arguments are dropped, the results are not"
    );
    drop(results);
    assert_eq!((counted(), pool.apply(|()| COUNTED.load(Ordering::Relaxed), ())), (0, Ok(0)));
}

/// After an early error, the map waits for the rest, no matter how long its message is.
#[apply(test)]
fn after_an_early_error_a_map_waits_for_the_rest_and_a_join_does_not_hang() {
    let begun = Instant::now();
    let mut pool = TaskPool::new(2).unwrap();
    let fail = |number: u64| -> u64 {
        sleep(Duration::from_millis(500 * number));
        panic!("{number}{}", "x".repeat(1 << 20));
    };
    let error = pool.map_chunked(fail, [0, 1], chunk(1)).unwrap_err();
    assert!(begun.elapsed() >= Duration::from_millis(500));
    assert!(
        matches!(&error, TaskError::Panicked { message, .. } if message.starts_with("0x")),
        "another error"
    );
    pool.join().unwrap();
}

/// Prints what an error says about its origin.
#[apply(program)]
fn traceback(_: &[&str]) {
    let pool = TaskPool::new(1).unwrap();
    let worker = pool.apply(pid, ()).unwrap();
    let fails = |text: String| -> u64 { panic!("no {text}") };
    let Err(TaskError::Panicked { message, place, pid }) = pool.apply(fails, "luck".to_owned())
    else {
        panic!("the task did not fail")
    };
    assert_eq!((message.as_str(), pid), ("no luck", worker));
    assert!(place.starts_with(concat!(file!(), ":")), "{place}");
    fact("lines", place.lines().count());
    fact("names_the_task", place.contains("tasks::traceback"));
    let no_text = pool.apply(|()| -> u8 { std::panic::panic_any(7) }, ());
    assert!(
        matches!(&no_text, Err(TaskError::Panicked { message, .. }) if message == "a panic without a text")
    );
    // Panics of threads and children of a task, which no result reports, are printed.
    let elsewhere = |()| {
        let thread = std::thread::spawn(|| panic!("in a thread")).join().is_err();
        let child =
            multiprocessing::Process::fork(|| -> i32 { panic!("in a child") }).unwrap().join();
        (thread, child.unwrap().is_success())
    };
    assert_eq!(pool.apply(elsewhere, ()), Ok((true, false)));
}

#[apply(test)]
fn an_error_says_where_it_came_from() {
    let traced = |backtrace: &str| {
        let mut program = Program::start_through(&["env", backtrace], traceback, &[]);
        program.succeed();
        let lines: usize = program.fact("lines").parse().unwrap();
        let errors = &program.errors;
        assert!(errors.contains("in a thread") && errors.contains("in a child"), "{errors}");
        assert!(!errors.contains("no luck"), "returned and also printed: {errors}");
        (lines, program.fact("names_the_task") == "true")
    };
    assert_eq!(traced("RUST_BACKTRACE=0"), (1, false));
    let (lines, names_the_task) = traced("RUST_BACKTRACE=1");
    assert!(lines > 1 && names_the_task, "{lines} lines");
}
