//! Where a value came from.

use std::fmt::{self, Display};
use std::path::PathBuf;

/// The place that set a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A flag, without its hyphens.
    Flag(&'static str),
    /// An environment variable.
    Environment(String),
    /// The configuration file.
    File {
        /// The path as the user gave it.
        path: PathBuf,
        /// The line, counted from 1, if it is known.
        line: Option<usize>,
    },
    /// The table of settings.
    Default,
}

impl Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag(flag) => write!(f, "flag --{flag}"),
            Source::Environment(variable) => write!(f, "environment {variable}"),
            Source::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Source::File { path, line: None } => write!(f, "{}", path.display()),
            Source::Default => f.write_str("default"),
        }
    }
}
