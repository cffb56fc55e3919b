//! Messages between the processes of a task pool: a number, which usually is the id of a task, and
//! bytes. The dispatcher forwards the owner's tasks to workers, and the workers' results to the
//! owner, without decoding them.

use super::error::TaskError;
use super::function::{Call, failure};

/// Number of a task, in the order of submission, from 1.
pub(super) type TaskId = u64;

/// The id of a task, and the message that carries it to a worker.
pub(super) type QueuedTask = (TaskId, Vec<u8>);

/// In place of a task id: there is no task.
pub(super) const NO_TASK: TaskId = 0;
/// In place of a task id: the pool ends at once.
pub(super) const TERMINATE: TaskId = u64::MAX;
/// In place of a task id: the id of a task to be cancelled follows.
pub(super) const CANCEL: TaskId = u64::MAX - 1;
/// In place of a task id: the owner submits no more tasks.
pub(super) const CLOSE: TaskId = u64::MAX - 2;
/// In place of outcomes, which begin with another byte: the task is not cancelled, because it has
/// begun.
pub(super) const NOT_CANCELLED: &[u8] = &[u8::MAX];
/// In place of outcomes: the next message holds the outcomes of this task, and they are so large
/// that receiving them may fail.
pub(super) const ANNOUNCED: &[u8] = &[];

/// Encodes a request to the dispatcher, or the result of a task from its id and outcomes.
pub(super) fn message(number: u64, rest: &[u8]) -> Vec<u8> {
    [&number.to_ne_bytes(), rest].concat()
}

/// Encodes the result of a task that failed for all arguments.
pub(super) fn failed(id: TaskId, error: &TaskError) -> Vec<u8> {
    message(id, &failure(error))
}

/// Splits a message into its number and the rest. Returns `None` if it is too short.
pub(super) fn parse(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u64::from_ne_bytes(*number), rest))
}

/// Encodes the request to run a task.
pub(super) fn task(id: TaskId, call: Call, arguments: &[u8]) -> Vec<u8> {
    [&id.to_ne_bytes(), &call.run.to_ne_bytes(), &call.function.to_ne_bytes(), arguments].concat()
}

/// Parses a task. Returns `None` if the bytes are too short.
pub(super) fn parse_task(bytes: &[u8]) -> Option<(TaskId, Call, &[u8])> {
    let (id, rest) = parse(bytes)?;
    let (run, rest) = parse(rest)?;
    let (function, arguments) = parse(rest)?;
    Some((id, Call { run, function }, arguments))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_parse_back_to_the_values_they_encode() {
        let call = Call { run: 0x5555_0000_1234, function: 7 };
        let bytes = task(3, call, b"arguments");
        assert_eq!(parse_task(&bytes), Some((3, call, &b"arguments"[..])));
        assert_eq!(parse(&message(3, b"outcomes")), Some((3, &b"outcomes"[..])));
        assert_eq!((parse_task(&message(3, b"")), parse(b"short")), (None, None));
    }
}
