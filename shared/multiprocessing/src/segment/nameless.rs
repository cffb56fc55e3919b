//! Objects without a segment: only a process and the children that it forks share them.

use std::num::NonZeroUsize;

use super::{Plan, SegmentError, initialise, prepare_process};
use crate::memory::element::{AtomicElement, Shareable};
use crate::memory::layout::{Object, ObjectKind, kinds};
use crate::sync::condition::ConditionLock;
use crate::sync::primitive::Primitive;
use crate::sys::mapping::{Mapping, Place};
use crate::sys::name::SegmentName;

/// Returns a new object of this kind, of which `P` is the handle.
fn object<P: Primitive>(kind: ObjectKind, size: P::Size) -> Result<(Place, Object), SegmentError> {
    let name = SegmentName::nameless();
    let (_, namespaces) = prepare_process(&name)?;
    let plan = Plan::new().object::<P>(name.as_str(), kind, size);
    let (mut objects, _) = plan.laid_out().map_err(SegmentError::Plan)?;
    let (Some(object), Some(head)) = (objects.pop(), plan.heads().next()) else {
        return Err(SegmentError::Plan("it has no object".to_owned()));
    };
    // An array may have no elements, a mapping has at least one byte.
    let bytes = NonZeroUsize::new(object.bytes).unwrap_or(NonZeroUsize::MIN);
    let mapping = Mapping::nameless(bytes, namespaces)
        .map_err(|_| SegmentError::NoSpace { bytes: object.bytes })?;
    let place = Place::whole(&mapping).part(0, object.bytes);
    initialise(&name, &place, &object, head)?;
    Ok((place, object))
}

macro_rules! constructors {
    ($(
        $(#[$_doc:meta])*
        $_code:literal: $module:ident::$kind:ident $(<$type:ident: $bound:ident>)?, $_shape:ident,
        $_method:ident($($size:ident: $size_type:ty)?) $(with ($with:ident: $with_type:ty))?;
    )*) => {$(
        impl $(<$type: $bound>)? crate::sync::$module::$kind $(<$type>)? {
            /// Creates one that belongs to no segment. Only this process and the children that it
            /// forks from now on share it. It has no name, so nothing remains when they end.
            /// [`Plan`](crate::Plan) describes the argument, if there is one.
            ///
            /// # Errors
            /// [`SegmentError::Plan`] if the size is impossible, [`SegmentError::NoSpace`] if the
            /// kernel has no room for it.
            #[allow(private_bounds)] // `ConditionLock` is an implementation detail of both locks.
            pub fn new($($size: $size_type)? $($with: $with_type)?) -> Result<Self, SegmentError> {
                let (place, object) = object::<Self>(ObjectKind::$kind, ($($size)?))?;
                let object = Self::open(place, &object $(, $with)?);
                object.ok_or_else(|| SegmentError::Plan("the object does not fit".to_owned()))
            }
        }
    )*};
}
kinds!(constructors);
