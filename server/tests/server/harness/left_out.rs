//! What a test does when the machine lacks something it needs: it says so and passes.

use std::io::{Write, stderr};
use std::path::PathBuf;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::geteuid;

/// Reports that the calling test does not run, and why.
///
/// The runner hides what a passing test prints, so the line goes to standard error past its capture.
/// `cargo nextest` captures whole processes and shows the line only with `--success-output`.
pub fn left_out(reason: &str) {
    let thread = std::thread::current();
    let line = format!("left out: {}: {reason}\n", thread.name().unwrap_or("a test"));
    let _ = stderr().write_all(line.as_bytes());
}

/// Returns true if the test runs as root; otherwise reports it as left out, with what root is
/// needed for.
pub fn is_root(purpose: &str) -> bool {
    let root = geteuid().is_root();
    if !root {
        left_out(&format!("only root can {purpose}"));
    }
    root
}

/// Returns the directory of the course's own dataset; without one, reports the test as left out.
pub fn course_data() -> Option<PathBuf> {
    let directory = std::env::var_os("LOTTERY_COURSE_DATA").map(PathBuf::from);
    if directory.is_none() {
        left_out("LOTTERY_COURSE_DATA names no directory with the course's files");
    }
    directory
}

/// Raises this process's limit of open descriptors as far as the system allows. Returns true if
/// `wanted` fit; otherwise reports the test as left out.
///
/// The limit belongs to the whole test process. Other tests do not notice: a higher limit breaks
/// none of them, and a central raises its own limit anyway.
pub fn raise_descriptor_limit(wanted: u64) -> bool {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    if most < wanted {
        left_out(&format!("this system allows {most} descriptors, not {wanted}"));
    }
    most >= wanted
}
