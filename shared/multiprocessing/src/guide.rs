//! Pages that belong to no item of this crate. These modules exist only for rustdoc, which also
//! runs the examples of the pages; no program can name them.

#[doc = include_str!("../docs/fork-safety.md")]
pub mod fork_safety {}

#[doc = include_str!("../docs/limits.md")]
pub mod limits {}

#[doc = include_str!("../docs/start-methods.md")]
pub mod start_methods {}
