//! Tests of the server as a program: every test starts real processes in a directory of its own.
#![allow(clippy::unwrap_used)] // A test that cannot go on panics.

mod datasets;
mod deaths;
mod draw;
mod fairness;
mod harness;
mod inspection;
mod lifecycle;
mod storage;
mod wire;
