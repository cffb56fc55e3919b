//! What a segment shall hold: its objects, their places, and the numbers they start with.

use crate::memory::element::{AtomicElement, Shareable, elements_in};
use crate::memory::layout::{
    ALIGNMENT, ENTRY_BYTES, ElementType, HEADER_BYTES, MAX_OBJECT_NAME_BYTES, Object, ObjectKind,
    ROW_BYTES,
};
use crate::sync::queue;
use crate::sync::semaphore::MOST_UNITS;

/// How many processes can take part in one primitive at the same time, unless [`Plan::participants`] says otherwise.
const PARTICIPANTS: usize = 64;

/// Which objects a segment shall hold. All start as zeros, but for the numbers given here; locks start free.
#[derive(Clone, Debug)]
pub struct Plan {
    objects: Vec<Object>,
    /// The first numbers of each object's record, where it is one.
    heads: Vec<[u64; 2]>,
    participants: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self { objects: Vec::new(), heads: Vec::new(), participants: PARTICIPANTS }
    }
}

impl Plan {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a [`Lock`](crate::Lock).
    pub fn lock(self, name: &str) -> Self {
        self.object(name, ObjectKind::Lock, ElementType::U8, 0)
    }

    /// Adds a [`Value`](crate::Value) with its own lock.
    pub fn value<T: Shareable>(self, name: &str) -> Self {
        self.object(name, ObjectKind::Value, T::ELEMENT, elements_in::<T>())
    }

    /// Adds a [`RawValue`](crate::RawValue).
    pub fn raw_value<T: AtomicElement>(self, name: &str) -> Self {
        self.object(name, ObjectKind::RawValue, T::ELEMENT, 1)
    }

    /// Adds an [`Array`](crate::Array) of `length` elements with its own lock.
    pub fn array<T: Shareable>(self, name: &str, length: usize) -> Self {
        self.object(name, ObjectKind::Array, T::ELEMENT, length.saturating_mul(elements_in::<T>()))
    }

    /// Adds a [`RawArray`](crate::RawArray) of `length` elements.
    pub fn raw_array<T: AtomicElement>(self, name: &str, length: usize) -> Self {
        self.object(name, ObjectKind::RawArray, T::ELEMENT, length)
    }

    /// Makes room for so many processes to take part at the same time in each semaphore, condition, barrier and joinable queue that
    /// is added from here on: hold units, wait, be a party, have tasks in hand. At first it is 64, each takes 64 bytes, and one too many is told.
    pub fn participants(mut self, participants: usize) -> Self {
        self.participants = participants;
        self
    }

    /// Adds an [`Event`](crate::Event), not set.
    pub fn event(self, name: &str) -> Self {
        self.object(name, ObjectKind::Event, ElementType::U32, 1)
    }

    /// Adds an [`RLock`](crate::RLock).
    pub fn rlock(self, name: &str) -> Self {
        self.object(name, ObjectKind::RLock, ElementType::U8, 0)
    }

    /// Adds a [`Condition`](crate::Condition).
    pub fn condition(self, name: &str) -> Self {
        self.record(name, ObjectKind::Condition, [0; 2])
    }

    /// Adds a [`Semaphore`](crate::Semaphore) of so many units, at most `i32::MAX`.
    pub fn semaphore(self, name: &str, units: u64) -> Self {
        self.record(name, ObjectKind::Semaphore, [units, MOST_UNITS])
    }

    /// Adds a [`BoundedSemaphore`](crate::BoundedSemaphore) of so many units, at most `i32::MAX`.
    pub fn bounded_semaphore(self, name: &str, units: u64) -> Self {
        self.record(name, ObjectKind::BoundedSemaphore, [units, units])
    }

    /// Adds a [`Barrier`](crate::Barrier) for so many parties, at least 1.
    pub fn barrier(self, name: &str, parties: usize) -> Self {
        self.record(name, ObjectKind::Barrier, [parties as u64, 0])
    }

    /// Adds a [`Queue`](crate::Queue) of at most `capacity` messages, at least 1.
    pub fn queue<T: Shareable>(self, name: &str, capacity: usize) -> Self {
        let (length, head) = queue::planned::<T>(capacity);
        self.object(name, ObjectKind::Queue, T::ELEMENT, length).starting_with(head)
    }

    /// Adds a [`JoinableQueue`](crate::JoinableQueue) of at most `capacity` messages, at least 1.
    pub fn joinable_queue<T: Shareable>(self, name: &str, capacity: usize) -> Self {
        let (length, head) = queue::planned::<T>(capacity);
        let participants = self.participants;
        self.object(name, ObjectKind::JoinableQueue, T::ELEMENT, length)
            .starting_with(head)
            .with_rows(participants)
    }

    fn record(self, name: &str, kind: ObjectKind, head: [u64; 2]) -> Self {
        let participants = self.participants;
        self.object(name, kind, ElementType::U64, participants).starting_with(head)
    }

    /// Gives the object added last these numbers.
    fn starting_with(mut self, head: [u64; 2]) -> Self {
        if let Some(last) = self.heads.last_mut() {
            *last = head;
        }
        self
    }

    /// Gives the object added last rows that its length does not count.
    fn with_rows(mut self, rows: usize) -> Self {
        if let Some(last) = self.objects.last_mut() {
            // All other bytes are added when the plan is laid out.
            last.bytes = rows.saturating_mul(2 * ROW_BYTES);
        }
        self
    }

    fn object(mut self, name: &str, kind: ObjectKind, element: ElementType, length: usize) -> Self {
        self.objects.push(Object {
            name: name.to_owned(),
            kind,
            element,
            length,
            offset: 0,
            bytes: 0,
        });
        self.heads.push([0; 2]);
        self
    }

    /// The numbers that the objects' records start with, object by object.
    pub(crate) fn heads(&self) -> &[[u64; 2]] {
        &self.heads
    }

    /// Gives every object its place. Returns the objects and the bytes of the whole segment, or what is wrong with the plan.
    pub(crate) fn laid_out(&self) -> Result<(Vec<Object>, usize), String> {
        let mut end = HEADER_BYTES + ENTRY_BYTES * self.objects.len();
        // The system counts file sizes in signed numbers.
        let limit = isize::MAX as usize - ALIGNMENT;
        let mut placed: Vec<Object> = Vec::with_capacity(self.objects.len());
        for (object, head) in self.objects.iter().zip(&self.heads) {
            let name = &object.name;
            if name.is_empty() || name.len() > MAX_OBJECT_NAME_BYTES || name.contains('\0') {
                return Err(format!(
                    "object name {name:?} is not 1 to {MAX_OBJECT_NAME_BYTES} bytes without NUL"
                ));
            }
            if placed.iter().any(|other| other.name == *name) {
                return Err(format!("two objects are named {name:?}"));
            }
            if matches!(object.kind, ObjectKind::Semaphore | ObjectKind::BoundedSemaphore)
                && head[0] > MOST_UNITS
            {
                return Err(format!("semaphore {name:?} has more than {MOST_UNITS} units"));
            }
            if object.kind == ObjectKind::Barrier && !(1..=object.length as u64).contains(&head[0])
            {
                return Err(format!(
                    "barrier {name:?} has {} parties, not 1 to {} participants",
                    head[0], object.length
                ));
            }
            if object.kind.is_queue() && object.length == 0 {
                return Err(format!("queue {name:?} has no room for a message"));
            }
            let too_large = || format!("object {name:?} is too large");
            let bytes = object.kind.bytes(object.element, object.length);
            let bytes =
                bytes.and_then(|bytes| bytes.checked_add(object.bytes)).ok_or_else(too_large)?;
            let offset = end.next_multiple_of(ALIGNMENT);
            end = offset.checked_add(bytes).filter(|&end| end <= limit).ok_or_else(too_large)?;
            placed.push(Object { offset, bytes, ..object.clone() });
        }
        Ok((placed, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_aligned_and_do_not_overlap() {
        let (objects, total) = Plan::new()
            .lock("l")
            .raw_array::<u16>("a", 33)
            .event("e")
            .barrier("b", 3)
            .value::<u8>("v")
            .laid_out()
            .unwrap();
        for pair in objects.windows(2) {
            assert!(pair[0].offset + pair[0].bytes <= pair[1].offset);
        }
        assert!(objects.iter().all(|object| object.offset.is_multiple_of(ALIGNMENT)));
        assert!(objects.iter().all(|object| object.offset + object.bytes <= total));
    }

    #[test]
    fn bad_and_repeated_names_are_refused() {
        for plan in [
            Plan::new().lock(""),
            Plan::new().lock(&"x".repeat(32)),
            Plan::new().lock("a").value::<u8>("a"),
        ] {
            assert!(plan.laid_out().is_err());
        }
    }

    #[test]
    fn the_page_on_limits_tells_the_numbers_of_the_code() {
        let limits = include_str!("../../docs/limits.md");
        assert!(limits.contains(&format!("**{PARTICIPANTS} participants**")));
        assert!(
            limits
                .contains(&format!("Names of objects have at most {MAX_OBJECT_NAME_BYTES} bytes"))
        );
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        for length in [usize::MAX / 4, usize::MAX / 8 - 10, isize::MAX as usize / 8] {
            assert!(Plan::new().raw_array::<u64>("a", length).lock("l").laid_out().is_err());
            assert!(Plan::new().queue::<[u8; 9]>("q", length).lock("l").laid_out().is_err());
        }
    }
}
