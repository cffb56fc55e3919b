//! What the pool's processes send each other, all as bytes: the owner's orders to the dispatcher, which it hands on to workers as
//! they are, and results, which it hands back as they are.

use super::function::Call;

/// Which task it is, in the order in which they were given to the pool, from 1.
pub(super) type TaskId = u64;

/// A task that no worker has begun, and the order that gives it to one.
pub(super) type WaitingTask = (TaskId, Vec<u8>);

/// In place of a task: no more will come.
const CLOSE: TaskId = 0;
/// In place of a task: end now.
const TERMINATE: TaskId = u64::MAX;

/// What the owner of a pool tells its dispatcher.
#[derive(Debug, PartialEq)]
pub(super) enum Order {
    Task(TaskId),
    Close,
    Terminate,
}

impl Order {
    /// Of these bytes; `None` when they are none.
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        Some(match first(bytes)? {
            (CLOSE, _) => Self::Close,
            (TERMINATE, _) => Self::Terminate,
            (task, _) => Self::Task(task),
        })
    }
}

/// The order to take no more tasks.
pub(super) fn close() -> [u8; 8] {
    CLOSE.to_ne_bytes()
}

/// The order to end at once.
pub(super) fn terminate() -> [u8; 8] {
    TERMINATE.to_ne_bytes()
}

/// The order to call something with these arguments.
pub(super) fn task(id: TaskId, call: Call, arguments: &[u8]) -> Vec<u8> {
    [&id.to_ne_bytes(), &call.run.to_ne_bytes(), &call.function.to_ne_bytes(), arguments].concat()
}

/// A task taken apart; `None` when the bytes are none.
pub(super) fn task_parts(bytes: &[u8]) -> Option<(TaskId, Call, &[u8])> {
    let (id, rest) = first(bytes)?;
    let (run, rest) = first(rest)?;
    let (function, arguments) = first(rest)?;
    Some((id, Call { run, function }, arguments))
}

/// What came of a task. Without outcomes: they follow in the next message, and are so large that receiving them may fail.
pub(super) fn result(id: TaskId, outcomes: &[u8]) -> Vec<u8> {
    [&id.to_ne_bytes(), outcomes].concat()
}

/// A result taken apart; `None` when the bytes are none.
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
