//! The messages between the processes of a pool, all as bytes: the orders of the owner to the
//! dispatcher, which passes them to workers unchanged, and the results, which it passes back
//! unchanged.

use super::function::Call;

/// The number of a task, in the order in which they were given to the pool, from 1.
pub(super) type TaskId = u64;

/// A task that is not begun, and the order that gives it to a worker.
pub(super) type WaitingTask = (TaskId, Vec<u8>);

/// In place of a task number: no more tasks will come.
const CLOSE: TaskId = 0;
/// In place of a task number: end now.
const TERMINATE: TaskId = u64::MAX;

/// An order of the owner of a pool to its dispatcher.
#[derive(Debug, PartialEq)]
pub(super) enum Order {
    Task(TaskId),
    Close,
    Terminate,
}

impl Order {
    /// Reads an order from these bytes.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        Some(match first(bytes)? {
            (CLOSE, _) => Self::Close,
            (TERMINATE, _) => Self::Terminate,
            (task, _) => Self::Task(task),
        })
    }
}

/// Returns the order to accept no more tasks.
pub(super) fn close() -> [u8; 8] {
    CLOSE.to_ne_bytes()
}

/// Returns the order to end at once.
pub(super) fn terminate() -> [u8; 8] {
    TERMINATE.to_ne_bytes()
}

/// Returns the order to call something with these arguments.
pub(super) fn task(id: TaskId, call: Call, arguments: &[u8]) -> Vec<u8> {
    [&id.to_ne_bytes(), &call.run.to_ne_bytes(), &call.function.to_ne_bytes(), arguments].concat()
}

/// Splits a task. `None` if the bytes are no task.
pub(super) fn task_parts(bytes: &[u8]) -> Option<(TaskId, Call, &[u8])> {
    let (id, rest) = first(bytes)?;
    let (run, rest) = first(rest)?;
    let (function, arguments) = first(rest)?;
    Some((id, Call { run, function }, arguments))
}

/// Returns the result of a task. Without outcomes they follow in the next message, and are so large
/// that receiving them may fail.
pub(super) fn result(id: TaskId, outcomes: &[u8]) -> Vec<u8> {
    [&id.to_ne_bytes(), outcomes].concat()
}

/// Splits a result. `None` if the bytes are no result.
pub(super) fn result_parts(bytes: &[u8]) -> Option<(TaskId, &[u8])> {
    first(bytes)
}

fn first(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_ne_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_read_back_as_what_they_were_made_of() {
        let call = Call { run: 0x5555_0000_1234, function: 7 };
        let bytes = task(3, call, b"arguments");
        assert_eq!(Order::of(&bytes), Some(Order::Task(3)));
        assert_eq!(task_parts(&bytes), Some((3, call, &b"arguments"[..])));
        assert_eq!(Order::of(&close()), Some(Order::Close));
        assert_eq!(Order::of(&terminate()), Some(Order::Terminate));
        assert_eq!(result_parts(&result(3, b"outcomes")), Some((3, &b"outcomes"[..])));
        assert_eq!(
            (Order::of(b"short"), task_parts(&close()), result_parts(b"")),
            (None, None, None)
        );
    }
}
