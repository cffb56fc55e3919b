//! Naming of a function for a process that was forked from this one, where it is at the same
//! address.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::mem;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::TaskError;
use super::panics;
use crate::pipe::{decode, encode};

/// Decodes arguments, calls the function at this address with each, and encodes the results.
type Run = fn(function: usize, arguments: &[u8]) -> Vec<u8>;

/// The target of a task: the addresses of a function, and of the [`Run`] that knows its types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) run: u64,
    pub(super) function: u64,
}

impl Call {
    /// Names a function of one argument.
    pub(super) fn of<A: DeserializeOwned, R: Serialize>(function: fn(A) -> R) -> Self {
        Self::new(run::<A, R>, function as usize)
    }

    /// Names a function of two arguments, which are sent as a pair.
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

    /// Calls it in a worker, and returns the encoded results, or an error for all of them.
    pub(super) fn perform(self, arguments: &[u8]) -> Vec<u8> {
        // SAFETY: `Call::new` made this number of a `Run` in the process that owns the pool, and it
        // has come through sockets that only that process and its dispatcher ever had. The worker
        // is a fork of a fork of that process, and `Code` has verified that the code at the address
        // was there before the fork: so it is that `Run` here as well.
        let run = unsafe { mem::transmute::<usize, Run>(self.run as usize) };
        run(self.function as usize, arguments)
    }
}

fn run<A: DeserializeOwned, R: Serialize>(function: usize, arguments: &[u8]) -> Vec<u8> {
    // SAFETY: as in `perform`: `Call::of` put this number and this very `Run`, for these types,
    // side by side.
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

/// Calls one by one. An error of one is no error of the others.
fn run_each<A: DeserializeOwned, R: Serialize>(arguments: &[u8], call: impl Fn(A) -> R) -> Vec<u8> {
    let arguments = match decode::<Vec<A>>(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return failure(&error.into()),
    };
    let outcome =
        |argument| catch_unwind(AssertUnwindSafe(|| call(argument))).map_err(panics::task_error);
    let outcomes: Vec<Result<R, TaskError>> = arguments.into_iter().map(outcome).collect();
    // A pool of any types can read this, see `failure`.
    match encode(&Ok::<_, TaskError>(&outcomes)) {
        Ok(bytes) => bytes,
        Err(_) => only_the_encodable(outcomes),
    }
}

/// At least one result cannot be encoded. That is an error of its own task only.
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

/// Encodes what is sent in place of results of any type.
pub(super) fn failure(error: &TaskError) -> Vec<u8> {
    // An error consists of numbers and texts, which are always encodable.
    encode(&Err::<(), _>(error)).unwrap_or_default()
}

/// The code that this process had when a pool was started: its workers have it at the same
/// addresses. They lack what is loaded later. Where something was unloaded, they have what the
/// owner no longer has.
#[derive(Debug, Default)]
pub(super) struct Code {
    /// The segments of the program itself, which is never unloaded.
    program: Vec<Range<u64>>,
    libraries: Vec<Range<u64>>,
    /// Number of libraries that had been unloaded by then.
    unloaded: u64,
}

impl Code {
    /// Returns the code of this moment.
    pub(super) fn known() -> Self {
        let mut code = Self::default();
        for_each_object(&mut |object, segments| {
            code.unloaded = object.dlpi_subs;
            let is_code = |segment: &&libc::Elf64_Phdr| {
                segment.p_type == libc::PT_LOAD && segment.p_flags & libc::PF_X != 0
            };
            let ranges = segments.iter().filter(is_code).map(|segment| {
                let start = object.dlpi_addr.wrapping_add(segment.p_vaddr);
                start..start.wrapping_add(segment.p_memsz)
            });
            // The program comes first.
            if code.program.is_empty() { &mut code.program } else { &mut code.libraries }
                .extend(ranges);
            true
        });
        code
    }

    /// Returns true if workers have the same code at these addresses.
    pub(super) fn contains(&self, call: Call) -> bool {
        let is_in =
            |address, ranges: &[Range<u64>]| ranges.iter().any(|range| range.contains(&address));
        let is_known = |address| {
            is_in(address, &self.program) || self.has_all() && is_in(address, &self.libraries)
        };
        is_known(call.run) && is_known(call.function)
    }

    /// Returns true if no library was unloaded since. Otherwise other code may be at its addresses.
    fn has_all(&self) -> bool {
        let mut unloaded = 0;
        for_each_object(&mut |object, _| {
            unloaded = object.dlpi_subs;
            false
        });
        unloaded == self.unloaded
    }
}

/// Visits one loaded object: its name and its segments. Returns true to go on.
type Visit<'a> = &'a mut dyn FnMut(&libc::dl_phdr_info, &[libc::Elf64_Phdr]) -> bool;

/// Visits the program and its libraries.
fn for_each_object(mut visit: Visit) {
    unsafe extern "C" fn one(
        object: *mut libc::dl_phdr_info,
        _size: usize,
        visit: *mut libc::c_void,
    ) -> c_int {
        // SAFETY: the loader passes on the pointer that it was given below, to a `Visit` that no
        // other code uses meanwhile.
        let visit = unsafe { &mut *visit.cast::<Visit>() };
        // SAFETY: this is the description of the loader, valid during the call. glibc has had all
        // its fields since version 2.4.
        let object = unsafe { &*object };
        // SAFETY: they describe what is loaded and stay as long as it is, which the loader ensures
        // during the call.
        let segments =
            unsafe { slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)) };
        c_int::from(!visit(object, segments))
    }
    // SAFETY: `one` is called only during this call, with the pointer to `visit`. It does not
    // unwind: visits only look and note.
    unsafe { libc::dl_iterate_phdr(Some(one), (&raw mut visit).cast()) };
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
    fn a_result_that_cannot_be_encoded_is_an_error_of_its_own_task_only() {
        // Sequences of unknown length cannot be encoded.
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
    fn only_functions_that_workers_have_are_known() {
        let before = Code::known();
        let own = Call::of(square);
        let at = |address| Call { function: address, ..own };
        let data = &raw const before as u64;
        for unknown in [0, 1, data, u64::MAX] {
            assert!(
                !before.contains(at(unknown)) && !before.contains(Call { run: unknown, ..own })
            );
        }
        let (of_libc, late) = (at(libc::getpid as *const () as u64), c"libthread_db.so.1");
        assert!(before.contains(own) && before.contains(of_libc));

        // SAFETY: a library of glibc's, without code that runs when it is loaded.
        let library = unsafe { libc::dlopen(late.as_ptr(), libc::RTLD_LAZY) };
        assert!(!library.is_null(), "glibc has no {late:?}");
        // SAFETY: a handle from the line above.
        let loaded_later = at(unsafe { libc::dlsym(library, c"td_init".as_ptr()) } as u64);
        let after = Code::known();
        assert!(!before.contains(loaded_later) && after.contains(loaded_later));
        assert!(before.contains(own) && before.contains(of_libc));

        // SAFETY: nothing of it is in use.
        assert_eq!(unsafe { libc::dlclose(library) }, 0);
        // Other code than that of the workers may now be in its place, or in that of other
        // libraries.
        for code in [before, after] {
            assert!(!code.contains(loaded_later) && !code.contains(of_libc) && code.contains(own));
        }
    }
}
