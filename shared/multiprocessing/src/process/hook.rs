//! The hook through which a spawned child gets control of its program.

use std::ffi::OsString;
use std::io::{Write, stderr, stdout};
use std::os::fd::OwnedFd;
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{env, fs, process, thread};

use linkme::distributed_slice;
use nix::errno::Errno;
use nix::sys::signal::{SigHandler, SigSet, Signal};
use nix::unistd::{Pid, dup2_stdout};
use serde::{Deserialize, Serialize};

use super::function::{Answer, Function};
use crate::pipe::{Connection, PipeError};
use crate::sync::barrier::leave_all;
use crate::sync::participant::Identity;
use crate::sys::fork::{run_body, threads, wait_for_test_harness, watch_parent};
use crate::sys::orphans::{ABANDONED, LeftSegment, Parent};
use crate::sys::program::{Inherited, ProgramFile, take_inherited};
use crate::sys::signal::set_disposition;

/// Start of the argument by which a program knows that it is a spawned child. The number of its
/// socket follows. An argument is not passed on to programs that the child starts, unlike an
/// environment variable.
const MARK: &str = "multiprocessing::spawned=";
/// Exit code of a program that was started with that argument, but not by a parent.
const NOT_SPAWNED: i32 = 103;

/// True once this program has called [`init`].
static IS_INIT_CALLED: AtomicBool = AtomicBool::new(false);
/// The modules that have a [`test_hook`](crate::test_hook), as `module_path!` prints them.
#[distributed_slice]
pub static TEST_HOOKS: [&'static str];

/// Gives control to this library in a process that [`Process::spawn`](crate::Process::spawn) has
/// started, and returns at once in any other.
///
/// A spawned child executes the program from its beginning. So this call belongs into the first
/// line of `main`, before the program reads its arguments, starts threads or opens files. In a
/// child it does not return: it calls the function of the child, and then ends the process. In a
/// program without this call, `spawn` fails.
///
/// A program with an async `main` calls it before the runtime starts:
///
/// ```no_run
/// fn main() {
///     multiprocessing::init();
///     serve();
/// }
///
/// #[tokio::main]
/// async fn serve() {
///     // ...
/// }
/// ```
///
/// Tests whose `main` belongs to the test harness use [`test_hook`](crate::test_hook) instead. This
/// is the counterpart of Python's `freeze_support()`.
pub fn init() {
    IS_INIT_CALLED.store(true, Ordering::Release);
    become_child_if_asked(|| {});
}

/// Gives control to this library in a test process that was spawned: the body of the test that
/// [`test_hook`](crate::test_hook) writes.
pub fn run_test_hook() {
    become_child_if_asked(wait_for_test_harness);
}

/// Lets tests spawn processes if their `main` belongs to the test harness, as for every `#[test]`.
/// One such line belongs into each test binary, in any module. Outside of tests it is nothing.
///
/// ```
/// multiprocessing::test_hook!();
/// ```
///
/// It writes a test named `multiprocessing_test_hook`. A spawned child executes the test binary
/// with the arguments that select this test only, and the test calls the function of the child.
/// When the test harness runs that test for itself, it does nothing. The child runs in a thread of
/// the harness, whose main thread only waits. So it may fork like any child.
#[macro_export]
macro_rules! test_hook {
    () => {
        // In a program, the hook of a test would never get control.
        #[cfg(test)]
        #[$crate::hook::linkme::distributed_slice($crate::hook::TEST_HOOKS)]
        #[linkme(crate = $crate::hook::linkme)]
        static MULTIPROCESSING_TEST_HOOK: &str = module_path!();

        #[test]
        fn multiprocessing_test_hook() {
            $crate::hook::run_test_hook();
        }
    };
}

/// How a child of this program gets control.
#[derive(Clone, Copy)]
pub(super) enum Hook {
    /// By [`init`], in `main`.
    Main,
    /// By a test, in this module.
    Test(&'static str),
}

impl Hook {
    /// Returns the hook of this program, if it has one.
    pub(super) fn of_this_program() -> Option<Self> {
        if IS_INIT_CALLED.load(Ordering::Acquire) {
            return Some(Self::Main);
        }
        TEST_HOOKS.first().map(|module| Self::Test(module))
    }

    /// Returns the arguments of a child that gets this socket.
    pub(super) fn arguments(self, socket: i32) -> Vec<OsString> {
        let mark = format!("{MARK}{socket}");
        match self {
            Self::Main => vec![mark.into()],
            Self::Test(module) => {
                // The harness leaves out the name of the crate.
                let module = module.split_once("::").map(|(_crate, rest)| format!("{rest}::"));
                let test = format!("{}multiprocessing_test_hook", module.unwrap_or_default());
                // The mark counts as one more name of a test.
                [&test, "--exact", "--nocapture", "--test-threads=1", &mark]
                    .map(OsString::from)
                    .into()
            }
        }
    }
}

/// The first message to a child. The parent's own process descriptor follows, then its standard
/// output if announced, the ends of the argument, and the argument.
#[derive(Serialize, Deserialize)]
pub(super) struct Start {
    pub(super) program: ProgramFile,
    pub(super) function: Function,
    pub(super) segments: Vec<LeftSegment>,
    /// The signals that are blocked while the function runs.
    pub(super) blocked: Vec<i32>,
    pub(super) has_stdout: bool,
    pub(super) ends: u32,
}

/// Becomes a child, after `prepare`, if the arguments of the program ask for that.
fn become_child_if_asked(prepare: impl FnOnce()) {
    let number = |argument: OsString| Some(argument.to_str()?.strip_prefix(MARK)?.to_owned());
    let Some(number) = env::args_os().skip(1).find_map(number) else { return };
    match number.parse().map_or(Inherited::Foreign, take_inherited) {
        Inherited::Passed(socket, parent) => {
            prepare();
            run_child(socket.into(), parent)
        }
        Inherited::Orphaned => process::exit(ABANDONED),
        Inherited::Foreign => {
            let _ = writeln!(
                stderr(),
                "{MARK} is an argument of processes that this program spawns itself, and no \
                 process has spawned this one: start the program without it"
            );
            process::exit(NOT_SPAWNED)
        }
    }
}

/// Calls the function that the parent asks for, and ends the process.
fn run_child(parent: Connection, pid: Pid) -> ! {
    let identity = Parent::of_spawned(pid);
    let code = run_body(identity, || {
        let code = match call_function(&parent, pid, identity) {
            Ok(code) => code,
            Err(PipeError::Closed) => ABANDONED,
            Err(error) => {
                let _ = parent.send(&Answer::Err(error.to_string()));
                1
            }
        };
        leave_all();
        code
    });
    // Unlike those of a forked child, the exit handlers are this program's own.
    process::exit(code)
}

fn call_function(parent: &Connection, pid: Pid, identity: Parent) -> Result<i32, PipeError> {
    let start: Start = parent.recv()?;
    let ended = parent.recv_fd()?;
    start.segments.iter().for_each(|segment| segment.take_over(pid));
    let blocked = start.blocked.iter().filter_map(|number| Signal::try_from(*number).ok());
    watch_parent(identity, ended, &SigSet::from_iter(blocked))?;
    // An ignored SIGCHLD, inherited from the parent, would discard the exit status of children.
    set_disposition(Signal::SIGCHLD, SigHandler::SigDfl)?;
    Identity::own()?;
    if start.has_stdout {
        let output = parent.recv_fd()?;
        // What the harness has printed goes to where its output went so far.
        let _ = stdout().flush();
        dup2_stdout(output)?;
    }
    let ends = (0..start.ends).map(|_| parent.recv_fd()).collect::<Result<Vec<OwnedFd>, _>>()?;
    let argument = parent.recv_bytes()?;
    if ProgramFile::own().ok() != Some(start.program) {
        return Err(PipeError::Malformed);
    }
    parent.send(&Answer::Ok(()))?;
    restore_name();
    let call = || start.function.call(&argument, ends, parent);
    if threads().map_err(|_| Errno::EIO)? == 1 {
        return call();
    }
    // Another thread than this one, which may belong to a runtime that started too early: the
    // function may start a runtime of its own.
    thread::scope(|scope| scope.spawn(call).join()).unwrap_or_else(|payload| resume_unwind(payload))
}

/// Restores the name of the process, which is that of the link by which it was executed.
fn restore_name() {
    if let Some(path) = env::args_os().next()
        && let Some(name) = Path::new(&path).file_name()
    {
        // Only tools show it.
        let _ = fs::write("/proc/self/comm", name.as_encoded_bytes());
    }
}
