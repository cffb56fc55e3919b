//! Trivial tasks per second through a TaskPool, beside Python's Pool with as many workers, by turns on one machine; and what no pool
//! can beat: round trips of one byte between two processes. `cargo bench -p shm-multiprocessing --bench task_pool`; needs Python.

use std::error::Error;
use std::fs::read_to_string;
use std::io::{Read, Write};
use std::num::NonZeroUsize;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Instant;

use multiprocessing::{Process, TaskPool};

/// Turns that each of the two has.
const TURNS: usize = 5;
const CALLS: u64 = 3_000;
const ITEMS: u64 = 10_000;

const WAYS: [&str; 4] = ["apply, one by one", "map", "map, chunks of 1", "imap"];
/// Of each way, in tasks per second.
type Figures = [f64; WAYS.len()];

const PYTHON: &str = "
import sys, time
from multiprocessing import Pool

def square(number):
    return number * number

def rate(count, work):
    begun = time.perf_counter()
    assert work() == [number * number for number in range(count)]
    print(count / (time.perf_counter() - begun))

workers, calls, items = map(int, sys.argv[1:])
with Pool(workers) as pool:
    pool.map(square, range(100))
    rate(calls, lambda: [pool.apply(square, (number,)) for number in range(calls)])
    rate(items, lambda: pool.map(square, range(items)))
    rate(items, lambda: pool.map(square, range(items), chunksize=1))
    rate(items, lambda: list(pool.imap(square, range(items))))
";

fn main() -> Result<(), Box<dyn Error>> {
    let cpus = std::thread::available_parallelism()?;
    println!("{cpus} CPUs, load {}", read_to_string("/proc/loadavg")?.trim());
    let mut trips = (0..TURNS).map(|_| round_trips()).collect::<Result<Vec<_>, _>>()?;
    println!("round trips of a byte between two processes: {:.0}/s", median(&mut trips));
    for workers in [1, 2, 4] {
        let mut turns = Vec::new();
        for _ in 0..TURNS {
            turns.push((of_python(workers)?, of_task_pool(workers)?));
        }
        println!("{workers} workers, tasks/s, median of {TURNS} turns:");
        for (way, name) in WAYS.iter().enumerate() {
            let python = median(&mut turns.iter().map(|(python, _)| python[way]).collect::<Vec<_>>());
            let pool = median(&mut turns.iter().map(|(_, pool)| pool[way]).collect::<Vec<_>>());
            println!("  {name:<18} Pool {python:>9.0}   TaskPool {pool:>9.0}   {:>5.1} times", pool / python);
        }
    }
    Ok(())
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn of_python(workers: usize) -> Result<Figures, Box<dyn Error>> {
    let mut command = Command::new("python3");
    command.args(["-c", PYTHON]).args([workers as u64, CALLS, ITEMS].map(|number| number.to_string()));
    let output = command.output()?;
    let printed = String::from_utf8(output.stdout)?;
    let figures: Vec<f64> = printed.lines().map(str::parse).collect::<Result<_, _>>()?;
    figures
        .try_into()
        .map_err(|_| format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)).into())
}

fn of_task_pool(workers: usize) -> Result<Figures, Box<dyn Error>> {
    let square = |number: u64| number * number;
    let mut pool = TaskPool::new(workers)?;
    pool.map(square, 0..100)?;
    let figures = [
        rate(CALLS, || (0..CALLS).map(|number| pool.apply(square, number)).collect())?,
        rate(ITEMS, || pool.map(square, 0..ITEMS))?,
        rate(ITEMS, || pool.map_chunked(square, 0..ITEMS, NonZeroUsize::MIN))?,
        rate(ITEMS, || pool.imap(square, 0..ITEMS).collect())?,
    ];
    pool.join()?;
    Ok(figures)
}

/// So many tasks against the clock; their results are checked.
fn rate<E: Error + 'static>(
    count: u64,
    work: impl FnOnce() -> Result<Vec<u64>, E>,
) -> Result<f64, Box<dyn Error>> {
    let begun = Instant::now();
    let squares = work()?;
    let figure = count as f64 / begun.elapsed().as_secs_f64();
    let right = squares.into_iter().eq((0..count).map(|number| number * number));
    if right { Ok(figure) } else { Err("wrong results".into()) }
}

fn round_trips() -> Result<f64, Box<dyn Error>> {
    const TRIPS: u32 = 20_000;
    let (mut here, mut there) = UnixStream::pair()?;
    let mut byte = [0];
    let mut echo = Process::spawn(|| {
        let mut byte = [0];
        i32::from(
            (0..TRIPS).any(|_| there.read_exact(&mut byte).and_then(|()| there.write_all(&byte)).is_err()),
        )
    })?;
    let begun = Instant::now();
    for _ in 0..TRIPS {
        here.write_all(&byte)?;
        here.read_exact(&mut byte)?;
    }
    let figure = f64::from(TRIPS) / begun.elapsed().as_secs_f64();
    if echo.join()?.is_success() { Ok(figure) } else { Err("the echo failed".into()) }
}
