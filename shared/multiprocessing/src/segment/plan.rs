//! The plan of a segment: its objects, their places, and the numbers they start with.

use crate::memory::element::{AtomicElement, Shareable};
use crate::memory::layout::{
    ALIGNMENT, ENTRY_BYTES, HEADER_BYTES, MAX_OBJECT_NAME_BYTES, Object, ObjectKind, ROW_BYTES,
    fingerprint, is_structure, kinds,
};
use crate::sync::primitive::{Participants, Planned, Primitive};

/// The objects of a segment to be created. All start as zeros except for the numbers given here.
/// Locks start free.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    objects: Vec<PlannedObject>,
    participants: Participants,
}

#[derive(Clone, Debug)]
struct PlannedObject {
    /// Its offset is not set, and its bytes are only those of the rows that its length does not
    /// count.
    object: Object,
    /// First numbers of its record, if it has one.
    head: [u64; 2],
    /// Why the object is impossible.
    problem: Option<String>,
}

impl Plan {
    /// Returns a plan without objects.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes room for this many processes to take part at the same time in each semaphore,
    /// condition, barrier and joinable queue that is added from here on: to hold units, wait, be a
    /// party, have tasks in progress. Each takes 64 bytes, and one too many gets an error.
    ///
    /// The default is 64, or as many as the units of a semaphore or the parties of a barrier if
    /// those are more, at most 1,024.
    pub fn participants(mut self, participants: usize) -> Self {
        self.participants = Participants(Some(participants));
        self
    }

    /// Adds an object of this kind, of which `P` is the handle.
    pub(super) fn object<P: Primitive>(
        mut self,
        name: &str,
        kind: ObjectKind,
        size: P::Size,
    ) -> Self {
        let planned = P::planned(size, self.participants);
        let problem = planned.as_ref().err().cloned();
        let Planned { length, rows, head } = planned.unwrap_or_else(|_| Planned::elements(0));
        // The bytes of the rest are added when the plan is laid out.
        let bytes = rows.saturating_mul(2 * ROW_BYTES);
        let name = name.to_owned();
        let schema = P::schema();
        let fingerprint = schema.as_deref().map_or(0, fingerprint);
        let fields = schema.filter(|schema| is_structure(schema));
        let element = P::ELEMENT;
        let object = Object { name, kind, element, length, offset: 0, bytes, fields, fingerprint };
        self.objects.push(PlannedObject { object, head, problem });
        self
    }

    /// Returns the numbers that the objects' records start with, in the order of the objects.
    pub(super) fn heads(&self) -> impl Iterator<Item = &[u64; 2]> {
        self.objects.iter().map(|planned| &planned.head)
    }

    /// Assigns a place to every object. Returns the objects and the bytes of the whole segment,
    /// which ends with the schemas in the same order. The error says what is wrong with the plan.
    pub(crate) fn laid_out(&self) -> Result<(Vec<Object>, usize), String> {
        let mut end = HEADER_BYTES + ENTRY_BYTES * self.objects.len();
        // File sizes are signed.
        let limit = isize::MAX as usize - ALIGNMENT;
        let mut placed: Vec<Object> = Vec::with_capacity(self.objects.len());
        for PlannedObject { object, problem, .. } in &self.objects {
            let name = &object.name;
            if name.is_empty() || name.len() > MAX_OBJECT_NAME_BYTES || name.contains('\0') {
                return Err(format!(
                    "object name {name:?} is not 1 to {MAX_OBJECT_NAME_BYTES} bytes without NUL"
                ));
            }
            if placed.iter().any(|other| other.name == *name) {
                return Err(format!("two objects are named {name:?}"));
            }
            if let Some(problem) = problem {
                return Err(format!("object {name:?} {problem}"));
            }
            let too_large = || format!("object {name:?} is too large");
            let bytes = object.kind.bytes(object.element, object.length);
            let bytes =
                bytes.and_then(|bytes| bytes.checked_add(object.bytes)).ok_or_else(too_large)?;
            let offset = end.next_multiple_of(ALIGNMENT);
            end = offset.checked_add(bytes).filter(|&end| end <= limit).ok_or_else(too_large)?;
            placed.push(Object { offset, bytes, ..object.clone() });
        }
        let schemas: usize =
            placed.iter().filter_map(|object| object.fields.as_ref()).map(String::len).sum();
        Ok((placed, end + schemas))
    }
}

macro_rules! additions {
    ($(
        $(#[$doc:meta])*
        $_code:literal: $module:ident::$kind:ident $(<$type:ident: $bound:ident>)?, $_shape:ident,
        $method:ident($($size:ident: $size_type:ty)?) $(with ($($_with:tt)*))?;
    )*) => {
        /// One method for each kind of object.
        impl Plan {
            $(
                $(#[$doc])*
                pub fn $method $(<$type: $bound>)? (
                    self, name: &str $(, $size: $size_type)?
                ) -> Self {
                    self.object::<crate::sync::$module::$kind $(<$type>)?>(
                        name,
                        ObjectKind::$kind,
                        ($($size)?),
                    )
                }
            )*
        }
    };
}
kinds!(additions);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::primitive::{MOST_PARTICIPANTS, PARTICIPANTS};

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
    fn the_page_on_limits_states_the_numbers_of_the_code() {
        let limits = include_str!("../../docs/limits.md");
        assert!(limits.contains(&format!("**{PARTICIPANTS} participants**")));
        assert_eq!(MOST_PARTICIPANTS, 1_024);
        assert!(limits.contains("up to 1,024 by itself"));
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
