//! Runs Python with the scripts of this crate.

use std::process::Command;

use super::Probe;

/// Where the scripts are.
const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python");

/// What must precede the arguments of Python. Fails the test when there is no Python.
fn wrapper() -> [String; 4] {
    let version = Command::new("python3").arg("--version").output();
    let version = version.unwrap_or_else(|error| {
        panic!("python3 does not start ({error}): these tests need Python 3.8 or later, as python3 in PATH")
    });
    assert!(version.status.success(), "python3 --version: {version:?}");
    ["env", &format!("PYTHONPATH={SCRIPTS}"), "PYTHONDONTWRITEBYTECODE=1", "python3"]
        .map(str::to_owned)
}

/// A Python program that runs to its end, within 30 seconds.
pub fn python(arguments: &[&str]) -> std::process::Output {
    Command::new("timeout").arg("30").args(wrapper()).args(arguments).output().unwrap()
}

/// The output of a Python program that must succeed and complain of nothing.
pub fn python_lines(arguments: &[&str]) -> Vec<String> {
    let output = python(arguments);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && errors.is_empty(), "{}: {errors}", output.status);
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The lines of `read_segment.py NAME`.
pub fn read_segment(name: &str) -> Vec<String> {
    python_lines(&[&format!("{SCRIPTS}/read_segment.py"), name])
}

/// A Python program that goes on beside the test, with the segment name in its environment as `PROBE_NAME`.
pub fn running_python(script: &str) -> Probe {
    let mut wrapper = wrapper().to_vec();
    wrapper.extend(["-c".to_owned(), script.to_owned()]);
    Probe::start_through(&wrapper.iter().map(String::as_str).collect::<Vec<_>>(), &[])
}
