//! Tests of the client program. Each starts the real program in an empty directory and plays the
//! central that it connects to.
#![allow(clippy::unwrap_used)]

mod addresses;
mod advice;
mod batches;
mod bench;
mod check;
mod check_formats;
mod config;
mod connections;
mod dialects;
mod draw;
mod early_end;
mod echo;
mod generate;
mod lines;
mod output;
mod replies;
mod resume;
mod resume_refused;
mod row_hashes;
mod rows;
mod signals;
mod single_bet;
mod spy;
mod startup;
mod support;
mod teach;
