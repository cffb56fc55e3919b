//! How a process ended.

use std::fmt;

use nix::sys::signal::Signal;

/// How a process ended: by itself or by a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The process exited with this code, 0 to 255. A real-time signal, which has no name, is
    /// reported as shells do: 128 plus its number.
    Code(i32),
    /// A signal ended the process.
    Signal {
        /// The signal.
        signal: Signal,
        /// True if the kernel wrote a core file.
        core_dumped: bool,
    },
}

impl Exit {
    /// Returns true if the process exited with code 0.
    pub fn is_success(self) -> bool {
        self == Self::Code(0)
    }

    /// Returns true if this signal ended the process.
    pub fn is_signal(self, expected: Signal) -> bool {
        matches!(self, Self::Signal { signal, .. } if signal == expected)
    }

    /// Returns the exit caused by the signal with this number. Real-time signals have no names:
    /// they become codes, as in shells.
    pub(crate) fn by_signal(number: i32, core_dumped: bool) -> Self {
        match Signal::try_from(number) {
            Ok(signal) => Self::Signal { signal, core_dumped },
            Err(_) => Self::Code(128 + number),
        }
    }

    /// Returns the exit that a wait status describes.
    fn from_status(status: i32) -> Self {
        if libc::WIFEXITED(status) {
            Self::Code(libc::WEXITSTATUS(status))
        } else {
            Self::by_signal(libc::WTERMSIG(status), libc::WCOREDUMP(status))
        }
    }
}

impl Exit {
    /// Returns the wait status that [`from_status`](Self::from_status) turns into this value.
    fn status(self) -> i32 {
        match self {
            Self::Code(code) => (code & 0xff) << 8,
            Self::Signal { signal, core_dumped } => {
                signal as i32 | if core_dumped { 0x80 } else { 0 }
            }
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

/// Encodes the end of a process as one number, for messages.
pub(crate) mod as_status {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::Exit;

    pub(crate) fn serialize<S: Serializer>(exit: &Exit, serializer: S) -> Result<S::Ok, S::Error> {
        exit.status().serialize(serializer)
    }

    pub(crate) fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<Exit, D::Error> {
        i32::deserialize(deserializer).map(Exit::from_status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_status_reads_back_as_the_end_it_was_made_from() {
        let signals = Signal::iterator().flat_map(|signal| {
            [false, true].map(|core_dumped| Exit::Signal { signal, core_dumped })
        });
        for exit in (0..256).map(Exit::Code).chain(signals) {
            assert_eq!(Exit::from_status(exit.status()), exit);
        }
    }
}
