//! The bytes of a segment: what they mean, which types they may have, and how they are accessed.

pub(crate) mod cell;
pub(crate) mod element;
pub(crate) mod encoding;
pub(crate) mod layout;
pub(crate) mod state;
