//! Who a central is among those that share an engine.

use std::fs;
use std::io;

/// The lottery, the name of a central, and this start of it.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The lottery.
    pub lottery: String,
    /// Name of the central. No two centrals of a lottery have the same.
    pub central: String,
    /// Random text that names this start, so that the engine can tell it from another central with
    /// the same name.
    pub instance: String,
}

impl Identity {
    /// Returns the identity of a start that begins now.
    pub fn new(lottery: &str, central: &str) -> io::Result<Self> {
        let instance = fs::read_to_string("/proc/sys/kernel/random/uuid")?.trim().to_owned();
        Ok(Self { lottery: lottery.to_owned(), central: central.to_owned(), instance })
    }
}
