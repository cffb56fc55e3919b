//! What a spawned child inherits: descriptors, signals, arguments, the environment.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::Duration;

use multiprocessing::{JoinError, Plan, Process};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{SigSet, Signal};

use super::{sleeper, threaded};
use crate::common::{Program, apply, fact, program, segment, test};

type Listed = Result<Vec<String>, String>;

/// Returns what a program that this process starts sees as its descriptors, arguments and
/// environment.
fn seen_by_a_program(what: String) -> Listed {
    let output = Command::new("sh").args(["-c", &what]).output();
    let output = output.map_err(|error| error.to_string())?;
    let text = String::from_utf8(output.stdout).map_err(|error| error.to_string())?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

/// Returns the descriptors of this process that lead to files or pipes, beyond the standard
/// streams.
fn own_files(_: ()) -> Listed {
    let listed = std::fs::read_dir("/proc/self/fd").map_err(|error| error.to_string())?;
    let targets = listed.flatten().filter(|entry| {
        entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) > Some(2)
    });
    let targets = targets.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    Ok(targets
        .map(|target| target.display().to_string())
        .filter(|to| to.starts_with('/'))
        .collect())
}

#[apply(test)]
fn a_child_inherits_the_standard_streams_and_nothing_else() {
    let _segment = segment(&Plan::new().lock("lock"));
    let _thread = threaded();
    let inheritable = File::open("/etc/hostname").unwrap();
    fcntl(&inheritable, FcntlArg::F_SETFD(FdFlag::empty())).unwrap();
    // The list itself is open while it is read.
    let own = Process::spawn(own_files, ()).unwrap().join().unwrap();
    assert!(own.iter().all(|path| path.starts_with("/proc/")), "{own:?}");
    assert!(fcntl(&inheritable, FcntlArg::F_GETFD).unwrap() == 0, "changed in the parent");
    assert!(inheritable.as_raw_fd() > 2);

    // `ls` opens the fourth one.
    let listed = Process::spawn(seen_by_a_program, "exec ls /proc/self/fd".to_owned());
    assert_eq!(listed.unwrap().join().unwrap(), ["0", "1", "2", "3"]);
}

#[apply(test)]
fn programs_that_a_child_starts_do_not_take_themselves_for_spawned_children() {
    let _thread = threaded();
    let before = seen_by_a_program("exec env".to_owned()).unwrap();
    let environment = Process::spawn(seen_by_a_program, "exec env".to_owned());
    assert_eq!(environment.unwrap().join().unwrap(), before);
    // This program would end with an error if it were given the argument of the child.
    let lists = format!("{} --list", std::env::current_exe().unwrap().display());
    let listed = Process::spawn(seen_by_a_program, lists).unwrap().join().unwrap();
    assert!(listed.len() > 10, "{listed:?}");
}

fn signals(_: ()) -> Result<(Vec<String>, String), String> {
    let blocked = SigSet::thread_get_mask().map_err(|errno| errno.to_string())?;
    let status = std::fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let blocked = blocked.iter().map(|signal| signal.as_str().to_owned()).collect();
    Ok((blocked, caught.unwrap_or_default().trim().to_owned()))
}

#[apply(test)]
fn a_child_blocks_no_signal_and_has_no_handler_of_its_parent() {
    let _thread = threaded();
    let (_, without) = Process::spawn(signals, ()).unwrap().join().unwrap();
    SigSet::all().thread_block().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // This installs a handler of SIGINT.
    let handled = async { tokio::time::timeout(Duration::ZERO, tokio::signal::ctrl_c()).await };
    assert!(runtime.block_on(handled).is_err());
    let before = SigSet::thread_get_mask().unwrap();
    assert_eq!(Process::spawn(signals, ()).unwrap().join(), Ok((Vec::new(), without)));
    assert_eq!(SigSet::thread_get_mask().unwrap(), before, "changed in the parent");

    let mut terminated = sleeper();
    terminated.terminate().unwrap();
    let ended = terminated.join();
    assert!(matches!(ended, Err(JoinError::Ended(exit)) if exit.is_signal(Signal::SIGTERM)));
}

fn joins_a_grandchild(_: ()) {
    fact("grandchild", Process::fork(|| 7).unwrap().join().unwrap());
}

#[apply(program)]
fn spawns_a_parent(_: &[&str]) {
    let _thread = threaded();
    // The exit status of the child itself is lost.
    let _ = Process::spawn(joins_a_grandchild, ()).unwrap().join();
}

#[apply(test)]
fn a_child_joins_its_own_children_although_its_parent_ignores_sigchld() {
    let ignoring = ["env", "--ignore-signal=CHLD"];
    let mut program = Program::start_through(&ignoring, spawns_a_parent, &[]);
    program.succeed();
    assert_eq!(program.fact("grandchild"), "exit code 7");
}
