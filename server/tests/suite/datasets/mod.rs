//! TODO datasets

mod draw;
mod typed;
