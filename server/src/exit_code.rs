//! The exit codes of the program.

/// The exit codes of the server, as in the table of docs/operator.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Done, or stopped gracefully.
    Done = 0,
    /// Failed.
    Failed = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// The storage cannot be used any more, or a worker cannot serve, so the central stopped.
    WorkerCannotServe = 3,
    /// The workers of a slot kept crashing.
    CrashLoop = 4,
    /// The address is in use, not available on this machine, or not permitted.
    Address = 5,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}
