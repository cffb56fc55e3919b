//! Names a function for a process that was forked from this one, where it is at the same address.
#![allow(unsafe_code)]

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{fs, io, mem};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::TaskError;
use super::panics;
use crate::pipe::{decode, encode};

/// Decodes arguments, calls the function at this address with each, and encodes what came of it.
type Run = fn(function: usize, arguments: &[u8]) -> Vec<u8>;

/// What a task calls: the addresses of a function, and of the [`Run`] that knows its types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) run: u64,
    pub(super) function: u64,
}

impl Call {
    /// Of a function of one argument.
    pub(super) fn of<A: DeserializeOwned, R: Serialize>(function: fn(A) -> R) -> Self {
        Self::new(run::<A, R>, function as usize)
    }

    /// Of a function of two arguments, which come as a pair.
    pub(super) fn of_pair<A, B, R>(function: fn(A, B) -> R) -> Self
    where
        (A, B): DeserializeOwned,
        R: Serialize,
    {
        Self::new(run_pair::<A, B, R>, function as usize)
    }

    fn new(run: Run, function: usize) -> Self {
        Self { run: run as usize as u64, function: function as u64 }
    }

    /// Calls it in a worker. What comes back are the encoded results, or an error for all of them.
    pub(super) fn perform(self, arguments: &[u8]) -> Vec<u8> {
        // SAFETY: `Call::new` made this number of a `Run` in the process that owns the pool, and it has come through sockets
        // that only that process and its dispatcher ever had. The worker is a fork of a fork of that process, and `Code` has
        // seen that the address was code before the fork: so it is that `Run` here as well.
        let run = unsafe { mem::transmute::<usize, Run>(self.run as usize) };
        run(self.function as usize, arguments)
    }
}

fn run<A: DeserializeOwned, R: Serialize>(function: usize, arguments: &[u8]) -> Vec<u8> {
    // SAFETY: as in `perform`: `Call::of` put this number and this very `Run`, for these types, side by side.
    let function = unsafe { mem::transmute::<usize, fn(A) -> R>(function) };
    run_each(arguments, function)
}

fn run_pair<A, B, R: Serialize>(function: usize, arguments: &[u8]) -> Vec<u8>
where
    (A, B): DeserializeOwned,
{
    // SAFETY: as in `run`, by `Call::of_pair`.
    let function = unsafe { mem::transmute::<usize, fn(A, B) -> R>(function) };
    run_each(arguments, |(first, second)| function(first, second))
}

/// One by one; an error of one is no error of the others.
fn run_each<A: DeserializeOwned, R: Serialize>(arguments: &[u8], call: impl Fn(A) -> R) -> Vec<u8> {
    let arguments = match decode::<Vec<A>>(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return failure(&error.into()),
    };
    let outcome = |argument| catch_unwind(AssertUnwindSafe(|| call(argument))).map_err(panics::task_error);
    let outcomes: Vec<Result<R, TaskError>> = arguments.into_iter().map(outcome).collect();
    // What a pool of any types reads, see `failure`.
    match encode(&Ok::<_, TaskError>(&outcomes)) {
        Ok(bytes) => bytes,
        Err(_) => only_the_encodable(outcomes),
    }
}

/// At least one result cannot be sent. That is an error of its own task only.
fn only_the_encodable<R: Serialize>(outcomes: Vec<Result<R, TaskError>>) -> Vec<u8> {
    let encodable = |outcome: Result<R, TaskError>| {
        outcome.and_then(|result| match encode(&result) {
            Ok(_) => Ok(result),
            Err(error) => Err(error.into()),
        })
    };
    let outcomes: Vec<_> = outcomes.into_iter().map(encodable).collect();
    encode(&Ok::<_, TaskError>(outcomes)).unwrap_or_else(|error| failure(&error.into()))
}

/// What is sent in place of results, whatever type they would have had.
pub(super) fn failure(error: &TaskError) -> Vec<u8> {
    // An error is numbers and texts: it is always encodable.
    encode(&Err::<(), _>(error)).unwrap_or_default()
}

/// Which addresses are code in this process. What is loaded later is not in those that were forked before.
#[derive(Debug)]
pub(super) struct Code {
    ranges: Vec<Range<u64>>,
}

impl Code {
    /// What is code now.
    pub(super) fn known() -> io::Result<Self> {
        let maps = fs::read_to_string("/proc/self/maps")?;
        Ok(Self { ranges: maps.lines().filter_map(executable).collect() })
    }

    pub(super) fn contains(&self, call: Call) -> bool {
        let known = |address| self.ranges.iter().any(|range| range.contains(&address));
        known(call.run) && known(call.function)
    }
}

/// The addresses of a line such as `55e0c0a00000-55e0c0b00000 r-xp …`, if what is there can be executed.
fn executable(line: &str) -> Option<Range<u64>> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let address = |text| u64::from_str_radix(text, 16).ok();
    rest.as_bytes().get(2).filter(|&&mode| mode == b'x')?;
    Some(address(start)?..address(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Outcomes<R> = Result<Vec<Result<R, TaskError>>, TaskError>;

    fn square(number: u64) -> u64 {
        number * number
    }

    fn call<A: Serialize, R: DeserializeOwned>(call: Call, arguments: &[A]) -> Outcomes<R> {
        decode(&call.perform(&encode(arguments).unwrap())).unwrap()
    }

    #[test]
    fn a_function_is_called_with_each_argument() {
        assert_eq!(call(Call::of(square), &[3_u64, 5]), Ok(vec![Ok(9_u64), Ok(25)]));
        let divide = |dividend: i32, divisor: i32| dividend / divisor;
        assert_eq!(call(Call::of_pair(divide), &[(7, 2)]), Ok(vec![Ok(3)]));
        assert_eq!(call::<u64, u64>(Call::of(square), &[]), Ok(vec![]));
    }

    #[test]
    fn what_can_not_be_sent_is_an_error_of_its_own_task_only() {
        // Sequences whose length is not known before cannot be encoded.
        struct Unknown(bool);
        impl Serialize for Unknown {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if self.0 {
                    Err(serde::ser::Error::custom("not this one"))
                } else {
                    serializer.serialize_u8(7)
                }
            }
        }
        let outcomes: Outcomes<u8> = call(Call::of(Unknown), &[false, true, false]);
        let outcomes = outcomes.unwrap();
        assert_eq!((&outcomes[0], &outcomes[2]), (&Ok(7), &Ok(7)));
        assert!(matches!(&outcomes[1], Err(TaskError::Encode(_))), "{outcomes:?}");
    }

    #[test]
    fn arguments_of_another_type_are_an_error() {
        let outcomes: Outcomes<u64> = decode(&Call::of(square).perform(&[3, 1])).unwrap();
        assert!(matches!(outcomes, Err(TaskError::Decode(_))), "{outcomes:?}");
    }

    #[test]
    fn functions_of_this_program_and_nothing_else_are_known_code() {
        let code = Code::known().unwrap();
        let known = Call::of(square);
        assert!(code.contains(known));
        let data = &raw const code as u64;
        for unknown in [0, 1, data, u64::MAX] {
            assert!(!code.contains(Call { function: unknown, ..known }));
            assert!(!code.contains(Call { run: unknown, ..known }));
        }
    }
}
