//! Pipes and listeners under signals that interrupt system calls.
#![allow(unsafe_code)] // This installs signal handlers.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use multiprocessing::{Connection, Duplex, Listener, PipeError, Process, pipe, wait};
use nix::sys::signal::{
    SaFlags, SigAction, SigEvent, SigHandler, SigSet, SigevNotify, Signal, kill, sigaction,
};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;

use crate::common::{
    LARGE, LIMIT, apply, child, child_with, fill, join_all, kill_and_join, name, pattern,
    sleep_for_ever, test, wait_until_blocked,
};

extern "C" fn ignore(_: i32) {}

/// Makes the signal interrupt waiting system calls with EINTR, and makes SIGPIPE end the process,
/// which Rust programs ignore by default.
fn prepare() {
    let handler = SigAction::new(SigHandler::Handler(ignore), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler does nothing.
    unsafe { sigaction(Signal::SIGUSR1, &handler) }.unwrap();
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action runs no code of this program.
    unsafe { sigaction(Signal::SIGPIPE, &default) }.unwrap();
}

/// Runs a child that waits under a storm of signals. After a while, `then` ends the wait.
fn under_a_storm(waits: impl FnOnce(), then: impl FnOnce()) {
    let signal: SigSet = [Signal::SIGUSR1].into_iter().collect();
    signal.thread_block().unwrap();
    let waiting = child(|| {
        prepare();
        signal.thread_unblock().unwrap();
        waits();
    });
    let target = waiting.pid();
    let storm = child(|| {
        while kill(target, Signal::SIGUSR1).is_ok() {
            std::thread::sleep(Duration::from_micros(200));
        }
        sleep_for_ever();
    });
    std::thread::sleep(Duration::from_millis(200));
    then();
    join_all([waiting]);
    kill_and_join(storm);
}

/// _TestPollEintr and TestIgnoreEINTR.test_ignore: receiving, sending, waiting and joining go on.
#[apply(test)]
fn signals_interrupt_no_wait_no_large_send_and_no_join() {
    let (here, there) = pipe().unwrap();
    let large = pattern(1, 16 * LARGE);
    let sends = || here.send_bytes(b"at last").unwrap();
    under_a_storm(|| assert_eq!(there.recv_bytes().unwrap(), b"at last"), sends);
    under_a_storm(|| assert!(there.recv_bytes_timeout(LIMIT).unwrap().is_some()), sends);
    under_a_storm(|| assert!(there.poll(LIMIT).unwrap()), sends);
    under_a_storm(|| assert_eq!(wait(&[&there]).unwrap(), [0]), || ());
    there.recv_bytes().unwrap();

    let mut full = fill(&here, b"small");
    let mut drains = |then: &dyn Fn()| {
        (0..full).for_each(|_| assert_eq!(there.recv_bytes().unwrap(), b"small"));
        then();
        full = fill(&here, b"small");
    };
    let receives = || assert!(there.recv_bytes().unwrap() == large);
    under_a_storm(|| here.send_bytes(&large).unwrap(), || drains(&receives));
    under_a_storm(
        || assert!(here.send_bytes_timeout(&large, LIMIT).unwrap()),
        || drains(&receives),
    );
    let receives = || drop(there.recv_fd().unwrap());
    under_a_storm(|| here.send_fd(&here).unwrap(), || drains(&receives));

    let (release, held) = pipe().unwrap();
    let joins = || {
        let mut sleeper = Process::fork(|| held.recv::<i32>().unwrap()).unwrap();
        assert!(sleeper.join().unwrap().is_success());
    };
    under_a_storm(joins, || release.send(&0).unwrap());
}

/// TestIgnoreEINTR.test_ignore_listener.
#[apply(test)]
fn signals_interrupt_neither_accept_nor_connect() {
    let name = name();
    let listener = Listener::bind(name.as_str()).unwrap();
    let connects = || Connection::connect(name.as_str()).unwrap().send("at last").unwrap();
    let is_it = |accepted: Connection| assert_eq!(accepted.recv::<String>().unwrap(), "at last");
    under_a_storm(|| is_it(listener.accept().unwrap()), connects);
    under_a_storm(|| is_it(listener.accept_timeout(LIMIT).unwrap().unwrap()), connects);
    under_a_storm(|| assert_eq!(wait(&[&listener]).unwrap(), [0]), connects);
    listener.accept().unwrap();

    let mut waiting = Vec::new();
    while let Some(connection) = Connection::connect_timeout(name.as_str(), Duration::ZERO).unwrap()
    {
        waiting.push(connection);
    }
    let accepts = || drop(listener.accept().unwrap());
    under_a_storm(|| drop(Connection::connect(name.as_str()).unwrap()), accepts);
    under_a_storm(
        || assert!(Connection::connect_timeout(name.as_str(), LIMIT).unwrap().is_some()),
        accepts,
    );
}

/// A connect times out even if every attempt is interrupted. A timer of the kernel sends the
/// signals, so they come more often than its clock ticks even on a busy machine.
#[apply(test)]
fn a_connect_times_out_on_time_even_if_every_attempt_is_interrupted() {
    let name = name();
    let _listener = Listener::bind(name.as_str()).unwrap();
    let mut waiting = Vec::new();
    while let Some(connection) = Connection::connect_timeout(name.as_str(), Duration::ZERO).unwrap()
    {
        waiting.push(connection);
    }
    prepare();
    let signal = SigevNotify::SigevSignal { signal: Signal::SIGUSR1, si_value: 0 };
    let mut timer = Timer::new(ClockId::CLOCK_MONOTONIC, SigEvent::new(signal)).unwrap();
    let often = Expiration::Interval(Duration::from_micros(200).into());
    timer.set(often, TimerSetTimeFlags::empty()).unwrap();
    for milliseconds in [0, 1, 20, 100] {
        let timeout = Duration::from_millis(milliseconds);
        let begun = Instant::now();
        assert!(Connection::connect_timeout(name.as_str(), timeout).unwrap().is_none());
        let waited = begun.elapsed();
        assert!(
            (timeout..timeout + Duration::from_secs(1)).contains(&waited),
            "{waited:?} for {timeout:?}"
        );
    }
}

/// Sending to a closed end is an error, and no signal that ends the process.
#[apply(test)]
fn sending_to_a_closed_end_is_an_error_without_sigpipe() {
    let (here, there) = child_with(|there| {
        prepare();
        assert!(matches!(there.recv_bytes(), Err(PipeError::Closed)));
        for outcome in [there.send(&1), there.send_bytes(&pattern(1, LARGE)), there.send_fd(&there)]
        {
            assert!(matches!(outcome, Err(PipeError::Closed)), "{outcome:?}");
        }
        assert!(matches!(there.send_timeout(&1, LIMIT), Err(PipeError::Closed)));
        // For stream sockets, the kernel does send the signal.
        let (stream, _) = UnixStream::pair().unwrap();
        let outcome = Connection::<Duplex>::from(OwnedFd::from(stream)).send(&1);
        assert!(matches!(outcome, Err(PipeError::Closed)), "{outcome:?}");
    });
    wait_until_blocked(there.pid());
    drop(here);
    join_all([there]);
}
