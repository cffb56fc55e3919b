//! Tests of the lottery crate through its public interface, one module per dialect or subject.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../../../fuzz/corpus.rs"]
mod corpus;

mod counted;
mod documents;
mod echo;
mod every_dialect;
mod file_rows;
mod framed;
mod fuzz;
mod keyed;
mod line;
mod one_place;
mod recognize;
mod scan;
mod sentinel;
mod typed;
