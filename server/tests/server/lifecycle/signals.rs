//! How a central reacts to signals of operators and terminals.

use std::os::unix::process::CommandExt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::harness::{
    AgencyConnection, Program, Random, Setup, StoppedProcess, eventually, is_alive, kill, packet_of,
};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Number of starts that are interrupted at a random moment.
const INTERRUPTED_STARTS: usize = 60;
/// Approximate duration of a start.
const START: Duration = Duration::from_millis(20);
const AT_ONCE: Duration = Duration::from_secs(1);
/// Time after the first stop signal from which on another one counts.
const REPEAT_COUNTS_AFTER: Duration = Duration::from_secs(1);

fn setup() -> (Setup, u16) {
    let mut setup = Setup::new().with("SERVER_GRACE", "20s");
    let port = setup.keep_port();
    (setup, port)
}

#[test]
fn repeated_stop_signals_cut_no_batch_in_flight() {
    let (setup, port) = setup();
    let mut central = setup.start_by(setup.command(&["run"]).process_group(0));
    let packet = packet_of("a", 10, 4);
    let mut agencies: Vec<_> = (0..4).map(|_| central.connect()).collect();
    agencies.iter_mut().for_each(|agency| agency.send(&packet[..100]));
    eventually("batches in flight", || central.number("agencies_in_flight"), |count| *count == 4);

    // What a terminal, `timeout` and an impatient script send together.
    killpg(Pid::from_raw(central.program.pid().cast_signed()), Signal::SIGTERM).unwrap();
    central.program.line_with("reason: SIGTERM");
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        central.program.signal(signal);
        let line = format!("action: signal | result: in_progress | signal: {signal}");
        central.program.line_with(&line);
    }
    agencies.iter_mut().for_each(|agency| agency.send(&packet[100..]));

    for agency in &mut agencies {
        assert!(agency.read_to_end().len() > 2, "answered");
    }
    assert_eq!(central.program.exit_code(), 0);
    assert_eq!(central.program.count_lines_with("killed_workers"), 0);
    setup.assert_nothing_left(port);
    assert_eq!(setup.rows().len(), 40);
}

#[test]
fn a_stop_signal_a_second_after_the_first_or_sigquit_ends_a_graceful_stop_at_once() {
    for (second, pause) in [
        (Signal::SIGTERM, REPEAT_COUNTS_AFTER),
        (Signal::SIGINT, REPEAT_COUNTS_AFTER),
        (Signal::SIGQUIT, Duration::ZERO),
    ] {
        let (setup, port) = setup();
        let mut central = setup.start();
        assert!(central.request(&packet_of("a", 10, 4)).len() > 2);
        let mut half = central.connect();
        half.send(&packet_of("b", 10, 4)[..100]);
        eventually(
            "a batch in flight",
            || central.number("agencies_in_flight"),
            |count| *count == 1,
        );

        central.program.signal(Signal::SIGTERM);
        central.program.line_with("action: close_listener");
        sleep(pause);
        assert!(central.program.is_running(), "it ended before the grace period");
        central.program.signal(second);

        assert_eq!(central.program.exit_code_within(AT_ONCE), 0, "{second}");
        assert!(half.read_until_gone().is_empty());
        setup.assert_nothing_left(port);
        assert_eq!(setup.rows().len(), 10);
    }
}

#[test]
fn sigquit_ends_the_central_at_once() {
    let (setup, port) = setup();
    let mut central = setup.start();
    let mut half = central.connect();
    half.send(&packet_of("b", 10, 4)[..100]);
    eventually("a batch in flight", || central.number("agencies_in_flight"), |count| *count == 1);
    central.program.signal(Signal::SIGQUIT);
    assert_eq!(central.program.exit_code_within(AT_ONCE), 0);
    assert!(half.read_until_gone().is_empty());
    setup.assert_nothing_left(port);
}

#[test]
fn sigint_stops_gracefully_as_sigterm_does() {
    let (setup, port) = setup();
    let mut central = setup.start();
    let packet = packet_of("a", 10, 4);
    let mut agency = central.connect();
    agency.send(&packet[..100]);
    eventually("a batch in flight", || central.number("agencies_in_flight"), |count| *count == 1);
    central.program.signal(Signal::SIGINT);
    central.program.line_with("action: close_listener");
    agency.send(&packet[100..]);
    assert!(agency.read_to_end().len() > 2);
    assert_eq!(central.program.exit_code(), 0);
    setup.assert_nothing_left(port);
}

#[test]
fn ctrl_c_to_the_whole_process_group_is_one_graceful_stop() {
    let (setup, port) = setup();
    let mut central = setup.start_by(setup.command(&["run"]).process_group(0));
    let packet = packet_of("a", 10, 4);
    let mut agency = central.connect();
    agency.send(&packet[..100]);
    eventually("a batch in flight", || central.number("agencies_in_flight"), |count| *count == 1);

    killpg(Pid::from_raw(central.program.pid().cast_signed()), Signal::SIGINT).unwrap();
    central.program.line_with("action: close_listener");
    agency.send(&packet[100..]);

    assert!(agency.read_to_end().len() > 2);
    assert_eq!(central.program.exit_code(), 0);
    assert_eq!(central.program.count_lines_with("action: shutdown | result: in_progress"), 1);
    assert_eq!(
        central.program.count_lines_with("action: worker | result: fail"),
        0,
        "no worker died"
    );
    setup.assert_nothing_left(port);
}

#[test]
fn signals_that_control_other_servers_change_nothing() {
    let (setup, port) = setup();
    let central = setup.start();
    let workers = central.worker_pids();
    for signal in [Signal::SIGUSR2, Signal::SIGWINCH, Signal::SIGPIPE] {
        central.program.signal(signal);
        if signal != Signal::SIGPIPE {
            central.program.line_with(&format!("action: signal | result: fail | signal: {signal}"));
        }
    }
    // An operator may also send these to a worker by mistake.
    let to_workers = [
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGWINCH,
        Signal::SIGTTIN,
        Signal::SIGTTOU,
        Signal::SIGPIPE,
        Signal::SIGINT,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ];
    for pid in &workers {
        to_workers.iter().for_each(|signal| assert!(kill(*pid, *signal)));
    }
    for number in 0..10 {
        assert!(central.request(&packet_of(&number.to_string(), 10, 4)).len() > 2);
    }
    assert_eq!(central.worker_pids(), workers);
    assert_eq!(central.number("worker_deaths"), 0);
    assert_eq!(central.stop().0, 0);
    setup.assert_nothing_left(port);
}

#[test]
fn a_stop_at_any_moment_of_a_start_ends_the_central_and_leaves_nothing() {
    let (setup, port) = setup();
    let mut random = Random::seeded();
    let mut codes = Vec::new();
    for _ in 0..INTERRUPTED_STARTS {
        let mut program = Program::start(&mut setup.command(&["run"]));
        random.pause(START);
        program.signal(random.pick(&[Signal::SIGTERM, Signal::SIGINT]));
        let code = program.exit_code_within(Duration::from_secs(3));
        // Until the program blocks the signal, its default action applies.
        assert!([0, 128 + 15, 128 + 2].contains(&code), "exit code {code}");
        setup.assert_nothing_left(port);
        codes.push(code);
    }
    let in_order = codes.iter().filter(|code| **code == 0).count();
    println!(
        "{in_order} stopped gracefully, {} before they handled signals",
        codes.len() - in_order
    );
    let central = setup.start();
    assert!(central.request(&packet_of("a", 10, 4)).len() > 2);
    assert_eq!(central.stop().0, 0);
}

#[test]
fn a_stop_while_a_worker_is_being_replaced_ends_the_central() {
    let (setup, port) = setup();
    let mut random = Random::seeded();
    for _ in 0..20 {
        let mut central = setup.start();
        let pid = random.pick(&central.worker_pids());
        kill(pid, Signal::SIGKILL);
        random.pause(Duration::from_millis(3));
        central.program.signal(Signal::SIGTERM);
        assert_eq!(central.program.exit_code_within(Duration::from_secs(3)), 0);
        setup.assert_nothing_left(port);
    }
}

#[test]
fn a_storm_of_signals_breaks_no_request() {
    let (setup, port) = setup();
    let central = setup.start();
    let workers = central.worker_pids();
    let packet = packet_of("a", 50, 10);
    for round in 0..20 {
        let mut agency = AgencyConnection::open(port);
        for piece in packet.chunks(500) {
            agency.send(piece);
            for pid in &workers {
                // Stopping and continuing interrupts every blocking call.
                drop(StoppedProcess::new(*pid));
            }
        }
        assert!(agency.read_to_end().len() > 2, "round {round}");
    }
    assert_eq!(central.results().winners, 200);
    assert!(workers.iter().all(|pid| is_alive(*pid)));
    let start = Instant::now();
    assert_eq!(central.stop().0, 0);
    assert!(start.elapsed() < AT_ONCE);
}
