//! Runs Python with the package of this crate.

use std::process::{Command, Output};

use super::{Program, leave_out};

/// The directory of the package.
pub const PACKAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python");

/// Leaves the test out where there is no Python 3.8 or later.
pub fn needs_python() {
    let is_recent = ["-c", "import sys; sys.exit(sys.version_info < (3, 8))"];
    match Command::new("python3").args(is_recent).output() {
        Ok(output) if output.status.success() => {}
        Ok(_) => leave_out("python3 is older than 3.8"),
        Err(_) => leave_out("python3 is not installed"),
    }
}

/// Returns the start of a command that runs Python.
fn wrapper() -> [String; 4] {
    ["env", &format!("PYTHONPATH={PACKAGE}"), "PYTHONDONTWRITEBYTECODE=1", "python3"]
        .map(str::to_owned)
}

/// Runs a Python program to its end, within 30 seconds.
pub fn python(arguments: &[&str]) -> Output {
    Command::new("timeout").arg("30").args(wrapper()).args(arguments).output().unwrap()
}

/// Returns the output of a Python program, which must succeed and write no error.
pub fn python_lines(arguments: &[&str]) -> Vec<String> {
    let output = python(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{}: {errors}", output.status);
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Returns what the package prints of a segment.
pub fn read_segment(name: &str) -> Vec<String> {
    python_lines(&["-m", "shm_multiprocessing", name])
}

/// Starts a Python program that runs beside the test, with a segment name in its environment as
/// `TEST_SEGMENT`.
pub fn running_python(script: &str) -> Program {
    let [env, words @ ..] = wrapper();
    let mut command = Command::new(env);
    command.args(words).args(["-c", script]);
    Program::of(command)
}
