//! A spawned child, its parent or the thread that started it dies.

use std::io::{PipeReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use multiprocessing::{
    Connection, JoinError, LockError, PipeError, Plan, Process, Segment, SegmentName, pipe,
};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, getpid};

use super::{sleeper, sleeps, threaded};
use crate::common::{
    Program, apply, child, children_of, fact, is_gone, join_all, kill_and_join, name, program,
    segment, sleep_for_ever, test, wait_until, wait_until_blocked,
};

fn locks((name, ready): (SegmentName, Connection)) -> Result<(), Box<dyn std::error::Error>> {
    let segment = Segment::open(&name)?;
    let lock = segment.lock("lock")?;
    let _guard = lock.lock().map_err(|_| "not locked")?;
    ready.send("locked")?;
    sleep_for_ever();
}

#[apply(test)]
fn a_killed_child_frees_its_locks_and_its_ends_and_the_join_says_how_it_ended() {
    let segment = segment(&Plan::new().lock("lock"));
    let lock = segment.lock("lock").unwrap();
    let _thread = threaded();
    let (here, there) = pipe().unwrap();
    let mut victim = Process::spawn(locks, (name(), there)).unwrap();
    assert_eq!(here.recv::<String>().unwrap(), "locked");
    victim.kill().unwrap();
    assert!(matches!(here.recv::<String>(), Err(PipeError::Closed)));
    let Err(LockError::OwnerDied(inherited)) = lock.lock() else { panic!("no death reported") };
    drop(inherited.repaired());
    let ended = victim.join();
    assert!(matches!(ended, Err(JoinError::Ended(exit)) if exit.is_signal(Signal::SIGKILL)));
}

/// Has threads, creates the segment, spawns a sleeper, and sleeps.
#[apply(program)]
fn spawns_and_sleeps(_: &[&str]) {
    let _segment = segment(&Plan::new().lock("lock"));
    let _thread = threaded();
    let sleeper = sleeper();
    fact("sleeper", sleeper.pid());
    sleep_for_ever();
}

#[apply(test)]
fn a_child_ends_with_its_killed_parent_and_removes_its_segments() {
    let mut parent = Program::start(spawns_and_sleeps, &[]);
    parent.line("sleeper=");
    let sleeper = Pid::from_raw(parent.fact("sleeper").parse().unwrap());
    assert!(parent.name.path().exists() && !is_gone(sleeper));
    nix::sys::signal::kill(parent.pid(), Signal::SIGKILL).unwrap();
    let died = Instant::now();
    wait_until("the child ends", || is_gone(sleeper));
    assert!(died.elapsed() < Duration::from_secs(1));
    assert!(!parent.name.path().exists(), "the segment is left over");
}

/// The thread that starts a child may end: the kernel then sends the child the signal that
/// announces the death of a parent.
#[apply(test)]
fn a_child_outlives_the_thread_that_started_it_and_ends_with_the_process() {
    let (here, there) = pipe().unwrap();
    let parent = child(move || {
        let sleeper = thread::spawn(sleeper).join().unwrap();
        // The kernel has removed the thread once it is not listed any more.
        let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
        wait_until("the thread has ended", || threads() == 1);
        there.send(&sleeper.pid().as_raw()).unwrap();
        sleep_for_ever();
    });
    let sleeper = Pid::from_raw(here.recv().unwrap());
    thread::sleep(Duration::from_millis(50));
    assert!(!is_gone(sleeper), "it ended with the thread");
    kill_and_join(parent);
    wait_until("the child ends", || is_gone(sleeper));
}

#[apply(test)]
fn a_child_ends_with_its_parent_even_if_every_signal_is_blocked() {
    let (here, there) = pipe().unwrap();
    let parent = child(move || {
        nix::sys::signal::SigSet::all().thread_block().unwrap();
        let sleeper = Process::spawn(sleeps, there).unwrap();
        wait_until_blocked(sleeper.pid());
        sleep_for_ever();
    });
    let sleeper = Pid::from_raw(here.recv().unwrap());
    kill_and_join(parent);
    wait_until("the child ends", || is_gone(sleeper));
}

/// Makes a socket, and starts this program as a spawned child that has both ends of it. Another
/// process starts the child, and ends before the child reads a line and executes the program.
#[expect(clippy::zombie_processes, reason = "the test reaps the child")]
fn leaves_a_starting_child(go: PipeReader) {
    let (here, there) = UnixStream::pair().unwrap();
    for end in [&here, &there] {
        fcntl(end, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    }
    let script = "read go; exec \"$0\" \"multiprocessing::spawned=$1\" 2>/dev/null";
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(std::env::current_exe().unwrap());
    shell.arg(there.as_raw_fd().to_string()).stdin(go);
    join_all([child(|| _ = shell.spawn().unwrap())]);
}

/// A parent with several threads loses its children when the first of its threads has ended, and
/// its files close when the last one has. Here the end of the socket stays open.
#[apply(test)]
fn a_child_whose_parent_dies_before_its_files_close_ends_as_an_orphan() {
    prctl::set_child_subreaper(true).unwrap();
    for (does_parent_die, code) in [(true, 102), (false, 103)] {
        let (go, mut start) = std::io::pipe().unwrap();
        let mut parent = child(|| {
            leaves_a_starting_child(go.try_clone().unwrap());
            if !does_parent_die {
                sleep_for_ever();
            }
        });
        drop(go);
        let orphan = || children_of(getpid()).into_iter().find(|pid| *pid != parent.pid());
        wait_until("the child has another parent", || orphan().is_some());
        wait_until("the parent ends", || is_gone(parent.pid()) == does_parent_die);
        let orphan = orphan().unwrap();
        start.write_all(b"go\n").unwrap();
        assert_eq!(waitpid(orphan, None), Ok(WaitStatus::Exited(orphan, code)));
        let _ = parent.kill();
        parent.join().unwrap();
    }
}
