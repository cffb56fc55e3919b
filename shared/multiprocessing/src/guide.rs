//! Pages that belong to no item of this crate. They are there for rustdoc alone, which runs their examples: no program can name
//! these modules.

#[doc = include_str!("../docs/fork-safety.md")]
pub mod fork_safety {}

#[doc = include_str!("../docs/limits.md")]
pub mod limits {}
