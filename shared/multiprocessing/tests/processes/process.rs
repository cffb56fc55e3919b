//! Child processes: how they end, how a parent waits for them, what is refused.

use std::time::{Duration, Instant};

use multiprocessing::{Connection, Exit, JoinError, PipeError, Plan, Process, SpawnError, pipe};
use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, getpid, getppid};

use crate::common::{
    LIMIT, Program, apply, child, children_of, descriptors, fact, join_all, kill_and_join,
    leave_out, name, process_state, program, run_on_one_processor, segment, sleep_for_ever, storm,
    test, wait_until, wait_until_blocked,
};

#[apply(test)]
fn exit_codes_and_signals_come_back() {
    for (returned, expected) in [(0, 0), (7, 7), (255, 255), (256, 0), (-1, 255)] {
        let mut process = Process::fork(|| returned).unwrap();
        assert_eq!(process.join(), Ok(Exit::Code(expected)));
        assert_eq!(process.exit(), Some(Exit::Code(expected)));
    }
    let mut parent_seen = Process::fork(|| i32::from(getppid().as_raw() == 1)).unwrap();
    assert!(parent_seen.join().unwrap().is_success());

    let mut terminated = child(|| sleep_for_ever());
    assert!(terminated.is_alive());
    terminated.terminate().unwrap();
    assert!(terminated.join().unwrap().is_signal(Signal::SIGTERM));
    assert!(!terminated.is_alive());
    kill_and_join(child(|| sleep_for_ever()));
    // Another process may have its pid by now.
    assert_eq!((terminated.kill(), terminated.terminate()), (Ok(()), Ok(())));

    // A signal without a name ends a child like any other.
    let mut real_time = child(|| sleep_for_ever());
    let sent = std::process::Command::new("sh")
        .args(["-c", "kill -40 $0", &real_time.pid().to_string()])
        .status();
    assert!(sent.unwrap().success());
    assert_eq!(real_time.join_timeout(LIMIT), Ok(Some(Exit::Code(128 + 40))));
}

#[apply(program)]
fn panics(_: &[&str]) {
    let mut process = Process::fork(|| -> i32 { panic!("the child's last words") }).unwrap();
    assert_eq!(process.join(), Ok(Exit::Code(101)));
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a panic in the payload of a panic");
        }
    }
    let mut process = Process::fork(|| -> i32 { std::panic::panic_any(Bomb) }).unwrap();
    assert_eq!(process.join(), Ok(Exit::Code(101)));
    fact("parent", "goes on");
}

#[apply(test)]
fn a_panic_is_printed_and_exits_with_101() {
    let mut program = Program::start(panics, &[]);
    program.succeed();
    assert_eq!(program.fact("parent"), "goes on");
    assert!(program.errors.contains("the child's last words"));
}

#[apply(test)]
fn joins_time_out_on_time_and_return_the_same_exit_twice() {
    let mut process = child(|| sleep_for_ever());
    for timeout in [Duration::ZERO, Duration::from_millis(1), Duration::from_millis(150)] {
        let begun = Instant::now();
        assert_eq!(process.join_timeout(timeout), Ok(None));
        let waited = begun.elapsed();
        assert!(waited >= timeout && waited < timeout + Duration::from_secs(1), "{waited:?}");
    }
    process.kill().unwrap();
    let exit = process.join_timeout(Duration::MAX).unwrap();
    assert!(exit.is_some_and(|exit| exit.is_signal(Signal::SIGKILL)));
    assert_eq!(process.join_timeout(Duration::ZERO), Ok(exit));
    assert_eq!(process.join().ok(), exit);

    let mut reaped_elsewhere = child(|| ());
    nix::sys::wait::waitpid(reaped_elsewhere.pid(), None).unwrap();
    assert_eq!(reaped_elsewhere.join(), Err(JoinError::System(Errno::ECHILD)));
    assert_eq!(reaped_elsewhere.kill(), Err(Errno::ESRCH));
}

/// A new process gets the pid of a child that was reaped elsewhere, and is neither killed nor
/// reaped by mistake. Only root can choose the next pid, and another process may get it first.
#[apply(test)]
fn a_process_that_got_the_pid_of_a_child_reaped_elsewhere_is_left_alone() {
    for _ in 0..1000 {
        let mut reaped_elsewhere = child(|| ());
        let pid = reaped_elsewhere.pid();
        nix::sys::wait::waitpid(pid, None).unwrap();
        if std::fs::write("/proc/sys/kernel/ns_last_pid", (pid.as_raw() - 1).to_string()).is_err() {
            leave_out("choosing the next process id needs root");
        }
        let mut another = child(|| sleep_for_ever());
        if another.pid() == pid {
            assert_eq!(reaped_elsewhere.kill(), Err(Errno::ESRCH));
            assert_eq!(reaped_elsewhere.join(), Err(JoinError::System(Errno::ECHILD)));
            assert!(another.is_alive());
            kill_and_join(another);
            return;
        }
        kill_and_join(another);
    }
    panic!("no pid was used twice");
}

#[apply(test)]
fn a_hundred_children_leave_neither_a_zombie_nor_a_descriptor() {
    let before = descriptors();
    join_all((0..100).map(|_| child(|| ())).collect::<Vec<_>>());
    assert_eq!(children_of(getpid()), [], "zombies");
    let mut sleepers: Vec<_> = (0..100).map(|_| child(|| sleep_for_ever())).collect();
    sleepers.iter().for_each(|sleeper| sleeper.terminate().unwrap());
    for sleeper in &mut sleepers {
        let exit = sleeper.join_timeout(LIMIT).unwrap();
        assert!(exit.is_some_and(|exit| exit.is_signal(Signal::SIGTERM)), "{exit:?}");
    }
    drop(sleepers);
    assert_eq!((children_of(getpid()), descriptors()), (Vec::new(), before));
}

#[apply(test)]
fn a_process_with_threads_is_refused_until_they_are_joined() {
    let (stop, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || wait.recv().is_err());
    let refused = Process::fork(|| 0);
    assert!(matches!(refused, Err(SpawnError::ManyThreads { threads: 2 })), "{refused:?}");
    drop(stop);
    assert!(thread.join().unwrap());
    for _ in 0..50 {
        // A joined thread does not count, although the kernel may list it a little longer.
        std::thread::spawn(|| ()).join().unwrap();
        join_all([child(|| ())]);
    }
}

/// A thread that a child joins ends before it. A thread that it does not join ends with it.
#[apply(test)]
fn threads_of_a_child_end_with_it_unless_it_joins_them() {
    let segment = segment(&Plan::new().raw_value::<u64>("joined").raw_value::<u64>("left"));
    let (joined, left) =
        (segment.raw_value::<u64>("joined").unwrap(), segment.raw_value::<u64>("left").unwrap());
    // The builder is made before the fork, and its thread starts after it.
    let builder = std::thread::Builder::new().name("late".to_owned());
    let mut child = Process::fork(|| {
        let thread = joined.clone();
        let late = builder.spawn(move || {
            thread.store(1);
            std::thread::current().name() == Some("late")
        });
        assert!(late.unwrap().join().unwrap());
        let thread = left.clone();
        std::thread::spawn(move || {
            thread.store(1);
            sleep_for_ever();
        });
        wait_until("the other thread runs", || left.load() == 1);
        i32::from(joined.load() != 1)
    })
    .unwrap();
    assert_eq!(child.join_timeout(LIMIT), Ok(Some(Exit::Code(0))));
}

/// A child ends with its parent even if the parent had blocked every signal.
#[apply(test)]
fn a_child_ends_with_its_parent_even_if_every_signal_is_blocked() {
    let (reader, writer) = nix::unistd::pipe().unwrap();
    let mut middle = Process::fork(|| -> i32 {
        SigSet::all().thread_block().unwrap();
        let deaf = child(|| sleep_for_ever());
        nix::unistd::write(&writer, &deaf.pid().as_raw().to_ne_bytes()).unwrap();
        sleep_for_ever();
    })
    .unwrap();
    let mut pid = [0; 4];
    assert_eq!(nix::unistd::read(&reader, &mut pid), Ok(4));
    let deaf = Pid::from_raw(i32::from_ne_bytes(pid));
    wait_until_blocked(deaf);
    middle.kill().unwrap();
    middle.join().unwrap();
    let died = Instant::now();
    wait_until("the deaf child ends", || matches!(process_state(deaf), None | Some('Z')));
    assert!(died.elapsed() < Duration::from_secs(1));
}

/// The child of a killed parent ends by itself, because its pipe is closed, before the kernel
/// signals the death. On one processor this is likely. The segment of the parent is removed anyway.
#[apply(test)]
fn nothing_is_left_of_a_killed_parent_whose_child_ends_before_it_learns_of_the_death() {
    run_on_one_processor(getpid());
    let (here, there) = pipe().unwrap();
    for _ in 0..200 {
        let parent = child(|| {
            let _segment = segment(&Plan::new().lock("left"));
            let (_held, end) = pipe().unwrap();
            let ends =
                |end: Connection| i32::from(!matches!(end.recv_bytes(), Err(PipeError::Closed)));
            let quick = Process::fork_with(end, ends).unwrap();
            wait_until_blocked(quick.pid());
            there.send(&quick.pid().as_raw()).unwrap();
            sleep_for_ever();
        });
        let quick = Pid::from_raw(here.recv().unwrap());
        kill_and_join(parent);
        wait_until("the child ends", || matches!(process_state(quick), None | Some('Z')));
        assert!(!name().path().exists(), "the segment is left over");
    }
}

#[apply(test)]
fn joins_time_out_on_time_under_a_storm_of_signals() {
    let joiner = child(|| {
        let mut sleeper = child(|| sleep_for_ever());
        for milliseconds in [0, 50, 300] {
            let timeout = Duration::from_millis(milliseconds);
            let begun = Instant::now();
            assert_eq!(sleeper.join_timeout(timeout), Ok(None));
            let waited = begun.elapsed();
            assert!(waited >= timeout && waited < timeout + Duration::from_secs(1), "{waited:?}");
        }
        kill_and_join(sleeper);
    });
    let storm = storm(joiner.pid());
    join_all([joiner]);
    kill_and_join(storm);
}
