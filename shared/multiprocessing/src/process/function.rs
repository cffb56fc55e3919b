//! Refers to a function by its place in the program, which is the same in every process that
//! executes the same file.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::mem;
use std::os::fd::OwnedFd;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::returned::{Return, report};
use crate::pipe::{Connection, PipeError, decode_argument};
use crate::sys::program::ProgramCode;

/// A function of the program, by its place. It crosses in the argument of a spawned child.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct ProgramFunction<A, R> {
    place: u64,
    types: PhantomData<fn(A) -> R>,
}

impl<A, R> ProgramFunction<A, R> {
    /// Returns `None` if the function is not part of the program itself.
    pub(crate) fn of(function: fn(A) -> R) -> Option<Self> {
        let place = ProgramCode::own().place(function as usize)?;
        Some(Self { place, types: PhantomData })
    }

    /// Returns the function, or `None` if there is no code at the place.
    pub(crate) fn get(&self) -> Option<fn(A) -> R> {
        let address = ProgramCode::own().address(self.place)?;
        // SAFETY: `of` made the place from a function of this type. It reached this process in the
        // argument of a function that has these types in its own, and such an argument comes only
        // from a process that executes the same file. So the same function is at the address here.
        Some(unsafe { mem::transmute::<usize, fn(A) -> R>(address) })
    }
}

/// Decodes the argument, answers the parent, calls the function at this address, and reports what
/// it returned. Returns the exit code.
type Run = fn(
    function: usize,
    argument: &[u8],
    ends: Vec<OwnedFd>,
    parent: &Connection,
) -> Result<i32, PipeError>;

/// What a child answers twice: when it has taken its argument, and when it is about to call its
/// function. Or why it cannot.
pub(super) type Answer = Result<(), String>;

/// The places of a function and of the [`Run`] for its types.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Function {
    run: u64,
    function: u64,
}

impl Function {
    /// Returns `None` if the function is not part of the program itself.
    pub(super) fn of<A: DeserializeOwned, R: Return>(function: fn(A) -> R) -> Option<Self> {
        let (code, run): (_, Run) = (ProgramCode::own(), run::<A, R>);
        Some(Self { run: code.place(run as usize)?, function: code.place(function as usize)? })
    }

    /// Calls the function in a child, and returns the exit code.
    pub(super) fn call(
        self,
        argument: &[u8],
        ends: Vec<OwnedFd>,
        parent: &Connection,
    ) -> Result<i32, PipeError> {
        let code = ProgramCode::own();
        let addresses = code.address(self.run).zip(code.address(self.function));
        let (run, function) = addresses.ok_or(PipeError::Malformed)?;
        // SAFETY: `Function::of` made this number from a `Run` of this program in the parent of
        // this process, and it came through a socket that only these two have. The caller has
        // checked that both execute the same file, so the same `Run` is at the address here.
        let run = unsafe { mem::transmute::<usize, Run>(run) };
        run(function, argument, ends, parent)
    }
}

fn run<A: DeserializeOwned, R: Return>(
    function: usize,
    argument: &[u8],
    ends: Vec<OwnedFd>,
    parent: &Connection,
) -> Result<i32, PipeError> {
    // SAFETY: as in `call`. `Function::of` pairs this number with this instance of `run`, so the
    // types match.
    let function = unsafe { mem::transmute::<usize, fn(A) -> R>(function) };
    let argument: A = decode_argument(argument, ends)?;
    parent.send(&Answer::Ok(()))?;
    Ok(report(function(argument), Some(parent)))
}
