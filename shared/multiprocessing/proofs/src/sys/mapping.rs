//! Places in memory that all threads of a model share.

use std::num::NonZeroUsize;
use std::sync::Arc;

use nix::errno::Errno;

use crate::sys::atomic::{AtomicU32, AtomicU64};
use crate::sys::namespaces::Namespaces;

const WORD: usize = 8;
const LINE: usize = 64;

pub(crate) struct Mapping {
    words: Vec<AtomicU64>,
    /// One number of 32 bits per line, because loom cannot split a word.
    numbers: Vec<AtomicU32>,
}

impl Mapping {
    pub(crate) fn nameless(bytes: NonZeroUsize, _: Namespaces) -> Result<Arc<Self>, Errno> {
        let words = (0..bytes.get() / WORD).map(|_| AtomicU64::new(0)).collect();
        let numbers = (0..bytes.get().div_ceil(LINE)).map(|_| AtomicU32::new(0)).collect();
        Ok(Arc::new(Self { words, numbers }))
    }
}

#[derive(Clone)]
pub(crate) struct Place {
    mapping: Arc<Mapping>,
    start: usize,
    bytes: usize,
}

impl Place {
    /// Returns a place of its own with zeros.
    pub(crate) fn zeros(bytes: usize) -> Self {
        Self::whole(
            &Mapping::nameless(NonZeroUsize::new(bytes).unwrap(), Namespaces::UNKNOWN).unwrap(),
        )
    }

    pub(crate) fn whole(mapping: &Arc<Mapping>) -> Self {
        Self { mapping: mapping.clone(), start: 0, bytes: mapping.words.len() * WORD }
    }

    pub(crate) fn part(&self, offset: usize, bytes: usize) -> Self {
        assert!(offset + bytes <= self.bytes, "part outside of its place");
        Self { mapping: self.mapping.clone(), start: self.start + offset, bytes }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn word(&self, index: usize) -> &AtomicU64 {
        assert!((index + 1) * WORD <= self.bytes, "no such word");
        &self.mapping.words[self.start / WORD + index]
    }

    pub(crate) fn number(&self) -> &AtomicU32 {
        assert!(self.start.is_multiple_of(LINE));
        &self.mapping.numbers[self.start / LINE]
    }
}
