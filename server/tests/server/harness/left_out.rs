//! Tests that the machine cannot run because it lacks something: they report that and pass.

use std::io::{Write, stderr};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::setup::raise_descriptor_limit;

/// Reports that the calling test does not run, and why.
///
/// The test runner hides what a passing test prints, so the line goes to standard error past its
/// capture. `cargo nextest` captures whole processes and shows the line only with
/// `--success-output`.
pub fn left_out(reason: &str) {
    let thread = std::thread::current();
    let line = format!("left out: {}: {reason}\n", thread.name().unwrap_or("a test"));
    let _ = stderr().write_all(line.as_bytes());
}

/// Returns true if the test may mount a file system, which takes root and the right to do so in a
/// container; otherwise reports the test as left out.
pub fn can_mount() -> bool {
    // Mounted in a namespace that ends with the command, so that no other process sees it.
    let directory = std::env::temp_dir();
    let mut command = Command::new("unshare");
    command.args(["-m", "mount", "-t", "tmpfs", "tmpfs"]).arg(directory).stderr(Stdio::null());
    let mounted = command.status().is_ok_and(|status| status.success());
    if !mounted {
        left_out("this user cannot mount a file system; root can");
    }
    mounted
}

/// Returns the directory of the course's own dataset; without one, reports the test as left out.
pub fn course_data() -> Option<PathBuf> {
    let directory = std::env::var_os("LOTTERY_COURSE_DATA").map(PathBuf::from);
    if directory.is_none() {
        left_out("LOTTERY_COURSE_DATA names no directory with the course's files");
    }
    directory
}

/// Returns true if this process may open `wanted` descriptors; otherwise reports the test as left
/// out.
pub fn has_descriptors(wanted: u64) -> bool {
    let most = raise_descriptor_limit();
    if most < wanted {
        left_out(&format!("this system allows {most} descriptors, not {wanted}"));
    }
    most >= wanted
}
