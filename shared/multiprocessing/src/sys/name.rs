//! The names of segments, which are those of their entries in `/dev/shm`.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The directory in which Linux shows POSIX shared memory.
pub(crate) const DIRECTORY: &str = "/dev/shm";

/// Longest name in bytes (`NAME_MAX` of Linux).
const MAX_BYTES: usize = 255;

/// A valid name of a segment: 1 to 255 bytes of ASCII letters, digits, `.`, `_` and `-`, not
/// starting with a dot. It is the name of the entry in `/dev/shm`, without the leading slash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SegmentName(String);

/// The error of a text that is not a valid [`SegmentName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "segment name {0:?} is invalid: it needs 1 to 255 of A-Z a-z 0-9 . _ - and no dot in front"
)]
pub struct InvalidName(String);

impl SegmentName {
    /// Checks the text and returns it as a name.
    pub fn new(text: &str) -> Result<Self, InvalidName> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let valid = (1..=MAX_BYTES).contains(&text.len())
            && !text.starts_with('.')
            && text.bytes().all(allowed);
        if valid { Ok(Self(text.to_owned())) } else { Err(InvalidName(text.to_owned())) }
    }

    /// Returns a new name that starts with `prefix`: a dot, the pid and a random number follow. No
    /// other process gets the same one. Pass it to the processes that open the segment. The prefix
    /// finds what a killed process has left: see [`reclaim_all`](crate::Segment::reclaim_all).
    ///
    /// ```
    /// use multiprocessing::SegmentName;
    ///
    /// let name = SegmentName::unique("jobs")?;
    /// assert!(name.as_str().starts_with("jobs."));
    /// assert_ne!(SegmentName::unique("jobs")?, name);
    /// # Ok::<(), multiprocessing::InvalidName>(())
    /// ```
    ///
    /// # Errors
    /// If `prefix` has other characters than a name may have, or over 200 bytes or so.
    pub fn unique(prefix: &str) -> Result<Self, InvalidName> {
        // The keys of every `RandomState` differ, and the first ones of a process are random. A
        // forked child has those of its parent, but another pid.
        let random = RandomState::new().hash_one(prefix);
        Self::new(&format!("{prefix}.{}-{random:016x}", std::process::id()))
    }

    /// Returns what errors name instead of a segment, for an object that belongs to none.
    pub(crate) fn nameless() -> Self {
        Self("nameless".to_owned())
    }

    /// Returns the name, without a slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the path of the entry in `/dev/shm`.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(DIRECTORY).join(&self.0)
    }
}

impl TryFrom<String> for SegmentName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        Self::new(&text)
    }
}

impl From<SegmentName> for String {
    fn from(name: SegmentName) -> Self {
        name.0
    }
}

impl fmt::Display for SegmentName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_slashes_nul_blanks_or_nothing_are_refused() {
        for text in ["", "a/b", "/a", "a\0b", "a b", ".hidden", "ñ", &"x".repeat(256)] {
            assert_eq!(SegmentName::new(text), Err(InvalidName(text.to_owned())));
        }
    }

    #[test]
    fn a_name_is_an_entry_of_dev_shm() {
        let name = SegmentName::new("lottery.12345-a_b").unwrap();
        assert_eq!(name.path(), PathBuf::from("/dev/shm/lottery.12345-a_b"));
    }
}
