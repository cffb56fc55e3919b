//! Programs that spawn: where the child gets control, and what happens if it does not.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use multiprocessing::{Process, SpawnError};
use nix::unistd::getpid;
use serde::{Deserialize, Serialize, Serializer};

use super::threaded;
use crate::common::{
    BEFORE_INIT, Program, apply, children_of, fact, program, test, words_of_program,
};

fn answer(question: String) -> Result<String, String> {
    Ok(format!("{question} 42"))
}

/// Spawns a child in a runtime of this flavour.
#[apply(program)]
fn spawns_in_a_runtime(flavour: &[&str]) {
    let mut builder = match flavour {
        ["current_thread"] => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.enable_all().build().unwrap();
    let task = async {
        let mut child = Process::spawn(in_a_runtime, "in a task:".to_owned()).unwrap();
        let mut beside = tokio::task::spawn_blocking(|| Process::spawn(answer, String::new()));
        let beside = (&mut beside).await.unwrap().unwrap().join();
        tokio::task::spawn_blocking(move || (child.join(), beside)).await.unwrap()
    };
    let (answers, beside) = runtime.block_on(task);
    fact("task", answers.unwrap());
    fact("beside", beside.unwrap().trim());
}

/// A child has none of its parent's runtime, so it may have one of its own.
fn in_a_runtime(question: String) -> Result<String, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| error.to_string())?.block_on(async { answer(question) })
}

#[apply(test)]
fn a_program_spawns_in_tasks_of_an_async_runtime() {
    for flavour in ["current_thread", "multi_thread"] {
        let mut program = Program::start(spawns_in_a_runtime, &[flavour]);
        program.succeed();
        assert_eq!((program.fact("task"), program.fact("beside")), ("in a task: 42", "42"));
    }
}

/// Prints the error of a spawn, how long that took, and how many children are left.
#[apply(program)]
fn spawns_in_vain(_: &[&str]) {
    let _thread = threaded();
    let begun = Instant::now();
    let error = Process::spawn(answer, String::new()).unwrap_err();
    let kind = match error {
        SpawnError::EndedEarly(_) => "ended early",
        SpawnError::Unanswered(_) => "unanswered",
        _ => "another",
    };
    fact("kind", kind);
    fact("error", error);
    fact("seconds", begun.elapsed().as_secs());
    fact("children", children_of(getpid()).len());
}

fn spawns_in_vain_with(before_init: &str) -> Program {
    let words = words_of_program(&spawns_in_vain, &[]);
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env(BEFORE_INIT, before_init);
    let mut program = Program::of(command);
    program.succeed();
    assert!(program.fact("error").contains("multiprocessing::init()"));
    assert_eq!(program.fact("children"), "0");
    program
}

#[apply(test)]
fn a_child_that_ends_before_the_hook_is_an_error_that_names_the_exit_and_the_missing_line() {
    let program = spawns_in_vain_with("exit");
    assert_eq!(program.fact("kind"), "ended early");
    assert!(program.fact("error").contains("exit code 9"));
}

/// This takes as long as a child may take.
#[apply(test)]
fn a_child_that_does_not_reach_the_hook_in_time_is_killed() {
    let program = spawns_in_vain_with("sleep");
    assert_eq!(program.fact("kind"), "unanswered");
    let seconds: u64 = program.fact("seconds").parse().unwrap();
    assert!((10..20).contains(&seconds), "{seconds}");
}

#[apply(test)]
fn a_program_started_with_the_argument_of_a_child_refuses_it_and_says_why() {
    for number in ["", "many", "-1", "1", "3", "2147483647"] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg(format!("multiprocessing::spawned={number}"));
        let mut program = Program::of(command);
        assert_eq!(program.join().code(), Some(103), "{number:?}");
        assert!(program.errors.contains("start the program without it"), "{}", program.errors);
    }
}

/// Replaces its own file by one that is no program, removes it, and spawns a child after each.
#[apply(program)]
fn spawns_after_an_update(_: &[&str]) {
    let own = std::env::current_exe().unwrap();
    let _thread = threaded();
    std::fs::write(own.with_extension("new"), "not a program").unwrap();
    std::fs::rename(own.with_extension("new"), &own).unwrap();
    fact("replaced", Process::spawn(answer, String::new()).unwrap().join().unwrap());
    std::fs::remove_file(own).unwrap();
    fact("removed", Process::spawn(answer, String::new()).unwrap().join().unwrap());
}

#[apply(test)]
fn a_program_spawns_itself_even_if_its_file_was_replaced_or_removed() {
    let copy: PathBuf = std::env::temp_dir().join(format!("mp-test.{}", std::process::id()));
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let words = words_of_program(&spawns_after_an_update, &[]);
    let mut command = Command::new(&copy);
    command.args(&words[1..]);
    let mut program = Program::of(command);
    program.succeed();
    assert_eq!((program.fact("replaced"), program.fact("removed")), (" 42", " 42"));
    assert!(!copy.exists());
}

#[derive(Debug, Serialize, Deserialize)]
struct Unencodable(#[serde(serialize_with = "refuse")] u8);

fn refuse<S: Serializer>(_: &u8, _: S) -> Result<S::Ok, S::Error> {
    Err(serde::ser::Error::custom("not encodable"))
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(try_from = "u8")]
struct Undecodable(u8);

impl TryFrom<u8> for Undecodable {
    type Error = &'static str;

    fn try_from(_: u8) -> Result<Self, &'static str> {
        Err("not decodable")
    }
}

/// Takes longer to decode than a child may take to reach the hook.
#[derive(Serialize, Deserialize)]
#[serde(from = "u8")]
struct Slow(u8);

impl From<u8> for Slow {
    fn from(number: u8) -> Self {
        std::thread::sleep(Duration::from_secs(11));
        Self(number)
    }
}

#[apply(test)]
fn an_argument_may_take_any_time_to_decode() {
    let _thread = threaded();
    let mut child = Process::spawn(|slow: Slow| Ok::<_, String>(slow.0), Slow(7)).unwrap();
    assert_eq!(child.join(), Ok(7));
}

#[apply(test)]
fn an_argument_that_does_not_cross_is_an_error_of_the_parent() {
    let _thread = threaded();
    let refused = Process::spawn(|_: Unencodable| (), Unencodable(1)).unwrap_err();
    assert!(matches!(refused, SpawnError::Argument(_)), "{refused}");
    let refused = Process::spawn(|_: Undecodable| (), Undecodable(1)).unwrap_err();
    assert!(matches!(refused, SpawnError::Argument(_)), "{refused}");
    assert_eq!(children_of(getpid()), [], "a child is left");
}
