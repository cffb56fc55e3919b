//! One worker of a pool of tasks as the dispatcher keeps it: its process, the way to it, and what it has to do.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;

use super::backlog::Backlog;
use super::message::{WaitingTask, result_parts};
use super::offers::Offers;
use super::worker::READY;
use crate::pipe::{Connection, PipeError, pipe};
use crate::process::Process;
use crate::sys::fork::SpawnError;

pub(super) struct Member {
    /// `None` once the worker has closed it: it is about to end.
    connection: Option<Connection>,
    /// Whether it has done a task.
    pub(super) has_worked: bool,
    /// How many more tasks it may be given.
    tasks_left: u64,
    pub(super) backlog: Backlog,
    /// How many tasks the workers had done when this worker was given its first one, or sent its last result.
    pub(super) done_before: u64,
}

impl Member {
    /// Starts a worker that does so many tasks at most; `work` is what it does with its end of the connection.
    pub(super) fn start(
        offers: &Offers,
        tasks: u64,
        work: impl FnOnce(&Connection) -> i32,
    ) -> Result<(Process, Self), Errno> {
        let (here, there) = pipe().map_err(|error| match error {
            PipeError::System(errno) => errno,
            _ => Errno::EIO,
        })?;
        let process =
            Process::spawn_with(there, |there| work(&there)).map_err(|error| match error {
                SpawnError::Fork(errno) => errno,
                // This process has never had another one, but by an initializer's library that is linked in.
                SpawnError::ManyThreads { .. } => Errno::EDEADLK,
                SpawnError::Threads(error) => {
                    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
                }
            })?;
        let member = Self {
            connection: Some(here),
            has_worked: false,
            tasks_left: tasks,
            backlog: Backlog::new(offers.clone()),
            done_before: 0,
        };
        Ok((process, member))
    }

    /// Returns what is readable when something comes from the worker, as long as it may send.
    pub(super) fn source(&self) -> Option<BorrowedFd<'_>> {
        self.connection.as_ref().map(Connection::as_fd)
    }

    /// Returns true if it may be given a task of this many bytes once it is ready.
    pub(super) fn takes(&self, bytes: usize) -> bool {
        self.connection.is_some() && self.tasks_left > 0 && self.backlog.takes(bytes)
    }

    /// Gives it a task that it [`takes`](Self::takes), when all workers have done so many. Or returns it, when there is no room, or with the
    /// reason why it cannot be sent.
    pub(super) fn give(
        &mut self,
        task: WaitingTask,
        done: u64,
    ) -> Result<(), (WaitingTask, Option<PipeError>)> {
        let Some(connection) = &self.connection else {
            return Err((task, Some(PipeError::Closed)));
        };
        if self.backlog.is_empty() {
            self.done_before = done;
        }
        let given = self.backlog.send(connection, task);
        match &given {
            Ok(()) => self.tasks_left -= 1,
            // It has just ended. What it sent before is still to be taken in.
            Err((_, Some(PipeError::Closed))) => self.tasks_left = 0,
            Err(_) => {}
        }
        given
    }

    /// Takes back a task that nobody has begun, but for the very first one.
    pub(super) fn take_back(&mut self) -> Option<WaitingTask> {
        let task = self.backlog.take_back();
        self.tasks_left += u64::from(task.is_some());
        task
    }

    /// Receives what it has sent: that it is ready, and results, which are counted in `done`.
    pub(super) fn receive(&mut self, is_ready: &mut bool, done: &mut u64) -> Vec<Vec<u8>> {
        let mut results = Vec::new();
        while let Some(connection) = &self.connection {
            match connection.recv_bytes_timeout(Duration::ZERO) {
                Ok(Some(message)) if message == READY => *is_ready = true,
                Ok(Some(message)) => {
                    if result_parts(&message).is_some_and(|(id, _)| self.backlog.is_done(id)) {
                        self.has_worked = true;
                        *done += 1;
                        self.done_before = *done;
                        results.push(message);
                    }
                }
                Ok(None) => break,
                // It ends, which the process tells.
                Err(_) => self.connection = None,
            }
        }
        results
    }
}
