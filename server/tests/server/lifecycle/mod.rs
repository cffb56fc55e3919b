//! From the settings and the start of a central to its stop.

mod address;
mod config;
mod log_file;
mod pool;
mod reload;
mod service_manager;
mod signals;
mod stop;
mod suspension;
