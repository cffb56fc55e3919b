//! What the function of a child may return, and what a join makes of it.

use nix::errno::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fmt::Display;

use crate::pipe::{Connection, PipeError, decode, encode};
use crate::sys::exit::Exit;

/// What the function of a child [`Process`](crate::Process) may return:
///
/// | the function returns | the child exits with | a join returns |
/// |---|---|---|
/// | `i32` | the low 8 bits of that number | how the child ended, an [`Exit`] |
/// | `()` | 0 | `()`, or [`JoinError::Ended`] if the child did not exit with 0 |
/// | `Ok(value)` | 0 | the value, which serde encodes |
/// | `Err(error)` | 1 | [`JoinError::Failed`] with the text of the error |
pub trait Return: sealed::Return {
    /// What a join returns.
    type Joined;

    #[doc(hidden)]
    fn joined(exit: Exit, message: Option<&[u8]>) -> Result<Self::Joined, JoinError>;
}

pub(super) mod sealed {
    /// The child's side.
    pub trait Return {
        /// True if the child sends a message before it ends.
        const SENDS: bool;

        /// Returns the exit code and the message.
        fn report(self) -> (i32, Vec<u8>);
    }
}

/// The error of waiting for a child and its result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The function returned an error. This is its text.
    #[error("the child failed: {0}")]
    Failed(String),
    /// The child ended without a result: it was killed, panicked (exit code 101), or called `exit`.
    #[error("the child ended with {0} and returned nothing")]
    Ended(Exit),
    /// The result of the child cannot be decoded.
    #[error("the result of the child: {0}")]
    Decode(String),
    /// Waiting failed, with [`Errno::ECHILD`] if other code of this process has reaped the child.
    #[error("waiting for a child: {0}")]
    System(Errno),
}

impl From<Errno> for JoinError {
    fn from(errno: Errno) -> Self {
        Self::System(errno)
    }
}

impl Return for i32 {
    type Joined = Exit;

    fn joined(exit: Exit, _message: Option<&[u8]>) -> Result<Exit, JoinError> {
        Ok(exit)
    }
}

impl sealed::Return for i32 {
    const SENDS: bool = false;

    fn report(self) -> (i32, Vec<u8>) {
        (self, Vec::new())
    }
}

impl Return for () {
    type Joined = ();

    fn joined(exit: Exit, _message: Option<&[u8]>) -> Result<(), JoinError> {
        if exit.is_success() { Ok(()) } else { Err(JoinError::Ended(exit)) }
    }
}

impl sealed::Return for () {
    const SENDS: bool = false;

    fn report(self) -> (i32, Vec<u8>) {
        (0, Vec::new())
    }
}

impl<T: Serialize + DeserializeOwned, E: Display> Return for Result<T, E> {
    type Joined = T;

    fn joined(exit: Exit, message: Option<&[u8]>) -> Result<T, JoinError> {
        let message = message.ok_or(JoinError::Ended(exit))?;
        let result: Result<T, String> =
            decode(message).map_err(|error| JoinError::Decode(error.to_string()))?;
        result.map_err(JoinError::Failed)
    }
}

impl<T: Serialize, E: Display> sealed::Return for Result<T, E> {
    const SENDS: bool = true;

    fn report(self) -> (i32, Vec<u8>) {
        // `{:#}` shows the causes of an `anyhow::Error`.
        let result = self.map_err(|error| format!("{error:#}"));
        match (encode(&result), result) {
            (Ok(message), Ok(_)) => (0, message),
            (Ok(message), Err(_)) => (1, message),
            (Err(error), _) => (1, failure(&error)),
        }
    }
}

/// Encodes an error that takes the place of a result of any type.
pub(super) fn failure(error: &PipeError) -> Vec<u8> {
    // Cannot fail: it is a string.
    encode(&Err::<(), _>(error.to_string())).unwrap_or_default()
}

/// Sends what the function of a child returned to the parent, and returns the exit code.
pub(super) fn report<R: Return>(returned: R, parent: Option<&Connection>) -> i32 {
    let (code, message) = returned.report();
    let Some(parent) = parent.filter(|_| R::SENDS) else { return code };
    match parent.send_bytes(&message) {
        // A large result needs a descriptor. If there is none, the short error still fits.
        Err(error @ PipeError::System(_)) => {
            let _ = parent.send_bytes(&failure(&error));
            1
        }
        // If the parent is gone, or has dropped its handle, it needs no result.
        _ => code,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_crosses_as_its_value_or_as_the_text_of_its_error() {
        let cross = |result: Result<u8, &str>| {
            let (code, message) = sealed::Return::report(result);
            (code, Result::<u8, &str>::joined(Exit::Code(code), Some(&message)))
        };
        assert_eq!(cross(Ok(7)), (0, Ok(7)));
        assert_eq!(cross(Err("full")), (1, Err(JoinError::Failed("full".into()))));
        let ended = Exit::Code(101);
        assert_eq!(Result::<u8, &str>::joined(ended, None), Err(JoinError::Ended(ended)));
        let other = Result::<String, &str>::joined(Exit::Code(0), Some(&[0, 3, 1]));
        assert!(matches!(other, Err(JoinError::Decode(_))), "{other:?}");
    }

    #[test]
    fn a_result_that_cannot_be_encoded_fails_the_child() {
        struct Unencodable;
        impl Serialize for Unencodable {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("not encodable"))
            }
        }
        let (code, message) = sealed::Return::report(Ok::<_, String>(Unencodable));
        let joined = Result::<(), String>::joined(Exit::Code(code), Some(&message));
        assert!(matches!(joined, Err(JoinError::Failed(text)) if text.contains("cannot be sent")));
    }
}
