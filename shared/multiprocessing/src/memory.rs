//! The bytes of a segment: what they mean, which types they may be, and how processes read and write them.

pub(crate) mod cell;
pub(crate) mod element;
pub(crate) mod layout;
