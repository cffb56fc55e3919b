//! What the tests share: the harness, programs that tests start, children, waits with a limit,
//! random kills.
#![allow(dead_code, unused_imports)] // Each test binary uses a part of it.

mod accounts;
mod children;
mod harness;
mod hostile;
mod names;
mod pipes;
mod program;
mod python;
mod random;
mod random_kills;
mod task_pools;
mod timing;
mod traffic;
mod waiting;

pub use accounts::{ACCOUNTS, Accounts, Sums, kill_account_holders};
pub use children::*;
pub use harness::{BEFORE_INIT, Entry, Test, leave_out, main, tests, words_of_program};
pub(crate) use harness::{program, soak, test};
pub use hostile::Sound;
pub use macro_rules_attribute::apply;
pub use names::{name, segment, unique_name, write_entry};
pub use pipes::*;
pub use program::Program;
pub use python::{PACKAGE, needs_python, python, python_lines, read_segment, running_python};
pub use random::Random;
pub use random_kills::*;
pub use task_pools::*;
pub use timing::*;
pub use traffic::{Counts, END, MARKED, Traffic};
pub use waiting::*;
