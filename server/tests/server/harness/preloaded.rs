//! Libraries in C that tests preload into a central, to change what the kernel answers.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::left_out::left_out;
use super::setup::Setup;

/// Compiles a library into the directory of a setup. Without a C compiler, reports the test as left
/// out.
pub fn compile_library(setup: &Setup, name: &str, source: &str) -> Option<PathBuf> {
    let file = |extension| setup.directory().join(name).with_extension(extension);
    let (library, input) = (file("so"), file("c"));
    fs::write(&input, source).unwrap();
    let mut compiler = Command::new("cc");
    compiler.args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(&input);
    if !compiler.status().is_ok_and(|status| status.success()) {
        left_out("no C compiler");
        return None;
    }
    Some(library)
}
