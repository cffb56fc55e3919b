//! How a process ended.

use std::fmt;

use nix::sys::signal::Signal;

/// How a process ended: by itself or by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code, 0 to 255. A real-time signal, which has no name, is told as shells do: 128 and its number.
    Code(i32),
    /// A signal ended it.
    Signal {
        /// Which signal.
        signal: Signal,
        /// Whether the kernel wrote a core file.
        core_dumped: bool,
    },
}

impl Exit {
    /// Whether it exited with code 0.
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }

    /// Whether it was ended by this signal.
    pub fn is_signal(self, expected: Signal) -> bool {
        matches!(self, Self::Signal { signal, .. } if signal == expected)
    }

    /// The end that the wait status of a dead process tells of.
    pub(crate) fn from_status(status: i32) -> Self {
        if libc::WIFEXITED(status) {
            return Self::Code(libc::WEXITSTATUS(status));
        }
        let number = libc::WTERMSIG(status);
        match Signal::try_from(number) {
            Ok(signal) => Self::Signal { signal, core_dumped: libc::WCOREDUMP(status) },
            Err(_) => Self::Code(128 + number),
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal { signal, core_dumped: false } => write!(f, "{signal}"),
            Self::Signal { signal, core_dumped: true } => write!(f, "{signal} (core dumped)"),
        }
    }
}
