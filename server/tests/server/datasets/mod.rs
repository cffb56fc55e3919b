//! The main job with complete datasets.

mod draw;
mod typed;
