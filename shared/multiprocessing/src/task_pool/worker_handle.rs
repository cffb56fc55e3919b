//! The dispatcher's handle to one worker: the connection to it and its tasks in flight.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;

use super::in_flight::InFlight;
use super::message::{QueuedTask, parse_result};
use super::progress::Progress;
use super::worker::READY;
use crate::pipe::{Connection, PipeError, pipe};
use crate::process::Process;

pub(super) struct WorkerHandle {
    /// `None` once receiving has failed, because the worker is ending.
    connection: Option<Connection>,
    /// True once the worker has finished a task.
    pub(super) has_worked: bool,
    /// How many more tasks may be sent to the worker.
    tasks_left: u64,
    pub(super) in_flight: InFlight,
    /// True if the worker has finished a task since [`Workers`](super::workers::Workers) last
    /// asked.
    pub(super) has_progressed: bool,
    /// True once the worker was killed because its task had overrun the limit.
    pub(super) has_overrun: bool,
}

impl WorkerHandle {
    /// Starts a worker that runs at most this many tasks. `work` is the body of its process.
    pub(super) fn start(
        progress: &Progress,
        tasks: u64,
        work: impl FnOnce(&Connection) -> i32,
    ) -> Result<(Process, Self), Errno> {
        let in_flight = InFlight::new(progress);
        let (here, there) = pipe().map_err(|error| match error {
            PipeError::System(errno) => errno,
            _ => Errno::EIO,
        })?;
        let process =
            Process::fork_with(there, |there| work(&there)).map_err(|error| error.errno())?;
        let handle = Self {
            connection: Some(here),
            has_worked: false,
            tasks_left: tasks,
            in_flight,
            has_progressed: false,
            has_overrun: false,
        };
        Ok((process, handle))
    }

    /// Returns a descriptor that is readable when the worker has sent a message, or `None` once the
    /// worker has closed its end.
    pub(super) fn source(&self) -> Option<BorrowedFd<'_>> {
        self.connection.as_ref().map(Connection::as_fd)
    }

    /// Returns true if a task of this many bytes may be sent once the worker is ready.
    pub(super) fn accepts(&self, bytes: usize) -> bool {
        self.connection.is_some()
            && !self.has_overrun
            && self.tasks_left > 0
            && self.in_flight.accepts(bytes)
    }

    /// Sends a task that it [`accepts`](Self::accepts).
    ///
    /// On failure it returns the task, with the error or with `None` if the socket has no room.
    pub(super) fn send(&mut self, task: QueuedTask) -> Result<(), (QueuedTask, Option<PipeError>)> {
        let Some(connection) = &self.connection else {
            return Err((task, Some(PipeError::Closed)));
        };
        let sent = self.in_flight.send(connection, task);
        match &sent {
            Ok(()) => self.tasks_left -= 1,
            // The worker has just ended. Its earlier messages are still to be received.
            Err((_, Some(PipeError::Closed))) => self.tasks_left = 0,
            Err(_) => {}
        }
        sent
    }

    /// Takes back all tasks that have not begun.
    pub(super) fn take_back(&mut self) -> Vec<QueuedTask> {
        let tasks = self.in_flight.take_back();
        self.tasks_left += tasks.len() as u64;
        tasks
    }

    /// Receives the messages that the worker has sent. Sets `is_ready` if the worker has reported
    /// it, and returns the results.
    pub(super) fn receive(&mut self, is_ready: &mut bool) -> Vec<Vec<u8>> {
        let mut results = Vec::new();
        while let Some(connection) = &self.connection {
            match connection.recv_bytes_timeout(Duration::ZERO) {
                Ok(Some(message)) if message == READY => *is_ready = true,
                Ok(Some(message)) => {
                    if parse_result(&message).is_some_and(|(id, _)| self.in_flight.complete(id)) {
                        (self.has_worked, self.has_progressed) = (true, true);
                        results.push(message);
                    }
                }
                Ok(None) => break,
                // The worker is ending. Its process descriptor reports the end.
                Err(_) => self.connection = None,
            }
        }
        results
    }
}
