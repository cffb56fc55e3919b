//! Why the storage cannot be used any more, as a byte of the shared memory.

use std::fmt;

/// Why the storage cannot be used any more. Nothing is acknowledged after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageFailure(u8);

/// Code of the first of [`StorageFailure::NAMES`].
const FIRST_NAME: u8 = 2;
/// Code of the segment, whose name is in `/dev/shm`.
const SEGMENT: u8 = FIRST_NAME + StorageFailure::NAMES.len() as u8;

impl StorageFailure {
    /// A sync failed.
    pub const NOT_DURABLE: Self = Self(1);
    /// The entry of the shared memory is gone.
    pub const SEGMENT: Self = Self(SEGMENT);
    /// The directory and the files that can be lost. The shared memory has their positions, so new
    /// ones go to the end.
    pub const NAMES: [&str; 10] = [
        "the directory",
        "bets.csv",
        "winners.log",
        "journal",
        "finished",
        "lock",
        "draw.csv",
        "checkpoints",
        "sessions",
        "winners.idx",
    ];

    /// Returns the failure with this code; `None` for 0.
    pub fn of(code: u8) -> Option<Self> {
        (code != 0).then_some(Self(code))
    }

    /// Returns the loss of one of [`NAMES`](Self::NAMES).
    pub fn lost(name: &str) -> Self {
        let position = Self::NAMES.iter().position(|known| *known == name);
        Self(FIRST_NAME + position.unwrap_or(0) as u8)
    }

    /// Returns the code of the shared memory.
    pub fn code(self) -> u8 {
        self.0
    }
}

impl fmt::Display for StorageFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            SEGMENT => f.write_str("another program deleted or replaced the shared memory"),
            code @ FIRST_NAME..SEGMENT => {
                let name = Self::NAMES[usize::from(code - FIRST_NAME)];
                write!(f, "another program deleted, replaced or shortened {name} of the storage")
            }
            _ => f.write_str(
                "the storage failed to become durable; restart the central to recover it",
            ),
        }
    }
}
