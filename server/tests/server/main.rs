//! Tests of the server as a program. Every test starts real processes in a directory of its own.
// A test that cannot continue fails by panicking.
#![allow(clippy::unwrap_used)]

mod behaviours;
mod chaos;
mod crash_states;
mod datasets;
mod deaths;
mod draw;
mod drill;
mod fairness;
mod harness;
mod inspection;
mod lifecycle;
mod storage;
mod wire;

/// True if the centrals of this program store their bets in an engine.
const ON_ENGINE: bool = false;
