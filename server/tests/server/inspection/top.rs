//! The command `top` on a pseudo-terminal, with real centrals.

use nix::sys::signal::Signal;

use crate::harness::{CentralProcess, PseudoTerminal, Setup, eventually, packet_of, reserve_port};

fn top(setup: &Setup, port: u16) -> PseudoTerminal {
    PseudoTerminal::start(&mut setup.command(&["top", "--port", &port.to_string()]))
}

fn pids_are_on(terminal: &PseudoTerminal, central: &CentralProcess<'_>) {
    for (slot, pid) in central.worker_pids().into_iter().enumerate() {
        terminal.until_shown(&format!(" {slot} pid {pid}"));
    }
}

#[test]
fn top_shows_the_workers_and_k_kills_the_selected_one_which_is_replaced() {
    let setup = Setup::new().with("SERVER_WORKERS", "3");
    let central = setup.start();
    central.request(&packet_of("a", 3, 2));
    let before = central.worker_pids();
    let mut terminal = top(&setup, central.port);
    pids_are_on(&terminal, &central);
    terminal.until_shown("2 winners among 3 bets");
    // The right arrow selects the second worker.
    terminal.press("\x1b[C");
    terminal.press("k");
    terminal.until_shown("worker 1 killed; pid ");
    let restarts = || central.worker_numbers("restarts");
    assert_eq!(eventually("a restart", restarts, |all| all[1] > 0), [0, 1, 0]);
    pids_are_on(&terminal, &central);
    terminal.until_shown("1 worker death");
    let after = central.worker_pids();
    assert_eq!((after[0], after[2]), (before[0], before[2]));
    assert_ne!(after[1], before[1]);
    terminal.press("q");
    assert_eq!(terminal.exit_code(), 0);
    terminal.assert_restored();
}

#[test]
fn control_c_and_every_signal_to_end_restore_the_terminal() {
    let setup = Setup::new();
    let central = setup.start();
    for signal in [None, Some(Signal::SIGTERM), Some(Signal::SIGINT), Some(Signal::SIGHUP)] {
        let mut terminal = top(&setup, central.port);
        terminal.until_shown("batches/s");
        match signal {
            None => terminal.press("\x03"),
            Some(signal) => terminal.signal(signal),
        }
        assert_eq!(terminal.exit_code(), 0, "{signal:?}");
        terminal.assert_restored();
    }
}

#[test]
fn top_waits_for_a_central_and_follows_it_through_its_end_and_its_next_start() {
    let mut setup = Setup::new();
    let port = setup.keep_port();
    let mut terminal = top(&setup, port);
    terminal.until_shown(&format!("no central runs on port {port}"));
    let central = setup.start();
    pids_are_on(&terminal, &central);
    assert_eq!(central.stop().0, 0);
    terminal.until_shown(&format!("no central runs on port {port}"));
    let central = setup.start();
    pids_are_on(&terminal, &central);
    terminal.until_shown("a new central, supervisor");
    central.kill_all();
    terminal.until_shown(&format!("the central on port {port} was killed"));
    terminal.press("q");
    assert_eq!(terminal.exit_code(), 0);
    terminal.assert_restored();
}

#[test]
fn top_with_no_color_writes_no_colour() {
    let setup = Setup::new();
    let central = setup.start();
    let colours = |no_color: &str| {
        let arguments = ["top", "--port", &central.port.to_string()];
        // `env` sets it after the terminal has removed it.
        let mut command = setup.command(&arguments);
        let mut shell = std::process::Command::new("env");
        shell.arg(format!("NO_COLOR={no_color}")).arg(command.get_program());
        shell.args(command.get_args()).current_dir(setup.directory());
        shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command = shell;
        let mut terminal = PseudoTerminal::start(&mut command);
        terminal.until_shown("batches/s");
        terminal.press("q");
        assert_eq!(terminal.exit_code(), 0);
        let written = terminal.written();
        ["\x1b[3", "\x1b[4"].iter().any(|start| {
            written.match_indices(start).any(|(at, _)| {
                let rest = &written[at + 3..];
                rest.starts_with("8;")
                    || rest.starts_with(|first: char| ('0'..='7').contains(&first))
            })
        })
    };
    assert!(colours(""), "an empty value has no effect");
    assert!(!colours("1"));
}

#[test]
fn without_a_terminal_top_names_status() {
    let setup = Setup::new();
    let taken = reserve_port();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = setup.run(&["top", "--port", &port]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("not a terminal") && said.contains("`loteria-central status`"), "{said}");
}
