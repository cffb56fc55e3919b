//! Starts a child that executes this program again and calls one of its functions.

use std::io::{self, stdout};
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Stdio;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::getpid;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Process;
use super::function::{Answer, Function};
use super::hook::{Hook, Start};
use super::returned::Return;
use crate::pipe::{Connection, PipeError, encode_argument, pipe};
use crate::sys::child::pidfd_open;
use crate::sys::deadline::Deadline;
use crate::sys::orphans::LeftSegment;
use crate::sys::program::{ProgramFile, execute_again};
use crate::sys::spawn_error::SpawnError;

/// How long a child may take to reach the hook. A program that does not call the hook would run as
/// if a user had started it.
const START_LIMIT: Duration = Duration::from_secs(10);

/// What a child needs to begin, besides its [`Start`] message.
struct Luggage {
    /// A descriptor of the parent, readable once it has ended.
    parent: OwnedFd,
    stdout: Option<OwnedFd>,
    ends: Vec<OwnedFd>,
    argument: Vec<u8>,
}

/// An encoded argument, and the ends of pipes in it.
pub(super) type Encoded = (Vec<u8>, Vec<OwnedFd>);

pub(super) fn encode<A: Serialize>(argument: &A) -> Result<Encoded, SpawnError> {
    encode_argument(argument).map_err(|error| SpawnError::Argument(error.to_string()))
}

/// Starts a child that calls the function with these signals blocked.
pub(super) fn spawn<A: DeserializeOwned, R: Return>(
    blocked: &SigSet,
    function: fn(A) -> R,
    (bytes, ends): Encoded,
) -> Result<Process<R>, SpawnError> {
    let hook = Hook::of_this_program().ok_or(SpawnError::NoHook)?;
    let function = Function::of(function).ok_or(SpawnError::NotInProgram)?;
    // The harness of a test prints before the child gets control.
    let (output, later_output) = match hook {
        Hook::Main => (Stdio::inherit(), None),
        Hook::Test(_) => (Stdio::null(), stdout().as_fd().try_clone_to_owned().ok()),
    };
    let start = Start {
        program: ProgramFile::own().map_err(SpawnError::Execute)?,
        function,
        segments: LeftSegment::of_this(),
        blocked: blocked.iter().map(|signal| signal as i32).collect(),
        has_stdout: later_output.is_some(),
        ends: u32::try_from(ends.len()).unwrap_or(u32::MAX),
    };
    let luggage = Luggage {
        parent: pidfd_open(getpid()).map_err(system)?,
        stdout: later_output,
        ends,
        argument: bytes,
    };
    let (here, there) = pipe().map_err(|error| SpawnError::Execute(io::Error::other(error)))?;
    // Not one of the first three, which are the standard streams in the child.
    let passed = there.as_fd().try_clone_to_owned().map_err(SpawnError::Execute)?;
    drop(there);
    let arguments = hook.arguments(passed.as_raw_fd());
    // Until the child watches its parent itself. This thread waits for that. The hook of a test
    // does not run in the main thread, which alone could undo the binding.
    let is_bound = matches!(hook, Hook::Main);
    let pid = execute_again(&arguments, output, passed.as_fd(), is_bound);
    let pid = pid.map_err(SpawnError::Execute)?;
    drop(passed);
    let ended = pidfd_open(pid);
    let ended =
        ended.map_err(|errno| Process::<R>::undo(pid, SpawnError::Execute(errno.into())))?;
    let mut process =
        Process { pid, ended, exit: None, messages: None, message: None, returns: PhantomData };
    match introduce(&here, &start, luggage) {
        Ok(Some(Ok(()))) => {
            process.messages = R::SENDS.then_some(here);
            Ok(process)
        }
        Ok(Some(Err(text))) => Err(end(&mut process, Some(SpawnError::Argument(text)))),
        Ok(None) => Err(end(&mut process, Some(SpawnError::Unanswered(START_LIMIT)))),
        // The child has closed its end of the pipe, because it is ending.
        Err(PipeError::Closed) => Err(end(&mut process, None)),
        Err(error) => Err(end(&mut process, Some(SpawnError::Execute(io::Error::other(error))))),
    }
}

/// Sends a child what it needs, and waits until it is about to call its function. Returns `None` if
/// it does not take all of that in time. Then it may decode its argument as long as it needs.
fn introduce(
    child: &Connection,
    start: &Start,
    luggage: Luggage,
) -> Result<Option<Answer>, PipeError> {
    let deadline = Deadline::after(START_LIMIT)?;
    let left = || Ok::<_, Errno>(deadline.left()?.map_or(Duration::ZERO, Duration::from));
    let Luggage { parent, stdout, ends, argument } = luggage;
    let mut sent = child.send_timeout(start, left()?)?;
    for descriptor in [Some(parent), stdout].into_iter().flatten().chain(ends) {
        sent = sent && child.send_fd_timeout(descriptor, left()?)?;
    }
    sent = sent && child.send_bytes_timeout(&argument, left()?)?;
    match if sent { child.recv_timeout(left()?)? } else { None } {
        Some(Ok(())) => child.recv().map(Some),
        answer => Ok(answer),
    }
}

/// Ends a child that did not begin, and returns the error of its start: how it ended, if there is
/// no other.
fn end<R>(process: &mut Process<R>, error: Option<SpawnError>) -> SpawnError {
    if error.is_some() {
        let _ = process.signal(Signal::SIGKILL);
    }
    let deadline = Deadline::after(START_LIMIT).unwrap_or(Deadline::NEVER);
    let exit = process.exit_until(deadline);
    let _ = process.signal(Signal::SIGKILL);
    match (error, exit) {
        (Some(error), _) => error,
        (None, Ok(Some(exit))) => SpawnError::EndedEarly(exit),
        (None, Ok(None)) => SpawnError::Unanswered(START_LIMIT),
        (None, Err(errno)) => system(errno),
    }
}

fn system(errno: Errno) -> SpawnError {
    SpawnError::Execute(errno.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pages_state_the_numbers_of_the_code() {
        let page = include_str!("../../docs/start-methods.md");
        assert!(page.contains(&format!("within {} s", START_LIMIT.as_secs())));
    }
}
