//! What a child inherits from its parent, and what it does not.

use std::cell::RefCell;
use std::fs::{File, read_dir};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, parent_id};
use std::process::Command;
use std::time::Duration;

use multiprocessing::{Exit, Plan, Process, RawValue};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Pid, gettid, pipe, write};

use crate::common::{
    LIMIT, Program, apply, child, fact, join_all, kill_and_join, process_state, program, segment,
    sleep_for_ever, test, wait_until,
};

/// Adds one to a shared number when it is dropped, in any process.
struct CountsDrops(RawValue<u64>);

impl Drop for CountsDrops {
    fn drop(&mut self) {
        self.0.fetch_add(1);
    }
}

#[apply(test)]
fn a_child_keeps_what_its_closure_captured_after_the_parent_drops_its_copy() {
    let segment = segment(&Plan::new().raw_value::<u64>("drops"));
    let drops = segment.raw_value::<u64>("drops").unwrap();
    let (text, list, number) = ("mil".to_owned(), vec![7574, 1], 2.5);
    let counted = CountsDrops(drops.clone());
    let arguments: Vec<_> = std::env::args().collect();
    let (reader, writer) = pipe().unwrap();
    let mut process = Process::fork(move || {
        // Waits until the parent has dropped its own copies.
        let mut byte = [0];
        nix::unistd::read(&reader, &mut byte).unwrap();
        let _held = &counted;
        assert_eq!((text.as_str(), list.as_slice(), number), ("mil", [7574, 1].as_slice(), 2.5));
        assert!(arguments.iter().eq(std::env::args().collect::<Vec<_>>().iter()));
        assert!(std::env::var("TEST_SEGMENT").is_ok());
        0
    })
    .unwrap();
    assert_eq!(drops.load(), 1, "the parent's copy of the closure is dropped once it has forked");
    write(&writer, &[1]).unwrap();
    assert_eq!(process.join_timeout(LIMIT), Ok(Some(Exit::Code(0))));
}

thread_local! {
    /// A value that this thread drops at its end.
    static LEFT: RefCell<Option<CountsDrops>> = const { RefCell::new(None) };
}

/// A child drops those values of its parent that its closure owns and no others, whether it returns
/// or panics.
#[apply(test)]
fn a_child_drops_what_its_closure_owns_and_no_other_value_of_its_parent() {
    let segment =
        segment(&Plan::new().raw_array::<u64>("drops", 4).raw_value::<u64>("drops of one"));
    let drops = segment.raw_value::<u64>("drops of one").unwrap();
    let counted = || CountsDrops(drops.clone());
    let ends = [0, 101];
    let borrowed = counted();
    LEFT.set(Some(counted()));
    for end in ends {
        let mut process = Process::fork(|| {
            let _borrowed = &borrowed;
            if end == 101 { panic!("the parent's values stay as they are") } else { end }
        });
        assert_eq!(process.as_mut().unwrap().join_timeout(LIMIT), Ok(Some(Exit::Code(end))));
        assert_eq!(drops.load(), 0, "a child dropped a value of its parent");
    }
    for end in ends {
        let owned = counted();
        let before = drops.load();
        let mut process = Process::fork(move || {
            let _owned = &owned;
            if end == 101 { panic!("what the closure owns is dropped") } else { end }
        });
        assert_eq!(process.as_mut().unwrap().join_timeout(LIMIT), Ok(Some(Exit::Code(end))));
        assert_eq!(drops.load() - before, 2, "once in the parent and once in the child");
    }
    let before = drops.load();
    join_all([child(|| {
        LEFT.set(Some(counted()));
        // The line above replaced the inherited value, which dropped it.
        assert_eq!(drops.load() - before, 1);
        std::thread::spawn({
            let counted = counted();
            move || LEFT.set(Some(counted))
        })
        .join()
        .unwrap();
        assert_eq!(drops.load() - before, 2, "a thread that ends in a child drops what it left");
    })]);
    assert_eq!(drops.load() - before, 2, "the child's first thread drops nothing at its end");
}

/// From the fork on, each process has its own memory, except for shared objects.
#[apply(test)]
fn a_child_is_a_copy_and_neither_sees_what_the_other_changes_in_its_own_memory() {
    let segment = segment(&Plan::new().raw_value::<u64>("shared"));
    let shared = segment.raw_value::<u64>("shared").unwrap();
    let (reader, writer) = pipe().unwrap();
    let (mut number, mut list) = (1, vec![1]);
    let process = child(|| {
        assert_eq!((number, list.as_slice()), (1, [1].as_slice()));
        number = 2;
        list.push(2);
        shared.store(2);
        // Waits until the parent has changed its own values.
        nix::unistd::read(&reader, &mut [0]).unwrap();
        assert_eq!((number, list.as_slice(), shared.load()), (2, [1, 2].as_slice(), 3));
    });
    wait_until("the child has changed its own values", || shared.load() == 2);
    assert_eq!((number, list.as_slice()), (1, [1].as_slice()));
    number = 3;
    list.clear();
    shared.store(3);
    write(&writer, &[1]).unwrap();
    join_all([process]);
    assert_eq!((number, list.len()), (3, 0));
}

/// A program that replaces a child ends with the parent. A program that a child starts does not.
#[apply(test)]
fn a_program_that_replaces_a_child_ends_with_the_parent_and_one_that_a_child_starts_does_not() {
    let segment = segment(&Plan::new().raw_array::<i32>("pids", 2));
    let pids = segment.raw_array::<i32>("pids").unwrap();
    let sleeper = || {
        let mut command = Command::new("sleep");
        command.arg("600");
        command
    };
    let parent = child(|| {
        let replaced = child(|| panic!("{}", sleeper().exec()));
        let mut beside = sleeper().spawn().unwrap();
        pids.store(1, beside.id().cast_signed());
        pids.store(0, replaced.pid().as_raw());
        beside.wait().unwrap();
    });
    let runs = |pid: i32| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.trim() == "sleep" && process_state(Pid::from_raw(pid)) != Some('Z')
    };
    wait_until("both programs run", || pids.load(0) != 0 && pids.iter().all(runs));
    kill_and_join(parent);
    wait_until("the program in the child's place ends", || !runs(pids.load(0)));
    assert!(runs(pids.load(1)), "the program beside it has ended");
    kill(Pid::from_raw(pids.load(1)), Signal::SIGKILL).unwrap();
}

#[apply(test)]
fn a_child_has_a_pid_and_a_thread_of_its_own_and_knows_its_parent() {
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

/// Starts two levels of children, two each. Each process notes its number when its children have
/// ended.
#[apply(test)]
fn children_start_children_of_their_own_and_end_in_order() {
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

#[apply(test)]
fn a_childs_descriptor_is_readable_once_it_has_ended_and_waits_beside_others() {
    let (reader, writer) = pipe().unwrap();
    let mut process = child(|| sleep_for_ever());
    let both = || {
        [
            PollFd::new(process.as_fd(), PollFlags::POLLIN),
            PollFd::new(reader.as_fd(), PollFlags::POLLIN),
        ]
    };
    assert_eq!(is_ready(&mut both(), Duration::from_millis(50)), [false, false]);
    write(&writer, &[1]).unwrap();
    assert_eq!(is_ready(&mut both(), LIMIT), [false, true]);
    process.kill().unwrap();
    let ended = is_ready(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], LIMIT);
    assert_eq!(ended, [true]);
    assert_eq!(is_ready(&mut both(), LIMIT), [true, true]);
    // The end stays visible after the join.
    process.join().unwrap();
    assert_eq!(is_ready(&mut [PollFd::new(process.as_fd(), PollFlags::POLLIN)], LIMIT), [true]);
}

#[apply(test)]
fn a_child_that_does_not_handle_sigint_is_ended_by_it() {
    let mut process = child(|| sleep_for_ever());
    kill(process.pid(), Signal::SIGINT).unwrap();
    let exit = process.join_timeout(LIMIT).unwrap();
    assert!(exit.is_some_and(|exit| exit.is_signal(Signal::SIGINT)), "{exit:?}");
}

#[apply(test)]
fn a_fork_leaves_the_signal_mask_unchanged_and_the_child_inherits_it() {
    let mask: SigSet = [Signal::SIGUSR1, Signal::SIGCHLD].into_iter().collect();
    mask.thread_block().unwrap();
    let blocked = || {
        let now = SigSet::thread_get_mask().unwrap();
        [Signal::SIGUSR1, Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGPWR]
            .map(|signal| now.contains(signal))
    };
    let before = blocked();
    join_all([child(|| assert_eq!(blocked(), before))]);
    assert_eq!((blocked(), before), (before, [true, true, false, false]));
}

/// Standard output and error are closed by the child itself, then by the parent.
#[apply(test)]
fn a_child_works_with_closed_standard_streams() {
    let close = || [1, 2].iter().for_each(|stream| nix::unistd::close(*stream).unwrap());
    let by_itself = Process::fork(|| {
        print!("buffered, and never written");
        close();
        println!("to a closed stream");
        3
    });
    assert_eq!(by_itself.unwrap().join(), Ok(Exit::Code(3)));
    close();
    let spawned = Process::fork(|| {
        println!("to a closed stream");
        4
    });
    // The output is closed, so the exit code has to report the result.
    let exit = spawned.ok().and_then(|mut process| process.join().ok());
    std::process::exit(if exit == Some(Exit::Code(4)) { 0 } else { 9 });
}

#[apply(program)]
fn writes_with_a_buffer(_: &[&str]) {
    print!("once=");
    join_all([child(|| ()), child(|| ())]);
    println!("1");
    let mut process = Process::fork(|| {
        print!("child=1");
        std::io::stdout().write_all(b"\n").map_or(1, |()| 0)
    })
    .unwrap();
    assert!(process.join().unwrap().is_success());
}

#[apply(test)]
fn what_a_parent_had_buffered_is_written_once() {
    let mut program = Program::start(writes_with_a_buffer, &[]);
    program.succeed();
    assert_eq!(program.fact("once"), "1");
    assert_eq!((program.count("once="), program.count("child=1")), (1, 1));
}

/// Returns the descriptors that a started program has open, as the program itself sees them.
fn descriptors_of_a_program() -> Vec<String> {
    let listed = Command::new("ls").arg("/proc/self/fd").output().unwrap();
    String::from_utf8(listed.stdout).unwrap().split_whitespace().map(str::to_owned).collect()
}

#[apply(test)]
fn started_programs_inherit_no_descriptor_of_segments_or_children() {
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
