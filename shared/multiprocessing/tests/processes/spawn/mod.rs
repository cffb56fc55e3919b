//! Spawned children: processes that execute this program again, from a parent with threads.

mod deaths;
mod programs;
mod surroundings;

use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use multiprocessing::{
    Connection, Exit, JoinError, PipeError, Plan, Process, Segment, SegmentName, pipe,
};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid, getppid, gettid};

use crate::common::{
    LIMIT, apply, child, children_of, descriptors, join_all, name, segment, sleep_for_ever, test,
};

/// A second thread of this process, with which it cannot fork.
pub struct Threaded {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

pub fn threaded() -> Threaded {
    let (stop, wait) = channel();
    Threaded { stop: Some(stop), thread: Some(thread::spawn(move || wait.recv().unwrap_or(()))) }
}

impl Drop for Threaded {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

/// Reports its own pid, then sleeps until it is killed.
pub fn sleeps(parent: Connection) {
    parent.send(&getpid().as_raw()).unwrap();
    sleep_for_ever();
}

/// Starts a child that sleeps, and returns it once it does.
pub fn sleeper() -> Process<()> {
    let (here, there) = pipe().unwrap();
    let sleeper = Process::spawn(sleeps, there).unwrap();
    assert_eq!(here.recv::<i32>().unwrap(), sleeper.pid().as_raw());
    sleeper
}

fn divide((dividend, divisor): (Vec<u32>, u32)) -> Result<Vec<u32>, String> {
    let divided = dividend.iter().map(|number| number.checked_div(divisor));
    Ok(divided.collect::<Option<Vec<_>>>().ok_or("division by zero")?)
}

#[apply(test)]
fn a_function_is_called_with_its_argument_and_a_join_returns_its_result() {
    let _thread = threaded();
    let mut quotient = Process::spawn(divide, (vec![8, 6], 2)).unwrap();
    assert_eq!((quotient.join(), quotient.join()), (Ok(vec![4, 3]), Ok(vec![4, 3])));
    assert_eq!(quotient.exit(), Some(Exit::Code(0)));
    let mut failed = Process::spawn(divide, (vec![1], 0)).unwrap();
    assert_eq!(failed.join(), Err(JoinError::Failed("division by zero".to_owned())));
    assert_eq!(failed.exit(), Some(Exit::Code(1)));
    // Larger than what fits into a socket.
    let large: Vec<u32> = (0..1 << 20).collect();
    let same = Process::spawn(divide, (large.clone(), 1)).unwrap().join_timeout(LIMIT);
    assert!(same == Ok(Some(large)));

    assert_eq!(Process::spawn(|code| code, 263).unwrap().join(), Ok(Exit::Code(7)));
    assert_eq!(Process::spawn(|()| (), ()).unwrap().join(), Ok(()));
    let mut panicked = Process::spawn(|()| -> Result<(), String> { panic!("on purpose") }, ());
    let ended = Err(JoinError::Ended(Exit::Code(101)));
    assert_eq!(panicked.as_mut().unwrap().join(), ended);
    let mut exits = Process::spawn(|()| -> () { std::process::exit(5) }, ()).unwrap();
    assert_eq!(exits.join(), Err(JoinError::Ended(Exit::Code(5))));
}

#[apply(test)]
fn a_spawned_child_is_a_process_with_one_thread_whose_parent_is_the_caller() {
    let _thread = threaded();
    let identity = |()| -> Result<[i32; 4], String> {
        let threads = std::fs::read_dir("/proc/self/task").unwrap().count() as i32;
        Ok([getpid().as_raw(), gettid().as_raw(), getppid().as_raw(), threads])
    };
    let mut child = Process::spawn(identity, ()).unwrap();
    let pid = child.pid().as_raw();
    assert_eq!(child.join(), Ok([pid, pid, getpid().as_raw(), 1]));
    let name = |()| std::fs::read_to_string("/proc/self/comm").map_err(|error| error.to_string());
    assert_eq!(Process::spawn(name, ()).unwrap().join().ok(), name(()).ok());
}

/// Adds to a value until it is killed.
fn adds(name: SegmentName) -> Result<u64, Box<dyn std::error::Error>> {
    let segment = Segment::open(&name)?;
    let total = segment.value::<u64>("total")?;
    total.update(|total| *total += 1)?;
    Ok(total.get())
}

#[apply(test)]
fn a_spawned_child_opens_a_segment_by_its_name() {
    let segment = segment(&Plan::new().value::<u64>("total"));
    let _thread = threaded();
    assert_eq!(Process::spawn(adds, name()).unwrap().join(), Ok(1));
    assert_eq!(Process::spawn(adds, name()).unwrap().join(), Ok(2));
    assert_eq!(segment.value::<u64>("total").unwrap().get(), 2);
    assert!(name().path().exists(), "a child has removed the entry of its living parent");
    let missing = SegmentName::new("mp-test.missing").unwrap();
    let failed = Process::spawn(adds, missing).unwrap().join();
    assert!(matches!(failed, Err(JoinError::Failed(text)) if text.contains("mp-test.missing")));
}

fn doubles((from, to): (Connection, Connection)) -> Result<(), PipeError> {
    loop {
        match from.recv::<u64>() {
            Ok(number) => to.send(&(2 * number))?,
            Err(PipeError::Closed) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

#[apply(test)]
fn ends_of_pipes_in_the_argument_move_into_the_child() {
    let _thread = threaded();
    let ((numbers, from), (doubled, to)) = (pipe().unwrap(), pipe().unwrap());
    let before = descriptors();
    let mut child = Process::spawn(doubles, (from, to)).unwrap();
    for number in [1, 20, 300] {
        numbers.send(&number).unwrap();
        assert_eq!(doubled.recv_timeout::<u64>(LIMIT).unwrap(), Some(2 * number));
    }
    drop(numbers);
    assert_eq!(child.join_timeout(LIMIT), Ok(Some(())));
    // The child had the only other end.
    assert!(matches!(doubled.recv::<u64>(), Err(PipeError::Closed)));
    drop((child, doubled));
    assert_eq!(descriptors(), before - 4, "ends are left open");
}

/// Starts two children with other start methods, and returns the sum of their results and its own.
fn family(depth: u64) -> Result<u64, String> {
    let error = |error: &dyn std::fmt::Display| error.to_string();
    if depth == 0 {
        return Ok(1);
    }
    let mut spawned = Process::spawn(family, depth - 1).map_err(|failed| error(&failed))?;
    let mut forked = Process::fork(|| family(depth - 1)).map_err(|failed| error(&failed))?;
    let joined = spawned.join().and_then(|spawned| Ok(spawned + forked.join()?));
    joined.map(|below| below + 1).map_err(|failed| error(&failed))
}

#[apply(test)]
fn a_spawned_child_spawns_and_forks_children_of_its_own() {
    let _thread = threaded();
    // 1 + 2 + 4 processes.
    assert_eq!(Process::spawn(family, 2).unwrap().join(), Ok(7));
}

#[apply(test)]
fn children_spawned_by_many_threads_leave_neither_a_zombie_nor_a_descriptor() {
    let before = descriptors();
    thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                let square = |number: u64| Ok::<_, String>(number * number);
                for number in thread * 5..thread * 5 + 5 {
                    let joined = Process::spawn(square, number).unwrap().join_timeout(LIMIT);
                    assert_eq!(joined, Ok(Some(number * number)));
                }
            });
        }
    });
    assert_eq!((children_of(getpid()), descriptors()), (Vec::new(), before));
}

#[apply(test)]
fn a_forked_child_returns_a_value_or_an_error_as_well() {
    let factor = 6;
    let divided = |by: u64| move || u64::checked_div(7 * factor, by).ok_or("division by zero");
    assert_eq!(Process::fork(divided(2)).unwrap().join(), Ok(21));
    let failed = Process::fork(divided(0)).unwrap().join();
    assert_eq!(failed, Err(JoinError::Failed("division by zero".to_owned())));
    let large = || Ok::<_, String>(vec![7_u8; 1 << 20]);
    assert!(Process::fork(large).unwrap().join_timeout(LIMIT) == Ok(large().ok()));

    let (here, there) = pipe().unwrap();
    let mut echo = Process::fork_with(there, |there| there.recv::<String>()).unwrap();
    here.send("through both").unwrap();
    assert_eq!(echo.join(), Ok("through both".to_owned()));

    let mut killed = Process::fork(|| -> Result<(), String> { sleep_for_ever() }).unwrap();
    assert_eq!(killed.join_timeout(std::time::Duration::ZERO), Ok(None));
    killed.kill().unwrap();
    let ended = killed.join();
    assert!(matches!(ended, Err(JoinError::Ended(exit)) if exit.is_signal(Signal::SIGKILL)));
    join_all([child(|| ())]);
    assert_eq!(children_of(getpid()), [] as [Pid; 0]);
}
