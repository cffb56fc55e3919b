//! Refers to a function by its distance from the start of the program. It is the same in a forked
//! process, and for functions of the program itself in every process that executes the same file.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::mem;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::slice;
use std::sync::LazyLock;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::TaskError;
use super::panics;
use crate::pipe::{decode, encode};
use crate::sys::program::{ProgramCode, code_ranges};

/// Decodes arguments, calls the function at this address with each, and encodes the outcomes.
type Run = fn(function: usize, arguments: &[u8]) -> Vec<u8>;

/// The function that a task calls and the [`Run`] for its types, by their places: their distances
/// from the start of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) run: u64,
    pub(super) function: u64,
}

/// Where this process has the program.
static START: LazyLock<usize> = LazyLock::new(|| ProgramCode::own().start());

/// Returns the address at this place.
fn address(place: u64) -> usize {
    START.wrapping_add(place as usize)
}

impl Call {
    /// Refers to a function of one argument.
    pub(super) fn of<A: DeserializeOwned, R: Serialize>(function: fn(A) -> R) -> Self {
        Self::new(run::<A, R>, function as usize)
    }

    /// Refers to a function of two arguments, which are encoded as a pair.
    pub(super) fn of_pair<A, B, R>(function: fn(A, B) -> R) -> Self
    where
        (A, B): DeserializeOwned,
        R: Serialize,
    {
        Self::new(run_pair::<A, B, R>, function as usize)
    }

    fn new(run: Run, function: usize) -> Self {
        let place = |address: usize| address.wrapping_sub(*START) as u64;
        Self { run: place(run as usize), function: place(function) }
    }

    /// Calls the function in a worker with each argument. Returns the encoded outcomes, or one
    /// encoded error for all arguments.
    pub(super) fn perform(self, arguments: &[u8]) -> Vec<u8> {
        // SAFETY: `Call::new` made this number from a `Run` in the owner of the pool, and it came
        // through sockets that only the owner, its dispatcher and this worker hold. The worker is a
        // fork of a fork of the owner. The owner checked with `LoadedCode` that the code at the
        // address was loaded before those forks, so the same `Run` is at the address here. Or the
        // worker is a fork of a process that executes the same file as the owner. The owner checked
        // that the code is in the program itself, where its distance from the start is the same.
        let run = unsafe { mem::transmute::<usize, Run>(address(self.run)) };
        run(address(self.function), arguments)
    }
}

fn run<A: DeserializeOwned, R: Serialize>(function: usize, arguments: &[u8]) -> Vec<u8> {
    // SAFETY: as in `perform`. `Call::of` pairs this number with this instance of `run`, so the
    // types match.
    let function = unsafe { mem::transmute::<usize, fn(A) -> R>(function) };
    run_each(arguments, function)
}

fn run_pair<A, B, R: Serialize>(function: usize, arguments: &[u8]) -> Vec<u8>
where
    (A, B): DeserializeOwned,
{
    // SAFETY: as in `run`, with the pair made by `Call::of_pair`.
    let function = unsafe { mem::transmute::<usize, fn(A, B) -> R>(function) };
    run_each(arguments, |(first, second)| function(first, second))
}

/// Calls with each argument. A panic affects only the outcome of its own argument.
fn run_each<A: DeserializeOwned, R: Serialize>(arguments: &[u8], call: impl Fn(A) -> R) -> Vec<u8> {
    let arguments = match decode::<Vec<A>>(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return failure(&error.into()),
    };
    let outcome =
        |argument| catch_unwind(AssertUnwindSafe(|| call(argument))).map_err(panics::task_error);
    let outcomes: Vec<Result<R, TaskError>> = arguments.into_iter().map(outcome).collect();
    // Wrapped in `Ok`, because `failure` sends an `Err` in its place.
    match encode(&Ok::<_, TaskError>(&outcomes)) {
        Ok(bytes) => bytes,
        Err(_) => encode_encodable(outcomes),
    }
}

/// Encodes outcomes of which at least one cannot be encoded. That one becomes an error.
fn encode_encodable<R: Serialize>(outcomes: Vec<Result<R, TaskError>>) -> Vec<u8> {
    let encodable = |outcome: Result<R, TaskError>| {
        outcome.and_then(|result| match encode(&result) {
            Ok(_) => Ok(result),
            Err(error) => Err(error.into()),
        })
    };
    let outcomes: Vec<_> = outcomes.into_iter().map(encodable).collect();
    encode(&Ok::<_, TaskError>(outcomes)).unwrap_or_else(|error| failure(&error.into()))
}

/// Encodes an error that takes the place of the outcomes of all arguments, for any result type.
pub(super) fn failure(error: &TaskError) -> Vec<u8> {
    // Cannot fail: an error consists of numbers and strings.
    encode(&Err::<(), _>(error)).unwrap_or_default()
}

/// The code that was loaded when a pool was started. Its workers have the same code at the same
/// addresses.
///
/// Workers lack what the owner loads later. If the owner unloads a library, its addresses may later
/// hold code that the workers lack as well.
#[derive(Debug)]
pub(super) struct LoadedCode {
    /// The program itself, which is never unloaded.
    program: ProgramCode,
    loaded: Loaded,
}

/// Addresses of the code of the program and its libraries, and the number of libraries that had
/// been unloaded before.
type Loaded = (Vec<Range<usize>>, u64);

impl LoadedCode {
    /// Returns the code that is loaded now.
    pub(super) fn current() -> Self {
        Self { program: ProgramCode::own(), loaded: loaded() }
    }

    /// Returns the code of the program without its libraries.
    pub(super) fn of_program() -> Self {
        Self { program: ProgramCode::own(), loaded: Loaded::default() }
    }

    /// Returns true if workers have the same code at the addresses of this call.
    pub(super) fn contains(&self, call: Call) -> bool {
        let (ranges, unloaded) = &self.loaded;
        let is_loaded = |address| ranges.iter().any(|range| range.contains(&address));
        // If a library was unloaded since, another one may have taken its place.
        let is_in_library = |place| is_loaded(address(place)) && loaded().1 == *unloaded;
        [call.run, call.function]
            .into_iter()
            .all(|place| self.program.address(place).is_some() || is_in_library(place))
    }
}

/// Returns the code that is loaded now.
fn loaded() -> Loaded {
    unsafe extern "C" fn add(
        object: *mut libc::dl_phdr_info,
        _size: usize,
        loaded: *mut libc::c_void,
    ) -> c_int {
        // SAFETY: this is the pointer passed to the loader below. It points to a `Loaded` that
        // nothing else uses during the call.
        let (ranges, unloaded) = unsafe { &mut *loaded.cast::<Loaded>() };
        // SAFETY: the loader's description is valid during the call. All its fields exist in glibc
        // since version 2.4.
        let object = unsafe { &*object };
        // SAFETY: the headers live as long as the object is loaded, and the loader holds its lock
        // against unloading during the call.
        let headers =
            unsafe { slice::from_raw_parts(object.dlpi_phdr, usize::from(object.dlpi_phnum)) };
        ranges.extend(code_ranges(object.dlpi_addr as usize, headers));
        *unloaded = object.dlpi_subs;
        0
    }
    let mut loaded = Loaded::default();
    // SAFETY: the loader calls `add` only during this call, with the pointer to `loaded`. It does
    // not unwind, because it only reads and stores values.
    unsafe { libc::dl_iterate_phdr(Some(add), (&raw mut loaded).cast()) };
    loaded
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
    fn a_result_that_cannot_be_encoded_is_an_error_of_its_own_argument_only() {
        struct Encodable(bool);
        impl Serialize for Encodable {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if self.0 {
                    serializer.serialize_u8(7)
                } else {
                    Err(serde::ser::Error::custom("not encodable"))
                }
            }
        }
        let outcomes: Outcomes<u8> = call(Call::of(Encodable), &[true, false, true]);
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
    fn only_code_that_the_workers_have_is_accepted() {
        let before = LoadedCode::current();
        let own = Call::of(square);
        let at = |address: u64| Call { function: address.wrapping_sub(*START as u64), ..own };
        let data = &raw const before as u64;
        for unknown in [0, 1, data, u64::MAX] {
            assert!(
                !before.contains(at(unknown))
                    && !before.contains(Call { run: at(unknown).function, ..own })
            );
        }
        let (of_libc, late) = (at(libc::getpid as *const () as u64), c"libthread_db.so.1");
        assert!(before.contains(own) && before.contains(of_libc));
        let of_program = LoadedCode::of_program();
        assert!(of_program.contains(own) && !of_program.contains(of_libc));

        // SAFETY: this library of glibc has no code that runs when it is loaded.
        let library = unsafe { libc::dlopen(late.as_ptr(), libc::RTLD_LAZY) };
        assert!(!library.is_null(), "glibc has no {late:?}");
        // SAFETY: the handle comes from `dlopen` above.
        let loaded_later = at(unsafe { libc::dlsym(library, c"td_init".as_ptr()) } as u64);
        let after = LoadedCode::current();
        assert!(!before.contains(loaded_later) && after.contains(loaded_later));
        assert!(before.contains(own) && before.contains(of_libc));

        // SAFETY: no code or data of the library is in use.
        assert_eq!(unsafe { libc::dlclose(library) }, 0);
        // Other code may now be at the addresses of any library.
        for code in [before, after] {
            assert!(!code.contains(loaded_later) && !code.contains(of_libc) && code.contains(own));
        }
    }
}
