//! TODO lifecycle

mod address;
mod config;
mod pool;
mod signals;
mod stop;
