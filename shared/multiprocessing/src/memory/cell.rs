//! Typed access to places in shared memory: atomics, word-wise copies, and slices for the holder of
//! the lock.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU64, Ordering};
use std::{ptr, slice};

use zerocopy::FromBytes;

use crate::memory::element::{AtomicElement, Shareable, sealed::Atomic};
use crate::sys::mapping::Place;

/// Bytes of a word. Values are copied in words.
pub(crate) const WORD: usize = size_of::<u64>();

/// Returns the atomic at element `index` of the place.
///
/// # Panics
/// If the place has no such element.
pub(crate) fn atomic<T: AtomicElement>(place: &Place, index: usize) -> &<T as Atomic>::Cell {
    let at = index.checked_mul(size_of::<T>()).filter(|at| at + size_of::<T>() <= place.bytes());
    let at = at.unwrap_or_else(|| panic!("element {index} of {}", place.bytes() / size_of::<T>()));
    let element = place.start().wrapping_add(at).cast::<<T as Atomic>::Cell>();
    assert!(element.is_aligned(), "element not aligned");
    // SAFETY: the cell is inside the place and aligned, both checked above. It is the atomic of the
    // standard library with the size of `T` (sealed trait), for which any bytes are valid. All
    // processes access this memory through atomics only, because the directory gives a raw object
    // only to raw handles.
    unsafe { &*element }
}

/// Returns `count` words of the place, from word `first` on.
///
/// # Panics
/// If the place has fewer words. Places come from the layout, so that would be a bug of this crate.
#[inline]
fn words(place: &Place, first: usize, count: usize) -> &[AtomicU64] {
    let end = first.saturating_add(count).saturating_mul(WORD);
    assert!(
        end <= place.bytes() && place.start().cast::<AtomicU64>().is_aligned(),
        "no such words"
    );
    let start = place.start().wrapping_add(first * WORD).cast::<AtomicU64>();
    // SAFETY: the words are inside the place and aligned, both checked above. Any bytes are valid
    // atomics, and all processes access words through atomics only. The place stays mapped while it
    // is borrowed.
    unsafe { slice::from_raw_parts(start, count) }
}

/// Copies a value that starts at word `first` out of the place, word by word. If another process
/// writes at the same time, the bytes may belong to two different values: the caller must detect
/// that (see `copies`).
pub(crate) fn read_words<T: Shareable>(place: &Place, first: usize) -> T {
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: the slice has as many bytes as the value, all initialised. `Shareable` has no padding
    // that writing could leave out, and the value is not used while the slice lives.
    let bytes =
        unsafe { slice::from_raw_parts_mut(value.as_mut_ptr().cast::<u8>(), size_of::<T>()) };
    copy_out(place, first, bytes);
    // SAFETY: every byte is initialised, and any bytes are a valid `Shareable`.
    unsafe { value.assume_init() }
}

fn bytes_of<T: Shareable>(value: &T) -> &[u8] {
    // SAFETY: the slice has as many bytes as the value, all initialised, because `Shareable` has no
    // padding. Nothing in the value changes through a shared reference, and the slice borrows it.
    unsafe { slice::from_raw_parts(ptr::from_ref(value).cast::<u8>(), size_of::<T>()) }
}

/// Copies a value into the place, from word `first` on, word by word.
pub(crate) fn write_words<T: Shareable>(place: &Place, first: usize, value: &T) {
    copy_in(place, first, bytes_of(value));
}

/// Fills the bytes from the place, from word `first` on, word by word.
#[inline]
pub(crate) fn copy_out(place: &Place, first: usize, bytes: &mut [u8]) {
    let words = words(place, first, bytes.len().div_ceil(WORD));
    for (chunk, word) in bytes.chunks_mut(WORD).zip(words) {
        let word = word.load(Ordering::Relaxed).to_ne_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
}

/// Copies bytes into the place, from word `first` on, word by word. The last word is padded.
#[inline]
pub(crate) fn copy_in(place: &Place, first: usize, bytes: &[u8]) {
    let words = words(place, first, bytes.len().div_ceil(WORD));
    for (chunk, word) in bytes.chunks(WORD).zip(words) {
        let mut padded = [0; WORD];
        padded[..chunk.len()].copy_from_slice(chunk);
        word.store(u64::from_ne_bytes(padded), Ordering::Relaxed);
    }
}

/// Copies the elements, of `size` bytes each, out of the place, for inspection. Each is read in one
/// step, so that a number that is changing is never torn.
pub(crate) fn read_elements(place: &Place, size: usize) -> Vec<u8> {
    fn read<T: AtomicElement>(place: &Place) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(place.bytes());
        for index in 0..place.bytes() / size_of::<T>() {
            bytes.extend_from_slice(bytes_of(&T::load(atomic::<T>(place, index))));
        }
        bytes
    }
    match size {
        8 => read::<u64>(place),
        4 => read::<u32>(place),
        2 => read::<u16>(place),
        _ => read::<u8>(place),
    }
}

/// Copies the first bytes of the place, word by word, for inspection of values that are copied in
/// words.
pub(crate) fn read_bytes(place: &Place, bytes: usize) -> Vec<u8> {
    let words = words(place, 0, bytes.div_ceil(WORD)).iter();
    words.flat_map(|word| word.load(Ordering::Relaxed).to_ne_bytes()).take(bytes).collect()
}

/// Copies bytes into the place. For the creator, before any other process knows the segment.
pub(crate) fn write_bytes(place: &Place, bytes: &[u8]) {
    for (index, byte) in bytes.iter().enumerate() {
        atomic::<u8>(place, index).store(*byte, Ordering::Relaxed);
    }
}

/// Returns a word that is not an object of its own.
#[inline]
pub(crate) fn word(place: &Place, index: usize) -> &AtomicU64 {
    &words(place, index, 1)[0]
}

/// Reads a plain structure from the start of the place.
pub(crate) fn read_structure<S: FromBytes>(place: &Place) -> Option<S> {
    let fits = place.bytes() >= size_of::<S>();
    fits.then(|| read_elements(&place.part(0, size_of::<S>()), 1))
        .and_then(|bytes| S::read_from_bytes(&bytes).ok())
}

/// Returns the elements of the place. A caller that makes a reference of the pointer must hold the
/// lock that guards the place, so that no other thread or process reads or writes through
/// references at the same time. (Inspection copies the bytes by a system call and forms no
/// reference.)
pub(crate) fn elements<T: Shareable>(place: &Place) -> *mut [T] {
    let start = place.start().cast::<T>();
    assert!(start.is_aligned() && size_of::<T>() > 0, "array elements must be sized and aligned");
    std::ptr::slice_from_raw_parts_mut(start, place.bytes() / size_of::<T>())
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::{Plan, Segment, SegmentName};

    #[test]
    fn words_outside_of_their_place_are_refused() {
        let name = SegmentName::new(&format!("mp-unit.cell.words.{}", std::process::id())).unwrap();
        let segment = Segment::create(&name, &Plan::new().raw_array::<u64>("words", 4)).unwrap();
        let place = segment.place(&segment.objects()[0]);
        write_words(&place, 2, &[7_u64, 8]);
        assert_eq!(read_words::<[u64; 3]>(&place, 1), [0, 7, 8]);

        let got = |place, first, count| {
            catch_unwind(AssertUnwindSafe(|| words(place, first, count).len())).ok()
        };
        assert_eq!(
            [got(&place, 0, 4), got(&place, 3, 1), got(&place, 4, 0)],
            [Some(4), Some(1), Some(0)]
        );
        for (first, count) in [(0, 5), (3, 2), (4, 1), (usize::MAX, 1), (1, usize::MAX)] {
            assert_eq!(got(&place, first, count), None, "{count} words from word {first} on");
        }
        assert_eq!(got(&place.part(1, 16), 0, 1), None, "not aligned");
    }
}
