//! How a process ended.

use std::fmt;

use nix::sys::signal::Signal;
use nix::sys::wait::WaitStatus;

/// How a process ended: by itself or by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// It exited with this code, 0 to 255.
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

    /// The end a wait status tells of, or `None` where the process is still there (stopped, continued, traced).
    pub(crate) fn from_status(status: WaitStatus) -> Option<Self> {
        match status {
            WaitStatus::Exited(_, code) => Some(Self::Code(code)),
            WaitStatus::Signaled(_, signal, core_dumped) => Some(Self::Signal { signal, core_dumped }),
            _ => None,
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
