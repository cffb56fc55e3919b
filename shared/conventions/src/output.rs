//! The result of a command on standard output, with its errors.

use std::io::{self, ErrorKind, Write};

use clap::Parser;

/// Standard output cannot be written, for example because it is a file on a full disk.
#[derive(Debug, thiserror::Error)]
#[error("writing to standard output: {0}")]
pub struct OutputError(#[from] io::Error);

/// Writes to standard output. Returns false if the reader has closed the pipe, which is no failure:
/// it has read all that it wanted.
pub fn print(text: &[u8]) -> Result<bool, OutputError> {
    let mut out = io::stdout().lock();
    is_open(out.write_all(text).and_then(|()| out.flush()))
}

/// Reads the command line as [`Parser::parse`] does, which ends the process with a message if it is
/// wrong.
///
/// Fails if the user asks for the help or the version and it cannot be written. clap ignores this
/// error.
pub fn parse<P: Parser>() -> Result<P, OutputError> {
    P::try_parse().or_else(|message| {
        if !message.use_stderr() {
            is_open(message.print().and_then(|()| io::stdout().flush()))?;
            std::process::exit(message.exit_code());
        }
        message.exit()
    })
}

/// Returns false if the reader of a pipe has closed it.
fn is_open(written: io::Result<()>) -> Result<bool, OutputError> {
    match written {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error.into()),
    }
}
