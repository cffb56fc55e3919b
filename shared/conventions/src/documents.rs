//! Documents that a program generates from its own command line: completion scripts and manual
//! pages.

use clap::error::ErrorKind;
use clap::{Command, Subcommand};
use clap_complete::Shell;

/// The subcommands that print such a document.
#[derive(Debug, Subcommand)]
pub enum Documents {
    /// Print the completion script of a shell
    Completions {
        /// Shell that will run the script
        shell: Shell,
    },
    /// Print the manual page of the program or of one of its commands
    Man {
        /// Command to describe; without it, the program
        command: Option<String>,
    },
}

impl Documents {
    /// Returns the document for the program that `command` describes.
    ///
    /// Fails with a usage error if the program has no command with the given name.
    pub fn text(&self, mut command: Command) -> Result<Vec<u8>, clap::Error> {
        let mut text = Vec::new();
        match self {
            Self::Completions { shell } => {
                let name = command.get_name().to_owned();
                clap_complete::generate(*shell, &mut command, name, &mut text);
            }
            Self::Man { command: name } => {
                // `build` adds global flags to subcommands and names them `program-command`.
                command.build();
                let described = match name {
                    None => command,
                    Some(name) => match command.find_subcommand(name) {
                        Some(found) => found.clone(),
                        None => return Err(unknown_command(command, name)),
                    },
                };
                clap_mangen::Man::new(described).render(&mut text)?;
            }
        }
        Ok(text)
    }
}

/// Returns the usage error that lists the commands.
fn unknown_command(mut command: Command, name: &str) -> clap::Error {
    let known: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
    let message = format!("unknown command {name:?}: expected one of {}", known.join(", "));
    command.error(ErrorKind::InvalidValue, message)
}
