//! The programs of the other sides: in C or C++, compiled for the bench, and in Python.

use std::error::Error;
use std::fs::remove_file;
use std::path::{Path, PathBuf};
use std::process::{Command, id};

use super::Figure;

/// A compiled program in C or C++, removed when dropped.
pub struct CProgram(PathBuf);

impl CProgram {
    /// Compiles `benches/c/NAME.c`.
    pub fn compile(name: &str) -> Result<Self, Box<dyn Error>> {
        Self::compile_with("cc", &format!("{name}.c"))
    }

    /// Compiles `benches/c/NAME.cpp`, which may need a library that is not installed.
    pub fn compile_cpp(name: &str) -> Result<Self, Box<dyn Error>> {
        Self::compile_with("c++", &format!("{name}.cpp"))
    }

    fn compile_with(compiler: &str, source: &str) -> Result<Self, Box<dyn Error>> {
        let program = Self(std::env::temp_dir().join(format!("bench.{source}.{}", id())));
        let mut compiler = Command::new(compiler);
        compiler
            .args(["-O2", "-pthread", "-o"])
            .arg(&program.0)
            .arg(beside(&format!("c/{source}")))
            .arg("-lrt");
        if compiler.status()?.success() {
            Ok(program)
        } else {
            Err(format!("{source} does not compile").into())
        }
    }

    /// Runs the program for a turn, and returns the number that it prints.
    pub fn run(&self, arguments: &[u32]) -> Figure {
        printed(Command::new(&self.0).args(arguments.iter().map(u32::to_string)))
    }
}

impl Drop for CProgram {
    fn drop(&mut self) {
        let _ = remove_file(&self.0);
    }
}

/// Runs a function of `benches/in_python.py` for a turn, and returns its result.
pub fn python(function: &str, arguments: &[u32]) -> Figure {
    let mut program = Command::new("python3");
    printed(
        program
            .arg(beside("in_python.py"))
            .arg(function)
            .args(arguments.iter().map(u32::to_string)),
    )
}

fn beside(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches").join(name)
}

/// Returns the one number that a program prints.
fn printed(command: &mut Command) -> Figure {
    let output = command.output()?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{command:?}: {}\n{errors}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim().parse()?)
}
