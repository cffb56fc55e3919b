//! Runs every test on the main thread of a process of its own, where its body may fork.
//!
//! A test binary lists its tests to cargo and nextest like any other. To run one, it starts itself
//! again with the name of the test, and reports the output of that process when it fails.

use std::process::{Command, ExitCode};
use std::time::Duration;

use libtest_mimic::{Arguments, Completion, Failed, Trial};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};

use super::program::Program;
use super::random_kills;

/// A test that runs longer than this hangs: its process group is killed and the test fails. Longer
/// than the deadline of a program that a test starts, which reports more.
const DEADLINE: Duration = Duration::from_secs(90);

/// First argument of a process that runs the body of a test.
const TEST: &str = "--body-of-test";
/// First argument of a process that runs a function marked with `program`.
const PROGRAM: &str = "--program";

/// The environment variable with what a spawned child does before it calls the library: `exit` or
/// `sleep`.
pub const BEFORE_INIT: &str = "TEST_BEFORE_INIT";

/// Exit code of a test that leaves itself out, as in automake's protocol.
const LEFT_OUT: i32 = 77;
/// Start of the line with the reason for that.
const LEFT_OUT_LINE: &str = "left out: ";

/// A test: its function and where that is.
pub struct Test {
    pub module: &'static str,
    pub function: &'static str,
    pub body: fn(),
}

/// A function that tests start as a program of its own, such as a process that they kill.
pub struct Entry {
    pub module: &'static str,
    pub function: &'static str,
    pub body: fn(&[&str]),
}

inventory::collect!(Test);
inventory::collect!(Entry);

/// Makes a function a test: `#[apply(test)]`.
#[allow(unused_macros)]
macro_rules! test {
    ($(#[$attribute:meta])* fn $function:ident() $body:block) => {
        $(#[$attribute])*
        fn $function() $body

        inventory::submit! {
            $crate::common::Test {
                module: module_path!(),
                function: stringify!($function),
                body: $function,
            }
        }
    };
}

/// Makes a function a soak, a test in which processes are killed at random: `#[apply(soak)]`.
#[allow(unused_macros)]
macro_rules! soak {
    ($(#[$attribute:meta])* fn $function:ident() $body:block) => {
        $(#[$attribute])*
        fn $function() $body

        inventory::submit! {
            $crate::common::Test {
                module: module_path!(),
                function: stringify!($function),
                body: || {
                    $crate::common::panic_together();
                    $function();
                },
            }
        }
    };
}

/// Makes a function a program for [`Program::start`]: `#[apply(program)]`.
#[allow(unused_macros)]
macro_rules! program {
    ($(#[$attribute:meta])* fn $function:ident($($parameter:tt)*) $body:block) => {
        $(#[$attribute])*
        fn $function($($parameter)*) $body

        inventory::submit! {
            $crate::common::Entry {
                module: module_path!(),
                function: stringify!($function),
                body: $function,
            }
        }
    };
}

pub(crate) use {program, soak, test};

impl Test {
    /// Returns the name by which it is found: its module and its function.
    pub fn name(&self) -> String {
        let (_binary, module) = self.module.split_once("::").unwrap_or(("", self.module));
        format!("{module}::{}", self.function)
    }

    /// Returns a command that runs the body.
    pub fn command(&self) -> Command {
        itself([TEST, &self.name()])
    }
}

/// Returns the tests of this binary in the order of their names.
pub fn tests() -> Vec<&'static Test> {
    let mut tests: Vec<_> = inventory::iter::<Test>().collect();
    tests.sort_by_key(|test| test.name());
    tests
}

/// Returns the words of a command that runs a function marked with `program`.
pub fn words_of_program<F: Fn(&[&str])>(function: &F, arguments: &[&str]) -> Vec<String> {
    let path = std::any::type_name_of_val(function);
    let own = std::env::current_exe().unwrap();
    let words = [own.to_str().unwrap(), PROGRAM, path].into_iter().chain(arguments.iter().copied());
    words.map(str::to_owned).collect()
}

fn itself<const WORDS: usize>(arguments: [&str; WORDS]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments);
    command
}

/// Does what the arguments of this process ask for: runs one body, one program, or the tests that
/// they select.
pub fn main() -> ExitCode {
    if std::env::args().any(|argument| argument.starts_with("multiprocessing::spawned=")) {
        delay_init();
    }
    // Processes that a test spawns execute this program, too.
    multiprocessing::init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [TEST, name] => {
            become_a_leader();
            let tests = tests();
            let test = tests.iter().find(|test| test.name() == name);
            (test.unwrap_or_else(|| panic!("no test {name}")).body)();
            random_kills::print_count();
            ExitCode::SUCCESS
        }
        [PROGRAM, path, ref arguments @ ..] => {
            become_a_leader();
            let is_meant = |entry: &&Entry| format!("{}::{}", entry.module, entry.function) == path;
            let entry = inventory::iter::<Entry>().find(is_meant);
            (entry.unwrap_or_else(|| panic!("no program {path}")).body)(arguments);
            ExitCode::SUCCESS
        }
        _ => {
            let arguments = Arguments::from_args();
            libtest_mimic::run(&arguments, tests().into_iter().map(trial).collect()).exit_code()
        }
    }
}

/// Does what the environment asks for in a spawned child, before it gets control.
fn delay_init() {
    match std::env::var(BEFORE_INIT).as_deref() {
        Ok("exit") => std::process::exit(9),
        Ok("sleep") => super::sleep_for_ever(),
        _ => {}
    }
}

/// Separates this process from the one that runs the tests.
fn become_a_leader() {
    // A group that can be killed as a whole. And a session: when a group loses its last tie to
    // another group of its session, the kernel continues its stopped members, which tests have
    // stopped on purpose.
    let _ = nix::unistd::setsid();
    // A session of its own does not end with the terminal, so it has to end with the process that
    // started it.
    prctl::set_pdeathsig(Signal::SIGKILL).unwrap();
    // Signals that the starting process blocks would stay blocked here.
    SigSet::empty().thread_set_mask().unwrap();
}

fn trial(test: &'static Test) -> Trial {
    Trial::ignorable_test(test.name(), move || {
        let mut process = Program::of(test.command()).within(DEADLINE);
        let outcome = process.end();
        let report = || format!("{}\n{}", process.seen.join("\n"), process.errors);
        match outcome {
            Ok(status) if status.success() => match process.entries()[..] {
                [] => Ok(Completion::Completed),
                ref left => Err(Failed::from(format!("it left {left:?}\n{}", report()))),
            },
            Ok(status) if status.code() == Some(LEFT_OUT) => {
                let reason = process.errors.lines().find(|line| line.starts_with(LEFT_OUT_LINE));
                Ok(Completion::ignored_with(reason.unwrap_or("left out, without a reason")))
            }
            Ok(status) => Err(Failed::from(format!("it ended with {status}\n{}", report()))),
            Err(problem) => Err(Failed::from(format!("{problem}\n{}", report()))),
        }
    })
}

/// Ends this test, which then counts as ignored, because the machine lacks something.
#[allow(clippy::print_stderr)]
pub fn leave_out(reason: &str) -> ! {
    eprintln!("{LEFT_OUT_LINE}{reason}");
    std::process::exit(LEFT_OUT)
}
