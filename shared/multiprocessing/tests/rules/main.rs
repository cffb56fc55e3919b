//! Rules that the pages, the examples, the public interface and the soaks of this crate keep.
#![allow(clippy::unwrap_used)]

mod conformance;
mod examples;
mod layers;
mod no_hook;
mod platform;
mod public_surface;
mod soaks;
mod test_names;
