//! The texts that a program derives from its command line.
#![allow(clippy::unwrap_used)]

use clap::{Arg, Command, Subcommand};
use conventions::documents::Documents;

fn app() -> Command {
    let command = Command::new("app").arg(Arg::new("port").long("port").global(true));
    let command = command.subcommand(Command::new("status").about("Show it"));
    Documents::augment_subcommands(command).about("Does things")
}

fn text(line: &[&str]) -> Result<String, clap::Error> {
    let matches = app().get_matches_from(std::iter::once(&"app").chain(line));
    let documents = <Documents as clap::FromArgMatches>::from_arg_matches(&matches)?;
    Ok(String::from_utf8(documents.text(app())?).unwrap())
}

#[test]
fn every_shell_has_a_script_that_completes_flags_and_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = text(&["completions", shell]).unwrap();
        for part in ["app", "port", "status", "completions"] {
            assert!(script.contains(part), "{shell}: no {part} in {script}");
        }
    }
}

#[test]
fn the_program_and_each_command_have_a_manual_page() {
    let page = text(&["man"]).unwrap();
    assert!(page.contains(".TH app 1") && page.contains("Does things"), "{page}");
    assert!(page.contains("app\\-status(1)"), "{page}");
    let page = text(&["man", "status"]).unwrap();
    assert!(page.contains("app\\-status") && page.contains("Show it"), "{page}");
    assert!(page.contains("\\-\\-port"), "{page}");
}

#[test]
fn a_page_of_an_unknown_command_is_refused_with_the_known_ones() {
    let error = text(&["man", "dance"]).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    let message = error.to_string();
    assert!(message.contains("unknown command \"dance\": expected one of status, "), "{message}");
}
