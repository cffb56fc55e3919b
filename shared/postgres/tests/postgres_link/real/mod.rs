//! A real PostgreSQL server.

mod connections;
mod requests;
