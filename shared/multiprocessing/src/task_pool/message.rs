//! Messages between the processes of a task pool, encoded as bytes. The dispatcher forwards the
//! owner's tasks to workers, and the workers' results to the owner, without decoding them.

use super::function::Call;

/// Number of a task, in the order of submission, from 1.
pub(super) type TaskId = u64;

/// A task that no worker has started: its id, and the request that carries it to a worker.
pub(super) type QueuedTask = (TaskId, Vec<u8>);

/// Value in place of a task id: the owner submits no more tasks.
const CLOSE: TaskId = 0;
/// Value in place of a task id: the pool ends at once.
const TERMINATE: TaskId = u64::MAX;
/// Value in place of a task id: the id of a task to be cancelled follows.
const CANCEL: TaskId = u64::MAX - 1;
/// In place of outcomes, which begin with another byte: the task is not cancelled.
pub(super) const NOT_CANCELLED: &[u8] = &[u8::MAX];

/// A request of the owner to its dispatcher.
#[derive(Debug, PartialEq)]
pub(super) enum Request {
    Task(TaskId),
    Cancel(TaskId),
    Close,
    Terminate,
}

impl Request {
    /// Parses a request. Returns `None` if the bytes are too short.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        Some(match first(bytes)? {
            (CLOSE, _) => Self::Close,
            (TERMINATE, _) => Self::Terminate,
            (CANCEL, task) => Self::Cancel(first(task)?.0),
            (task, _) => Self::Task(task),
        })
    }
}

/// Encodes the request to accept no more tasks.
pub(super) fn close() -> [u8; 8] {
    CLOSE.to_ne_bytes()
}

/// Encodes the request to end at once.
pub(super) fn terminate() -> [u8; 8] {
    TERMINATE.to_ne_bytes()
}

/// Encodes the request to cancel a task.
pub(super) fn cancel(id: TaskId) -> Vec<u8> {
    [CANCEL.to_ne_bytes(), id.to_ne_bytes()].concat()
}

/// Encodes the request to run a task.
pub(super) fn task(id: TaskId, call: Call, arguments: &[u8]) -> Vec<u8> {
    [&id.to_ne_bytes(), &call.run.to_ne_bytes(), &call.function.to_ne_bytes(), arguments].concat()
}

/// Parses a task. Returns `None` if the bytes are too short.
pub(super) fn parse_task(bytes: &[u8]) -> Option<(TaskId, Call, &[u8])> {
    let (id, rest) = first(bytes)?;
    let (run, rest) = first(rest)?;
    let (function, arguments) = first(rest)?;
    Some((id, Call { run, function }, arguments))
}

/// Encodes the result of a task.
///
/// Empty outcomes announce that the next message holds the outcomes of this task, and that they are
/// so large that receiving them may fail.
pub(super) fn result(id: TaskId, outcomes: &[u8]) -> Vec<u8> {
    [&id.to_ne_bytes(), outcomes].concat()
}

/// Encodes the answer that a task is not cancelled, because it has begun.
pub(super) fn not_cancelled(id: TaskId) -> Vec<u8> {
    result(id, NOT_CANCELLED)
}

/// Parses a result. Returns `None` if the bytes are too short.
pub(super) fn parse_result(bytes: &[u8]) -> Option<(TaskId, &[u8])> {
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
    fn messages_parse_back_to_the_values_they_encode() {
        let call = Call { run: 0x5555_0000_1234, function: 7 };
        let bytes = task(3, call, b"arguments");
        assert_eq!(Request::parse(&bytes), Some(Request::Task(3)));
        assert_eq!(parse_task(&bytes), Some((3, call, &b"arguments"[..])));
        assert_eq!(Request::parse(&cancel(3)), Some(Request::Cancel(3)));
        assert_eq!(Request::parse(&close()), Some(Request::Close));
        assert_eq!(Request::parse(&terminate()), Some(Request::Terminate));
        assert_eq!(parse_result(&result(3, b"outcomes")), Some((3, &b"outcomes"[..])));
        assert_eq!(
            (Request::parse(b"short"), parse_task(&close()), parse_result(b"")),
            (None, None, None)
        );
    }
}
