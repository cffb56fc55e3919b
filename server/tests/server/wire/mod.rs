//! Requests and replies over real connections, valid and invalid, in every dialect.

mod bad_input;
mod bench;
mod conformance;
mod cut_messages;
mod dialect_errors;
mod in_flight;
mod keyed;
mod last_reply;
mod mixed;
mod other_dialect;
mod oversized;
mod requests;
mod rules;
