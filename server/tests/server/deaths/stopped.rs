//! A worker is stopped (SIGSTOP) or computes for ever: the watchdog replaces it, and the others
//! wait no longer than that. A central that is suspended as a whole loses no worker.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};
use std::{fs, iter};

use super::lock_holder::stop_holder;
use crate::harness::{
    AgencyConnection, BatchRecord, CentralProcess, Load, Random, Setup, StoppedProcess,
    compile_library, eventually, eventually_within, is_alive, kill, packet_of,
};
use multiprocessing::Lock;
use nix::sys::signal::Signal;

/// The heartbeat timeout of these tests.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How much later than promised something may happen on a busy machine.
const LATE: Duration = Duration::from_secs(4);

fn setup(durability: &str) -> Setup {
    Setup::new()
        .with("SERVER_DURABILITY", durability)
        .with("SERVER_WORKERS", "3")
        .with("SERVER_HEARTBEAT_TIMEOUT", "2s")
}

/// Returns the exit code of `loteria-central health` and what it says.
fn health(setup: &Setup, central: &CentralProcess<'_>) -> (i32, String) {
    let output = setup.run(&["health", "--port", &central.port.to_string()]);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// Waits until a slot has a ready worker other than `pid`.
fn replaced(central: &CentralProcess<'_>, slot: usize, pid: u32) {
    let look = || central.status()["workers"][slot].clone();
    eventually_within(TIMEOUT + LATE, "another worker in the slot", look, |worker| {
        worker["pid"] != pid && worker["state"] == "ready"
    });
}

/// Asserts what the log says about a worker that was stopped.
fn assert_logged(central: &CentralProcess<'_>, pid: u32) {
    let ended = central.program.line_with("action: watchdog | result: fail");
    for part in ["signal: SIGKILL", "the process is stopped (SIGSTOP)", "locks: "] {
        assert!(ended.contains(part), "no {part:?} in {ended}");
    }
    let reason = format!("pid: {pid} | error: SIGKILL by the watchdog: no heartbeat for ");
    central.program.line_with(&reason);
}

#[test]
fn one_stopped_worker_of_three_is_named_by_health_and_replaced_and_the_others_serve_on() {
    // Long enough for health to be sure before the worker is replaced.
    let setup = setup("disk").with("SERVER_HEARTBEAT_TIMEOUT", "4s");
    let central = setup.start();
    let (record, mut random) = (Arc::new(BatchRecord::default()), Random::seeded());
    let load = Load::start(4, central.port, &record, &mut random);
    eventually("acknowledged batches", || record.acknowledged(), |count| *count >= 20);
    assert_eq!(health(&setup, &central).0, 0);

    let workers = central.worker_pids();
    let pid = random.pick(&workers);
    let slot = workers.iter().position(|worker| *worker == pid).unwrap();
    let (stopped, start) = (StoppedProcess::new(pid), Instant::now());
    let (code, said) = eventually_within(
        Duration::from_secs(4),
        "not healthy",
        || health(&setup, &central),
        |(code, _)| *code == 1,
    );
    assert_eq!(code, 1);
    let expected = format!("worker {slot} (pid {pid}) has shown no heartbeat for ");
    assert!(said.contains(&expected), "{said}");

    let (mut served, mut longest) = (Instant::now(), Duration::ZERO);
    let mut known = record.acknowledged();
    while central.worker_pids()[slot] == pid {
        let now = record.acknowledged();
        if now != known {
            (known, served) = (now, Instant::now());
        }
        longest = longest.max(served.elapsed());
        assert!(start.elapsed() < Duration::from_secs(4) + LATE, "not replaced");
    }
    println!("replaced after {:?}, longest without a batch {longest:?}", start.elapsed());
    assert!(longest < Duration::from_secs(4) + LATE);
    let before = record.acknowledged();
    eventually("more batches", || record.acknowledged(), |count| *count > before + 20);
    eventually("healthy again", || health(&setup, &central), |(code, _)| *code == 0);
    assert_logged(&central, pid);
    assert_eq!(central.number("worker_deaths"), 1);
    drop(stopped);
    load.stop();
    central.none_in_flight_within_a_second();
    record.check(&setup, &central);
    assert_eq!(central.stop().0, 0);
}

/// Stops holders of a lock under load, and leaves them stopped.
fn stop_holders(durability: &str, lock: impl Fn(&CentralProcess<'_>) -> Lock) {
    let setup = setup(durability);
    let central = setup.start();
    let (record, mut random) = (Arc::new(BatchRecord::default()), Random::seeded());
    let load = Load::start(4, central.port, &record, &mut random);
    for deaths in 1..=2 {
        let holder = stop_holder(&central, &lock(&central), &mut random);
        let (pid, start) = (holder.pid(), Instant::now());
        let slot = central.worker_pids().iter().position(|worker| *worker == pid).unwrap();
        eventually_within(
            TIMEOUT + LATE,
            "a batch is acknowledged",
            || record.send_batch(central.port, 10, 5),
            |done| *done,
        );
        println!("the next batch after {:?}", start.elapsed());
        replaced(&central, slot, pid);
        assert_logged(&central, pid);
        assert_eq!(central.number("worker_deaths"), deaths);
        assert_eq!(central.number("lock_recoveries"), deaths);
    }
    load.stop();
    central.none_in_flight_within_a_second();
    assert!(record.check(&setup, &central).bets > 0);
    assert_eq!(central.stop().0, 0);
}

#[test]
fn a_stopped_holder_of_the_storage_lock_delays_the_others_by_the_heartbeat_timeout() {
    stop_holders("process", |central| {
        central.segment().value::<[u64; 11]>("ledger").unwrap().get_lock().clone()
    });
}

#[test]
fn a_stopped_holder_of_the_winners_lock_delays_the_others_by_the_heartbeat_timeout() {
    stop_holders("process", |central| {
        central.segment().value::<u64>("winners").unwrap().get_lock().clone()
    });
}

#[test]
fn a_worker_stopped_while_it_syncs_for_all_delays_the_others_by_the_heartbeat_timeout() {
    stop_holders("disk", |central| central.segment().lock("sync").unwrap());
}

#[test]
fn a_central_that_is_suspended_as_a_whole_loses_no_worker() {
    let setup = setup("disk");
    let mut central = setup.start();
    let (record, mut random) = (Arc::new(BatchRecord::default()), Random::seeded());
    let load = Load::start(2, central.port, &record, &mut random);
    let workers = central.worker_pids();
    for supervisor_first in [true, false] {
        eventually("a batch", || record.send_batch(central.port, 1, 1), |done| *done);
        let mut all: Vec<_> = iter::once(central.program.pid()).chain(workers.clone()).collect();
        for pid in all.iter().rev() {
            kill(*pid, Signal::SIGSTOP);
        }
        sleep(TIMEOUT * 2);
        if !supervisor_first {
            all.reverse();
        }
        for pid in all {
            kill(pid, Signal::SIGCONT);
        }
        // Longer than the timeout, so that a wrong decision would show.
        sleep(TIMEOUT + Duration::from_secs(1));
        assert_eq!(central.worker_pids(), workers);
    }
    load.stop();
    assert_eq!(central.number("worker_deaths"), 0);
    assert!(central.program.is_running());
    record.check(&setup, &central);
    assert_eq!(central.program.count_lines_with("action: watchdog"), 0);
    assert_eq!(central.stop().0, 0);
}

/// Makes every `fdatasync` take `$SLOW_SYNC` seconds while the file `$SLOW_SYNC_NOW` exists, and
/// lets one process compute for ever in `recv` once the file `$SPIN_NOW` exists.
const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

int fdatasync(int fd) {
    if (!access(getenv("SLOW_SYNC_NOW"), F_OK))
        for (unsigned left = atoi(getenv("SLOW_SYNC")); left;)
            left = sleep(left);
    return syscall(SYS_fdatasync, fd);
}

ssize_t recv(int fd, void *bytes, size_t length, int flags) {
    if (!unlink(getenv("SPIN_NOW")))
        for (volatile int spin = 1; spin;)
            ;
    return recvfrom(fd, bytes, length, flags, NULL, NULL);
}
"#;

/// The files that make the library act.
struct Triggers {
    slow_sync: PathBuf,
    spin: PathBuf,
}

/// Returns a command for the central with that library. Without a C compiler, reports the test as
/// left out.
fn preloaded(setup: &Setup, slow_seconds: u64) -> Option<(Command, Triggers)> {
    let [slow_sync, spin] = ["slow", "spin"].map(|name| setup.directory().join(name));
    let library = compile_library(setup, "slow", LIBRARY)?;
    let mut command = setup.command(&["run"]);
    command.env("LD_PRELOAD", &library).env("SLOW_SYNC", slow_seconds.to_string());
    command.env("SLOW_SYNC_NOW", &slow_sync).env("SPIN_NOW", &spin);
    Some((command, Triggers { slow_sync, spin }))
}

#[test]
fn a_worker_that_computes_for_ever_is_named_by_health_aborted_with_a_backtrace_and_replaced() {
    // Long enough for health to be sure before the worker is replaced.
    let setup = setup("process").with("SERVER_HEARTBEAT_TIMEOUT", "4s");
    let Some((mut command, triggers)) = preloaded(&setup, 0) else { return };
    let central = setup.start_by(&mut command);
    let workers = central.worker_pids();
    fs::write(&triggers.spin, "").unwrap();
    let mut agency = central.connect();
    agency.send(&packet_of("lost", 1, 1));
    eventually("one computes", || triggers.spin.exists(), |exists| !exists);

    let start = Instant::now();
    for number in 0..10 {
        assert!(central.request(&packet_of(&number.to_string(), 1, 1)).len() > 2);
    }
    println!("ten batches beside it took {:?}", start.elapsed());
    let silent =
        |(code, said): &(i32, String)| *code == 1 && said.contains("has shown no heartbeat for ");
    eventually("not healthy", || health(&setup, &central), silent);
    let ended = central.program.line_with("action: watchdog | result: fail");
    for part in ["signal: SIGABRT", "the process computes", "locks: none"] {
        assert!(ended.contains(part), "no {part:?} in {ended}");
    }
    let backtrace = central.program.line_with("action: backtrace | result: fail");
    assert!(
        backtrace.contains("slow.so+0x") && backtrace.contains("loteria-central+0x"),
        "{backtrace}"
    );
    central.program.line_with("error: SIGABRT by the watchdog: no heartbeat for ");
    assert!(agency.read_until_gone().is_empty(), "the connection of the dead worker");
    let alive = || central.worker_pids().iter().filter(|pid| workers.contains(pid)).count();
    eventually("one replaced", alive, |count| *count == 2);
    eventually("healthy again", || health(&setup, &central), |(code, _)| *code == 0);
    assert_eq!(central.results().winners, 10);
    assert_eq!(central.number("worker_deaths"), 1);
    assert_eq!(central.stop().0, 0);
}

#[test]
fn workers_that_wait_for_a_slow_disk_are_not_ended_and_health_names_the_disk() {
    const SECONDS: u64 = 9;
    let setup = setup("disk");
    let Some((mut command, triggers)) = preloaded(&setup, SECONDS) else { return };
    let now = triggers.slow_sync;
    let central = setup.start_by(&mut command);
    let workers = central.worker_pids();
    assert!(central.request(&packet_of("before", 1, 1)).len() > 2);

    fs::write(&now, "").unwrap();
    let start = Instant::now();
    // One worker syncs, and the others wait for it.
    let mut agencies: Vec<_> = (0..3).map(|_| central.connect()).collect();
    for (number, agency) in agencies.iter_mut().enumerate() {
        agency.send(&packet_of(&number.to_string(), 1, 1));
    }
    let in_flight = || central.number("agencies_in_flight");
    eventually("in flight", in_flight, |count| *count > 0);
    let waits = |said: &str| said.contains("has waited for the disk for ");
    let (code, _) =
        eventually("the slow disk", || health(&setup, &central), |(_, said)| waits(said));
    assert_eq!(code, 1);
    fs::remove_file(&now).unwrap();

    assert!(agencies.iter_mut().all(|agency| agency.read_to_end().len() > 2));
    assert!(start.elapsed() >= Duration::from_secs(SECONDS), "the syncs were not slow");
    assert_eq!(central.worker_pids(), workers);
    assert_eq!(central.number("worker_deaths"), 0);
    eventually("healthy again", || health(&setup, &central), |(code, _)| *code == 0);
    assert_eq!(central.results().winners, 4);
    assert_eq!(central.stop().0, 0);
}

#[test]
fn a_central_without_watchdog_keeps_a_stopped_worker() {
    let setup = setup("process").with("SERVER_HEARTBEAT_TIMEOUT", "0");
    let central = setup.start();
    let workers = central.worker_pids();
    let stopped = StoppedProcess::new(workers[0]);
    sleep(TIMEOUT * 2);
    assert_eq!(central.worker_pids(), workers);
    assert!(AgencyConnection::open(central.port).results().winners == 0);
    drop(stopped);
    assert!(is_alive(workers[0]));
    assert_eq!(central.stop().0, 0);
}
