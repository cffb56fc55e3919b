//! What the central and its workers are doing, as bytes of the shared memory.

/// What the central as a whole is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// Not every worker accepts yet.
    Starting = 0,
    /// Every worker has accepted connections since the start.
    Serving = 1,
    /// Finishes what has begun and accepts nothing new.
    Draining = 2,
}

impl Phase {
    /// Returns the phase of a stored byte.
    pub fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Self::Starting,
            1 => Self::Serving,
            _ => Self::Draining,
        }
    }
}

/// What one worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum WorkerState {
    /// Dead, and not replaced yet.
    Dead = 0,
    /// Forked, does not accept yet.
    Starting = 1,
    /// Accepts connections.
    Ready = 2,
    /// Finishes its connections within the grace period and accepts no new ones.
    Draining = 3,
    /// Serves its connections until the last one ends and accepts no new ones, because newer
    /// workers have replaced it.
    Retiring = 4,
}

impl WorkerState {
    /// Returns the state of a stored byte.
    pub fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Starting,
            2 => Self::Ready,
            3 => Self::Draining,
            4 => Self::Retiring,
            _ => Self::Dead,
        }
    }

    /// Returns the name of the state.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
            Self::Retiring => "retiring",
        }
    }
}
