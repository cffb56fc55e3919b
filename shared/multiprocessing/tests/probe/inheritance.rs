//! Scenarios of what a child has from its parent, and what it must not have.

use std::fs::{File, read_dir};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::process::parent_id;
use std::process::Command;
use std::time::Duration;

use multiprocessing::{Exit, Plan, Process, RawValue};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{gettid, pipe, write};

use crate::tools::{LIMIT, child, fact, join_all, kill_and_join, segment, sleep_for_ever};

/// Raises a shared number by one when it is dropped, in whichever process.
struct CountsDrops(RawValue<u64>);

impl Drop for CountsDrops {
    fn drop(&mut self) {
        self.0.fetch_add(1);
    }
}

pub fn captures() {
    let segment = segment(&Plan::new().raw_value::<u64>("drops"));
    let drops = segment.raw_value::<u64>("drops").unwrap();
    let (text, list, number) = ("mil".to_owned(), vec![7574, 1], 2.5);
    let counted = CountsDrops(drops.clone());
    let arguments: Vec<_> = std::env::args().collect();
    let (reader, writer) = pipe().unwrap();
    let mut process = Process::spawn(move || {
        // Waits until the parent has given its own copies up.
        let mut byte = [0];
        nix::unistd::read(&reader, &mut byte).unwrap();
        let _held = &counted;
        assert_eq!((text.as_str(), list.as_slice(), number), ("mil", [7574, 1].as_slice(), 2.5));
        assert!(arguments.iter().eq(std::env::args().collect::<Vec<_>>().iter()));
        assert!(std::env::var("PROBE_NAME").is_ok());
        0
    })
    .unwrap();
    assert_eq!(drops.load(), 1, "the parent's copy of the closure is dropped once it has forked");
    write(&writer, &[1]).unwrap();
    assert_eq!(process.join_timeout(LIMIT), Ok(Some(Exit::Code(0))));
}

pub fn identity() {
    let segment = segment(&Plan::new().raw_array::<u32>("ids", 3));
    let ids = segment.raw_array::<u32>("ids").unwrap();
    let process = child(|| {
        ids.store(0, std::process::id());
        ids.store(1, parent_id());
        ids.store(2, gettid().as_raw().cast_unsigned());
    });
    let pid = process.pid().as_raw().cast_unsigned();
    join_all([process]);
    assert_eq!(ids.iter().collect::<Vec<_>>(), [pid, std::process::id(), pid]);
    assert_ne!(pid, gettid().as_raw().cast_unsigned());
}

/// Two levels of children, two each; every one notes its number when its own children have ended.
pub fn recursion() {
    let segment = segment(&Plan::new().raw_value::<u64>("ended").raw_array::<u8>("order", 7));
    let ended = segment.raw_value::<u64>("ended").unwrap();
    let order = segment.raw_array::<u8>("order").unwrap();
    fn family(number: u8, depth: u8, note: &dyn Fn(u8)) {
        for first in 0..if depth > 0 { 2 } else { 0 } {
            join_all([child(|| family(2 * number + 1 + first, depth - 1, note))]);
        }
        note(number);
    }
    family(0, 2, &|number| order.store(ended.fetch_add(1) as usize, number));
    assert_eq!(order.iter().collect::<Vec<_>>(), [3, 4, 1, 5, 6, 2, 0]);
}

fn is_ready(sources: &mut [PollFd], timeout: Duration) -> Vec<bool> {
    poll(sources, PollTimeout::try_from(timeout).unwrap()).unwrap();
    sources.iter().map(|source| source.any() == Some(true)).collect()
}

pub fn sentinel() {
    let (reader, writer) = pipe().unwrap();
    let mut process = child(|| sleep_for_ever());
    let both =
        || [PollFd::new(process.as_fd(), PollFlags::POLLIN), PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
    assert_eq!(is_ready(&mut both(), Duration::from_millis(50)), [false, false]);
    write(&writer, &[1]).unwrap();
    assert_eq!(is_ready(&mut both(), LIMIT), [false, true]);
    process.kill().unwrap();
    let ended = is_ready(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], LIMIT);
    assert_eq!(ended, [true]);
    assert_eq!(is_ready(&mut both(), LIMIT), [true, true]);
    // Joined or not, it has ended.
    process.join().unwrap();
    assert_eq!(is_ready(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], LIMIT), [true]);
}

pub fn interrupt() {
    let mut process = child(|| sleep_for_ever());
    kill(process.pid(), Signal::SIGINT).unwrap();
    let exit = process.join_timeout(LIMIT).unwrap();
    assert!(exit.is_some_and(|exit| exit.is_signal(Signal::SIGINT)), "{exit:?}");
}

pub fn signal_mask() {
    let mask: SigSet = [Signal::SIGUSR1, Signal::SIGCHLD].into_iter().collect();
    mask.thread_block().unwrap();
    let blocked = || {
        let now = SigSet::thread_get_mask().unwrap();
        [Signal::SIGUSR1, Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGPWR].map(|signal| now.contains(signal))
    };
    let before = blocked();
    join_all([child(|| assert_eq!(blocked(), before))]);
    assert_eq!((blocked(), before), (before, [true, true, false, false]));
}

/// With standard output and standard error closed by the parent, and then by the child itself.
pub fn closed_streams() {
    let close = || [1, 2].iter().for_each(|stream| nix::unistd::close(*stream).unwrap());
    let by_itself = Process::spawn(|| {
        print!("buffered, and never written");
        close();
        println!("to nobody");
        3
    });
    assert_eq!(by_itself.unwrap().join(), Ok(Exit::Code(3)));
    close();
    let spawned = Process::spawn(|| {
        println!("to nobody");
        4
    });
    // Nobody would read why: the exit code has to tell.
    let exit = spawned.ok().and_then(|mut process| process.join().ok());
    std::process::exit(if exit == Some(Exit::Code(4)) { 0 } else { 9 });
}

pub fn buffered_output() {
    print!("once=");
    join_all([child(|| ()), child(|| ())]);
    println!("1");
    let mut process = Process::spawn(|| {
        print!("child=1");
        std::io::stdout().write_all(b"\n").map_or(1, |()| 0)
    })
    .unwrap();
    assert!(process.join().unwrap().is_success());
}

/// What a program that is started has open, besides what looking costs.
fn descriptors_of_a_program() -> Vec<String> {
    let listed = Command::new("ls").arg("/proc/self/fd").output().unwrap();
    String::from_utf8(listed.stdout).unwrap().split_whitespace().map(str::to_owned).collect()
}

pub fn programs() {
    let before = descriptors_of_a_program();
    let segment = segment(&Plan::new().lock("lock"));
    let sleeper = child(|| sleep_for_ever());
    let _file = File::open("/dev/null").unwrap();
    let open = read_dir("/proc/self/fd").unwrap().count();
    assert!(open > before.len(), "nothing is open that could be inherited");
    assert_eq!(descriptors_of_a_program(), before);
    join_all([child(|| assert_eq!(descriptors_of_a_program(), before))]);
    kill_and_join(sleeper);
    fact("objects", segment.objects().len());
}
