//! The messages of a queue one by one, until it is closed.

use std::iter;

/// The error of a call that takes messages.
pub(super) trait Ending {
    /// Returns true if the queue is closed.
    fn is_closed(&self) -> bool;
    /// Returns true if later calls may succeed.
    fn concerns_one_message(&self) -> bool;
}

/// Returns what these calls return. Ends without an error if the queue is closed or a call returns
/// no message, and after an error that later calls would return too.
pub(super) fn messages<T, E: Ending>(
    mut get: impl FnMut() -> Result<Option<T>, E>,
) -> impl Iterator<Item = Result<T, E>> {
    let mut over = false;
    iter::from_fn(move || {
        if over {
            return None;
        }
        let message = get();
        over = !matches!(&message, Ok(Some(_)));
        match message {
            Err(error) if error.is_closed() => None,
            Err(error) => {
                over = !error.concerns_one_message();
                Some(Err(error))
            }
            Ok(message) => message.map(Ok),
        }
    })
}
