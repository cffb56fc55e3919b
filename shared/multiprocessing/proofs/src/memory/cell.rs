//! Word-wise access to a [`Place`], like that of the library.

use std::mem::MaybeUninit;
use std::slice;

use multiprocessing::Shareable;

use crate::sys::atomic::{AtomicU32, AtomicU64, Ordering};
use crate::sys::mapping::Place;

pub(crate) const WORD: usize = size_of::<u64>();

/// Returns the number at the start of a line, which is apart from its words.
pub(crate) fn atomic<T>(place: &Place, index: usize) -> &AtomicU32 {
    assert!(size_of::<T>() == 4 && index == 0);
    place.number()
}

pub(crate) fn word(place: &Place, index: usize) -> &AtomicU64 {
    place.word(index)
}

pub(crate) fn read_words<T: Shareable>(place: &Place, first: usize) -> T {
    assert!(size_of::<T>().is_multiple_of(WORD));
    let mut value = MaybeUninit::<T>::zeroed();
    let words = value.as_mut_ptr().cast::<u64>();
    for index in 0..size_of::<T>() / WORD {
        let word = place.word(first + index).load(Ordering::Relaxed);
        // SAFETY: the word is inside the value, which consists of whole words.
        unsafe { words.add(index).write_unaligned(word) };
    }
    // SAFETY: any bytes are a valid `Shareable`.
    unsafe { value.assume_init() }
}

pub(crate) fn write_words<T: Shareable>(place: &Place, first: usize, value: &T) {
    assert!(size_of::<T>().is_multiple_of(WORD));
    // SAFETY: the slice has the bytes of the value, which has no padding.
    let bytes =
        unsafe { slice::from_raw_parts(std::ptr::from_ref(value).cast::<u8>(), size_of::<T>()) };
    for (index, bytes) in bytes.chunks_exact(WORD).enumerate() {
        let word = u64::from_ne_bytes(bytes.try_into().expect("a chunk is a word"));
        place.word(first + index).store(word, Ordering::Relaxed);
    }
}
