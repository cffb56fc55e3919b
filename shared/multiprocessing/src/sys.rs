//! What the kernel and the C library provide, each behind a safe interface.

pub(crate) mod atomic;
pub(crate) mod backtrace;
pub(crate) mod child;
pub(crate) mod deadline;
pub(crate) mod exit;
pub(crate) mod fork;
pub(crate) mod futex;
pub(crate) mod generation;
pub(crate) mod mapping;
pub(crate) mod name;
pub(crate) mod namespaces;
pub(crate) mod orphans;
pub(crate) mod proc;
pub(crate) mod program;
pub(crate) mod signal;
pub(crate) mod spawn_error;
pub(crate) mod wait;
